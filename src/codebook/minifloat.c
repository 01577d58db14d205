/* SPDX-License-Identifier: MIT */
#include "codebook/minifloat.h"

#include <math.h>

int gs_minifloat_values(float *by_code, unsigned e, unsigned m, int bias,
                        enum gs_minifloat_top top)
{
    unsigned half = 1u << (e + m), numbers = half;

    if (top == GS_TOP_NAN)
        numbers = half - 1;
    else if (top == GS_TOP_INF)
        numbers = half - (1u << m);
    for (unsigned code = 0; code < half; code++) {
        unsigned k = GS_MIN(code, numbers - 1), field = k >> m, fraction = k & ((1u << m) - 1);
        unsigned significand = field ? fraction + (1u << m) : fraction;
        int exponent = (int)GS_MAX(field, 1) - bias - (int)m;
        by_code[code] = ldexpf((float)significand, exponent);
        by_code[half + code] = -by_code[code];
    }
    return (int)GS_MAX((numbers - 1) >> m, 1) - bias;
}
