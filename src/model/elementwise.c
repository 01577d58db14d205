/* SPDX-License-Identifier: MIT
 * Layers that treat every number alike: residual sum, activation (gated or not), soft cap.
 * Each is one pass over the whole batch, cut into pieces. */
#include "model/layers.h"

#define TASK_FLOATS 8192u

struct elementwise {
    const struct gs_kernels *k;
    gs_map_fn map;
    const float *in;
    float *x, cap;
};

static void add_piece(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct elementwise *e = ctx;

    for (size_t i = begin; i < end; i++)
        e->x[i] += e->in[i];
}

void gs_add_forward(const struct gs_run *run, const float *x, float *y, size_t n)
{
    struct elementwise e = {.in = x, .x = y};

    gs_team_run(run->team, n, TASK_FLOATS, add_piece, &e);
}

static void activate_piece(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct elementwise *e = ctx;

    e->map(e->x + begin, e->x + begin, end - begin);
    for (size_t i = begin; e->in && i < end; i++)
        e->x[i] *= e->in[i];
}

void gs_activation_forward(const struct gs_run *run, enum gs_activation act, const float *up,
                           float *x, size_t n)
{
    const gs_map_fn maps[] = {
        [GS_ACT_SILU] = run->k->silu_f32,
        [GS_ACT_GELU_TANH] = run->k->gelu_tanh_f32,
        [GS_ACT_GELU_ERF] = run->k->gelu_erf_f32,
    };
    struct elementwise e = {.map = maps[act], .in = up, .x = x};

    gs_team_run(run->team, n, TASK_FLOATS, activate_piece, &e);
}

/* tanh(u) = 1 − 2 / (exp(2u) + 1): the exponential is the kernel's, so the result is the
 * same on every level; its absolute error of 2^-24 times cap is far below a logit's. */
static void cap_piece(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct elementwise *e = ctx;
    float *x = e->x + begin;
    size_t n = end - begin;

    for (size_t i = 0; i < n; i++)
        x[i] = 2 * (x[i] / e->cap);
    e->k->exp_sum_f32(x, 0, n);
    for (size_t i = 0; i < n; i++)
        x[i] = e->cap * (1 - 2 / (x[i] + 1));
}

void gs_softcap_forward(const struct gs_run *run, float cap, float *x, size_t n)
{
    struct elementwise e = {.k = run->k, .x = x, .cap = cap};

    gs_team_run(run->team, n, TASK_FLOATS, cap_piece, &e);
}
