/* SPDX-License-Identifier: MIT
 * Stored types as codes (int8.h): points of grids, ternary, binary and FP4 weights. */
#include "kernels/blocks.h"
#include "kernels/points_neon.h"
#include "kernels/put_codes_neon.h"
#include "kernels/viterbi.h"

static GS_ALWAYS_INLINE void put_iq2(uint8x16x2_t numbers, uint32_t signs, uint8_t *u)
{
    put_codes32(vcombine_u8(iq2_levels(), iq2_levels()), numbers, signs, 43, u);
}

void gs_unpack_iq2_xxs_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq2_xxs *b = src;

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 8; run++, u += 32) {
            const uint8_t *at = b->qs + 8 * run;
            uint32_t rest;
            memcpy(&rest, at + 4, 4);
            float scale = half_at(b->d) * (0.5f + (float)(rest >> 28)) * 0.25f;
            put_groups(2, scale, 43 * scale, &d, &m);
            put_iq2(spread2_four(gs_iq2_xxs_grid, at[0], at[1], at[2], at[3]),
                    even_signs28(rest), u);
        }
}

/* Scales of IQ2_XS and IQ2_S: a nibble for every group. */
static GS_ALWAYS_INLINE void put_nibbles(const uint8_t d16[2], const uint8_t scales[8], float *d,
                                         float *m)
{
    for (int g = 0; g < 16; g++) {
        float s = (float)(scales[g / 2] >> 4 * (g % 2) & 15);
        d[g] = half_at(d16) * (0.5f + s) * 0.25f;
        m[g] = 43 * d[g];
    }
}

void gs_unpack_iq2_xs_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq2_xs *b = src;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        put_nibbles(b->d, b->scales, d, m);
        for (int run = 0; run < 8; run++, u += 32) {
            uint64_t q;
            memcpy(&q, b->qs + 8 * run, 8);
            uint64_t signs = (q >> 9 & 0x7f) | (q >> 17 & 0x7f00) | (q >> 25 & 0x7f0000) |
                             (q >> 33 & 0x7f000000);
            put_iq2(spread2_four(gs_iq2_xs_grid, q & 511, q >> 16 & 511, q >> 32 & 511,
                                 q >> 48 & 511),
                    even_signs((uint32_t)signs), u);
        }
    }
}

void gs_unpack_iq2_s_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq2_s *b = src;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        put_nibbles(b->d, b->scales, d, m);
        for (int run = 0; run < 8; run++, u += 32) {
            const uint8_t *at = b->qs + 4 * run;
            unsigned high = b->qh[run];
            uint32_t signs;
            memcpy(&signs, b->signs + 4 * run, 4);
            put_iq2(spread2_four(gs_iq2_s_grid, at[0] | (high << 8 & 0x300),
                                 at[1] | (high << 6 & 0x300), at[2] | (high << 4 & 0x300),
                                 at[3] | (high << 2 & 0x300)),
                    signs, u);
        }
    }
}

void gs_unpack_iq3_xxs_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq3_xxs *b = src;
    uint8x8_t levels = vld1_u8(gs_iq3_xxs_levels);

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 8; run++, u += 32) {
            uint16_t points[8];
            uint32_t rest;
            for (int l = 0; l < 8; l++)
                points[l] = gs_iq3_xxs_grid[b->qs[8 * run + l]];
            memcpy(&rest, b->signs + 4 * run, 4);
            float scale = half_at(b->d) * (0.5f + (float)(rest >> 28)) * 0.5f;
            put_groups(2, scale, 62 * scale, &d, &m);
            put_codes32(vcombine_u8(levels, levels), spread3_eight(points), even_signs28(rest),
                        62, u);
        }
}

void gs_unpack_iq3_s_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq3_s *b = src;
    uint8x8_t levels = vld1_u8(gs_iq3_s_levels);

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 8; run++, u += 32) {
            uint16_t points[8];
            uint32_t signs;
            for (int l = 0; l < 8; l++)
                points[l] = gs_iq3_s_grid[b->qs[8 * run + l] | (b->qh[run] >> l & 1u) << 8];
            memcpy(&signs, b->signs + 4 * run, 4);
            float scale = half_at(b->d) *
                          (float)(1 + 2 * (b->scales[run / 2] >> 4 * (run % 2) & 15));
            put_groups(2, scale, 15 * scale, &d, &m);
            put_codes32(vcombine_u8(levels, levels), spread3_eight(points), signs, 15, u);
        }
}

void gs_unpack_iq1_s_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq1_s *b = src;

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 8; run++) {
            unsigned high = b->qh[2 * run] | (unsigned)b->qh[2 * run + 1] << 8;
            float scale = half_at(b->d) * (float)(2 * (high >> 12 & 7) + 1);
            put_groups(2, scale, scale * (high & 0x8000 ? 1.125f : 0.875f), &d, &m);
            for (int l = 0; l < 4; l++, u += 8)
                vst1_u8(u, spread2(gs_iq1_grid[b->qs[4 * run + l] | (high >> 3 * l & 7) << 8]));
        }
}

