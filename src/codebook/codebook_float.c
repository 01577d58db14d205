/* SPDX-License-Identifier: MIT
 * Floats of few bits, any split: 1 sign, e exponent and m fraction bits with subnormal numbers.
 *
 *     bits=4,exponent=2         E2M1 (FP4): 0 ½ 1 1½ 2 3 4 6
 *     bits=6,exponent=3         E3M2 (FP6)
 *     bits=8,exponent=4,top=1   E4M3 (FP8), largest 448, one NaN a sign
 *     bits=8,exponent=5,top=2   E5M2 (FP8), infinities and NaNs
 *
 * The bias is the usual 2^(e−1) − 1 up to e = 4; above, the largest number is put into
 * [256, 512), so that scales of 16 bits can hold what takes weights there. Scales differ from
 * those of OCP's E5M2 by that power of two and nothing else. */
#include "codebook/members.h"
#include "codebook/minifloat.h"
#include "codebook/scalar.h"

enum { KEY_BITS, KEY_EXPONENT, KEY_TOP };

static const struct gs_codebook_key float_keys[] = {
    {"bits", "bits of a code", 2, 8, 4, true},
    {"exponent", "exponent bits", 1, 7, 2, true},
    {"top", "highest codes: 0 numbers, 1 one NaN, 2 infinity and NaNs", 0, 2, 0, true},
    {0},
};

static int float_create(const struct gs_codebook_kind *kind, const double *values,
                        struct gs_codebook **out, struct gs_err *err)
{
    unsigned bits = (unsigned)values[KEY_BITS], e = (unsigned)values[KEY_EXPONENT];
    enum gs_minifloat_top top = (enum gs_minifloat_top)values[KEY_TOP];
    float points[GS_POINTS];

    if (e >= bits)
        return gs_fail(err, GS_E_ARG, "codebook %s: exponent: %u of %u bits leave none for the "
                       "sign", kind->name, e, bits);
    if (top == GS_TOP_NAN && bits < 3)
        return gs_fail(err, GS_E_ARG, "codebook %s: top: of 2 bits, NaN leaves only 0; take 0",
                       kind->name);
    if (top == GS_TOP_INF && e < 2)
        return gs_fail(err, GS_E_ARG, "codebook %s: top: 2 takes one of the 2 exponents; take 0 "
                       "or 1", kind->name);
    unsigned m = bits - 1 - e;
    int bias = (1 << (e - 1)) - 1, largest = gs_minifloat_values(points, e, m, 0, top);
    if (e > 4)
        bias = largest - 8;
    gs_minifloat_values(points, e, m, bias, top);
    return gs_scalar_create(points, 1u << bits, GS_ZERO_NONE, out, err);
}

const struct gs_codebook_kind gs_codebook_float = {
    .name = "float",
    .paper = "Kuzmin et al., FP8 quantization: the power of the exponent, arXiv:2208.09225; OCP "
             "8-bit Floating Point 1.0",
    .keys = float_keys,
    .create = float_create,
    .fit = gs_scalar_fit,
    .nearest = gs_scalar_nearest,
    .value = gs_scalar_value,
};
