/* SPDX-License-Identifier: MIT
 * What one call of gs_tokenizer_encode works with, and what its kinds share: the tokens
 * found so far, the merger's memory, and a cache of words, since running text repeats a few
 * thousand words most of the time. Nothing here outlives the call, so a tokenizer itself
 * never changes and may serve several threads. */
#ifndef GS_TEXT_ENCODER_H
#define GS_TEXT_ENCODER_H

#include "core/arena.h"
#include "text/merge.h"
#include "text/tokenizer.h"

#define GS_CACHED_TOKENS 6

struct gs_cached_word {
    const char *word; /* in the text being encoded; NULL = free */
    uint32_t n;
    uint32_t n_tokens;
    int32_t tokens[GS_CACHED_TOKENS];
};

struct gs_encoder {
    struct gs_tokens *out;
    struct gs_merger merger;
    struct gs_arena texts;        /* rewritten texts, which cached words point into */
    struct gs_cached_word *cache; /* indexed by hash, no chains; NULL for short texts */
    size_t cache_mask;
    struct gs_err *err;
};

/* `n` is the length of the text to come. */
int gs_encoder_init(struct gs_encoder *e, size_t n, struct gs_tokens *out, struct gs_err *err)
    GS_MUST_USE;
void gs_encoder_clear(struct gs_encoder *e);

/* Appends a token; GS_OK or GS_E_NOMEM. */
int gs_encoder_push(struct gs_encoder *e, int32_t token) GS_MUST_USE;

/* Appends the word's tokens and returns true if the cache has them. Otherwise returns false
 * and *slot for gs_encoder_keep (NULL without a cache). The word's bytes must stay valid
 * until gs_encoder_clear. */
bool gs_encoder_recall(struct gs_encoder *e, const char *word, size_t n,
                       struct gs_cached_word **slot, int *rc);

/* Remembers the tokens appended since e->out->count was `first`; slot may be NULL. */
void gs_encoder_keep(struct gs_encoder *e, struct gs_cached_word *slot, const char *word,
                     size_t n, size_t first);

#endif
