/* SPDX-License-Identifier: MIT
 * Decoding of floats, integers and the types with blocks of 32 to 128 weights.
 *
 * Equal bit for bit to ggml's dequantize_row_*: products and sums in f32, each rounded,
 * in the order in which blocks.h writes them. Byte order is handled by the loads. */
#include "core/cursor.h"
#include "kernels/blocks.h"
#include "kernels/grids.h"
#include "kernels/scalar.h"

void gs_decode_f32_scalar(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;

    for (size_t i = 0; i < n; i++)
        dst[i] = gs_load_f32(p + 4 * i);
}

void gs_decode_f16_scalar(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;

    for (size_t i = 0; i < n; i++)
        dst[i] = gs_f16_to_f32(gs_load_u16(p + 2 * i));
}

void gs_decode_bf16_scalar(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;

    for (size_t i = 0; i < n; i++)
        dst[i] = gs_bf16_to_f32(gs_load_u16(p + 2 * i));
}

void gs_decode_f64_scalar(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;

    for (size_t i = 0; i < n; i++)
        dst[i] = (float)gs_load_f64(p + 8 * i);
}

void gs_decode_i8_scalar(const void *src, float *dst, size_t n)
{
    const int8_t *p = src;

    for (size_t i = 0; i < n; i++)
        dst[i] = p[i];
}

void gs_decode_i16_scalar(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;

    for (size_t i = 0; i < n; i++)
        dst[i] = (int16_t)gs_load_u16(p + 2 * i);
}

void gs_decode_i32_scalar(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;

    for (size_t i = 0; i < n; i++)
        dst[i] = (float)(int32_t)gs_load_u32(p + 4 * i);
}

void gs_decode_i64_scalar(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;

    for (size_t i = 0; i < n; i++)
        dst[i] = (float)(int64_t)gs_load_u64(p + 8 * i);
}

void gs_decode_q4_0_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_q4_0 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32) {
        float d = gs_block_f16(b->d);
        for (int j = 0; j < 16; j++) {
            dst[j] = (float)((b->qs[j] & 15) - 8) * d;
            dst[j + 16] = (float)((b->qs[j] >> 4) - 8) * d;
        }
    }
}

void gs_decode_q4_1_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_q4_1 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32) {
        float d = gs_block_f16(b->d), m = gs_block_f16(b->m);
        for (int j = 0; j < 16; j++) {
            dst[j] = (float)(b->qs[j] & 15) * d + m;
            dst[j + 16] = (float)(b->qs[j] >> 4) * d + m;
        }
    }
}

void gs_decode_q5_0_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_q5_0 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32) {
        float d = gs_block_f16(b->d);
        uint32_t qh = gs_load_u32(b->qh);
        for (int j = 0; j < 16; j++) {
            int low = (b->qs[j] & 15) | (int)(qh >> j & 1) << 4;
            int high = (b->qs[j] >> 4) | (int)(qh >> (j + 16) & 1) << 4;
            dst[j] = (float)(low - 16) * d;
            dst[j + 16] = (float)(high - 16) * d;
        }
    }
}

void gs_decode_q5_1_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_q5_1 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32) {
        float d = gs_block_f16(b->d), m = gs_block_f16(b->m);
        uint32_t qh = gs_load_u32(b->qh);
        for (int j = 0; j < 16; j++) {
            int low = (b->qs[j] & 15) | (int)(qh >> j & 1) << 4;
            int high = (b->qs[j] >> 4) | (int)(qh >> (j + 16) & 1) << 4;
            dst[j] = (float)low * d + m;
            dst[j + 16] = (float)high * d + m;
        }
    }
}

void gs_decode_q8_0_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_q8_0 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32) {
        float d = gs_block_f16(b->d);
        for (int j = 0; j < 32; j++)
            dst[j] = (float)b->qs[j] * d;
    }
}

void gs_decode_q8_1_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_q8_1 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32) {
        float d = gs_block_f16(b->d);
        for (int j = 0; j < 32; j++)
            dst[j] = (float)b->qs[j] * d;
    }
}

void gs_decode_q1_0_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_q1_0 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 128) {
        float d = gs_block_f16(b->d);
        for (int j = 0; j < 128; j++)
            dst[j] = b->qs[j / 8] >> j % 8 & 1 ? d : -d;
    }
}

void gs_decode_q2_0_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_q2_0 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 64) {
        float d = gs_block_f16(b->d);
        for (int j = 0; j < 64; j++)
            dst[j] = (float)((b->qs[j / 4] >> 2 * (j % 4) & 3) - 1) * d;
    }
}

void gs_decode_mxfp4_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_mxfp4 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32) {
        float d = gs_e8m0_half(b->e);
        for (int j = 0; j < 16; j++) {
            dst[j] = (float)gs_fp4_values[b->qs[j] & 15] * d;
            dst[j + 16] = (float)gs_fp4_values[b->qs[j] >> 4] * d;
        }
    }
}

void gs_decode_nvfp4_scalar(const void *src, float *dst, size_t n)
{
    const struct gs_block_nvfp4 *b = src;

    for (const float *end = dst + n; dst < end; b++)
        for (int run = 0; run < 4; run++, dst += 16) {
            const uint8_t *qs = b->qs + 8 * run;
            float d = gs_e4m3_half(b->d[run]);
            for (int j = 0; j < 8; j++) {
                dst[j] = (float)gs_fp4_values[qs[j] & 15] * d;
                dst[j + 8] = (float)gs_fp4_values[qs[j] >> 4] * d;
            }
        }
}
