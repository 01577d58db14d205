/* SPDX-License-Identifier: MIT
 * Dynamic exponent (8-bit optimizers, arXiv:2110.02861): after the sign, zeros count the power
 * of ten, a one ends them, and what is left of the bits is a linear fraction.
 *
 *     s 0 0 1 f f f f      (−1)^s · 10^−2 · the f-th of 16 cells' middles in [0.1, 1]
 *
 * The largest numbers have the longest fractions. All zeros is 0, and the code that would be −0
 * is 1, so that the largest weight can be exact: 2^b different points. */
#include <math.h>

#include "codebook/gaussian.h"
#include "codebook/members.h"
#include "codebook/scalar.h"

static const struct gs_codebook_key dynamic_keys[] = {
    {"bits", "bits of a code", 2, 8, 8, true},
    {0},
};

static int dynamic_create(const struct gs_codebook_kind *kind, const double *values,
                          struct gs_codebook **out, struct gs_err *err)
{
    unsigned n = 1u << (unsigned)values[0], half = n / 2;
    float points[GS_POINTS];

    (void)kind;
    points[0] = 0;
    points[half] = 1;
    for (unsigned i = 1; i < half; i++) { /* i = cells + f: its highest bit ends the zeros */
        unsigned cells = 1u << (31 - __builtin_clz(i));
        double middle = 0.1 + 0.9 * (i - cells + 0.5) / cells;
        double power = pow(10, 31 - __builtin_clz(half / 2) - (31 - __builtin_clz(cells)));
        points[i] = gs_computed_point(middle / power);
        points[half + i] = -points[i];
    }
    return gs_scalar_create(points, n, GS_ZERO_NONE, out, err);
}

const struct gs_codebook_kind gs_codebook_dynamic = {
    .name = "dynamic",
    .paper = "Dettmers et al., 8-bit optimizers via block-wise quantization, arXiv:2110.02861",
    .keys = dynamic_keys,
    .create = dynamic_create,
    .fit = gs_scalar_fit,
    .nearest = gs_scalar_nearest,
    .value = gs_scalar_value,
};
