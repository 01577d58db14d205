/* SPDX-License-Identifier: MIT
 * Stored types as codes (int8.h): those with scales of their own. */
#include "kernels/blocks.h"
#include "kernels/grids.h"
#include "kernels/put_codes_neon.h"
#include "kernels/viterbi.h"

/* Nibbles with a fifth bit. */
static GS_ALWAYS_INLINE int8x16x2_t five_bits(const uint8_t *qs, const uint8_t *qh)
{
    int8x16x2_t q = nibbles(qs);

    q.val[0] = vorrq_s8(q.val[0], bit_mask(qh, 16));
    q.val[1] = vorrq_s8(q.val[1], bit_mask(qh + 2, 16));
    return q;
}

void gs_unpack_q4_0_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q4_0 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        put_groups(2, half_at(b->d), half_at(b->d) * 8, &d, &m);
        store32(u, nibbles(b->qs));
    }
}

void gs_unpack_q4_1_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q4_1 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        put_groups(2, half_at(b->d), -half_at(b->m), &d, &m);
        store32(u, nibbles(b->qs));
    }
}

void gs_unpack_q5_0_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q5_0 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        put_groups(2, half_at(b->d), half_at(b->d) * 16, &d, &m);
        store32(u, five_bits(b->qs, b->qh));
    }
}

void gs_unpack_q5_1_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q5_1 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        put_groups(2, half_at(b->d), -half_at(b->m), &d, &m);
        store32(u, five_bits(b->qs, b->qh));
    }
}

/* Signed bytes + 128. */
static GS_ALWAYS_INLINE int8x16x2_t shifted(int8x16_t low, int8x16_t high)
{
    return (int8x16x2_t){{veorq_s8(low, vdupq_n_s8(-128)), veorq_s8(high, vdupq_n_s8(-128))}};
}

void gs_unpack_q8_0_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q8_0 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        put_groups(2, half_at(b->d), half_at(b->d) * 128, &d, &m);
        store32(u, shifted(vld1q_s8(b->qs), vld1q_s8(b->qs + 16)));
    }
}

static GS_ALWAYS_INLINE int8x16x2_t iq4_codes(const uint8_t *qs)
{
    int8x16x2_t q = nibbles(qs);
    int8x16_t values = vld1q_s8(gs_iq4_values);

    return shifted(vqtbl1q_s8(values, vreinterpretq_u8_s8(q.val[0])),
                   vqtbl1q_s8(values, vreinterpretq_u8_s8(q.val[1])));
}

void gs_unpack_iq4_nl_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq4_nl *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        put_groups(2, half_at(b->d), half_at(b->d) * 128, &d, &m);
        store32(u, iq4_codes(b->qs));
    }
}

void gs_unpack_iq4_xs_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq4_xs *b = src;

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 8; run++, u += 32) {
            int high = b->scales_h[0] | b->scales_h[1] << 8;
            int s = (b->scales_l[run / 2] >> 4 * (run % 2) & 15) | (high >> 2 * run & 3) << 4;
            float scale = half_at(b->d) * (float)(s - 32);
            put_groups(2, scale, scale * 128, &d, &m);
            store32(u, iq4_codes(b->qs + 16 * run));
        }
}

/* ---- blocks of 256 --------------------------------------------------------------------- */

void gs_unpack_q2_k_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q2_k *b = src;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        int8x16x2_t s = nibbles(b->scales);
        scale16(s.val[0], half_at(b->d), d);
        scale16(s.val[1], half_at(b->dmin), m);
        EACH_OF_16 (run, u += 16)
            vst1q_u8(u, two_bits(b->qs + 32 * (run / 8) + 16 * (run % 2), run % 8 / 2 * 2));
    }
}

/* The sixteen scales of Q3_K, less 32. */
static GS_ALWAYS_INLINE int8x16_t q3_scales(const uint8_t packed[12])
{
    static const int32_t shift[4] = {0, -2, -4, -6};
    uint8x8_t low = vld1_u8(packed);
    uint32_t high;
    memcpy(&high, packed + 8, 4);
    uint8x16_t top = vreinterpretq_u8_u32(vshlq_u32(vdupq_n_u32(high), vld1q_s32(shift)));
    uint8x16_t s = vcombine_u8(vand_u8(low, vdup_n_u8(15)), vshr_n_u8(low, 4));

    s = vsliq_n_u8(s, vandq_u8(top, vdupq_n_u8(3)), 4);
    return vreinterpretq_s8_u8(vsubq_u8(s, vdupq_n_u8(32)));
}

void gs_unpack_q3_k_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q3_k *b = src;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        scale16(q3_scales(b->scales), half_at(b->d), d);
        times16(d, 4, m);
        EACH_OF_16 (run, u += 16) {
            uint8x16_t q = two_bits(b->qs + 32 * (run / 8) + 16 * (run % 2), run % 8 / 2 * 2);
            vst1q_u8(u, vorrq_u8(q, bit_of(b->hmask + 16 * (run % 2), run / 2, 4)));
        }
    }
}

/* The scales and minima of Q4_K and Q5_K, each for two groups. */
static GS_ALWAYS_INLINE void put_k4(const uint8_t scales[12], float scale, float min, float *d,
                                    float *m)
{
    uint32_t a, b, c;
    memcpy(&a, scales, 4);
    memcpy(&b, scales + 4, 4);
    memcpy(&c, scales + 8, 4);
    uint64_t s = (a & 0x3f3f3f3fu) |
                 (uint64_t)((c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u)) << 32;
    uint64_t t = (b & 0x3f3f3f3fu) |
                 (uint64_t)((c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u)) << 32;
    int8x16_t ss = vreinterpretq_s8_u64(vdupq_n_u64(s)), tt = vreinterpretq_s8_u64(vdupq_n_u64(t));
    scale16(vzip1q_s8(ss, ss), scale, d);
    scale16(vzip1q_s8(tt, tt), min, m);
}

void gs_unpack_q4_k_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q4_k *b = src;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        put_k4(b->scales, half_at(b->d), half_at(b->dmin), d, m);
        for (int run = 0; run < 4; run++, u += 64)
            for (int i = 0; i < 32; i += 16) {
                int8x16x2_t q = nibbles(b->qs + 32 * run + i);
                vst1q_s8((int8_t *)u + i, q.val[0]);
                vst1q_s8((int8_t *)u + 32 + i, q.val[1]);
            }
    }
}

void gs_unpack_q5_k_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q5_k *b = src;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        put_k4(b->scales, half_at(b->d), half_at(b->dmin), d, m);
        EACH_OF_16 (run, u += 16) {
            uint8x16_t q = nibble(b->qs + 32 * (run / 4) + 16 * (run % 2), run / 2 % 2);
            vst1q_u8(u, vorrq_u8(q, bit_of(b->qh + 16 * (run % 2), run / 2, 16)));
        }
    }
}

void gs_unpack_q6_k_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q6_k *b = src;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        scale16(vld1q_s8(b->scales), half_at(b->d), d);
        times16(d, 32, m);
        EACH_OF_16 (run, u += 16) {
            int k = run / 2, i = run % 2 * 16;
            uint8x16_t q = nibble(b->ql + 64 * (k / 4) + 32 * (k % 2) + i, k % 4 >= 2);
            vst1q_u8(u, vsliq_n_u8(q, two_bits(b->qh + 32 * (k / 4) + i, k % 4 * 2), 4));
        }
    }
}
