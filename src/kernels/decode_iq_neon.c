/* SPDX-License-Identifier: MIT
 * Decoding for NEON: the IQ types with grids. */
#include "kernels/blocks.h"
#include "kernels/points_neon.h"
#include "kernels/put_neon.h"

static GS_ALWAYS_INLINE void put_iq2(float scale, unsigned point, unsigned signs, float *dst)
{
    put8(signed_levels(iq2_levels(), spread2(point), signs), scale, dst);
}

void gs_decode_iq2_xxs_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq2_xxs *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        for (int run = 0; run < 8; run++) {
            const uint8_t *index = b->qs + 8 * run;
            uint32_t rest;
            memcpy(&rest, index + 4, 4);
            float scale = d * (0.5f + (float)(rest >> 28)) * 0.25f;
            for (int l = 0; l < 4; l++, dst += 8)
                put_iq2(scale, gs_iq2_xxs_grid[index[l]], gs_iq_signs(rest >> 7 * l & 127), dst);
        }
    }
}

void gs_decode_iq2_xs_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq2_xs *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            unsigned s = b->scales[l / 4] >> 4 * (l / 2 % 2) & 15;
            unsigned q = b->qs[2 * l] | (unsigned)b->qs[2 * l + 1] << 8;
            put_iq2(d * (0.5f + (float)s) * 0.25f, gs_iq2_xs_grid[q & 511], gs_iq_signs(q >> 9),
                    dst);
        }
    }
}

void gs_decode_iq2_s_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq2_s *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            unsigned s = b->scales[l / 4] >> 4 * (l / 2 % 2) & 15;
            unsigned index = b->qs[l] | (b->qh[l / 4] >> 2 * (l % 4) & 3u) << 8;
            put_iq2(d * (0.5f + (float)s) * 0.25f, gs_iq2_s_grid[index], b->signs[l], dst);
        }
    }
}

void gs_decode_iq3_xxs_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq3_xxs *b = src;
    uint8x8_t levels = vld1_u8(gs_iq3_xxs_levels);

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            uint32_t rest;
            memcpy(&rest, b->signs + l / 4 * 4, 4);
            uint8x8_t q =
                spread3(gs_iq3_xxs_grid[b->qs[2 * l]], gs_iq3_xxs_grid[b->qs[2 * l + 1]]);
            put8(signed_levels(levels, q, gs_iq_signs(rest >> 7 * (l % 4) & 127)),
                 d * (0.5f + (float)(rest >> 28)) * 0.5f, dst);
        }
    }
}

void gs_decode_iq3_s_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq3_s *b = src;
    uint8x8_t levels = vld1_u8(gs_iq3_s_levels);

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            unsigned s = b->scales[l / 8] >> 4 * (l / 4 % 2) & 15;
            unsigned high = b->qh[l / 4] >> 2 * (l % 4);
            uint8x8_t q = spread3(gs_iq3_s_grid[b->qs[2 * l] | (high & 1) << 8],
                                  gs_iq3_s_grid[b->qs[2 * l + 1] | (high >> 1 & 1) << 8]);
            put8(signed_levels(levels, q, b->signs[l]), d * (float)(1 + 2 * s), dst);
        }
    }
}

/* dst[j] = scale (level + shift), each rounded. */
static GS_ALWAYS_INLINE void put_iq1(float scale, float shift, unsigned point, float *dst)
{
    int16x8_t q = vmovl_s8(vreinterpret_s8_u8(vsub_u8(spread2(point), vdup_n_u8(1))));
    float32x4_t add = vdupq_n_f32(shift);

    vst1q_f32(dst, vmulq_n_f32(vaddq_f32(floats4(vget_low_s16(q)), add), scale));
    vst1q_f32(dst + 4, vmulq_n_f32(vaddq_f32(floats4(vget_high_s16(q)), add), scale));
}

void gs_decode_iq1_s_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq1_s *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            unsigned high = b->qh[l / 4 * 2] | (unsigned)b->qh[l / 4 * 2 + 1] << 8;
            unsigned index = b->qs[l] | (high >> 3 * (l % 4) & 7) << 8;
            put_iq1(d * (float)(2 * (high >> 12 & 7) + 1), high & 0x8000 ? -0.125f : 0.125f,
                    gs_iq1_grid[index], dst);
        }
    }
}

void gs_decode_iq1_m_neon(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq1_m *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        uint16_t word[4];
        memcpy(word, b->scales, 8);
        uint16_t d16 = (uint16_t)(word[0] >> 12 | (word[1] >> 12) << 4 | (word[2] >> 12) << 8 |
                                  (word[3] >> 12) << 12);
        float d = half_at((const uint8_t *)&d16);
        for (int l = 0; l < 32; l++, dst += 8) {
            unsigned high = b->qh[l / 2] >> 4 * (l % 2);
            unsigned s = word[l / 8] >> 3 * (l / 2 % 4) & 7u;
            put_iq1(d * (float)(2 * s + 1), high & 8 ? -0.125f : 0.125f,
                    gs_iq1_grid[b->qs[l] | (high & 7) << 8], dst);
        }
    }
}
