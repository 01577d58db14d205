/* SPDX-License-Identifier: MIT
 * Encoding of floats and Q8_0, as the reference encoder rounds.
 *
 * Outputs are bytes, so dst needs no alignment. */
#include <math.h>

#include "kernels/blocks.h"
#include "kernels/scalar.h"

void gs_encode_f32_scalar(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;

    for (size_t i = 0; i < n; i++)
        gs_put_u32(gs_f32_bits(src[i]), p + 4 * i);
}

void gs_encode_f16_scalar(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;

    for (size_t i = 0; i < n; i++)
        gs_put_f16(src[i], p + 2 * i);
}

void gs_encode_bf16_scalar(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;

    for (size_t i = 0; i < n; i++)
        gs_put_u16(gs_f32_to_bf16(src[i]), p + 2 * i);
}

/* d = max |w| / 127 in f32, stored as f16; q = w (1 / d) with the d that is not yet
 * rounded, to nearest, ties away from zero. NaN becomes 0; what overflows (1 / d is
 * infinite for d below 2^-128) saturates. */
void gs_encode_q8_0_scalar(const float *src, void *dst, size_t n)
{
    struct gs_block_q8_0 *b = dst;

    for (const float *end = src + n; src < end; src += 32, b++) {
        float max = 0.0f;
        for (int j = 0; j < 32; j++)
            max = fabsf(src[j]) > max ? fabsf(src[j]) : max;
        float d = max / 127.0f;
        float inverse = d > 0.0f ? 1.0f / d : 0.0f;
        gs_put_f16(d, b->d);
        for (int j = 0; j < 32; j++) {
            float q = roundf(src[j] * inverse);
            b->qs[j] = q >= 127.0f ? 127 : q <= -127.0f ? -127 : q == q ? (int8_t)q : 0;
        }
    }
}
