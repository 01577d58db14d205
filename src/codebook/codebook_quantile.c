/* SPDX-License-Identifier: MIT
 * Points at quantiles of a Gaussian, so that every code is used equally often when the largest
 * weight of a group lies where that of a Gaussian would.
 *
 *     type = 0   NormalFloat (QLoRA, arXiv:2305.14314, appendix E): 2^(b−1) points of the upper
 *                half and 2^(b−1) − 1 of the lower half at evenly spaced probabilities from an
 *                offset that leaves half a cell outside, and 0; NF4 for 4 bits
 *     type = 1   quantile quantization (arXiv:2212.09720, section 2.3): point i is the mean of
 *                the quantiles i / (2^b + 1) and (i + 1) / (2^b + 1); that nearest 0 becomes 0
 *
 * Both are scaled to [−1, 1], which group scales undo. */
#include <math.h>

#include "codebook/gaussian.h"
#include "codebook/members.h"
#include "codebook/scalar.h"

static const struct gs_codebook_key quantile_keys[] = {
    {"bits", "bits of a code", 2, 8, 4, true},
    {"type", "0 NormalFloat, 1 means of quantiles", 0, 1, 0, true},
    {0},
};

/* n points from the quantile of `offset` towards that of 1/2, which is not one of them, over
 * the first: 1 … */
static double normal_float(double offset, unsigned i, unsigned n)
{
    double p = offset + (0.5 - offset) * i / n;

    return gs_gaussian_quantile(p) / gs_gaussian_quantile(offset);
}

static void fill_normal_float(float *points, unsigned n)
{
    unsigned upper = n / 2, lower = n / 2 - 1;
    double offset = 1 - 0.5 * (1.0 / (2 * n) + 1.0 / (2 * (n - 1)));

    for (unsigned i = 0; i < lower; i++)
        points[i] = gs_computed_point(-normal_float(offset, i, lower));
    points[lower] = 0;
    for (unsigned i = 0; i < upper; i++)
        points[n - 1 - i] = gs_computed_point(normal_float(offset, i, upper));
}

static void fill_means(float *points, unsigned n)
{
    double most = 0, mean[GS_POINTS];

    for (unsigned i = 0; i < n; i++) {
        double p = GS_MAX(i, 0.5) / (n + 1.0), q = fmin(i + 1, n + 0.5) / (n + 1.0);
        mean[i] = 0.5 * (gs_gaussian_quantile(p) + gs_gaussian_quantile(q));
        most = fmax(most, fabs(mean[i]));
    }
    for (unsigned i = 0; i < n; i++)
        points[i] = i == n / 2 ? 0 : gs_computed_point(mean[i] / most);
}

static int quantile_create(const struct gs_codebook_kind *kind, const double *values,
                           struct gs_codebook **out, struct gs_err *err)
{
    unsigned n = 1u << (unsigned)values[0];
    float points[GS_POINTS];

    (void)kind;
    if (values[1] == 0)
        fill_normal_float(points, n);
    else
        fill_means(points, n);
    return gs_scalar_create(points, n, GS_ZERO_NONE, out, err);
}

const struct gs_codebook_kind gs_codebook_quantile = {
    .name = "quantile",
    .paper = "Dettmers et al., QLoRA, arXiv:2305.14314; k-bit inference laws, arXiv:2212.09720",
    .keys = quantile_keys,
    .create = quantile_create,
    .fit = gs_scalar_fit,
    .nearest = gs_scalar_nearest,
    .value = gs_scalar_value,
};
