/* SPDX-License-Identifier: MIT
 * Vector helpers of the AVX-512 level. Only *_avx512.c files include this. */
#ifndef GS_KERNELS_LANES_AVX512_H
#define GS_KERNELS_LANES_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "kernels/levels.h"

#define D(type, name) void gs_decode_##name##_avx512(const void *src, float *dst, size_t n);
#include "kernels/decode.def"
#undef D

float gs_dot_f32_avx512(const void *row, const float *x, size_t n);
float gs_dot_f16_avx512(const void *row, const float *x, size_t n);
float gs_dot_bf16_avx512(const void *row, const float *x, size_t n);
float gs_dot_q8_0_avx512(const void *row, const float *x, size_t n);
void gs_mul_f32_avx512(const float *w, size_t w_stride, size_t rows, const float *x,
                       size_t x_stride, size_t cols, size_t n, float *y, size_t y_stride);

/* The first n ≤ 16 elements. */
static GS_ALWAYS_INLINE __mmask16 mask16(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

/* Lanes 0 … 63 in four vectors, folded by halves (kernels.h) down to four lanes. */
static GS_ALWAYS_INLINE __m128 fold4(__m512 a, __m512 b, __m512 c, __m512 d)
{
    a = _mm512_add_ps(_mm512_add_ps(a, c), _mm512_add_ps(b, d));
    __m256 s = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));

    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

/* The last two folds. */
static GS_ALWAYS_INLINE float fold_last(__m128 s)
{
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#endif
