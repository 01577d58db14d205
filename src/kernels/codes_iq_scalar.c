/* SPDX-License-Identifier: MIT
 * Types of few levels as codes, w = d u − m (int8.h): points of the grids, ternary, binary and
 * FP4 weights. The definition.
 *
 * A grid point with signs, ±g, is shifted by the largest level: u = top ± g, m = d top. The
 * shifts of IQ1_S are in its minima; IQ1_M has one for 8 weights: u = 8 level + (0 or 2). */
#include "core/cursor.h"
#include "kernels/blocks.h"
#include "kernels/grids.h"
#include "kernels/scalar.h"
#include "kernels/viterbi.h"

static void put_scale(size_t groups, float scale, float min, float **d, float **m)
{
    for (; groups > 0; groups--) {
        *(*d)++ = scale;
        *(*m)++ = min;
    }
}

/* `n` coordinates of a packed point, `bits` each. */
static void put_point(const uint8_t *levels, int bits, int n, unsigned top, unsigned point,
                      unsigned signs, uint8_t *u)
{
    for (int j = 0; j < n; j++) {
        unsigned level = levels[point >> bits * j & ((1u << bits) - 1)];
        u[j] = (uint8_t)(signs >> j & 1 ? top - level : top + level);
    }
}

void gs_unpack_iq2_xxs_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq2_xxs *b = src;

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 8; run++) {
            const uint8_t *index = b->qs + 8 * run;
            uint32_t rest = gs_load_u32(index + 4);
            float scale = gs_block_f16(b->d) * (0.5f + (float)(rest >> 28)) * 0.25f;
            put_scale(2, scale, 43 * scale, &d, &m);
            for (int l = 0; l < 4; l++, u += 8)
                put_point(gs_iq2_levels, 2, 8, 43, gs_iq2_xxs_grid[index[l]],
                          gs_iq_signs(rest >> 7 * l & 127), u);
        }
}

/* Scales of IQ2_XS and IQ2_S: a nibble for every group. */
static void put_nibbles(const uint8_t d16[2], const uint8_t scales[8], float *d, float *m)
{
    for (int g = 0; g < 16; g++) {
        float s = (float)(scales[g / 2] >> 4 * (g % 2) & 15);
        float scale = gs_block_f16(d16) * (0.5f + s) * 0.25f;
        put_scale(1, scale, 43 * scale, &d, &m);
    }
}

void gs_unpack_iq2_xs_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq2_xs *b = src;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        put_nibbles(b->d, b->scales, d, m);
        for (int l = 0; l < 32; l++, u += 8) {
            unsigned q = gs_load_u16(b->qs + 2 * l);
            put_point(gs_iq2_levels, 2, 8, 43, gs_iq2_xs_grid[q & 511], gs_iq_signs(q >> 9), u);
        }
    }
}

void gs_unpack_iq2_s_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq2_s *b = src;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        put_nibbles(b->d, b->scales, d, m);
        for (int l = 0; l < 32; l++, u += 8) {
            unsigned index = b->qs[l] | (b->qh[l / 4] >> 2 * (l % 4) & 3u) << 8;
            put_point(gs_iq2_levels, 2, 8, 43, gs_iq2_s_grid[index], b->signs[l], u);
        }
    }
}

void gs_unpack_iq3_xxs_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq3_xxs *b = src;

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 8; run++) {
            uint32_t rest = gs_load_u32(b->signs + 4 * run);
            float scale = gs_block_f16(b->d) * (0.5f + (float)(rest >> 28)) * 0.5f;
            put_scale(2, scale, 62 * scale, &d, &m);
            for (int l = 0; l < 8; l++, u += 4)
                put_point(gs_iq3_xxs_levels, 3, 4, 62, gs_iq3_xxs_grid[b->qs[8 * run + l]],
                          gs_iq_signs(rest >> 7 * (l / 2) & 127) >> 4 * (l % 2), u);
        }
}

void gs_unpack_iq3_s_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq3_s *b = src;

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 8; run++) {
            int s = b->scales[run / 2] >> 4 * (run % 2) & 15;
            float scale = gs_block_f16(b->d) * (float)(1 + 2 * s);
            put_scale(2, scale, 15 * scale, &d, &m);
            for (int l = 8 * run; l < 8 * run + 8; l++, u += 4) {
                unsigned index = b->qs[l] | (b->qh[run] >> l % 8 & 1u) << 8;
                put_point(gs_iq3_s_levels, 3, 4, 15, gs_iq3_s_grid[index],
                          (unsigned)b->signs[l / 2] >> 4 * (l % 2), u);
            }
        }
}

