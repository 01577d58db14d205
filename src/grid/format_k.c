/* SPDX-License-Identifier: MIT
 * The K types: super-blocks of 256 weights whose runs of 16 or 32 have integer scales (and
 * minima) over one f16 number each. Bits as kernels/blocks.h draws them. */
#include <stddef.h>
#include <string.h>

#include "grid/formats.h"
#include "kernels/blocks.h"

static const struct gs_points points_6 = GS_STEPS(-32, 64);
static const struct gs_points points_5 = GS_STEPS(0, 32);
static const struct gs_points points_4 = GS_STEPS(0, 16);
static const struct gs_points points_3 = GS_STEPS(-4, 8);
static const struct gs_points points_2 = GS_STEPS(0, 4);

static void pack_q6_k(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_q6_k b;

    memset(&b, 0, sizeof b);
    gs_put_f16(scales->d, b.d);
    for (int r = 0; r < 16; r++)
        b.scales[r] = (int8_t)((int)scales->s[r] - 128);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, k = i / 32 % 4, j = i % 32;
        b.ql[64 * half + 32 * (k & 1) + j] |= (uint8_t)((codes[i] & 15) << 4 * (k / 2));
        b.qh[32 * half + j] |= (uint8_t)(codes[i] >> 4 << 2 * k);
    }
    memcpy(dst, &b, sizeof b);
}

/* The inverse of gs_k4_scale_min. */
static void put_k4(const uint8_t s[8], const uint8_t m[8], uint8_t dst[12])
{
    for (int i = 0; i < 4; i++) {
        dst[i] = (uint8_t)(s[i] | s[i + 4] >> 4 << 6);
        dst[i + 4] = (uint8_t)(m[i] | m[i + 4] >> 4 << 6);
        dst[i + 8] = (uint8_t)((s[i + 4] & 15) | (m[i + 4] & 15) << 4);
    }
}

static void pack_q4_k(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_q4_k b;

    gs_put_f16(scales->d, b.d);
    gs_put_f16(scales->dmin, b.dmin);
    put_k4(scales->s, scales->m, b.scales);
    for (int r = 0; r < 4; r++)
        gs_put_halves(codes + 64 * r, 32, b.qs + 32 * r);
    memcpy(dst, &b, sizeof b);
}

static void pack_q5_k(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_q5_k b;

    gs_put_f16(scales->d, b.d);
    gs_put_f16(scales->dmin, b.dmin);
    put_k4(scales->s, scales->m, b.scales);
    for (int r = 0; r < 4; r++)
        gs_put_halves(codes + 64 * r, 32, b.qs + 32 * r);
    memset(b.qh, 0, sizeof b.qh);
    for (int i = 0; i < 256; i++)
        b.qh[i % 32] |= (uint8_t)((codes[i] >> 4 & 1) << i / 32);
    memcpy(dst, &b, sizeof b);
}

/* Fields of two bits as Q2_K and Q3_K have them: two halves of 128 weights, 32 bytes each. */
static void put_pairs(const uint32_t *codes, uint8_t *dst)
{
    memset(dst, 0, 64);
    for (int i = 0; i < 256; i++)
        dst[32 * (i / 128) + i % 32] |= (uint8_t)((codes[i] & 3) << 2 * (i / 32 % 4));
}

static void pack_q3_k(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_q3_k b;

    memset(&b, 0, sizeof b);
    gs_put_f16(scales->d, b.d);
    for (int r = 0; r < 16; r++) {
        b.scales[r % 8] |= (uint8_t)((scales->s[r] & 15) << 4 * (r / 8));
        b.scales[8 + r % 4] |= (uint8_t)(scales->s[r] >> 4 << 2 * (r / 4));
    }
    put_pairs(codes, b.qs);
    for (int i = 0; i < 256; i++)
        b.hmask[i % 32] |= (uint8_t)(codes[i] >> 2 << i / 32);
    memcpy(dst, &b, sizeof b);
}

static void pack_q2_k(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_q2_k b;

    gs_put_f16(scales->d, b.d);
    gs_put_f16(scales->dmin, b.dmin);
    for (int r = 0; r < 16; r++)
        b.scales[r] = (uint8_t)(scales->s[r] | scales->m[r] << 4);
    put_pairs(codes, b.qs);
    memcpy(dst, &b, sizeof b);
}

const struct gs_format gs_format_q6_k = {
    .type = GS_TYPE_Q6_K, .block = 256, .run = 16, .points = &points_6, .scales = 256,
    .first = -128, .step = 1, .pack = pack_q6_k,
    .d_at = offsetof(struct gs_block_q6_k, d),
};
const struct gs_format gs_format_q5_k = {
    .type = GS_TYPE_Q5_K, .block = 256, .run = 32, .points = &points_5, .scales = 64,
    .first = 0, .step = 1, .mins = 64, .pack = pack_q5_k,
    .d_at = offsetof(struct gs_block_q5_k, d),
};
const struct gs_format gs_format_q4_k = {
    .type = GS_TYPE_Q4_K, .block = 256, .run = 32, .points = &points_4, .scales = 64,
    .first = 0, .step = 1, .mins = 64, .pack = pack_q4_k,
    .d_at = offsetof(struct gs_block_q4_k, d),
};
const struct gs_format gs_format_q3_k = {
    .type = GS_TYPE_Q3_K, .block = 256, .run = 16, .points = &points_3, .scales = 64,
    .first = -32, .step = 1, .pack = pack_q3_k,
    .d_at = offsetof(struct gs_block_q3_k, d),
};
const struct gs_format gs_format_q2_k = {
    .type = GS_TYPE_Q2_K, .block = 256, .run = 16, .points = &points_2, .scales = 16,
    .first = 0, .step = 1, .mins = 16, .pack = pack_q2_k,
    .d_at = offsetof(struct gs_block_q2_k, d),
};
