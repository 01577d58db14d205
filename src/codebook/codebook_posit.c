/* SPDX-License-Identifier: MIT
 * Posits (Gustafson and Yonemoto 2017): floats with most precision near 1.
 *
 *     s | regime r r … r r̄ | exponent, es bits | fraction        negative: two's complement
 *
 *     k = r-run of ones − 1, or −(run of zeros)       value = 2^(k · 2^es + e) · (1 + fraction)
 *
 * Bits that the regime pushes out are 0. 10…0, not a real number, reads as 0. Scales should
 * take the bulk of the weights, not the largest, to where points are dense: the search covers
 * largest weights from 1 to 64. */
#include <math.h>

#include "codebook/members.h"
#include "codebook/scalar.h"

static const struct gs_codebook_key posit_keys[] = {
    {"bits", "bits of a code", 3, 8, 8, true},
    {"es", "exponent bits", 0, 3, 1, true},
    {0},
};

/* Of a positive code of n bits, the first of which is the sign's 0. */
static float positive_value(unsigned code, unsigned n, unsigned es)
{
    int at = (int)n - 2; /* the bit to read next */
    unsigned lead = code >> at & 1;
    int run = 0;

    while (at >= 0 && (code >> at & 1) == lead) {
        run++;
        at--;
    }
    at--; /* what ended the run */
    int k = lead ? run - 1 : -run, exponent = 0;
    for (unsigned i = 0; i < es; i++, at--)
        exponent = 2 * exponent + (at >= 0 ? (int)(code >> at & 1) : 0);
    float fraction = at >= 0 ? (float)(code & ((2u << at) - 1)) / (float)(2u << at) : 0;
    return ldexpf(1 + fraction, k * (1 << es) + exponent);
}

static int posit_create(const struct gs_codebook_kind *kind, const double *values,
                        struct gs_codebook **out, struct gs_err *err)
{
    unsigned n = (unsigned)values[0], es = (unsigned)values[1], half = 1u << (n - 1);
    float points[GS_POINTS];

    (void)kind;
    points[0] = points[half] = 0;
    for (unsigned i = 1; i < half; i++) {
        points[i] = positive_value(i, n, es);
        points[2 * half - i] = -points[i];
    }
    int rc = gs_scalar_create(points, 2 * half, GS_ZERO_NONE, out, err);
    if (rc)
        return rc;
    struct gs_scalar *scalar = (struct gs_scalar *)*out;
    scalar->points.narrow = fmaxf(points[half - 1] / 64, 0.3f);
    scalar->points.wide = points[half - 1];
    (*out)->gaussian_mse = gs_points_gaussian_mse(&scalar->points, GS_ZERO_NONE);
    return GS_OK;
}

const struct gs_codebook_kind gs_codebook_posit = {
    .name = "posit",
    .paper = "Gustafson and Yonemoto, Beating floating point at its own game, 2017",
    .keys = posit_keys,
    .create = posit_create,
    .fit = gs_scalar_fit,
    .nearest = gs_scalar_nearest,
    .value = gs_scalar_value,
};
