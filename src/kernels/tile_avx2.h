/* SPDX-License-Identifier: MIT
 * Products of bytes at the AVX2 level. Only *_avx2.c files include this. */
#ifndef GS_KERNELS_TILE_AVX2_H
#define GS_KERNELS_TILE_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels/viterbi.h"

/* Adds value · x, four columns to each 32-bit sum. |value| · ±x: pairs stay within 16 bits,
 * for neither is ever −128. */
static inline __m256i add_products(__m256i sum, __m256i value, __m256i x)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(value), _mm256_sign_epi8(x, value));

    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* Four activations in every 32-bit lane. */
static inline __m256i four(const int8_t *x)
{
    int32_t v;

    memcpy(&v, x, sizeof v);
    return _mm256_set1_epi32(v);
}

#endif
