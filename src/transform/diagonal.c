/* SPDX-License-Identifier: MIT
 * No transform, and diagonal scaling: T = diag(factor).
 *
 * QuIP's rescale (arXiv:2307.13304, algorithm 1, line 5): with t_i = (H_ii / ‖W_:i‖²)^¼,
 *     W ← W · diag(t),   H ← diag(1/t) · H · diag(1/t),   x ← x / t,   so factor = 1/t.
 * It balances what a channel carries in the input against what it weighs in W, and minimises
 * tr(H) ‖W‖² over all diagonal scalings. Only the ratios of t matter, so it is centred at 1 by
 * a power of two, and clamped to [1/64, 64]: a dead channel (H_ii = 0) then takes next to
 * none of the precision, a channel without weights is left quiet, and f16 holds every value.
 * Roots are square roots and centring is by exponents, so the bits are those of IEEE 754
 * everywhere. */
#include <math.h>

#include "transform/members.h"

#define T_MAX 64.0

static void apply_f32(const struct gs_transform *t, enum gs_transform_op op, float *x,
                      float *work)
{
    (void)work;
    if (op == GS_TRANSFORM_FORWARD || op == GS_TRANSFORM_DUAL_INVERSE)
        for (size_t i = 0; i < t->n; i++)
            x[i] *= t->factor[i];
    else
        for (size_t i = 0; i < t->n; i++)
            x[i] /= t->factor[i];
}

static void apply_f64(const struct gs_transform *t, enum gs_transform_op op, double *x,
                      double *work)
{
    (void)work;
    if (op == GS_TRANSFORM_FORWARD || op == GS_TRANSFORM_DUAL_INVERSE)
        for (size_t i = 0; i < t->n; i++)
            x[i] *= (double)t->factor[i];
    else
        for (size_t i = 0; i < t->n; i++)
            x[i] /= (double)t->factor[i];
}

/* (h / w)^¼ · 2^-centre, clamped; 1 where a channel has neither input nor weights. */
static double rescale(double h, double w, int centre)
{
    if (!(h > 0) && !(w > 0))
        return 1;
    if (!(w > 0))
        return T_MAX;
    double t = ldexp(sqrt(sqrt(GS_MAX(h, 0) / w)), -centre);
    return GS_MIN(GS_MAX(t, 1 / T_MAX), T_MAX);
}

static int fit_diagonal(struct gs_transform *t, const struct gs_transform_fit *fit,
                        struct gs_err *err)
{
    int64_t exponents = 0, live = 0;

    for (size_t i = 0; i < t->n; i++) {
        double h = fit->h_diagonal[i], w = fit->w_squares[i];
        if (!isfinite(h) || !isfinite(w))
            return gs_fail(err, GS_E_FORMAT, "channel %zu: the %s are not finite", i,
                           isfinite(h) ? "weights" : "second moments of the input");
        if (h > 0 && w > 0) {
            exponents += ilogb(sqrt(sqrt(h / w)));
            live++;
        }
    }
    int centre = live ? (int)(exponents / live) : 0;
    for (size_t i = 0; i < t->n; i++) {
        double r = rescale(fit->h_diagonal[i], fit->w_squares[i], centre);
        t->factor[i] = gs_transform_round_factor((float)(1 / r));
    }
    return GS_OK;
}

const struct gs_transform_kind gs_transform_none = {
    .name = "none",
    .paper = "",
};

const struct gs_transform_kind gs_transform_diagonal = {
    .name = "diagonal",
    .paper = "Chee et al., QuIP, arXiv:2307.13304",
    .needs_fit = true,
    .fit = fit_diagonal,
    .apply_f32 = apply_f32,
    .apply_f64 = apply_f64,
};
