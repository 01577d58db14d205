/* SPDX-License-Identifier: MIT
 * For tests of tuning: a tiny model, a text, random tokens, and where the rounded and the tuned
 * file are to be. */
#ifndef GS_TEST_TUNE_FIXTURE_H
#define GS_TEST_TUNE_FIXTURE_H

#include "tests/unit/tiny.h"

#include "core/rng.h"
#include "gosset.h"
#include "recipe/tune.h"

#define CTX 32u

static char source[512], text[512], rounded[512], tuned[512];

/* Files but for the rounded one; tokens (n). */
static inline void make_files(int32_t *tokens, size_t n)
{
    struct gs_rng rng;

    snprintf(source, sizeof source, "%s", tiny_make("llama:bpe"));
    snprintf(text, sizeof text, "%s/text", tiny_folder);
    snprintf(rounded, sizeof rounded, "%s/rounded.gguf", tiny_folder);
    snprintf(tuned, sizeof tuned, "%s/tuned.gguf", tiny_folder);
    FILE *f = fopen(text, "w");
    assert_non_null(f);
    for (int i = 0; i < 200; i++)
        fprintf(f, "%d: the lazy dog sees a quick fox jump %d times.\n", i, i * 7 % 13);
    fclose(f);
    gs_rng_init(&rng, 2, 2);
    for (size_t i = 0; i < n; i++)
        tokens[i] = (int32_t)gs_rng_below(&rng, 300);
}

static inline int remove_files(void **state)
{
    (void)state;
    unlink(source);
    unlink(text);
    unlink(rounded);
    unlink(tuned);
    return 0;
}

#endif
