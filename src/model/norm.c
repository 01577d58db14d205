/* SPDX-License-Identifier: MIT
 * RMS norm (Zhang & Sennrich, arXiv:1910.07467) and layer norm (arXiv:1607.06450) of rows:
 * of the tokens' embeddings, or of each head for q and k. */
#include "model/layers.h"

/* Floats a task; small batches stay in the calling thread. */
#define TASK_FLOATS 16384u

struct norm {
    const struct gs_kernels *k;
    enum gs_norm_kind kind;
    const float *x, *weight, *bias;
    float eps, *y;
    size_t n;
};

static void norm_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct norm *c = ctx;

    for (size_t r = begin; r < end; r++) {
        const float *x = c->x + r * c->n;
        float *y = c->y + r * c->n;
        if (c->kind == GS_NORM_RMS)
            c->k->rms_norm_f32(x, c->weight, c->eps, y, c->n);
        else
            c->k->layer_norm_f32(x, c->weight, c->bias, c->eps, y, c->n);
    }
}

void gs_norm_forward(const struct gs_run *run, enum gs_norm_kind kind, const float *x,
                     size_t rows, size_t n, const float *weight, const float *bias, float eps,
                     float *y)
{
    struct norm c = {.k = run->k, .kind = kind, .x = x, .weight = weight, .bias = bias,
                     .eps = eps, .y = y, .n = n};

    gs_team_run(run->team, rows, GS_MAX(TASK_FLOATS / n, 1u), norm_rows, &c);
}
