/* SPDX-License-Identifier: MIT
 * How scales are stored: each rule rounds to the nearest number that its format holds, and
 * never to an infinity or a NaN, which would take a whole group with it.
 *
 *     f32     as it is
 *     f16     IEEE binary16, at most 65504
 *     bf16    the upper half of an f32
 *     e8m0    2^(s − 127), s = 0 … 254: no sign, no zero (OCP Microscaling Formats 1.0, 5.4.1)
 *     e4m3    1 sign, 4 exponent, 3 fraction bits, bias 7, at most 448 (OCP 8-bit Floating
 *             Point 1.0); 0 below 2^-10
 *
 * The nearest power of two is the best one for a least-squares scale, since the error is a
 * parabola in the scale. The rule by which MX chooses a scale from the largest weight is
 * another matter and belongs to the kinds `mx` and its like. */
#include "codebook/codebook.h"

#include <math.h>
#include <string.h>

#include "core/half.h"

static float clamp(float v, float most)
{
    return v > most ? most : v < -most ? -most : v;
}

static float round_f32(float v)
{
    return v;
}

static float round_f16(float v)
{
    return gs_f16_to_f32(gs_f32_to_f16(clamp(v, 65504)));
}

static float round_bf16(float v)
{
    return gs_bf16_to_f32(gs_f32_to_bf16(clamp(v, 0x1.fep127f)));
}

/* Halfway between two powers, the one with the even code. */
static float round_e8m0(float v)
{
    int exponent;

    if (!(v > 0x1p-127f))
        return 0x1p-127f;
    float mantissa = frexpf(v, &exponent); /* [1/2, 1): v lies between 2^(e − 1) and 2^e */
    bool up = mantissa > 0.75f || (mantissa == 0.75f && (exponent + 127) % 2 == 0);
    return ldexpf(1, GS_MIN(exponent - !up, 127));
}

static float round_e4m3(float v)
{
    int exponent;

    frexpf(v, &exponent);
    float step = ldexpf(1, GS_MAX(exponent - 1, -6) - 3);
    return clamp(rintf(clamp(v, 448) / step) * step, 448);
}

static const struct gs_scale_rule rules[] = {
    {"f32", 32, round_f32}, {"f16", 16, round_f16}, {"bf16", 16, round_bf16},
    {"e8m0", 8, round_e8m0}, {"e4m3", 8, round_e4m3},
};

const struct gs_scale_rule *gs_scale_rule_at(size_t index)
{
    return index < GS_COUNT(rules) ? &rules[index] : NULL;
}

const struct gs_scale_rule *gs_scale_rule_find(const char *name)
{
    for (size_t i = 0; i < GS_COUNT(rules); i++)
        if (!strcmp(rules[i].name, name))
            return &rules[i];
    return NULL;
}
