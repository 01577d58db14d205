/* SPDX-License-Identifier: MIT
 * A Hugging Face folder in one input: u16 n, n bytes of config.json, then model.safetensors.
 * n = 0 stands for a bare safetensors file. */
#include "core/cursor.h"
#include "file/hf_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink; /* keeps the reads */

static void walk(struct gs_store *store)
{
    for (size_t i = 0; i < gs_store_count(store); i++) {
        const struct gs_tensor *t = gs_store_tensor(store, i);
        const void *p;
        if (gs_store_data(store, t, &p, NULL))
            continue;
        for (uint64_t j = 0; j < t->bytes; j++)
            sink += ((const uint8_t *)p)[j];
    }
}

static void open_folder(struct gs_map *config, const struct gs_map *weights)
{
    struct gs_hf hf = {.folder = "fuzz", .config_text = config};
    struct gs_err err = {0};

    if (gs_store_create("fuzz", "safetensors", &hf.store, &err))
        return;
    int rc = gs_st_read(weights, &hf.st, NULL, &err);
    if (!rc)
        rc = gs_hf_fill(&hf, &err);
    if (rc && (err.code >= 0 || !err.msg[0]))
        __builtin_trap();
    gs_hf_clear(&hf);
    if (!rc)
        walk(hf.store);
    gs_store_close(&hf.store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gs_cursor c = gs_cursor_make(data, size);
    struct gs_map *config = NULL, *weights = NULL;
    struct gs_store *store;
    uint16_t n = gs_cursor_u16(&c);
    const uint8_t *text = gs_cursor_bytes(&c, n);

    if (!text || gs_map_memory(text, n, "config.json", &config, NULL) ||
        gs_map_memory(data + c.pos, gs_cursor_left(&c), "w.safetensors", &weights, NULL)) {
        gs_map_close(&config);
        return 0;
    }
    if (n) {
        open_folder(config, weights);
        gs_map_close(&weights);
    } else if (!gs_store_open_map(&weights, &store, NULL)) {
        walk(store);
        gs_store_close(&store);
    }
    gs_map_close(&config);
    return 0;
}
