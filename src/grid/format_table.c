/* SPDX-License-Identifier: MIT
 * Block types whose levels are a table of 16 numbers: IQ4_NL and IQ4_XS (gs_iq4_values), and
 * the E2M1 floats of MXFP4 (OCP Microscaling, scale 2^e for 32) and NVFP4 (scale E4M3 for 16).
 * Bits as kernels/blocks.h draws them. */
#include <math.h>
#include <string.h>

#include "core/half.h"
#include "grid/formats.h"
#include "kernels/blocks.h"

/* gs_iq4_values, and the points halfway. */
static const float iq4_table[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                    1,    13,   25,  38,  53,  69,  89,  113};
static const float iq4_middle[15] = {-115.5f, -93.5f, -74, -57, -42, -28.5f, -16, -4.5f,
                                     7,       19,     31.5f, 45.5f, 61, 79, 101};
static const struct gs_levels iq4 = {16, iq4_table, iq4_middle, false};
static const struct gs_points points_iq4 = GS_LEVELS(iq4, -127, 113);

/* Twice E2M1; the code of level i is fp4_code[i] (−0 is not used). */
static const float fp4_table[15] = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12};
static const float fp4_middle[14] = {-10, -7, -5, -3.5f, -2.5f, -1.5f, -0.5f,
                                     0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10};
static const uint8_t fp4_code[15] = {15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7};
static const struct gs_levels fp4 = {15, fp4_table, fp4_middle, false};
static const struct gs_points points_fp4 = GS_LEVELS(fp4, -12, 12);

static void pack_iq4_nl(const struct gs_block_scales *scales, const uint32_t *codes,
                        uint8_t *dst)
{
    struct gs_block_iq4_nl b;

    gs_put_f16(scales->d, b.d);
    gs_put_halves(codes, 16, b.qs);
    memcpy(dst, &b, sizeof b);
}

static void pack_iq4_xs(const struct gs_block_scales *scales, const uint32_t *codes,
                        uint8_t *dst)
{
    struct gs_block_iq4_xs b;
    unsigned high = 0;

    memset(&b, 0, sizeof b);
    gs_put_f16(scales->d, b.d);
    for (int r = 0; r < 8; r++) {
        b.scales_l[r / 2] |= (uint8_t)((scales->s[r] & 15) << 4 * (r % 2));
        high |= (unsigned)scales->s[r] >> 4 << 2 * r;
        gs_put_halves(codes + 32 * r, 16, b.qs + 16 * r);
    }
    gs_put_u16(high, b.scales_h);
    memcpy(dst, &b, sizeof b);
}

static void pack_mxfp4(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_mxfp4 b;
    uint32_t map[32];

    for (int j = 0; j < 32; j++)
        map[j] = fp4_code[codes[j]];
    b.e = scales->s[0];
    gs_put_halves(map, 16, b.qs);
    memcpy(dst, &b, sizeof b);
}

static void pack_nvfp4(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_nvfp4 b;
    uint32_t map[16];

    for (int r = 0; r < 4; r++) {
        for (int j = 0; j < 16; j++)
            map[j] = fp4_code[codes[16 * r + j]];
        b.d[r] = scales->s[r];
        gs_put_halves(map, 8, b.qs + 8 * r);
    }
    memcpy(dst, &b, sizeof b);
}

/* 2^(e − 128), as the decoder has it. */
static float scale_e8m0(unsigned e)
{
    return gs_f32_from_bits(e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23);
}

/* Half of an E4M3 number without sign. */
static float scale_e4m3(unsigned bits)
{
    unsigned exponent = bits >> 3, mantissa = bits & 7;

    return exponent ? (float)(8 + mantissa) * gs_f32_from_bits((exponent - 11 + 127) << 23)
                    : (float)mantissa * 0x1p-10f;
}

const struct gs_format gs_format_iq4_nl = {
    .type = GS_TYPE_IQ4_NL, .block = 32, .run = 32, .points = &points_iq4, .scales = 1,
    .first = 1, .pack = pack_iq4_nl,
};
const struct gs_format gs_format_iq4_xs = {
    .type = GS_TYPE_IQ4_XS, .block = 256, .run = 32, .points = &points_iq4, .scales = 64,
    .first = -32, .step = 1, .pack = pack_iq4_xs,
};
const struct gs_format gs_format_mxfp4 = {
    .type = GS_TYPE_MXFP4, .block = 32, .run = 32, .points = &points_fp4, .scales = 255,
    .scale_at = scale_e8m0, .fixed_d = true, .pack = pack_mxfp4,
};
const struct gs_format gs_format_nvfp4 = {
    .type = GS_TYPE_NVFP4, .block = 64, .run = 16, .points = &points_fp4, .scales = 127,
    .scale_at = scale_e4m3, .fixed_d = true, .pack = pack_nvfp4,
};
