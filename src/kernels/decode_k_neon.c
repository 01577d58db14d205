/* SPDX-License-Identifier: MIT
 * Decoding for NEON: blocks of 256 weights with small integers, see blocks.h. */
#include "kernels/blocks.h"
#include "kernels/put_neon.h"

void gs_decode_q2_k_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_q2_k *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d), dmin = half_at(b->dmin);
        EACH_OF_16 (run, dst += 16) {
            uint8x16_t q = two_bits(b->qs + 32 * (run / 8) + 16 * (run % 2), run % 8 / 2 * 2);
            put16_add(vreinterpretq_s8_u8(q), d * (float)(b->scales[run] & 15),
                      -(dmin * (float)(b->scales[run] >> 4)), dst);
        }
    }
}

void gs_decode_q3_k_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_q3_k *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        EACH_OF_16 (run, dst += 16) {
            uint8x16_t q = two_bits(b->qs + 32 * (run / 8) + 16 * (run % 2), run % 8 / 2 * 2);
            q = vorrq_u8(q, bit_of(b->hmask + 16 * (run % 2), run / 2, 4));
            int s = (b->scales[run % 8] >> 4 * (run / 8) & 15) |
                    (b->scales[8 + run % 4] >> 2 * (run / 4) & 3) << 4;
            put16(vreinterpretq_s8_u8(vsubq_u8(q, vdupq_n_u8(4))), d * (float)(s - 32), dst);
        }
    }
}

void gs_decode_q4_k_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_q4_k *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d), dmin = half_at(b->dmin);
        for (int run = 0; run < 8; run++, dst += 32) {
            int s, m;
            gs_k4_scale_min(b->scales, run, &s, &m);
            for (int i = 0; i < 32; i += 16) {
                uint8x16_t q = nibble(b->qs + 32 * (run / 2) + i, run % 2);
                put16_add(vreinterpretq_s8_u8(q), d * (float)s, -(dmin * (float)m), dst + i);
            }
        }
    }
}

void gs_decode_q5_k_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_q5_k *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d), dmin = half_at(b->dmin);
        for (int run = 0; run < 8; run++, dst += 32) {
            int s, m;
            gs_k4_scale_min(b->scales, run, &s, &m);
            for (int i = 0; i < 32; i += 16) {
                uint8x16_t q = nibble(b->qs + 32 * (run / 2) + i, run % 2);
                q = vorrq_u8(q, bit_of(b->qh + i, run, 16));
                put16_add(vreinterpretq_s8_u8(q), d * (float)s, -(dmin * (float)m), dst + i);
            }
        }
    }
}

void gs_decode_q6_k_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_q6_k *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        EACH_OF_16 (run, dst += 16) {
            int k = run / 2, i = run % 2 * 16;
            uint8x16_t q = nibble(b->ql + 64 * (k / 4) + 32 * (k % 2) + i, k % 4 >= 2);
            q = vsliq_n_u8(q, two_bits(b->qh + 32 * (k / 4) + i, k % 4 * 2), 4);
            put16(vreinterpretq_s8_u8(vsubq_u8(q, vdupq_n_u8(32))), d * (float)b->scales[run],
                  dst);
        }
    }
}

void gs_decode_tq2_0_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_tq2_0 *b = src;

    for (const float *end = dst + n; dst < end; b++)
        EACH_OF_16 (run, dst += 16) {
            uint8x16_t q = two_bits(b->qs + 32 * (run / 8) + 16 * (run % 2), run % 8 / 2 * 2);
            put16(vreinterpretq_s8_u8(vsubq_u8(q, vdupq_n_u8(1))), half_at(b->d), dst);
        }
}
