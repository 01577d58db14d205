/* SPDX-License-Identifier: MIT
 * Decoding of the K types and the ternary types: blocks of 256 weights, see blocks.h.
 * Equal bit for bit to ggml's dequantize_row_*. */
#include "core/cursor.h"
#include "kernels/blocks.h"
#include "kernels/scalar.h"

void gs_decode_q2_k_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_q2_k *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = gs_block_f16(b->d), dmin = gs_block_f16(b->dmin);
        for (int run = 0; run < 16; run++, dst += 16) {
            const uint8_t *qs = b->qs + 32 * (run / 8) + 16 * (run % 2);
            int shift = run % 8 / 2 * 2;
            float scale = d * (float)(b->scales[run] & 15);
            float min = dmin * (float)(b->scales[run] >> 4);
            for (int j = 0; j < 16; j++)
                dst[j] = scale * (float)(qs[j] >> shift & 3) - min;
        }
    }
}

void gs_decode_q3_k_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_q3_k *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = gs_block_f16(b->d);
        for (int run = 0; run < 16; run++, dst += 16) {
            const uint8_t *qs = b->qs + 32 * (run / 8) + 16 * (run % 2);
            const uint8_t *high = b->hmask + 16 * (run % 2);
            int shift = run % 8 / 2 * 2, plane = run / 2;
            int s = (b->scales[run % 8] >> 4 * (run / 8) & 15) |
                    (b->scales[8 + run % 4] >> 2 * (run / 4) & 3) << 4;
            float scale = d * (float)(s - 32);
            for (int j = 0; j < 16; j++) {
                int q = (qs[j] >> shift & 3) | (high[j] >> plane & 1) << 2;
                dst[j] = scale * (float)(q - 4);
            }
        }
    }
}

void gs_decode_q4_k_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_q4_k *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = gs_block_f16(b->d), dmin = gs_block_f16(b->dmin);
        for (int run = 0; run < 8; run++, dst += 32) {
            const uint8_t *qs = b->qs + 32 * (run / 2);
            int s, m;
            gs_k4_scale_min(b->scales, run, &s, &m);
            float scale = d * (float)s, min = dmin * (float)m;
            for (int j = 0; j < 32; j++)
                dst[j] = scale * (float)(qs[j] >> 4 * (run % 2) & 15) - min;
        }
    }
}

void gs_decode_q5_k_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_q5_k *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = gs_block_f16(b->d), dmin = gs_block_f16(b->dmin);
        for (int run = 0; run < 8; run++, dst += 32) {
            const uint8_t *qs = b->qs + 32 * (run / 2);
            int s, m;
            gs_k4_scale_min(b->scales, run, &s, &m);
            float scale = d * (float)s, min = dmin * (float)m;
            for (int j = 0; j < 32; j++) {
                int q = (qs[j] >> 4 * (run % 2) & 15) | (b->qh[j] >> run & 1) << 4;
                dst[j] = scale * (float)q - min;
            }
        }
    }
}

void gs_decode_q6_k_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_q6_k *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = gs_block_f16(b->d);
        for (int run = 0; run < 8; run++, dst += 32) {
            const uint8_t *ql = b->ql + 64 * (run / 4) + 32 * (run % 2);
            const uint8_t *qh = b->qh + 32 * (run / 4);
            for (int j = 0; j < 32; j++) {
                int q = (ql[j] >> 4 * (run % 4 / 2) & 15) | (qh[j] >> 2 * (run % 4) & 3) << 4;
                dst[j] = d * (float)b->scales[2 * run + j / 16] * (float)(q - 32);
            }
        }
    }
}

void gs_decode_q8_k_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_q8_k *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 256) {
        float d = gs_load_f32(b->d);
        for (int j = 0; j < 256; j++)
            dst[j] = d * (float)b->qs[j];
    }
}

/* The first `digits` base-3 digits of each of `bytes` bytes, digit by digit. */
static float *ternary_run(const uint8_t *qs, int bytes, int digits, float d, float *dst)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};

    for (int k = 0; k < digits; k++)
        for (int j = 0; j < bytes; j++) {
            uint8_t fraction = (uint8_t)(qs[j] * power[k]);
            *dst++ = (float)((fraction * 3 >> 8) - 1) * d;
        }
    return dst;
}

void gs_decode_tq1_0_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_tq1_0 *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = gs_block_f16(b->d);
        dst = ternary_run(b->qs, 32, 5, d, dst);
        dst = ternary_run(b->qs + 32, 16, 5, d, dst);
        dst = ternary_run(b->qh, 4, 4, d, dst);
    }
}

void gs_decode_tq2_0_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_tq2_0 *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = gs_block_f16(b->d);
        for (int run = 0; run < 8; run++, dst += 32) {
            const uint8_t *qs = b->qs + 32 * (run / 4);
            for (int j = 0; j < 32; j++)
                dst[j] = (float)((qs[j] >> 2 * (run % 4) & 3) - 1) * d;
        }
    }
}
