/* SPDX-License-Identifier: MIT
 * Causal attention with grouped queries (arXiv:2305.13245) and sliding windows over a cache,
 * with an on-line soft-max (FlashAttention, Dao et al., arXiv:2205.14135), split over
 * positions where there are few queries (flash-decoding).
 *
 * A tile is up to 8 rows: the query heads that read one key/value head, of one or a few
 * tokens. It walks through the chunks of positions that one of its rows sees (kv.c):
 *
 *            chunk 0     chunk 1     chunk 2        of every chunk, for each row
 *   rows   ░░░███████ │ █████████ │ █████▒▒         m = max s    l = Σ exp(s − m)
 *          ░░░███████ │ █████████ │ ██████▒         o = Σ exp(s − m) v, a chain of fma in
 *          ░░░░░░████ │ █████████ │ ███████             order of position
 *
 * and the chunks are merged in order, (M, L, Y) and (m, l, o) with N = max(M, m) to
 *
 *   N,   exp(M − N) L + exp(m − N) l,   exp(M − N) Y + exp(m − N) o,     at the end y = Y / L.
 *
 * Boundaries of chunks depend on positions only, so every output is the same operations in
 * the same order, whether one task walks through all chunks or each chunk is a task that
 * leaves its part in run->parts: the same bits for any batch and team.
 *
 * Positions that only some rows of a tile see (▒, ░) are multiplied for these rows alone:
 * zeros times what another token stored would spread its NaN. */
#include "model/layers.h"

#include <assert.h>
#include <string.h>

#define ROWS ((size_t)GS_PANEL_ROWS)
/* Multiplications worth a task of its own. */
#define TASK_PRODUCTS ((size_t)64 * 1024)

struct attend {
    const struct gs_run *run;
    const struct gs_attention *a;
    const struct gs_kv *kv;
    const float *q;
    float *y;
    size_t first, T;
    size_t tile_heads, tile_tokens; /* at most */
    size_t head_tiles, token_tiles; /* of a key/value head; of the batch */
    size_t chunk, chunks;           /* the first one seen, and their number */
};

struct tile {
    size_t group;         /* key/value head */
    size_t head, heads;   /* query heads */
    size_t token, tokens; /* of the batch; row token · heads + head */
};

/* A worker's scratch. */
struct room {
    float *q;      /* (D, 8), and 8 more that are read but not used: see multiply */
    float *scores; /* (8, chunk) */
    float *p;      /* (chunk, 8), and 8 more */
    float *part;   /* (8, Dv₃₂) o of a chunk */
    float *sum;    /* (8, Dv₃₂) Y */
};

/* Of a row and a chunk, or of all chunks so far. */
struct weight {
    float max, sum;
};

static size_t place(size_t D, size_t wide, float *base, struct room *r)
{
    float **field[] = {&r->q, &r->scores, &r->p, &r->part, &r->sum};
    size_t floats[] = {(D + 1) * ROWS, ROWS * GS_KV_CHUNK, (GS_KV_CHUNK + 1) * ROWS,
                       ROWS * wide, ROWS * wide};
    size_t used = 0;

    for (size_t i = 0; i < GS_COUNT(field); i++) {
        *field[i] = base ? base + used : NULL;
        used += floats[i];
    }
    return used;
}

size_t gs_attention_scratch(size_t head_k, size_t head_v)
{
    struct room r;

    return place(head_k, gs_kv_wide(head_v), NULL, &r);
}

static size_t part_floats(const struct gs_kv *kv)
{
    return gs_kv_wide(kv->head_v) + sizeof(struct weight) / sizeof(float);
}

size_t gs_attention_parts(const struct gs_kv *kv, size_t heads)
{
    return heads * kv->chunks * part_floats(kv);
}

/* ---- what is seen ------------------------------------------------------------------------ */

/* The first position that the token at `position` sees. */
static size_t first_seen(const struct gs_attention *a, size_t position)
{
    return a->window && position >= a->window ? position - a->window + 1 : 0;
}

/* Positions lo … hi-1 of a chunk, counted from its beginning; none if lo ≥ hi. */
struct range {
    size_t lo, hi;
};

static struct range seen_part(const struct attend *c, size_t token, size_t chunk)
{
    size_t position = c->first + token, base = chunk * GS_KV_CHUNK;
    size_t lo = GS_MAX(first_seen(c->a, position), base), end = base + GS_KV_CHUNK;

