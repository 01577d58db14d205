/* SPDX-License-Identifier: MIT
 * Causal attention with grouped queries (arXiv:2305.13245) and sliding windows over a cache.
 *
 * The cache keeps heads apart, so that one head's keys are one block of memory:
 *
 *   k (G, ctx, D)   v (G, ctx, Dv)      query head h reads key/value head h · G / H
 *
 * A task is one query head and up to 8 tokens. The keys that any of these tokens sees are
 * multiplied panel by panel with their queries into scores (tokens, positions) in the
 * worker's scratch: no matrix of the whole batch exists. Each token then takes the soft-max
 * of the positions it sees and sums their values in order of position:
 *
 *   token    positions seen          y[t][d] = fma(p[s], v[s][d], y[t][d]) for s = lo … t,
 *     t      ▒▒██████████            in the middle, which all 8 tokens see, by the panel
 *     t+1     ▒██████████▒           kernel for 8 tokens × 32 dimensions, at the ends and
 *     t+2      ██████████▒▒          for few tokens one position at a time: the same sums. */
#include "model/layers.h"

#include <assert.h>
#include <string.h>

#define TASK_TOKENS ((size_t)GS_PANEL_ROWS)
#define PANEL_POSITIONS ((size_t)128)

/* Decoded keys or values of a panel, and the packed operands of the panel kernel. */
static size_t panel_floats(size_t D)
{
    return PANEL_POSITIONS * (D + GS_PANEL_F32 + GS_PANEL_ROWS);
}

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

/* Scores of n positions become exp(scale · score − max); returns their sum. */
static float soft_max(const struct task *c, float *scores, size_t n)
{
    struct gs_run alone = {.k = c->run->k};

    for (size_t s = 0; s < n; s++)
        scores[s] *= c->a->scale;
    if (c->a->softcap != 0)
        gs_softcap_forward(&alone, c->a->softcap, scores, n);
    return c->run->k->exp_sum_f32(scores, c->run->k->max_f32(scores, n), n);
}

/* What one task works on. */
struct rows {
    size_t group, n;             /* key/value head; tokens */
    size_t lo, hi;               /* positions that some token sees */
    size_t shared_lo, shared_hi; /* positions that all see */
    float *scores;               /* (n, hi − lo) */
    float *y;                    /* (n, Dv), H·Dv apart */
    float *panel;                /* scratch */
};

static const char *value_at(const struct gs_kv *kv, size_t group, size_t position, size_t d)
{
    return (const char *)kv->v +
           ((group * kv->ctx + position) * kv->head_v + d) * element_bytes(kv);
}

/* Positions begin … end-1 into dimensions d … d+n-1 of token t. */
static void mix_one(const struct task *c, const struct rows *r, size_t t, size_t begin,
                    size_t end, size_t d, size_t n)
{
    const struct gs_kv *kv = c->kv;
    gs_axpy_fn axpy = kv->type == GS_TYPE_F16 ? c->run->k->axpy_f16 : c->run->k->axpy_f32;
    const float *scores = r->scores + t * (r->hi - r->lo);
    const char *v = value_at(kv, r->group, begin, d);
    float *y = r->y + t * c->a->heads * kv->head_v + d;

    for (size_t s = begin; s < end; s++, v += kv->head_v * element_bytes(kv))
        axpy(scores[s - r->lo], v, y, n);
}

