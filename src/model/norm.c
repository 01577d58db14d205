/* SPDX-License-Identifier: MIT
 * RMS norm (Zhang & Sennrich, arXiv:1910.07467) and layer norm (arXiv:1607.06450) of rows:
 * of the tokens' embeddings, or of each head for q and k. */
#include "model/layers.h"

/* Floats a task; small batches stay in the calling thread. */
#define TASK_FLOATS 16384u

struct norm {
    const struct gs_kernels *k;
    struct gs_norm norm;
    const float *x;
    float *y;
    size_t n;
};

void gs_norm_row(const struct gs_kernels *k, const struct gs_norm *norm, const float *x,
                 size_t n, float *y)
{
    if (norm->kind == GS_NORM_RMS)
        k->rms_norm_f32(x, norm->weight, norm->eps, y, n);
    else
        k->layer_norm_f32(x, norm->weight, norm->bias, norm->eps, y, n);
}

static void norm_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct norm *c = ctx;

    for (size_t r = begin; r < end; r++)
        gs_norm_row(c->k, &c->norm, c->x + r * c->n, c->n, c->y + r * c->n);
}

void gs_norm_forward(const struct gs_run *run, enum gs_norm_kind kind, const float *x,
                     size_t rows, size_t n, const float *weight, const float *bias, float eps,
                     float *y)
{
    struct norm c = {.k = run->k, .norm = {kind, weight, bias, eps, NULL}, .x = x, .y = y,
                     .n = n};

    gs_team_run(run->team, rows, GS_MAX(TASK_FLOATS / n, 1u), norm_rows, &c);
}