    if (position < base || lo >= end)
        return (struct range){0, 0};
    return (struct range){lo - base, GS_MIN(position + 1, end) - base};
}

/* ---- one chunk ---------------------------------------------------------------------------- */

/* c (rows, 32) += aᵀ (n, 8) · b (n, 32) for rows at a. The panel kernel for f32 takes 8 rows:
 * what the others give is thrown away. */
static void multiply(const struct attend *c, const float *a, size_t rows, const void *b,
                     size_t n, float *out, size_t stride)
{
    float tile[GS_PANEL_ROWS * GS_PANEL_F32] = {0};

    if (c->kv->type == GS_TYPE_F16) {
        c->run->k->panel_f16(a, rows, b, n, out, stride);
        return;
    }
    for (size_t r = 0; r < rows; r++)
        memcpy(tile + r * GS_PANEL_F32, out + r * stride, GS_PANEL_F32 * sizeof *tile);
    c->run->k->panel_f32(a, b, n, tile, GS_PANEL_F32);
    for (size_t r = 0; r < rows; r++)
        memcpy(out + r * stride, tile + r * GS_PANEL_F32, GS_PANEL_F32 * sizeof *tile);
}

static void pack_queries(const struct attend *c, const struct tile *t, float *out)
{
    size_t D = c->kv->head_k;

    for (size_t i = 0; i < t->tokens; i++)
        for (size_t h = 0; h < t->heads; h++, out++) {
            const float *q = c->q + ((t->token + i) * c->a->heads + t->head + h) * D;
            for (size_t d = 0; d < D; d++)
                out[d * ROWS] = q[d] * c->a->scale;
        }
}

/* scores of the positions in `all`, and of others in the same blocks of 32. */
static void score(const struct attend *c, const struct tile *t, size_t chunk, struct range all,
                  const struct room *r)
{
    size_t rows = t->tokens * t->heads, D = c->kv->head_k;

    for (size_t s = all.lo / GS_PANEL_F32 * GS_PANEL_F32; s < all.hi; s += GS_PANEL_F32) {
        for (size_t i = 0; i < rows; i++)
            memset(r->scores + i * GS_KV_CHUNK + s, 0, GS_PANEL_F32 * sizeof *r->scores);
        multiply(c, r->q, rows, gs_kv_keys(c->kv, t->group, chunk, s), D, r->scores + s,
                 GS_KV_CHUNK);
    }
}

/* n scores become exp(score − max). */
static struct weight soften(const struct attend *c, float *scores, size_t n)
{
    const struct gs_kernels *k = c->run->k;
    struct gs_run alone = {.k = k};
    struct weight w;

    if (c->a->softcap != 0)
        gs_softcap_forward(&alone, c->a->softcap, scores, n);
    w.max = k->max_f32(scores, n);
    w.sum = k->exp_sum_f32(scores, w.max, n);
    return w;
}

/* The values of a range into rows row … row+rows-1 of the part. */
static void mix(const struct attend *c, const struct tile *t, size_t chunk, struct range seen,
                size_t row, size_t rows, const struct room *r)
{
    size_t wide = gs_kv_wide(c->kv->head_v);

    for (size_t d = 0; seen.lo < seen.hi && d < wide; d += GS_PANEL_F32)
        multiply(c, r->p + seen.lo * ROWS + row, rows,
                 gs_kv_values(c->kv, t->group, chunk, seen.lo, d), seen.hi - seen.lo,
                 r->part + row * wide + d, wide);
}

/* All rows: first what each sees alone, then what all see, then the rest. */
static void mix_rows(const struct attend *c, const struct tile *t, size_t chunk,
                     const struct room *r)
{
    struct range oldest = seen_part(c, t->token, chunk);
    struct range newest = seen_part(c, t->token + t->tokens - 1, chunk);
    struct range shared = {newest.lo, oldest.hi};
    bool any = oldest.lo < oldest.hi && newest.lo < newest.hi && shared.lo < shared.hi;

    memset(r->part, 0, ROWS * gs_kv_wide(c->kv->head_v) * sizeof *r->part);
    for (size_t i = 0; i < t->tokens; i++) {
        struct range seen = seen_part(c, t->token + i, chunk);
        if (any)
            seen.hi = shared.lo;
        mix(c, t, chunk, seen, i * t->heads, t->heads, r);
    }
    if (!any)
        return;
    mix(c, t, chunk, shared, 0, t->tokens * t->heads, r);
    for (size_t i = 0; i < t->tokens; i++) {
        struct range seen = seen_part(c, t->token + i, chunk);
        seen.lo = shared.hi;
        mix(c, t, chunk, seen, i * t->heads, t->heads, r);
    }
}

