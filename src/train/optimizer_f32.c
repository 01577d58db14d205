/* SPDX-License-Identifier: MIT
 * AdamW and SGD with states in f32.
 *
 *   AdamW   m = β₁m + (1 − β₁)g      v = β₂v + (1 − β₂)g²
 *           w −= lr · (m̂ / (√v̂ + ε) + decay · w)      m̂ = m / (1 − β₁^t), v̂ alike
 *   SGD     m = β₁m + g              w −= lr · (m + decay · w) */
#include <math.h>

#include "train/members.h"

#define TASK_FLOATS 16384u

static void adamw_piece(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct gs_update *u = ctx;
    float *m = u->state, *v = m + u->rows * u->cols;

    for (size_t i = begin; i < end; i++) {
        float g = u->g[i] * u->g_scale;
        m[i] = u->beta1 * m[i] + (1 - u->beta1) * g;
        v[i] = u->beta2 * v[i] + (1 - u->beta2) * g * g;
        float step = m[i] * u->unbias1 / (sqrtf(v[i] * u->unbias2) + u->eps);
        u->w[i] -= u->lr * (step + u->decay * u->w[i]);
    }
}

static uint64_t adamw_bytes(size_t rows, size_t cols)
{
    return 2 * (uint64_t)rows * cols * sizeof(float);
}

static void adamw_update(const struct gs_update *u)
{
    struct gs_update copy = *u;

    gs_team_run(u->team, u->rows * u->cols, TASK_FLOATS, adamw_piece, &copy);
}

static void sgd_piece(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct gs_update *u = ctx;
    float *m = u->state;

    for (size_t i = begin; i < end; i++) {
        m[i] = u->beta1 * m[i] + u->g[i] * u->g_scale;
        u->w[i] -= u->lr * (m[i] + u->decay * u->w[i]);
    }
}

static uint64_t sgd_bytes(size_t rows, size_t cols)
{
    return (uint64_t)rows * cols * sizeof(float);
}

static void sgd_update(const struct gs_update *u)
{
    struct gs_update copy = *u;

    gs_team_run(u->team, u->rows * u->cols, TASK_FLOATS, sgd_piece, &copy);
}

const struct gs_optimizer_kind gs_optimizer_adamw = {"adamw", adamw_bytes, adamw_update};
const struct gs_optimizer_kind gs_optimizer_sgd = {"sgd", sgd_bytes, sgd_update};
