/* SPDX-License-Identifier: MIT */
#include "text/encoder.h"

#include <string.h>

#include "core/alloc.h"
#include "core/cursor.h"

/* Words in the cache: enough for a book's common words, small enough for the L2 cache. */
#define CACHE_WORDS 8192
/* A text shorter than this repeats too little to pay for clearing the cache. */
#define CACHE_FROM_BYTES 4096

int gs_encoder_init(struct gs_encoder *e, size_t n, struct gs_tokens *out, struct gs_err *err)
{
    *e = (struct gs_encoder){.out = out, .err = err};
    if (n < CACHE_FROM_BYTES)
        return GS_OK;
    e->cache = gs_alloc(CACHE_WORDS, sizeof *e->cache);
    e->cache_mask = CACHE_WORDS - 1;
    return e->cache ? GS_OK : gs_fail_nomem(err, "tokens");
}

void gs_encoder_clear(struct gs_encoder *e)
{
    gs_merger_clear(&e->merger);
    gs_arena_clear(&e->texts);
    gs_free(&e->cache);
}

int gs_encoder_push(struct gs_encoder *e, int32_t token)
{
    struct gs_tokens *out = e->out;

    if (out->count == out->capacity) {
        size_t capacity = out->capacity ? 2 * out->capacity : 64;
        int32_t *data = gs_realloc(out->data, out->capacity * sizeof *data,
                                   capacity * sizeof *data);
        if (!data)
            return gs_fail_nomem(e->err, "tokens");
        out->data = data;
        out->capacity = capacity;
    }
    out->data[out->count++] = token;
    return GS_OK;
}

/* Fast rather than strong: a collision only costs a miss. */
static uint64_t word_hash(const char *text, size_t n)
{
    const uint64_t k = 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio, odd */
    uint64_t h = (n + 1) * k;

    for (; n >= 8; n -= 8, text += 8) {
        h = (h ^ gs_load_u64(text)) * k;
        h ^= h >> 32;
    }
    if (n) {
        uint64_t tail = 0;
        for (size_t i = 0; i < n; i++)
            tail |= (uint64_t)(uint8_t)text[i] << 8 * i;
        h = (h ^ tail) * k;
        h ^= h >> 32;
    }
    h *= k;
    return h ^ h >> 29;
}

bool gs_encoder_recall(struct gs_encoder *e, const char *word, size_t n,
                       struct gs_cached_word **slot, int *rc)
{
    *slot = NULL;
    *rc = GS_OK;
    if (!e->cache || n > UINT32_MAX)
        return false;
    struct gs_cached_word *c = &e->cache[word_hash(word, n) & e->cache_mask];
    *slot = c;
    if (!c->word || c->n != n || memcmp(c->word, word, n))
        return false;
    for (uint32_t i = 0; i < c->n_tokens && *rc == GS_OK; i++)
        *rc = gs_encoder_push(e, c->tokens[i]);
    return true;
}

void gs_encoder_keep(struct gs_encoder *e, struct gs_cached_word *slot, const char *word,
                     size_t n, size_t first)
{
    size_t n_tokens = e->out->count - first;

    if (!slot || n_tokens > GS_CACHED_TOKENS)
        return;
    slot->word = word;
    slot->n = (uint32_t)n;
    slot->n_tokens = (uint32_t)n_tokens;
    if (n_tokens)
        memcpy(slot->tokens, e->out->data + first, n_tokens * sizeof *slot->tokens);
}