/* r->part (8, Dv₃₂) and the weights of its rows; those of rows that see nothing of the chunk
 * are not set. */
static void attend_chunk(const struct attend *c, const struct tile *t, size_t chunk,
                         const struct room *r, struct weight weights[GS_PANEL_ROWS])
{
    struct range all = {GS_KV_CHUNK, 0};

    for (size_t i = 0; i < t->tokens; i++) {
        struct range seen = seen_part(c, t->token + i, chunk);
        if (seen.lo < seen.hi)
            all = (struct range){GS_MIN(all.lo, seen.lo), GS_MAX(all.hi, seen.hi)};
    }
    if (all.lo >= all.hi)
        return;
    score(c, t, chunk, all, r);
    for (size_t i = 0; i < t->tokens; i++) {
        struct range seen = seen_part(c, t->token + i, chunk);
        for (size_t h = 0, row = i * t->heads; seen.lo < seen.hi && h < t->heads; h++, row++)
            weights[row] =
                soften(c, r->scores + row * GS_KV_CHUNK + seen.lo, seen.hi - seen.lo);
    }
    c->run->k->transpose_f32(r->scores + all.lo, GS_KV_CHUNK, t->tokens * t->heads,
                             all.hi - all.lo, ROWS, r->p + all.lo * ROWS);
    mix_rows(c, t, chunk, r);
}

/* ---- all chunks ---------------------------------------------------------------------------- */

/* Adds a chunk to what a row has so far: *w and sum (Dv₃₂); the first one if w->sum < 0. */
static void merge(const struct attend *c, struct weight *w, float *sum, struct weight next,
                  const float *part)
{
    size_t n = c->kv->head_v;
    float max = next.max > w->max ? next.max : w->max, scale[2] = {w->max, next.max};

    if (w->sum < 0) {
        *w = next;
        memcpy(sum, part, n * sizeof *sum);
        return;
    }
    c->run->k->exp_sum_f32(scale, max, 2);
    *w = (struct weight){max, w->sum * scale[0]};
    c->run->k->axpy_f32(scale[1], &next.sum, &w->sum, 1);
    for (size_t d = 0; d < n; d++)
        sum[d] *= scale[0];
    c->run->k->axpy_f32(scale[1], part, sum, n);
}

static void finish_row(const struct attend *c, size_t token, size_t head, struct weight w,
                       const float *sum)
{
    size_t n = c->kv->head_v;
    float *y = c->y + (token * c->a->heads + head) * n;

    for (size_t d = 0; d < n; d++)
        y[d] = sum[d] / w.sum;
}

static struct tile tile_at(const struct attend *c, size_t i)
{
    size_t group = i / (c->head_tiles * c->token_tiles), heads = c->a->heads / c->kv->heads;
    size_t head = i / c->token_tiles % c->head_tiles * c->tile_heads;
    struct tile t = {.group = group, .head = group * heads + head,
                     .heads = GS_MIN(c->tile_heads, heads - head),
                     .token = i % c->token_tiles * c->tile_tokens};

    t.tokens = GS_MIN(c->tile_tokens, c->T - t.token);
    return t;
}

/* Tasks are tiles. */
static void attend_tiles(void *ctx, size_t begin, size_t end, int worker)
{
    const struct attend *c = ctx;
    size_t wide = gs_kv_wide(c->kv->head_v);
    struct room r;

    place(c->kv->head_k, wide, gs_run_scratch(c->run, worker), &r);
    for (size_t i = begin; i < end; i++) {
        struct tile t = tile_at(c, i);
        struct weight all[GS_PANEL_ROWS], one[GS_PANEL_ROWS];
        size_t rows = t.tokens * t.heads;
        for (size_t row = 0; row < rows; row++)
            all[row] = (struct weight){0, -1};
        pack_queries(c, &t, r.q);
        for (size_t chunk = c->chunk; chunk < c->chunk + c->chunks; chunk++) {
            attend_chunk(c, &t, chunk, &r, one);
            for (size_t row = 0; row < rows; row++) {
                struct range seen = seen_part(c, t.token + row / t.heads, chunk);
                if (seen.lo < seen.hi)
                    merge(c, &all[row], r.sum + row * wide, one[row], r.part + row * wide);
            }
        }
        for (size_t row = 0; row < rows; row++)
            finish_row(c, t.token + row / t.heads, t.head + row % t.heads, all[row],
                       r.sum + row * wide);
    }
}

