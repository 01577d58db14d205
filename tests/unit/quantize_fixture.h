/* SPDX-License-Identifier: MIT
 * For tests of quantizing: a tiny model, a text to calibrate on, and the native file of 3 bits
 * that is made of them. */
#ifndef GS_TEST_QUANTIZE_FIXTURE_H
#define GS_TEST_QUANTIZE_FIXTURE_H

#include "tests/unit/tiny.h"

#include "recipe/quantize.h"

static struct gs_err err;
static char source[512], text[512], target[512];

static inline void write_text(void)
{
    FILE *f = fopen(text, "w");

    assert_non_null(f);
    for (int i = 0; i < 60; i++)
        fprintf(f, "%d: a lazy dog sees the fox jump over it, %d times.\n", i, i * 7 % 13);
    fclose(f);
}

static inline int quantize(struct gs_quantize_options *o, struct gs_quantize_result *out)
{
    const char *paths[] = {text};

    o->calib = paths;
    o->n_calib = 1;
    o->no_eval = o->overwrite = true;
    o->tokens = 256;
    o->threads = 2;
    err = (struct gs_err){0};
    return gs_quantize_model(source, target, o, NULL, NULL, out, &err);
}

static inline int make_files(void **state)
{
    (void)state;
    snprintf(source, sizeof source, "%s", tiny_make("llama"));
    snprintf(text, sizeof text, "%s/text", tiny_folder);
    snprintf(target, sizeof target, "%s/target.gguf", tiny_folder);
    write_text();
    struct gs_quantize_options o = {.bpw = 3};
    if (quantize(&o, NULL))
        fail_msg("%s", err.msg);
    return 0;
}

static inline int remove_files(void **state)
{
    (void)state;
    unlink(source);
    unlink(text);
    unlink(target);
    return 0;
}

static inline struct gs_store *open_target(void)
{
    struct gs_store *store;

    err = (struct gs_err){0};
    if (gs_store_open(target, &store, &err))
        fail_msg("%s", err.msg);
    return store;
}

#endif
