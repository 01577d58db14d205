/* SPDX-License-Identifier: MIT
 * Ternary weights, −s, 0, s; five codes in a byte, 1.6 bits a weight.
 *
 *     fit = 0   s = mean |w|, ŵ = s · round(w / s) within ±1: as BitNet b1.58 trains it
 *     fit = 1   the s of least error, 1.22 deviations for a Gaussian instead of 0.80 */
#include <math.h>

#include "codebook/members.h"
#include "codebook/scalar.h"

static const struct gs_codebook_key ternary_keys[] = {
    {"fit", "0 mean of magnitudes, 1 least error", 0, 1, 1, true},
    {0},
};

static int ternary_create(const struct gs_codebook_kind *kind, const double *values,
                          struct gs_codebook **out, struct gs_err *err)
{
    static const float points[] = {-1, 0, 1};

    (void)kind;
    int rc = gs_scalar_create(points, GS_COUNT(points), GS_ZERO_NONE, out, err);
    if (rc)
        return rc;
    gs_scalar_pack_tightly(*out);
    if (values[0] == 0) /* the mean of |w| of a Gaussian is √(2/π) */
        (*out)->gaussian_mse = gs_points_gaussian_at(&((struct gs_scalar *)*out)->points,
                                                     0.797884560802865, 0);
    return GS_OK;
}

static void ternary_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                        const float *x, const float *h, size_t n, float *table,
                        struct gs_group *out)
{
    double sum = 0;

    if (codebook->values[0] != 0) {
        gs_scalar_fit(codebook, rule, x, h, n, table, out);
        return;
    }
    for (size_t i = 0; i < n; i++)
        sum += fabs(x[i]);
    out->scale = rule->round((float)(sum / (double)n));
}

const struct gs_codebook_kind gs_codebook_ternary = {
    .name = "ternary",
    .paper = "Ma et al., The era of 1-bit LLMs, arXiv:2402.17764; Li et al., Ternary weight "
             "networks, arXiv:1605.04711",
    .keys = ternary_keys,
    .create = ternary_create,
    .fit = ternary_fit,
    .nearest = gs_scalar_nearest,
    .value = gs_scalar_value,
};
