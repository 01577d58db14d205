/* SPDX-License-Identifier: MIT
 * Block types with one f16 scale: Q8_0 Q5_0 Q5_1 Q4_0 Q4_1 Q2_0 Q1_0, and the ternary TQ1_0 and
 * TQ2_0. One run a block; bits as kernels/blocks.h draws them. */
#include <stddef.h>
#include <string.h>

#include "grid/formats.h"
#include "kernels/blocks.h"

static const struct gs_points points_8 = GS_STEPS(-128, 256);
static const struct gs_points points_5 = GS_STEPS(-16, 32);
static const struct gs_points points_5u = GS_STEPS(0, 32);
static const struct gs_points points_4 = GS_STEPS(-8, 16);
static const struct gs_points points_4u = GS_STEPS(0, 16);
static const struct gs_points points_2 = GS_STEPS(-1, 4);
static const struct gs_points points_ternary = GS_STEPS(-1, 3);

static const float sign_table[2] = {-1, 1}, sign_middle[1] = {0};
static const struct gs_levels sign = {2, sign_table, sign_middle, false};
static const struct gs_points points_1 = GS_LEVELS(sign, -1, 1);

static void pack_q8_0(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_q8_0 b;

    gs_put_f16(scales->d, b.d);
    for (int j = 0; j < 32; j++)
        b.qs[j] = (int8_t)((int)codes[j] - 128);
    memcpy(dst, &b, sizeof b);
}

static void pack_q4_0(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_q4_0 b;

    gs_put_f16(scales->d, b.d);
    gs_put_halves(codes, 16, b.qs);
    memcpy(dst, &b, sizeof b);
}

static void pack_q4_1(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_q4_1 b;

    gs_put_f16(scales->d, b.d);
    gs_put_f16(-scales->dmin, b.m);
    gs_put_halves(codes, 16, b.qs);
    memcpy(dst, &b, sizeof b);
}

/* The fifth bits of 32 codes. */
static void put_fifth(const uint32_t *codes, uint8_t dst[4])
{
    uint32_t bits = 0;

    for (int j = 0; j < 32; j++)
        bits |= (codes[j] >> 4 & 1) << j;
    gs_put_u32(bits, dst);
}

static void pack_q5_0(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_q5_0 b;

    gs_put_f16(scales->d, b.d);
    put_fifth(codes, b.qh);
    gs_put_halves(codes, 16, b.qs);
    memcpy(dst, &b, sizeof b);
}

static void pack_q5_1(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_q5_1 b;

    gs_put_f16(scales->d, b.d);
    gs_put_f16(-scales->dmin, b.m);
    put_fifth(codes, b.qh);
    gs_put_halves(codes, 16, b.qs);
    memcpy(dst, &b, sizeof b);
}

static void pack_q2_0(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_q2_0 b;

    memset(&b, 0, sizeof b);
    gs_put_f16(scales->d, b.d);
    for (int j = 0; j < 64; j++)
        b.qs[j / 4] = (uint8_t)(b.qs[j / 4] | codes[j] << 2 * (j % 4));
    memcpy(dst, &b, sizeof b);
}

static void pack_q1_0(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_q1_0 b;

    memset(&b, 0, sizeof b);
    gs_put_f16(scales->d, b.d);
    for (int j = 0; j < 128; j++)
        b.qs[j / 8] = (uint8_t)(b.qs[j / 8] | codes[j] << j % 8);
    memcpy(dst, &b, sizeof b);
}

static void pack_tq2_0(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_tq2_0 b;

    memset(&b, 0, sizeof b);
    gs_put_f16(scales->d, b.d);
    for (int j = 0; j < 256; j++)
        b.qs[32 * (j / 128) + j % 32] |= (uint8_t)(codes[j] << 2 * (j / 32 % 4));
    memcpy(dst, &b, sizeof b);
}

/* The byte whose fraction has `digits` base-3 digits: weight k·bytes + j is digit k of byte j. */
static void put_ternary(const uint32_t *codes, int bytes, int digits, uint8_t *dst)
{
    for (int j = 0; j < bytes; j++) {
        unsigned number = 0;
        for (int k = 0; k < 5; k++)
            number = 3 * number + (k < digits ? codes[k * bytes + j] : 0);
        dst[j] = (uint8_t)((number * 256 + 242) / 243);
    }
}

static void pack_tq1_0(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_tq1_0 b;

    gs_put_f16(scales->d, b.d);
    put_ternary(codes, 32, 5, b.qs);
    put_ternary(codes + 160, 16, 5, b.qs + 32);
    put_ternary(codes + 240, 4, 4, b.qh);
    memcpy(dst, &b, sizeof b);
}

#define PLAIN(name, kind, weights, set, n_mins)                                                \
    const struct gs_format gs_format_##name = {                                                \
        .type = GS_TYPE_##kind, .block = (weights), .run = (weights), .points = &(set),        \
        .scales = 1, .first = 1, .mins = (n_mins), .pack = pack_##name,                        \
        .d_at = offsetof(struct gs_block_##name, d)}

PLAIN(q8_0, Q8_0, 32, points_8, 0);
PLAIN(q5_0, Q5_0, 32, points_5, 0);
PLAIN(q5_1, Q5_1, 32, points_5u, 1);
PLAIN(q4_0, Q4_0, 32, points_4, 0);
PLAIN(q4_1, Q4_1, 32, points_4u, 1);
PLAIN(q2_0, Q2_0, 64, points_2, 0);
PLAIN(q1_0, Q1_0, 128, points_1, 0);
PLAIN(tq2_0, TQ2_0, 256, points_ternary, 0);
PLAIN(tq1_0, TQ1_0, 256, points_ternary, 0);