/* The shared positions into the first 32·blocks dimensions of all 8 tokens. */
static void mix_shared(const struct task *c, const struct rows *r, size_t blocks)
{
    const struct gs_kv *kv = c->kv;
    size_t span = r->hi - r->lo, Dv = kv->head_v;
    float *values = r->panel, *b = values + PANEL_POSITIONS * Dv;
    float *a = b + PANEL_POSITIONS * GS_PANEL_F32;

    for (size_t s = r->shared_lo; s < r->shared_hi; s += PANEL_POSITIONS) {
        size_t n = GS_MIN(PANEL_POSITIONS, r->shared_hi - s);
        c->run->k->decode[kv->type](value_at(kv, r->group, s, 0), values, n * Dv);
        for (size_t i = 0; i < n; i++)
            for (size_t t = 0; t < TASK_TOKENS; t++)
                a[i * TASK_TOKENS + t] = r->scores[t * span + (s - r->lo) + i];
        for (size_t j = 0; j < blocks; j++) {
            for (size_t i = 0; i < n; i++)
                memcpy(b + i * GS_PANEL_F32, values + i * Dv + j * GS_PANEL_F32,
                       GS_PANEL_F32 * sizeof *b);
            c->run->k->panel_f32(a, b, n, r->y + j * GS_PANEL_F32, c->a->heads * Dv);
        }
    }
}

/* y (n, Dv) = softmax(scores) · v, each token over the positions it sees. */
static void mix_values(const struct task *c, const struct rows *r, size_t first)
{
    size_t Dv = c->kv->head_v, stride = c->a->heads * Dv, span = r->hi - r->lo;
    bool panels = r->n == TASK_TOKENS && r->shared_hi > r->shared_lo;
    size_t blocks = panels ? Dv / GS_PANEL_F32 : 0, wide = blocks * GS_PANEL_F32;
    float sum[TASK_TOKENS];

    for (size_t t = 0; t < r->n; t++) {
        size_t seen = first_seen(c->a, first + t), end = first + t + 1;
        sum[t] = soft_max(c, r->scores + t * span + (seen - r->lo), end - seen);
        memset(r->y + t * stride, 0, Dv * sizeof *r->y);
        if (wide)
            mix_one(c, r, t, seen, r->shared_lo, 0, wide);
        if (wide < Dv)
            mix_one(c, r, t, seen, end, wide, Dv - wide);
    }
    if (wide)
        mix_shared(c, r, blocks);
    for (size_t t = 0; t < r->n; t++) {
        if (wide)
            mix_one(c, r, t, r->shared_hi, first + t + 1, 0, wide);
        for (size_t d = 0; d < Dv; d++)
            r->y[t * stride + d] /= sum[t];
    }
}

static void attend(void *ctx, size_t begin, size_t end, int worker)
{
    const struct task *c = ctx;
    size_t H = c->a->heads, D = c->kv->head_k, Dv = c->kv->head_v;
    struct rows r = {.panel = gs_run_scratch(c->run, worker)};

    r.scores = r.panel + panel_floats(GS_MAX(D, Dv));
    for (size_t i = begin; i < end; i++) {
        size_t h = i % H, t0 = i / H * TASK_TOKENS, first = c->first + t0;
        r.n = GS_MIN(TASK_TOKENS, c->T - t0);
        r.group = h / (H / c->kv->heads);
        r.lo = first_seen(c->a, first);
        r.hi = first + r.n;
        r.shared_lo = first_seen(c->a, r.hi - 1);
        r.shared_hi = first + 1;
        r.y = c->y + (t0 * H + h) * Dv;
        score(c, r.group, c->q + (t0 * H + h) * D, r.n, r.lo, r.hi, r.panel, r.scores,
              r.hi - r.lo);
        mix_values(c, &r, first);
    }
}

size_t gs_attention_scratch(size_t ctx, size_t batch, size_t D)
{
    return panel_floats(D) + GS_MIN(batch, TASK_TOKENS) * ctx;
}

void gs_attention_forward(const struct gs_run *run, const struct gs_attention *a,
                          const struct gs_kv *kv, const float *q, size_t first, size_t T,
                          float *y)
{
    struct task c = {.run = run, .a = a, .kv = kv, .q = q, .y = y, .first = first, .T = T};
    size_t blocks = (T + TASK_TOKENS - 1) / TASK_TOKENS;
    size_t products = (first + T) * (kv->head_k + kv->head_v) * GS_MIN(T, TASK_TOKENS);

    gs_team_run(run->team, blocks * a->heads, GS_MAX(GS_TASK_PRODUCTS / products, 1u), attend,
                &c);
}
