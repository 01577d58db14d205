/* SPDX-License-Identifier: MIT
 * The points of least squared error for Gaussian weights, any number of them. Where a power of
 * the number fits into 8 bits with less waste, several codes share them: 3 points take 1.6 bits,
 * 5 points 7/3, 6 points 8/3, 11 points 3.5 (the mixed radix of finite scalar quantization,
 * arXiv:2309.15505). */
#include "codebook/gaussian.h"
#include "codebook/members.h"
#include "codebook/scalar.h"

static const struct gs_codebook_key lloyd_keys[] = {
    {"points", "number of points", 2, 256, 16, true},
    {0},
};

static int lloyd_create(const struct gs_codebook_kind *kind, const double *values,
                        struct gs_codebook **out, struct gs_err *err)
{
    unsigned n = (unsigned)values[0];
    float points[GS_POINTS];

    (void)kind;
    gs_gaussian_lloyd(points, n);
    int rc = gs_scalar_create(points, n, GS_ZERO_NONE, out, err);
    if (!rc)
        gs_scalar_pack_tightly(*out);
    return rc;
}

const struct gs_codebook_kind gs_codebook_lloyd = {
    .name = "lloyd",
    .paper = "S. Lloyd, Least squares quantization in PCM, 1957; J. Max, 1960",
    .keys = lloyd_keys,
    .create = lloyd_create,
    .fit = gs_scalar_fit,
    .nearest = gs_scalar_nearest,
    .value = gs_scalar_value,
};
