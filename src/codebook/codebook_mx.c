/* SPDX-License-Identifier: MIT
 * Microscaling formats: small floats, or 8-bit integers, under a power of two for each group
 * (of 32 weights in the standard).
 *
 *     bits=4,exponent=2   MXFP4 E2M1      largest power 2       bits=8,exponent=4   MXFP8 E4M3   8
 *     bits=6,exponent=2   MXFP6 E2M3                    2       bits=8,exponent=5   MXFP8 E5M2  15
 *     bits=6,exponent=3   MXFP6 E3M2                    4       bits=8,exponent=0   MXINT8       0
 *
 *     fit = 0   the standard's rule: 2^(floor(log2 max|w|) − largest power of the element), and
 *               what lies beyond the largest element saturates (6.3)
 *     fit = 1   the one of least error among that and its two neighbours */
#include "codebook/exponent.h"
#include "codebook/members.h"
#include "codebook/minifloat.h"

enum { KEY_BITS, KEY_EXPONENT, KEY_FIT };

static const struct gs_codebook_key mx_keys[] = {
    {"bits", "bits of an element: 4, 6 or 8", 4, 8, 4, true},
    {"exponent", "exponent bits of an element, 0 for integers", 0, 5, 2, true},
    {"fit", "0 the standard's rule, 1 least error", 0, 1, 0, true},
    {0},
};

static const struct element {
    unsigned bits, exponent;
    enum gs_minifloat_top top;
} elements[] = {
    {4, 2, GS_TOP_NUMBERS}, {6, 2, GS_TOP_NUMBERS}, {6, 3, GS_TOP_NUMBERS},
    {8, 4, GS_TOP_NAN}, {8, 5, GS_TOP_INF}, {8, 0, GS_TOP_NUMBERS},
};

static int mx_create(const struct gs_codebook_kind *kind, const double *values,
                     struct gs_codebook **out, struct gs_err *err)
{
    unsigned bits = (unsigned)values[KEY_BITS], e = (unsigned)values[KEY_EXPONENT];
    const struct element *element = NULL;
    float points[GS_POINTS];
    int largest = 0;

    for (size_t i = 0; i < GS_COUNT(elements); i++)
        if (elements[i].bits == bits && elements[i].exponent == e)
            element = &elements[i];
    if (!element)
        return gs_fail(err, GS_E_ARG, "codebook %s: there is no element of %u bits with %u "
                       "exponent bits; bits and exponent are 4 and 2, 6 and 2, 6 and 3, 8 and 4, "
                       "8 and 5 or 8 and 0", kind->name, bits, e);
    if (e > 0)
        largest = gs_minifloat_values(points, e, bits - 1 - e, (1 << (e - 1)) - 1, element->top);
    else /* two's complement in units of 1/64; −2 is not used and reads as −127/64 */
        for (int i = 0; i < 256; i++)
            points[i] = (float)GS_MAX(i < 128 ? i : i - 256, -127) / 64;
    return gs_exponent_create(points, 1u << bits, largest, false, values[KEY_FIT] == 1, out, err);
}

const struct gs_codebook_kind gs_codebook_mx = {
    .name = "mx",
    .paper = "OCP Microscaling Formats (MX) 1.0; Rouhani et al., arXiv:2310.10537",
    .keys = mx_keys,
    .create = mx_create,
    .fit = gs_exponent_fit,
    .nearest = gs_exponent_nearest,
    .value = gs_exponent_value,
};
