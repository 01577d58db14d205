/* SPDX-License-Identifier: MIT
 * Decoding of the IQ types: points of fixed grids times scales, see blocks.h and grids.h.
 * Equal bit for bit to ggml's dequantize_row_*. */
#include "core/cursor.h"
#include "kernels/blocks.h"
#include "kernels/grids.h"
#include "kernels/scalar.h"

/* Eight weights ±scale · level of a packed point of an IQ2 grid. */
static void put_iq2(float scale, unsigned point, unsigned signs, float *dst)
{
    for (int j = 0; j < 8; j++) {
        float w = scale * (float)gs_iq2_levels[point >> 2 * j & 3];
        dst[j] = signs >> j & 1 ? -w : w;
    }
}

/* Four weights of a packed point of an IQ3 grid. */
static void put_iq3(float scale, const uint8_t levels[8], unsigned point, unsigned signs,
                    float *dst)
{
    for (int j = 0; j < 4; j++) {
        float w = scale * (float)levels[point >> 3 * j & 7];
        dst[j] = signs >> j & 1 ? -w : w;
    }
}

/* Eight weights scale · (level + shift) of a packed point of the IQ1 grid. */
static void put_iq1(float scale, float shift, unsigned point, float *dst)
{
    for (int j = 0; j < 8; j++)
        dst[j] = scale * ((float)((int)(point >> 2 * j & 3) - 1) + shift);
}

void gs_decode_iq2_xxs_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq2_xxs *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = gs_block_f16(b->d);
        for (int run = 0; run < 8; run++) {
            const uint8_t *index = b->qs + 8 * run;
            uint32_t rest = gs_load_u32(index + 4);
            float scale = d * (0.5f + (float)(rest >> 28)) * 0.25f;
            for (int l = 0; l < 4; l++, dst += 8)
                put_iq2(scale, gs_iq2_xxs_grid[index[l]], gs_iq_signs(rest >> 7 * l & 127), dst);
        }
    }
}

void gs_decode_iq2_xs_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq2_xs *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = gs_block_f16(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            unsigned s = b->scales[l / 4] >> 4 * (l / 2 % 2) & 15;
            unsigned q = gs_load_u16(b->qs + 2 * l);
            put_iq2(d * (0.5f + (float)s) * 0.25f, gs_iq2_xs_grid[q & 511], gs_iq_signs(q >> 9),
                    dst);
        }
    }
}

void gs_decode_iq2_s_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq2_s *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = gs_block_f16(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            unsigned s = b->scales[l / 4] >> 4 * (l / 2 % 2) & 15;
            unsigned index = b->qs[l] | (b->qh[l / 4] >> 2 * (l % 4) & 3u) << 8;
            put_iq2(d * (0.5f + (float)s) * 0.25f, gs_iq2_s_grid[index], b->signs[l], dst);
        }
    }
}

void gs_decode_iq3_xxs_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq3_xxs *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = gs_block_f16(b->d);
        for (int l = 0; l < 64; l++, dst += 4) {
            uint32_t rest = gs_load_u32(b->signs + 4 * (l / 8));
            unsigned signs = gs_iq_signs(rest >> 7 * (l / 2 % 4) & 127) >> 4 * (l % 2);
            put_iq3(d * (0.5f + (float)(rest >> 28)) * 0.5f, gs_iq3_xxs_levels,
                    gs_iq3_xxs_grid[b->qs[l]], signs, dst);
        }
    }
}

void gs_decode_iq3_s_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq3_s *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = gs_block_f16(b->d);
        for (int l = 0; l < 64; l++, dst += 4) {
            unsigned s = b->scales[l / 16] >> 4 * (l / 8 % 2) & 15;
            unsigned index = b->qs[l] | (b->qh[l / 8] >> l % 8 & 1u) << 8;
            put_iq3(d * (float)(1 + 2 * s), gs_iq3_s_levels, gs_iq3_s_grid[index],
                    (unsigned)b->signs[l / 2] >> 4 * (l % 2), dst);
        }
    }
}

void gs_decode_iq1_s_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq1_s *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = gs_block_f16(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            unsigned high = gs_load_u16(b->qh + 2 * (l / 4));
            unsigned index = b->qs[l] | (high >> 3 * (l % 4) & 7) << 8;
            put_iq1(d * (float)(2 * (high >> 12 & 7) + 1), high & 0x8000 ? -0.125f : 0.125f,
                    gs_iq1_grid[index], dst);
        }
    }
}

void gs_decode_iq1_m_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq1_m *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        unsigned word[4], d16 = 0;
        for (int i = 0; i < 4; i++) {
            word[i] = gs_load_u16(b->scales + 2 * i);
            d16 |= word[i] >> 12 << 4 * i;
        }
        float d = gs_f16_to_f32((uint16_t)d16);
        for (int l = 0; l < 32; l++, dst += 8) {
            unsigned high = b->qh[l / 2] >> 4 * (l % 2);
            unsigned s = word[l / 8] >> 3 * (l / 2 % 4) & 7;
            put_iq1(d * (float)(2 * s + 1), high & 8 ? -0.125f : 0.125f,
                    gs_iq1_grid[b->qs[l] | (high & 7) << 8], dst);
        }
    }
}

void gs_decode_iq4_nl_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq4_nl *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32) {
        float d = gs_block_f16(b->d);
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)gs_iq4_values[b->qs[j] & 15];
            dst[j + 16] = d * (float)gs_iq4_values[b->qs[j] >> 4];
        }
    }
}

void gs_decode_iq4_xs_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq4_xs *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = gs_block_f16(b->d);
        unsigned high = gs_load_u16(b->scales_h);
        for (int run = 0; run < 8; run++, dst += 32) {
            const uint8_t *qs = b->qs + 16 * run;
            int s = (b->scales_l[run / 2] >> 4 * (run % 2) & 15) |
                    (int)(high >> 2 * run & 3) << 4;
            float scale = d * (float)(s - 32);
            for (int j = 0; j < 16; j++) {
                dst[j] = scale * (float)gs_iq4_values[qs[j] & 15];
                dst[j + 16] = scale * (float)gs_iq4_values[qs[j] >> 4];
            }
        }
    }
}
