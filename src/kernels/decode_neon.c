/* SPDX-License-Identifier: MIT
 * Decoding for NEON: floats and the types with blocks of 32 to 128 weights. Layouts are in
 * blocks.h; products and sums are rounded as in the scalar level. */
#include "kernels/blocks.h"
#include "kernels/grids.h"
#include "kernels/put_neon.h"

void gs_decode_f16_neon(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    size_t i = 0;

    for (; i + 4 <= n; i += 4)
        vst1q_f32(dst + i, load_f16(p + 2 * i));
    for (; i < n; i++)
        dst[i] = half_at(p + 2 * i);
}

void gs_decode_bf16_neon(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    size_t i = 0;

    for (; i + 4 <= n; i += 4)
        vst1q_f32(dst + i, load_bf16(p + 2 * i));
    for (; i < n; i++) {
        uint32_t bits = (uint32_t)p[2 * i] << 16 | (uint32_t)p[2 * i + 1] << 24;
        memcpy(dst + i, &bits, 4);
    }
}

/* Halves of 16 bytes as d (q − shift). */
static GS_ALWAYS_INLINE void put_shifted(int8x16x2_t q, int8_t shift, float d, float *dst)
{
    put16(vsubq_s8(q.val[0], vdupq_n_s8(shift)), d, dst);
    put16(vsubq_s8(q.val[1], vdupq_n_s8(shift)), d, dst + 16);
}

/* Nibbles with a fifth bit. */
static GS_ALWAYS_INLINE int8x16x2_t five_bits(const uint8_t *qs, const uint8_t *qh)
{
    int8x16x2_t q = nibbles(qs);

    q.val[0] = vorrq_s8(q.val[0], bit_mask(qh, 16));
    q.val[1] = vorrq_s8(q.val[1], bit_mask(qh + 2, 16));
    return q;
}

void gs_decode_q4_0_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_q4_0 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32)
        put_shifted(nibbles(b->qs), 8, half_at(b->d), dst);
}

void gs_decode_q4_1_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_q4_1 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32) {
        int8x16x2_t q = nibbles(b->qs);
        put16_add(q.val[0], half_at(b->d), half_at(b->m), dst);
        put16_add(q.val[1], half_at(b->d), half_at(b->m), dst + 16);
    }
}

void gs_decode_q5_0_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_q5_0 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32)
        put_shifted(five_bits(b->qs, b->qh), 16, half_at(b->d), dst);
}

void gs_decode_q5_1_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_q5_1 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32) {
        int8x16x2_t q = five_bits(b->qs, b->qh);
        put16_add(q.val[0], half_at(b->d), half_at(b->m), dst);
        put16_add(q.val[1], half_at(b->d), half_at(b->m), dst + 16);
    }
}

void gs_decode_q8_0_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_q8_0 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32) {
        put16(vld1q_s8(b->qs), half_at(b->d), dst);
        put16(vld1q_s8(b->qs + 16), half_at(b->d), dst + 16);
    }
}

/* 1-bit weights: the sign of d. */
void gs_decode_q1_0_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_q1_0 *b = src;

    for (const float *end = dst + n; dst < end; b++)
        for (int run = 0; run < 8; run++, dst += 16)
            put16(vsubq_s8(bit_mask(b->qs + 2 * run, 2), vdupq_n_s8(1)), half_at(b->d), dst);
}

/* Four weights a byte, in order: each byte is repeated for its four pairs of bits. */
void gs_decode_q2_0_neon(const void *src, float *dst, size_t n)
{
    static const uint8_t repeat[16] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
    static const int8_t shift[16] = {0, -2, -4, -6, 0, -2, -4, -6, 0, -2, -4, -6, 0, -2, -4, -6};
    const struct gs_block_q2_0 *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        uint8x16_t q = vld1q_u8(b->qs), at = vld1q_u8(repeat);
        for (int run = 0; run < 4; run++, dst += 16) {
            uint8x16_t v = vshlq_u8(vqtbl1q_u8(q, at), vld1q_s8(shift));
            v = vsubq_u8(vandq_u8(v, vdupq_n_u8(3)), vdupq_n_u8(1));
            put16(vreinterpretq_s8_u8(v), half_at(b->d), dst);
            at = vaddq_u8(at, vdupq_n_u8(4));
        }
    }
}

/* Values of a table by halves of 16 bytes. */
static GS_ALWAYS_INLINE void put_values(const int8_t values[16], const uint8_t *qs, float d,
                                        float *dst)
{
    int8x16x2_t q = nibbles(qs);

    put16(vqtbl1q_s8(vld1q_s8(values), vreinterpretq_u8_s8(q.val[0])), d, dst);
    put16(vqtbl1q_s8(vld1q_s8(values), vreinterpretq_u8_s8(q.val[1])), d, dst + 16);
}

void gs_decode_mxfp4_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_mxfp4 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32)
        put_values(gs_fp4_values, b->qs, gs_e8m0_half(b->e), dst);
}

void gs_decode_iq4_nl_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq4_nl *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32)
        put_values(gs_iq4_values, b->qs, half_at(b->d), dst);
}

void gs_decode_iq4_xs_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq4_xs *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        int high = b->scales_h[0] | b->scales_h[1] << 8;
        for (int run = 0; run < 8; run++, dst += 32) {
            int s = (b->scales_l[run / 2] >> 4 * (run % 2) & 15) | (high >> 2 * run & 3) << 4;
            put_values(gs_iq4_values, b->qs + 16 * run, half_at(b->d) * (float)(s - 32), dst);
        }
    }
}
