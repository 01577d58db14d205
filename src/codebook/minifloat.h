/* SPDX-License-Identifier: MIT
 * Small floats EeMm: their values by code, for the kinds that are made of them. */
#ifndef GS_CODEBOOK_MINIFLOAT_H
#define GS_CODEBOOK_MINIFLOAT_H

#include "core/attr.h"

/* What the highest codes stand for. */
enum gs_minifloat_top {
    GS_TOP_NUMBERS, /* numbers, as in FP6 and FP4 of OCP's microscaling formats */
    GS_TOP_NAN,     /* the last code is NaN, as in FP8 E4M3 */
    GS_TOP_INF      /* the largest exponent is infinity and NaN, as in IEEE and FP8 E5M2 */
};

/* by_code (2^(1 + e + m)): sign, e exponent bits, m fraction bits, subnormal numbers below the
 * exponent field 1. Codes that are no number read as the largest number of their sign. Returns
 * the exponent of the largest number. */
int gs_minifloat_values(float *by_code, unsigned e, unsigned m, int bias,
                        enum gs_minifloat_top top);

#endif
