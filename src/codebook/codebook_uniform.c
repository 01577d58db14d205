/* SPDX-License-Identifier: MIT
 * Uniform points: 2^bits integers, with a zero point or without.
 *
 *     zero = 0   ŵ = s · (q − 2^(bits−1)),      q = 0 … 2^bits − 1: 0 is a point, s may be negative
 *     zero = 1   ŵ = s · (q − z),               z an integer of `bits` bits (GPTQ, AWQ)
 *     zero = 2   ŵ = s · (q − z),               z real (HQQ, SpQR, decoupleQ)
 *     zero = 3   ŵ = s · (q − 2^(bits−1) + ½):  no point at 0, symmetric (CherryQ)
 *
 *     fit = 0    the group's range lands on the outer points ("min–max", "absmax")
 *     fit = 1    least weighted error over clipped ranges, and least squares */
#include "codebook/members.h"
#include "codebook/scalar.h"

enum { KEY_BITS, KEY_ZERO, KEY_FIT };

static const struct gs_codebook_key uniform_keys[] = {
    {"bits", "bits of a code", 1, 8, 4, true},
    {"zero", "0 none, 1 integer, 2 real, 3 none and no point at zero", 0, 3, 1, true},
    {"fit", "0 range, 1 least error", 0, 1, 1, true},
    {0},
};

static int uniform_create(const struct gs_codebook_kind *kind, const double *values,
                          struct gs_codebook **out, struct gs_err *err)
{
    static const enum gs_zero zeros[] = {GS_ZERO_NONE, GS_ZERO_INTEGER, GS_ZERO_REAL,
                                         GS_ZERO_NONE};
    unsigned bits = (unsigned)values[KEY_BITS], n = 1u << bits, zero = (unsigned)values[KEY_ZERO];
    float points[GS_POINTS];

    if (bits == 1 && zero == 0)
        return gs_fail(err, GS_E_ARG, "codebook %s: zero: with 1 bit one of two points would be "
                       "0; take 1, 2 or 3", kind->name);
    for (unsigned i = 0; i < n; i++)
        points[i] = zero == 0 ? (float)i - (float)(n / 2)
                  : zero == 3 ? (float)i - 0.5f * (float)(n - 1) : (float)i;
    int rc = gs_scalar_create(points, n, zeros[zero], out, err);
    if (rc)
        return rc;
    (*out)->zero_bits = zero == 1 ? bits : 0;
    ((struct gs_scalar *)*out)->by_range = values[KEY_FIT] == 0;
    return GS_OK;
}

const struct gs_codebook_kind gs_codebook_uniform = {
    .name = "uniform",
    .paper = "J. Max, Quantizing for minimum distortion, 1960; zero points: Jacob et al., "
             "arXiv:1712.05877",
    .keys = uniform_keys,
    .create = uniform_create,
    .fit = gs_scalar_fit,
    .nearest = gs_scalar_nearest,
    .value = gs_scalar_value,
};
