/* SPDX-License-Identifier: MIT
 * The cache of keys and values, as attention multiplies with it (attention.c).
 *
 * Positions come in chunks of GS_KV_CHUNK, whose boundaries are also those of the sums of
 * attention. A head's part of a chunk is a list of rows of 32 numbers, a cache line in f16:
 *
 *     keys    (room / 32, D, 32)     32 positions side by side, dimensions one below another
 *     values  (Dv₃₂ / 32, room, 32)  32 dimensions side by side, positions one below another
 *
 * so that both the scores q · k of 32 positions and the sums of 32 dimensions are products
 * with such rows, without any sum across a register. Dv₃₂ is Dv rounded up to 32.
 *
 * Chunk c lies in place c mod `chunks`: a layer with a window keeps only as many as the window
 * and a batch touch. Layers lie inside a chunk, not chunks inside a layer, so that a short
 * text touches little memory, whatever the context. */
#include "model/layers.h"

#include <assert.h>
#include <string.h>

static size_t element_bytes(const struct gs_kv *kv)
{
    return gs_type_info(kv->type)->bytes;
}

static size_t head_elements(const struct gs_kv *kv)
{
    return kv->room * (kv->head_k + gs_kv_wide(kv->head_v));
}

size_t gs_kv_chunk_bytes(const struct gs_kv *kv)
{
    return kv->heads * head_elements(kv) * element_bytes(kv);
}

static char *head_at(const struct gs_kv *kv, size_t head, size_t chunk)
{
    return kv->data + chunk % kv->chunks * kv->stride +
           head * head_elements(kv) * element_bytes(kv);
}

void *gs_kv_keys(const struct gs_kv *kv, size_t head, size_t chunk, size_t at)
{
    return head_at(kv, head, chunk) + at / GS_PANEL_F32 * GS_PANEL_F32 * kv->head_k *
                                          element_bytes(kv);
}

void *gs_kv_values(const struct gs_kv *kv, size_t head, size_t chunk, size_t at, size_t d)
{
    size_t row = kv->room * kv->head_k / GS_PANEL_F32 + d / GS_PANEL_F32 * kv->room + at;

    return head_at(kv, head, chunk) + row * GS_PANEL_F32 * element_bytes(kv);
}

struct store {
    const struct gs_run *run;
    const struct gs_kv *kv;
    const float *k, *v;
    size_t first;
};

/* A key becomes a column of its block. */
static void put_key(const struct gs_kv *kv, const void *key, void *block, size_t column)
{
    const uint16_t *from = key;
    uint16_t *to = (uint16_t *)block + column;

    if (kv->type == GS_TYPE_F32) {
        for (size_t d = 0; d < kv->head_k; d++)
            ((float *)block)[d * GS_PANEL_F32 + column] = ((const float *)key)[d];
        return;
    }
    for (size_t d = 0; d < kv->head_k; d++)
        to[d * GS_PANEL_F32] = from[d];
}

static void store_tokens(void *ctx, size_t begin, size_t end, int worker)
{
    const struct store *s = ctx;
    const struct gs_kv *kv = s->kv;
    gs_encode_fn encode = s->run->k->encode[kv->type];
    void *key = gs_run_scratch(s->run, worker);

    for (size_t t = begin; t < end; t++)
        for (size_t g = 0; g < kv->heads; g++) {
            size_t chunk = (s->first + t) / GS_KV_CHUNK, at = (s->first + t) % GS_KV_CHUNK;
            const float *v = s->v + (t * kv->heads + g) * kv->head_v;
            encode(s->k + (t * kv->heads + g) * kv->head_k, key, kv->head_k);
            put_key(kv, key, gs_kv_keys(kv, g, chunk, at), at % GS_PANEL_F32);
            for (size_t d = 0; d < kv->head_v; d += GS_PANEL_F32)
                encode(v + d, gs_kv_values(kv, g, chunk, at, d),
                       GS_MIN(kv->head_v - d, (size_t)GS_PANEL_F32));
        }
}

void gs_kv_store(const struct gs_run *run, const struct gs_kv *kv, const float *k,
                 const float *v, size_t first, size_t T)
{
    struct store s = {.run = run, .kv = kv, .k = k, .v = v, .first = first};

    assert(T <= kv->chunks * kv->room);
    gs_team_run(run->team, T, 16, store_tokens, &s);
}
