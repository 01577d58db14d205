/* SPDX-License-Identifier: MIT
 * A scale by trial: encode, see the error, take the least-squares scale of those codes, again. */
#include "codebook/scale_fit.h"

#include <math.h>

enum { JUDGED = 1024 }; /* weights of a group that trials encode */

struct fit {
    const struct gs_codebook *codebook;
    const struct gs_scale_rule *rule;
    const float *x, *h;
    size_t n, step; /* weights from one judged code to the next */
    struct gs_group *group;
    float best;
    double least;
};

/* sqrt(Σ h x² / Σ h) over the whole group. */
static double root_mean_square(const float *x, const float *h, size_t n)
{
    double squares = 0, weights = 0;

    for (size_t i = 0; i < n; i++) {
        double w = h ? (double)h[i] : 1;
        squares += w * (double)x[i] * (double)x[i];
        weights += w;
    }
    return weights > 0 ? sqrt(squares / weights) : 0;
}

/* Judges `scale`, keeps it if it is the best so far; returns the least-squares scale for the
 * points that it gave, or 0. */
static double try_scale(struct fit *f, double scale)
{
    double error = 0, product = 0, square = 0;
    float y[GS_CODEBOOK_DIM];
    unsigned dim = f->codebook->dim;

    f->group->scale = f->rule->round((float)scale);
    if (!(f->group->scale > 0))
        return 0;
    for (size_t at = 0; at < f->n; at += f->step) {
        const float *h = f->h ? f->h + at : NULL;
        f->codebook->kind->nearest(f->codebook, f->group, f->x + at, h, y);
        for (unsigned i = 0; i < dim; i++) {
            double w = h ? (double)h[i] : 1, x = (double)f->x[at + i], v = (double)y[i];
            error += w * (x - v) * (x - v);
            product += w * x * v;
            square += w * v * v;
        }
    }
    if (error < f->least) {
        f->least = error;
        f->best = f->group->scale;
    }
    return square > 0 && product > 0 ? (double)f->group->scale * product / square : 0;
}

void gs_scale_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                  const float *x, const float *h, size_t n, double unit,
                  struct gs_group *out)
{
    static const double around[] = {1, 0.93, 1.07};
    struct fit f = {.codebook = codebook, .rule = rule, .x = x, .h = h, .n = n, .group = out,
                    .best = rule->round(0), .least = INFINITY};
    double start = unit * root_mean_square(x, h, n);

    if (start > 0) {
        f.step = GS_MAX(n / JUDGED, 1) * codebook->dim;
        if (n <= JUDGED)
            f.step = codebook->dim;
        for (size_t i = 0; i < GS_COUNT(around); i++) {
            double refined = try_scale(&f, start * around[i]);
            if (refined > 0)
                try_scale(&f, refined);
        }
    }
    out->scale = f.best;
}
