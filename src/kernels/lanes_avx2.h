/* SPDX-License-Identifier: MIT
 * Vector helpers of the AVX2 level. Only *_avx2.c files include this. */
#ifndef GS_KERNELS_LANES_AVX2_H
#define GS_KERNELS_LANES_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels/levels.h"

#define D(type, name) void gs_decode_##name##_avx2(const void *src, float *dst, size_t n);
#include "kernels/decode.def"
#undef D

float gs_dot_f32_avx2(const void *row, const float *x, size_t n);
float gs_dot_f16_avx2(const void *row, const float *x, size_t n);
float gs_dot_bf16_avx2(const void *row, const float *x, size_t n);
float gs_dot_q8_0_avx2(const void *row, const float *x, size_t n);
void gs_mul_f32_avx2(const float *w, size_t w_stride, size_t rows, const float *x,
                     size_t x_stride, size_t cols, size_t n, float *y, size_t y_stride);

/* The first n < 8 elements. */
static GS_ALWAYS_INLINE __m256 mask8(size_t n)
{
    static const int32_t ones[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

    return _mm256_castsi256_ps(_mm256_loadu_si256((const __m256i *)(ones + 8 - n)));
}

/* Lanes 0 … 63 in eight vectors, folded by halves (kernels.h) down to four lanes. */
static GS_ALWAYS_INLINE __m128 fold8(const __m256 v[8])
{
    __m256 a = _mm256_add_ps(v[0], v[4]), b = _mm256_add_ps(v[1], v[5]);
    __m256 c = _mm256_add_ps(v[2], v[6]), d = _mm256_add_ps(v[3], v[7]);

    a = _mm256_add_ps(_mm256_add_ps(a, c), _mm256_add_ps(b, d));
    return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
}

/* The last two folds. */
static GS_ALWAYS_INLINE float fold_last(__m128 s)
{
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#endif
