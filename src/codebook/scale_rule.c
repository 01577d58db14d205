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

/* ---- f32, f16, bf16 ----------------------------------------------------------------------- */

static float round_f32(float v)
{
    return v;
}

static uint32_t encode_f16(float v)
{
    return gs_f32_to_f16(clamp(v, 65504));
}

static float decode_f16(uint32_t code)
{
    return gs_f16_to_f32((uint16_t)code);
}

static float round_f16(float v)
{
    return decode_f16(encode_f16(v));
}

static uint32_t encode_bf16(float v)
{
    return gs_f32_to_bf16(clamp(v, 0x1.fep127f));
}

static float decode_bf16(uint32_t code)
{
    return gs_bf16_to_f32((uint16_t)code);
}

static float round_bf16(float v)
{
    return decode_bf16(encode_bf16(v));
}

/* ---- e8m0 --------------------------------------------------------------------------------- */

/* Halfway between two powers, the one with the even code. */
static uint32_t encode_e8m0(float v)
{
    int exponent;

    if (!(v > 0x1p-127f))
        return 0;
    float mantissa = frexpf(v, &exponent); /* [1/2, 1): v lies between 2^(e − 1) and 2^e */
    bool up = mantissa > 0.75f || (mantissa == 0.75f && (exponent + 127) % 2 == 0);
    return (uint32_t)(GS_MIN(exponent - !up, 127) + 127);
}

static float decode_e8m0(uint32_t code)
{
    return code < 255 ? ldexpf(1, (int)code - 127) : NAN;
}

static float round_e8m0(float v)
{
    return decode_e8m0(encode_e8m0(v));
}

/* ---- e4m3 --------------------------------------------------------------------------------- */

static float round_e4m3(float v)
{
    int exponent;

    v = clamp(v, 448);
    frexpf(v, &exponent);
    float step = ldexpf(1, GS_MAX(exponent - 1, -6) - 3);
    return rintf(v / step) * step;
}

static uint32_t encode_e4m3(float v)
{
    int exponent;
    float a = fabsf(round_e4m3(v));

    frexpf(a, &exponent);
    exponent = a > 0 ? GS_MAX(exponent - 1, -6) : -6;
    /* Eighths of the power; below 8 (a subnormal number) the exponent field is 0. */
    uint32_t eighths = (uint32_t)ldexpf(a, 3 - exponent);
    return (signbit(v) ? 0x80 : 0) | (eighths + (uint32_t)(exponent + 6) * 8);
}

static float decode_e4m3(uint32_t code)
{
    uint32_t field = code >> 3 & 15, fraction = code & 7;
    float a = field ? ldexpf((float)(fraction + 8), (int)field - 10)
                    : ldexpf((float)fraction, -9);

    if ((code & 0x7f) == 0x7f)
        return NAN;
    return code & 0x80 ? -a : a;
}

static const struct gs_scale_rule rules[] = {
    {"f32", 32, round_f32, gs_f32_bits, gs_f32_from_bits},
    {"f16", 16, round_f16, encode_f16, decode_f16},
    {"bf16", 16, round_bf16, encode_bf16, decode_bf16},
    {"e8m0", 8, round_e8m0, encode_e8m0, decode_e8m0},
    {"e4m3", 8, round_e4m3, encode_e4m3, decode_e4m3},
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
