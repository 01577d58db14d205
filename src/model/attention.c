/* SPDX-License-Identifier: MIT
 * Causal attention with grouped queries (arXiv:2305.13245) and sliding windows over a cache.
 *
 * The cache keeps heads apart, so that one head's keys are one block of memory:
 *
 *   k (G, ctx, D)   v (G, ctx, Dv)      query head h reads key/value head h · G / H
 *
 * A task is one query head and a few tokens. The keys that any of these tokens sees are
 * multiplied panel by panel with their queries into scores (tokens, positions) in the
 * worker's scratch: no matrix of the whole batch exists. Each token then takes the soft-max
 * of the positions it sees and sums their values in order of position. */
#include "model/layers.h"

#include <assert.h>

#define TASK_TOKENS 8u
#define PANEL_POSITIONS 128u

struct task {
    const struct gs_run *run;
    const struct gs_attention *a;
    const struct gs_kv *kv;
    const float *q;
    float *y;
    size_t first, T;
};

static size_t element_bytes(const struct gs_kv *kv)
{
    return kv->type == GS_TYPE_F16 ? 2 : 4;
}

struct store {
    const struct gs_run *run;
    const struct gs_kv *kv;
    const float *k, *v;
    size_t first;
};

static void store_tokens(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct store *s = ctx;
    const struct gs_kv *kv = s->kv;
    size_t bytes = element_bytes(kv);
    gs_encode_fn encode = s->run->k->encode[kv->type];

    for (size_t t = begin; t < end; t++)
        for (size_t g = 0; g < kv->heads; g++) {
            size_t cell = g * kv->ctx + s->first + t, head = t * kv->heads + g;
            encode(s->k + head * kv->head_k, (char *)kv->k + cell * kv->head_k * bytes,
                   kv->head_k);
            encode(s->v + head * kv->head_v, (char *)kv->v + cell * kv->head_v * bytes,
                   kv->head_v);
        }
}

void gs_kv_store(const struct gs_run *run, const struct gs_kv *kv, const float *k,
                 const float *v, size_t first, size_t T)
{
    struct store s = {.run = run, .kv = kv, .k = k, .v = v, .first = first};

    assert(first + T <= kv->ctx);
    gs_team_run(run->team, T, 16, store_tokens, &s);
}

/* The first position that the token at `position` sees. */
static size_t first_seen(const struct gs_attention *a, size_t position)
{
    return a->window && position >= a->window ? position - a->window + 1 : 0;
}

/* scores (n, stride) = q · k for positions lo … hi-1; q has n tokens, H·D floats apart. */
static void score(const struct task *c, size_t group, const float *q, size_t n, size_t lo,
                  size_t hi, float *panel, float *scores, size_t stride)
{
    const struct gs_kernels *k = c->run->k;
    const struct gs_kv *kv = c->kv;
    size_t D = kv->head_k, row = D * element_bytes(kv);
    const char *keys = (const char *)kv->k + (group * kv->ctx + lo) * row;

    if (n == 1) {
        for (size_t s = 0; s < hi - lo; s++, keys += row)
            scores[s] = k->dot[kv->type](keys, q, D);
        return;
    }
    for (size_t s = 0; s < hi - lo; s += PANEL_POSITIONS) {
        size_t rows = GS_MIN(PANEL_POSITIONS, hi - lo - s);
        k->decode[kv->type](keys + s * row, panel, rows * D);
        k->mul_f32(panel, D, rows, q, c->a->heads * D, n, D, scores + s, stride);
    }
}

/* y (Dv) = softmax(scores) · v over n positions from lo on. */
static void mix_values(const struct task *c, size_t group, size_t lo, size_t n, float *scores,
                       float *y)
{
    const struct gs_kernels *k = c->run->k;
    const struct gs_kv *kv = c->kv;
    struct gs_run alone = {.k = k};
    size_t row = kv->head_v * element_bytes(kv);
    const char *values = (const char *)kv->v + (group * kv->ctx + lo) * row;
    gs_axpy_fn axpy = kv->type == GS_TYPE_F16 ? k->axpy_f16 : k->axpy_f32;

    for (size_t s = 0; s < n; s++)
        scores[s] *= c->a->scale;
    if (c->a->softcap != 0)
        gs_softcap_forward(&alone, c->a->softcap, scores, n);
    float sum = k->exp_sum_f32(scores, k->max_f32(scores, n), n);

    for (size_t d = 0; d < kv->head_v; d++)
        y[d] = 0;
    for (size_t s = 0; s < n; s++, values += row)
        axpy(scores[s], values, y, kv->head_v);
    for (size_t d = 0; d < kv->head_v; d++)
        y[d] /= sum;
}

static void attend(void *ctx, size_t begin, size_t end, int worker)
{
    const struct task *c = ctx;
    size_t H = c->a->heads, D = c->kv->head_k, Dv = c->kv->head_v;
    float *panel = gs_run_scratch(c->run, worker), *scores = panel + PANEL_POSITIONS * D;

    for (size_t i = begin; i < end; i++) {
        size_t h = i % H, group = h / (H / c->kv->heads);
        size_t t0 = i / H * TASK_TOKENS, n = GS_MIN(TASK_TOKENS, c->T - t0);
        size_t lo = first_seen(c->a, c->first + t0), hi = c->first + t0 + n;

        score(c, group, c->q + (t0 * H + h) * D, n, lo, hi, panel, scores, hi - lo);
        for (size_t t = t0; t < t0 + n; t++) {
            size_t position = c->first + t, seen = first_seen(c->a, position);
            mix_values(c, group, seen, position + 1 - seen,
                       scores + (t - t0) * (hi - lo) + (seen - lo), c->y + (t * H + h) * Dv);
        }
    }
}

size_t gs_attention_scratch(size_t ctx, size_t batch, size_t D)
{
    return PANEL_POSITIONS * D + GS_MIN(batch, TASK_TOKENS) * ctx;
}

void gs_attention_forward(const struct gs_run *run, const struct gs_attention *a,
                          const struct gs_kv *kv, const float *q, size_t first, size_t T,
                          float *y)
{
    struct task c = {.run = run, .a = a, .kv = kv, .q = q, .y = y, .first = first, .T = T};
    size_t blocks = (T + TASK_TOKENS - 1) / TASK_TOKENS;

    gs_team_run(run->team, blocks * a->heads, 1, attend, &c);
}