void gs_unpack_iq1_s_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq1_s *b = src;

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 8; run++) {
            unsigned high = gs_load_u16(b->qh + 2 * run);
            float scale = gs_block_f16(b->d) * (float)(2 * (high >> 12 & 7) + 1);
            put_scale(2, scale, scale * (high & 0x8000 ? 1.125f : 0.875f), &d, &m);
            for (int l = 0; l < 4; l++)
                for (int j = 0; j < 8; j++) {
                    unsigned index = b->qs[4 * run + l] | (high >> 3 * l & 7) << 8;
                    *u++ = gs_iq1_grid[index] >> 2 * j & 3;
                }
        }
}

void gs_unpack_iq1_m_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq1_m *b = src;

    for (; n > 0; n -= 256, b++) {
        unsigned word[4], d16 = 0;
        for (int i = 0; i < 4; i++) {
            word[i] = gs_load_u16(b->scales + 2 * i);
            d16 |= word[i] >> 12 << 4 * i;
        }
        for (int l = 0; l < 32; l++) {
            unsigned high = b->qh[l / 2] >> 4 * (l % 2), s = word[l / 8] >> 3 * (l / 2 % 4) & 7;
            float scale = gs_f16_to_f32((uint16_t)d16) * (float)(2 * s + 1) / 8;
            if (l % 2 == 0)
                put_scale(1, scale, 9 * scale, &d, &m);
            for (int j = 0; j < 8; j++)
                *u++ = (uint8_t)((gs_iq1_grid[b->qs[l] | (high & 7) << 8] >> 2 * j & 3) * 8 +
                                 (high & 8 ? 0 : 2));
        }
    }
}

/* ---- ternary, binary and FP4 ------------------------------------------------------------ */

/* The first `digits` base-3 digits of each of `bytes` bytes, digit by digit. */
static uint8_t *put_digits(const uint8_t *qs, int bytes, int digits, uint8_t *u)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};

    for (int k = 0; k < digits; k++)
        for (int j = 0; j < bytes; j++)
            *u++ = (uint8_t)((uint8_t)(qs[j] * power[k]) * 3 >> 8);
    return u;
}

void gs_unpack_tq1_0_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_tq1_0 *b = src;

    for (; n > 0; n -= 256, b++) {
        put_scale(16, gs_block_f16(b->d), gs_block_f16(b->d), &d, &m);
        u = put_digits(b->qs, 32, 5, u);
        u = put_digits(b->qs + 32, 16, 5, u);
        u = put_digits(b->qh, 4, 4, u);
    }
}

void gs_unpack_tq2_0_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_tq2_0 *b = src;

    for (; n > 0; n -= 256, b++) {
        put_scale(16, gs_block_f16(b->d), gs_block_f16(b->d), &d, &m);
        for (int j = 0; j < 256; j++)
            *u++ = b->qs[j / 128 * 32 + j % 32] >> j / 32 % 4 * 2 & 3;
    }
}

void gs_unpack_q1_0_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q1_0 *b = src;

    for (; n > 0; n -= 128, b++) {
        put_scale(8, 2 * gs_block_f16(b->d), gs_block_f16(b->d), &d, &m);
        for (int j = 0; j < 128; j++)
            *u++ = b->qs[j / 8] >> j % 8 & 1;
    }
}

void gs_unpack_q2_0_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q2_0 *b = src;

    for (; n > 0; n -= 64, b++) {
        put_scale(4, gs_block_f16(b->d), gs_block_f16(b->d), &d, &m);
        for (int j = 0; j < 64; j++)
            *u++ = b->qs[j / 4] >> 2 * (j % 4) & 3;
    }
}

/* Halves of `bytes` bytes that number FP4 values. */
static void put_fp4(const uint8_t *qs, int bytes, uint8_t *u)
{
    for (int j = 0; j < 2 * bytes; j++)
        u[j] = (uint8_t)(gs_fp4_values[qs[j % bytes] >> j / bytes * 4 & 15] + 12);
}

void gs_unpack_mxfp4_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_mxfp4 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        float scale = gs_e8m0_half(b->e);
        put_scale(2, scale, 12 * scale, &d, &m);
        put_fp4(b->qs, 16, u);
    }
}

void gs_unpack_nvfp4_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_nvfp4 *b = src;

    for (; n > 0; n -= 64, b++)
        for (int run = 0; run < 4; run++, u += 16) {
            float scale = gs_e4m3_half(b->d[run]);
            put_scale(1, scale, 12 * scale, &d, &m);
            put_fp4(b->qs + 8 * run, 8, u);
        }
}
