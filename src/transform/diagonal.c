/* SPDX-License-Identifier: MIT
 * No transform, and diagonal scaling: T = diag(factor).
 *
 * QuIP's rescale (arXiv:2307.13304, algorithm 1, line 5): with t_i = (H_ii / ‖W_:i‖²)^¼,
 *     W ← W · diag(t),   H ← diag(1/t) · H · diag(1/t),   x ← x / t,   so factor = 1/t.
 * It balances what a channel carries in the input against what it weighs in W, and minimises
 * tr(H) ‖W‖² over all diagonal scalings. Other rules differ in what is balanced:
 *
 *     smooth     t_i² = max |x_i| / max |W_:i|       SmoothQuant (arXiv:2211.10438), α = ½
 *     repq       t_i  = max |x_i|                    RepQ-ViT (arXiv:2212.08254), RepQuant
 *                                                    (arXiv:2402.05628)
 *     equalize   t_i² = max |V_i:| / max |W_:i|      cross-layer equalization (DFQ,
 *                                                    arXiv:1906.04721), V what makes x; no data
 *
 * Only the ratios of t matter, so it is centred at 1 by
 * a power of two, and clamped to [1/64, 64]: a dead channel (H_ii = 0) then takes next to
 * none of the precision, a channel without weights is left quiet, and f16 holds every value.
 * Roots are square roots and centring is by exponents, so the bits are those of IEEE 754
 * everywhere. */
#include <math.h>
#include <string.h>

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

/* ---- rules -------------------------------------------------------------------------------- */

#define AT(field) offsetof(struct gs_transform_fit, field)

static const struct gs_diagonal_rule rules[] = {
    {"quip", "Chee et al., QuIP, arXiv:2307.13304", AT(h_diagonal), AT(w_squares), 2, false, false},
    {"smooth", "Xiao et al., SmoothQuant, arXiv:2211.10438", AT(x_most), AT(w_most), 1, true,
     false},
    {"repq", "Li et al., RepQ-ViT, arXiv:2212.08254", AT(x_most), SIZE_MAX, 0, true, false},
    {"equalize", "Nagel et al., Data-free quantization, arXiv:1906.04721", AT(source), AT(w_most),
     1, false, true},
};

const struct gs_diagonal_rule *gs_diagonal_rule_at(size_t index)
{
    return index < GS_COUNT(rules) ? &rules[index] : NULL;
}

const struct gs_diagonal_rule *gs_diagonal_rule_find(const char *name)
{
    for (size_t i = 0; i < GS_COUNT(rules); i++)
        if (!strcmp(rules[i].name, name))
            return &rules[i];
    return NULL;
}

static double statistic(const struct gs_transform_fit *fit, size_t offset, size_t i)
{
    const double *values;

    if (offset == SIZE_MAX)
        return 1;
    memcpy(&values, (const char *)fit + offset, sizeof values);
    return values[i];
}

/* (over / under)^(1/2^roots), positive both. */
static double ratio(const struct gs_diagonal_rule *rule, double over, double under)
{
    double t = over / under;

    for (unsigned i = 0; i < rule->roots; i++)
        t = sqrt(t);
    return t;
}

/* ---- fit ---------------------------------------------------------------------------------- */

/* The ratio · 2^-centre, clamped; 1 where a channel has neither input nor weights. */
static double rescale(const struct gs_diagonal_rule *rule, double over, double under, int centre)
{
    if (!(over > 0) && !(under > 0))
        return 1;
    if (!(under > 0))
        return T_MAX;
    double t = ldexp(ratio(rule, GS_MAX(over, 0), under), -centre);
    return GS_MIN(GS_MAX(t, 1 / T_MAX), T_MAX);
}

static int fit_diagonal(struct gs_transform *t, const struct gs_transform_fit *fit,
                        struct gs_err *err)
{
    const struct gs_diagonal_rule *rule = fit->rule ? fit->rule : &rules[0];
    int64_t exponents = 0, live = 0;

    for (size_t i = 0; i < t->n; i++) {
        double over = statistic(fit, rule->over, i), under = statistic(fit, rule->under, i);
        if (!isfinite(over) || !isfinite(under))
            return gs_fail(err, GS_E_FORMAT, "channel %zu: the %s are not finite", i,
                           isfinite(over) ? "weights" : "second moments of the input");
        if (over > 0 && under > 0) {
            exponents += ilogb(ratio(rule, over, under));
            live++;
        }
    }
    int centre = live ? (int)(exponents / live) : 0;
    for (size_t i = 0; i < t->n; i++) {
        double r = rescale(rule, statistic(fit, rule->over, i), statistic(fit, rule->under, i),
                           centre);
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
