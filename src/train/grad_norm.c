/* SPDX-License-Identifier: MIT */
#include "train/grad_norm.h"

#include <math.h>

#define PIECE_FLOATS ((size_t)16384)

struct norm {
    const float *g;
    double *sums;
    size_t n;
};

static void square_piece(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct norm *c = ctx;

    for (size_t p = begin; p < end; p++) {
        size_t first = p * PIECE_FLOATS, last = GS_MIN(first + PIECE_FLOATS, c->n);
        double sum[4] = {0};
        for (size_t i = first; i < last; i++)
            sum[i % 4] += (double)c->g[i] * (double)c->g[i];
        c->sums[p] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
}

size_t gs_grad_norm_sums(const struct gs_params *p)
{
    return (p->floats + PIECE_FLOATS - 1) / PIECE_FLOATS;
}

double gs_grad_norm(const struct gs_params *p, struct gs_team *team, const float *g,
                        double *sums)
{
    struct norm c = {.g = g, .sums = sums, .n = p->floats};
    double sum = 0;

    gs_team_run(team, gs_grad_norm_sums(p), 4, square_piece, &c);
    for (size_t i = 0; i < gs_grad_norm_sums(p); i++)
        sum += sums[i];
    return sqrt(sum);
}

const struct gs_param *gs_grad_broken(const struct gs_params *p, const float *values)
{
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->list[i].count; j++)
            if (!isfinite(values[p->list[i].offset + j]))
                return &p->list[i];
    return NULL;
}