/* Where the part of a row and a chunk is kept: its weight, then o. */
static float *part_at(const struct attend *c, size_t token, size_t head, size_t chunk)
{
    size_t row = token * c->a->heads + head;

    return c->run->parts + (row * c->chunks + chunk - c->chunk) * part_floats(c->kv);
}

/* Tasks are the chunks of tiles. */
static void attend_parts(void *ctx, size_t begin, size_t end, int worker)
{
    const struct attend *c = ctx;
    size_t wide = gs_kv_wide(c->kv->head_v);
    struct room r;

    place(c->kv->head_k, wide, gs_run_scratch(c->run, worker), &r);
    for (size_t i = begin; i < end; i++) {
        struct tile t = tile_at(c, i / c->chunks);
        struct weight one[GS_PANEL_ROWS] = {{0}};
        size_t chunk = c->chunk + i % c->chunks;
        pack_queries(c, &t, r.q);
        attend_chunk(c, &t, chunk, &r, one);
        for (size_t row = 0; row < t.tokens * t.heads; row++) {
            float *part = part_at(c, t.token + row / t.heads, t.head + row % t.heads, chunk);
            memcpy(part, &one[row], sizeof one[row]);
            memcpy(part + 2, r.part + row * wide, wide * sizeof *part);
        }
    }
}

/* Tasks are rows. */
static void merge_parts(void *ctx, size_t begin, size_t end, int worker)
{
    const struct attend *c = ctx;
    float *sum = gs_run_scratch(c->run, worker);

    for (size_t i = begin; i < end; i++) {
        size_t token = i / c->a->heads, head = i % c->a->heads;
        struct weight all = {0, -1}, one;
        for (size_t chunk = c->chunk; chunk < c->chunk + c->chunks; chunk++) {
            const float *part = part_at(c, token, head, chunk);
            struct range seen = seen_part(c, token, chunk);
            memcpy(&one, part, sizeof one);
            if (seen.lo < seen.hi)
                merge(c, &all, sum, one, part + 2);
        }
        finish_row(c, token, head, all, sum);
    }
}

void gs_attention_forward(const struct gs_run *run, const struct gs_attention *a,
                          const struct gs_kv *kv, const float *q, size_t first, size_t T,
                          float *y)
{
    struct attend c = {.run = run, .a = a, .kv = kv, .q = q, .y = y, .first = first, .T = T};
    size_t heads = a->heads / kv->heads, seen = first + T - first_seen(a, first);

    if (!T)
        return;
    c.head_tiles = (heads + ROWS - 1) / ROWS;
    c.tile_heads = (heads + c.head_tiles - 1) / c.head_tiles;
    c.tile_tokens = ROWS / c.tile_heads;
    c.token_tiles = (T + c.tile_tokens - 1) / c.tile_tokens;
    c.chunk = first_seen(a, first) / GS_KV_CHUNK;
    c.chunks = (first + T - 1) / GS_KV_CHUNK + 1 - c.chunk;
    assert(c.chunks <= kv->chunks);

    size_t tiles = kv->heads * c.head_tiles * c.token_tiles;
    size_t products = ROWS * (kv->head_k + kv->head_v); /* for each position of a tile */
    size_t workers = (size_t)gs_team_size(run->team);
    bool split = c.chunks > 1 && T * c.chunks <= kv->chunks && tiles < 4 * workers &&
                 workers > 1;
    if (!split) {
        gs_team_run(run->team, tiles, GS_MAX(TASK_PRODUCTS / (seen * products), 1u),
                    attend_tiles, &c);
        return;
    }
    gs_team_run(run->team, tiles * c.chunks,
                GS_MAX(TASK_PRODUCTS / (GS_KV_CHUNK * products), 1u), attend_parts, &c);
    gs_team_run(run->team, T * a->heads,
                GS_MAX(TASK_PRODUCTS / (c.chunks * kv->head_v), 1u), merge_parts, &c);
}