void gs_unpack_iq1_m_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq1_m *b = src;

    for (; n > 0; n -= 256, b++) {
        uint16_t word[4];
        memcpy(word, b->scales, 8);
        uint16_t d16 = (uint16_t)(word[0] >> 12 | (word[1] >> 12) << 4 | (word[2] >> 12) << 8 |
                                  (word[3] >> 12) << 12);
        for (int l = 0; l < 32; l++, u += 8) {
            unsigned high = b->qh[l / 2] >> 4 * (l % 2), s = word[l / 8] >> 3 * (l / 2 % 4) & 7u;
            float scale = half_at((const uint8_t *)&d16) * (float)(2 * s + 1) / 8;
            if (l % 2 == 0)
                put_groups(1, scale, 9 * scale, &d, &m);
            uint8x8_t level = spread2(gs_iq1_grid[b->qs[l] | (high & 7) << 8]);
            vst1_u8(u, vadd_u8(vshl_n_u8(level, 3), vdup_n_u8(high & 8 ? 0 : 2)));
        }
    }
}

/* ---- ternary, binary and FP4 ------------------------------------------------------------ */

/* The leading base-3 digit of 16 fractions. */
static GS_ALWAYS_INLINE uint8x16_t leading_digit(uint8x16_t v)
{
    uint8x8_t three = vdup_n_u8(3);

    return vcombine_u8(vshrn_n_u16(vmull_u8(vget_low_u8(v), three), 8),
                       vshrn_n_u16(vmull_u8(vget_high_u8(v), three), 8));
}

void gs_unpack_tq1_0_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_tq1_0 *b = src;

    for (; n > 0; n -= 256, b++, u += 256) {
        uint8x16_t v[3] = {vld1q_u8(b->qs), vld1q_u8(b->qs + 16), vld1q_u8(b->qs + 32)};
        uint32_t rest;
        memcpy(&rest, b->qh, 4);
        uint8x16_t last = vreinterpretq_u8_u32(vdupq_n_u32(rest));
        put_groups(16, half_at(b->d), half_at(b->d), &d, &m);
        for (int k = 0; k < 5; k++)
            for (int i = 0; i < 3; i++) {
                int at = i < 2 ? 32 * k + 16 * i : 160 + 16 * k;
                vst1q_u8(u + at, leading_digit(v[i]));
                v[i] = vmulq_u8(v[i], vdupq_n_u8(3));
            }
        for (int k = 0; k < 4; k++, last = vmulq_u8(last, vdupq_n_u8(3))) {
            rest = vgetq_lane_u32(vreinterpretq_u32_u8(leading_digit(last)), 0);
            memcpy(u + 240 + 4 * k, &rest, 4);
        }
    }
}

void gs_unpack_tq2_0_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_tq2_0 *b = src;

    for (; n > 0; n -= 256, b++) {
        put_groups(16, half_at(b->d), half_at(b->d), &d, &m);
        for (int run = 0; run < 16; run++, u += 16)
            vst1q_u8(u, two_bits(b->qs + 32 * (run / 8) + 16 * (run % 2), run % 8 / 2 * 2));
    }
}

void gs_unpack_q1_0_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q1_0 *b = src;

    for (; n > 0; n -= 128, b++) {
        put_groups(8, 2 * half_at(b->d), half_at(b->d), &d, &m);
        for (int run = 0; run < 8; run++, u += 16)
            vst1q_s8((int8_t *)u, bit_mask(b->qs + 2 * run, 1));
    }
}

void gs_unpack_q2_0_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q2_0 *b = src;

    for (; n > 0; n -= 64, b++) {
        put_groups(4, half_at(b->d), half_at(b->d), &d, &m);
        for (int run = 0; run < 8; run++, u += 8)
            vst1_u8(u, spread2(b->qs[2 * run] | (unsigned)b->qs[2 * run + 1] << 8));
    }
}

static GS_ALWAYS_INLINE int8x16_t fp4_codes(int8x16_t numbers)
{
    int8x16_t v = vqtbl1q_s8(vld1q_s8(gs_fp4_values), vreinterpretq_u8_s8(numbers));

    return vaddq_s8(v, vdupq_n_s8(12));
}

void gs_unpack_mxfp4_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_mxfp4 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        float scale = gs_e8m0_half(b->e);
        int8x16x2_t q = nibbles(b->qs);
        put_groups(2, scale, 12 * scale, &d, &m);
        store32(u, (int8x16x2_t){{fp4_codes(q.val[0]), fp4_codes(q.val[1])}});
    }
}

void gs_unpack_nvfp4_neon(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_nvfp4 *b = src;

    for (; n > 0; n -= 64, b++)
        for (int run = 0; run < 4; run += 2, u += 32) {
            int8x16x2_t q = nibbles(b->qs + 8 * run); /* halves of 8 bytes, two of them */
            for (int k = 0; k < 2; k++) {
                float scale = gs_e4m3_half(b->d[run + k]);
                put_groups(1, scale, 12 * scale, &d, &m);
            }
            int8x16_t first = vcombine_s8(vget_low_s8(q.val[0]), vget_low_s8(q.val[1]));
            int8x16_t second = vcombine_s8(vget_high_s8(q.val[0]), vget_high_s8(q.val[1]));
            store32(u, (int8x16x2_t){{fp4_codes(first), fp4_codes(second)}});
        }
}
