/* SPDX-License-Identifier: MIT
 * The block formats of "Revisiting block-based quantisation": a power of two for each group (of
 * 16 weights in the paper), and under it, with b bits a code and a sign,
 *
 *     bfp        block floating point: k / 2^(b−1), k < 2^(b−1), below 2^ceil(log2 max|w|)
 *     minifloat  block minifloat: floats whose largest power is that of the largest weight; all
 *                codes are numbers
 *     blocklog   block logarithm: 2^(k − 2^(b−1) + 1), the largest 2^ceil(log2 max|w|); no zero
 *
 * fit = 1 tries the powers next to the rule's and takes the one of least error: half of the
 * time less than half of the points are used otherwise. */
#include <math.h>

#include "codebook/exponent.h"
#include "codebook/members.h"
#include "codebook/minifloat.h"

#define FIT {"fit", "0 the largest weight's power, 1 least error", 0, 1, 1, true}

static const struct gs_codebook_key bfp_keys[] = {
    {"bits", "bits of a code", 2, 8, 4, true}, FIT, {0},
};

static const struct gs_codebook_key minifloat_keys[] = {
    {"bits", "bits of a code", 3, 8, 4, true}, FIT,
    {"exponent", "exponent bits", 1, 4, 2, true}, {0},
};

static const struct gs_codebook_key blocklog_keys[] = {
    {"bits", "bits of a code", 2, 6, 4, true}, FIT, {0},
};

enum { KEY_BITS, KEY_FIT, KEY_EXPONENT };

static int bfp_create(const struct gs_codebook_kind *kind, const double *values,
                      struct gs_codebook **out, struct gs_err *err)
{
    unsigned bits = (unsigned)values[KEY_BITS], half = 1u << (bits - 1);
    float points[GS_POINTS];

    (void)kind;
    for (unsigned i = 0; i < half; i++) {
        points[i] = (float)i / (float)half;
        points[half + i] = -points[i];
    }
    return gs_exponent_create(points, 2 * half, 0, true, values[KEY_FIT] == 1, out, err);
}

static int minifloat_create(const struct gs_codebook_kind *kind, const double *values,
                            struct gs_codebook **out, struct gs_err *err)
{
    unsigned bits = (unsigned)values[KEY_BITS], e = (unsigned)values[KEY_EXPONENT];
    float points[GS_POINTS];

    if (e >= bits)
        return gs_fail(err, GS_E_ARG, "codebook %s: exponent: %u of %u bits leave none for the "
                       "sign", kind->name, e, bits);
    int largest = gs_minifloat_values(points, e, bits - 1 - e, (1 << e) - 1, GS_TOP_NUMBERS);
    return gs_exponent_create(points, 1u << bits, largest, false, values[KEY_FIT] == 1, out,
                              err);
}

static int blocklog_create(const struct gs_codebook_kind *kind, const double *values,
                           struct gs_codebook **out, struct gs_err *err)
{
    unsigned bits = (unsigned)values[KEY_BITS], half = 1u << (bits - 1);
    float points[GS_POINTS];

    (void)kind;
    for (unsigned i = 0; i < half; i++) {
        points[i] = ldexpf(1, (int)i - (int)half + 1);
        points[half + i] = -points[i];
    }
    return gs_exponent_create(points, 2 * half, 0, true, values[KEY_FIT] == 1, out, err);
}

#define BLOCK_KIND(member)                                                                    \
    const struct gs_codebook_kind gs_codebook_##member = {                                    \
        .name = #member,                                                                      \
        .paper = "Zhang et al., Revisiting block-based quantisation, arXiv:2310.05079",       \
        .keys = member##_keys,                                                                \
        .create = member##_create,                                                            \
        .fit = gs_exponent_fit,                                                               \
        .nearest = gs_exponent_nearest,                                                       \
        .value = gs_exponent_value,                                                           \
    }

BLOCK_KIND(bfp);
BLOCK_KIND(minifloat);
BLOCK_KIND(blocklog);
