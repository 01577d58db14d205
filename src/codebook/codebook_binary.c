/* SPDX-License-Identifier: MIT
 * Binary weights: s · sign(w), s = Σ h |w| / Σ h, which has the least error (XNOR-Net,
 * equation 6; BitDelta for a difference of weights). */
#include <math.h>

#include "codebook/members.h"
#include "codebook/scalar.h"

static int binary_create(const struct gs_codebook_kind *kind, const double *values,
                         struct gs_codebook **out, struct gs_err *err)
{
    static const float points[] = {-1, 1};

    (void)kind;
    (void)values;
    return gs_scalar_create(points, GS_COUNT(points), GS_ZERO_NONE, out, err);
}

static void binary_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                       const float *x, const float *h, size_t n, float *table,
                       struct gs_group *out)
{
    double sum = 0, weight = 0, plain = 0;

    (void)codebook;
    (void)table;
    for (size_t i = 0; i < n; i++) {
        double k = h ? h[i] : 1;
        sum += k * fabs(x[i]);
        weight += k;
        plain += fabs(x[i]);
    }
    out->scale = rule->round((float)(weight > 0 ? sum / weight : plain / (double)n));
}

const struct gs_codebook_kind gs_codebook_binary = {
    .name = "binary",
    .paper = "Rastegari et al., XNOR-Net, arXiv:1603.05279; Liu et al., BitDelta, "
             "arXiv:2402.10193",
    .create = binary_create,
    .fit = binary_fit,
    .nearest = gs_scalar_nearest,
    .value = gs_scalar_value,
};
