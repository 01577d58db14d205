/* SPDX-License-Identifier: MIT
 * Gradients of RMS norm and layer norm. With x̂ = (x − μ)·r, μ = 0 for RMS, and g = G ⊙ γ:
 *
 *   RMS:    r = (mean x² + ε)^−½    dx = r (g − x̂ · mean(g x̂))
 *   layer:  r = (var x + ε)^−½      dx = r (g − mean(g) − x̂ · mean(g x̂))
 *   dγ = Σ_rows G ⊙ x̂               dβ = Σ_rows G
 *
 * Three passes: statistics of rows (kept as μ, r), sums over columns, dx. */
#include "model/backward.h"

#include <math.h>

#define TASK_FLOATS 16384u
#define SUM_COLUMNS 64u

struct norm {
    const struct gs_pass *pass;
    enum gs_norm_kind kind;
    const float *x, *weight, *G;
    float eps, *dx, *dweight, *dbias;
    size_t rows, n;
    bool add;
};

static void measure_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct norm *c = ctx;

    for (size_t r = begin; r < end; r++) {
        const float *x = c->x + r * c->n;
        double mean = 0, square = 0;
        for (size_t i = 0; c->kind == GS_NORM_LAYER && i < c->n; i++)
            mean += (double)x[i];
        mean /= (double)c->n;
        for (size_t i = 0; i < c->n; i++)
            square += ((double)x[i] - mean) * ((double)x[i] - mean);
        c->pass->stats[2 * r] = (float)mean;
        c->pass->stats[2 * r + 1] =
            (float)(1 / sqrt(square / (double)c->n + (double)c->eps));
    }
}

static void sum_columns(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct norm *c = ctx;
    double weight[SUM_COLUMNS] = {0}, bias[SUM_COLUMNS] = {0};

    for (size_t r = 0; r < c->rows; r++) {
        float mean = c->pass->stats[2 * r], scale = c->pass->stats[2 * r + 1];
        const float *x = c->x + r * c->n, *G = c->G + r * c->n;
        for (size_t i = begin; i < end; i++) {
            weight[i - begin] += (double)(G[i] * ((x[i] - mean) * scale));
            bias[i - begin] += (double)G[i];
        }
    }
    for (size_t i = begin; i < end; i++) {
        if (c->dweight)
            c->dweight[i] += (float)weight[i - begin];
        if (c->dbias)
            c->dbias[i] += (float)bias[i - begin];
    }
}

static void differentiate_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct norm *c = ctx;
    double n = (double)c->n;

    for (size_t r = begin; r < end; r++) {
        float mean = c->pass->stats[2 * r], scale = c->pass->stats[2 * r + 1];
        const float *x = c->x + r * c->n, *G = c->G + r * c->n;
        float *dx = c->dx + r * c->n;
        double sum = 0, product = 0;
        for (size_t i = 0; i < c->n; i++) {
            float g = G[i] * c->weight[i];
            sum += (double)g;
            product += (double)(g * ((x[i] - mean) * scale));
        }
        float along = (float)(product / n);
        float shift = c->kind == GS_NORM_LAYER ? (float)(sum / n) : 0;
        for (size_t i = 0; i < c->n; i++) {
            float d = scale * (G[i] * c->weight[i] - shift - (x[i] - mean) * scale * along);
            dx[i] = c->add ? dx[i] + d : d;
        }
    }
}

void gs_norm_backward(const struct gs_pass *pass, enum gs_norm_kind kind, const float *x,
                      size_t rows, size_t n, const float *weight, float eps, const float *G,
                      bool add, float *dx, float *dweight, float *dbias)
{
    struct norm c = {.pass = pass, .kind = kind, .x = x, .weight = weight, .G = G, .eps = eps,
                     .dx = dx, .dweight = dweight, .dbias = dbias, .rows = rows, .n = n,
                     .add = add};
    size_t grain = GS_MAX(TASK_FLOATS / n, 1u);

    gs_team_run(pass->run.team, rows, grain, measure_rows, &c);
    if (dweight || dbias)
        gs_team_run(pass->run.team, n, SUM_COLUMNS, sum_columns, &c);
    gs_team_run(pass->run.team, rows, grain, differentiate_rows, &c);
}
