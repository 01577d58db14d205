/* SPDX-License-Identifier: MIT
 * Any bytes opened as a model file: an error, or a store whose every tensor can be read to
 * its last byte and whose metadata can be walked. */
#include "file/store_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink; /* keeps the reads */

static void walk_meta(const struct gs_meta *meta)
{
    for (size_t i = 0; i < gs_meta_count(meta); i++) {
        const struct gs_value *v = gs_meta_value(meta, i);
        if (v->type == GS_VALUE_STRING)
            for (size_t j = 0; j < v->as.s.size; j++)
                sink += (uint8_t)v->as.s.data[j];
        for (uint64_t j = 0; v->type == GS_VALUE_ARRAY && j < v->as.a.count; j++)
            sink += v->as.a.type == GS_VALUE_STRING ? gs_array_str(&v->as.a, j).size
                                                    : gs_array_float(&v->as.a, j) > 0;
    }
}

static void walk_tensors(struct gs_store *store)
{
    for (size_t i = 0; i < gs_store_count(store); i++) {
        const struct gs_tensor *t = gs_store_tensor(store, i);
        const void *p;
        if (gs_store_find(store, t->name) != t)
            __builtin_trap();
        if (gs_store_data(store, t, &p, NULL))
            continue;
        for (uint64_t j = 0; j < t->bytes; j++)
            sink += ((const uint8_t *)p)[j];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gs_err err = {0};
    struct gs_store *store;
    struct gs_map *map;

    if (gs_map_memory(data, size, "fuzz", &map, &err))
        return 0;
    if (gs_store_open_map(&map, &store, &err)) {
        if (err.code >= 0 || !err.msg[0])
            __builtin_trap();
        return 0;
    }
    walk_meta(gs_store_meta(store));
    walk_tensors(store);
    gs_store_close(&store);
    return 0;
}
