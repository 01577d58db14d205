/* SPDX-License-Identifier: MIT */
#include "train/corpus.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "core/alloc.h"
#include "core/hash.h"
#include "core/rng.h"
#include "file/map.h"

/* Streams of the seed; epoch e draws from ORDER + e. */
#define STREAM_ORDER ((uint64_t)1 << 32)

struct gs_corpus {
    struct gs_tokens tokens;
    uint64_t bytes, pieces, seed;
    uint32_t ctx;
    uint64_t epoch, shift; /* of `order` */
    uint32_t *order;
};

static int read_file(struct gs_corpus *c, const struct gs_tokenizer *t, const char *path,
                     struct gs_err *err)
{
    struct gs_map *map;
    int rc = gs_map_open(path, &map, err);

    if (rc)
        return rc;
    rc = gs_tokenizer_encode(t, (const char *)map->data, map->size,
                             GS_TOKENIZE_SPECIAL | (c->tokens.count ? 0 : GS_TOKENIZE_BOS),
                             &c->tokens, err);
    if (rc > 0)
        rc = GS_OK;
    c->bytes += map->size;
    gs_map_close(&map);
    return rc;
}

static int append(struct gs_tokens *t, int32_t token, struct gs_err *err)
{
    if (t->count == t->capacity) {
        size_t bytes = t->capacity * sizeof *t->data, more = bytes + 4096 * sizeof *t->data;
        int32_t *data = gs_realloc(t->data, bytes, more);
        if (!data)
            return gs_fail_nomem(err, "tokens");
        t->data = data;
        t->capacity = more / sizeof *t->data;
    }
    t->data[t->count++] = token;
    return GS_OK;
}

/* Leaves room for epochs to begin elsewhere, where there is any. */
static int cut(struct gs_corpus *c, const char *path, struct gs_err *err)
{
    if (c->tokens.count <= c->ctx)
        return gs_fail(err, GS_E_ARG,
                       "%s: %zu tokens of text are too few for a context of %" PRIu32
                       " and the token after it", path, c->tokens.count, c->ctx);
    c->pieces = (c->tokens.count - 1) / c->ctx;
    if (c->pieces > 1)
        c->pieces--;
    if (c->pieces > UINT32_MAX)
        return gs_fail(err, GS_E_ARG, "%s: more text than can be numbered", path);
    c->order = gs_alloc(c->pieces, sizeof *c->order);
    return c->order ? GS_OK : gs_fail_nomem(err, "the order of texts");
}

int gs_corpus_create(const struct gs_tokenizer *tokenizer, const char *const *paths, size_t n,
                     uint32_t ctx, uint64_t seed, struct gs_corpus **out, struct gs_err *err)
{
    struct gs_corpus *c = gs_alloc(1, sizeof *c);
    int32_t end = gs_tokenizer_eos(tokenizer);
    int rc = GS_OK;

    assert(n && ctx);
    *out = NULL;
    if (!c)
        return gs_fail_nomem(err, "text");
    c->ctx = ctx;
    c->seed = seed;
    c->epoch = UINT64_MAX;
    for (size_t i = 0; !rc && i < n; i++) {
        rc = read_file(c, tokenizer, paths[i], err);
        if (!rc && end >= 0 && c->tokens.count && c->tokens.data[c->tokens.count - 1] != end)
            rc = append(&c->tokens, end, err);
    }
    if (!rc)
        rc = cut(c, paths[n - 1], err);
    if (rc)
        gs_corpus_destroy(&c);
    *out = c;
    return rc;
}

void gs_corpus_destroy(struct gs_corpus **cp)
{
    if (!*cp)
        return;
    gs_tokens_clear(&(*cp)->tokens);
    gs_free(&(*cp)->order);
    gs_free(cp);
}

uint64_t gs_corpus_tokens(const struct gs_corpus *c)
{
    return c->tokens.count;
}

uint64_t gs_corpus_bytes(const struct gs_corpus *c)
{
    return c->bytes;
}

uint64_t gs_corpus_pieces(const struct gs_corpus *c)
{
    return c->pieces;
}

uint64_t gs_corpus_fingerprint(const struct gs_corpus *c)
{
    return gs_fingerprint(c->seed, c->tokens.data, c->tokens.count * sizeof *c->tokens.data);
}

static void begin_epoch(struct gs_corpus *c, uint64_t epoch)
{
    uint64_t spare = c->tokens.count - 1 - c->pieces * c->ctx;
    struct gs_rng rng;

    gs_rng_init(&rng, c->seed, STREAM_ORDER + epoch);
    c->epoch = epoch;
    c->shift = gs_rng_below(&rng, GS_MIN(spare, c->ctx) + 1);
    for (uint64_t i = 0; i < c->pieces; i++)
        c->order[i] = (uint32_t)i;
    for (uint64_t i = c->pieces; i > 1; i--) {
        uint64_t j = gs_rng_below(&rng, i);
        uint32_t swap = c->order[i - 1];
        c->order[i - 1] = c->order[j];
        c->order[j] = swap;
    }
}

static void copy_piece(const struct gs_corpus *c, uint64_t at, int32_t *tokens, int32_t *target)
{
    assert(at + c->ctx < c->tokens.count);
    memcpy(tokens, c->tokens.data + at, c->ctx * sizeof *tokens);
    memcpy(target, c->tokens.data + at + 1, c->ctx * sizeof *target);
}

void gs_corpus_text(struct gs_corpus *c, uint64_t index, int32_t *tokens, int32_t *target)
{
    uint64_t epoch = index / c->pieces;

    if (epoch != c->epoch)
        begin_epoch(c, epoch);
    copy_piece(c, c->shift + (uint64_t)c->order[index % c->pieces] * c->ctx, tokens, target);
}

void gs_corpus_piece(const struct gs_corpus *c, uint64_t index, int32_t *tokens,
                     int32_t *target)
{
    assert(index < c->pieces);
    copy_piece(c, index * c->ctx, tokens, target);
}
