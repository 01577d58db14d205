/* SPDX-License-Identifier: MIT
 * Sums and broadcasts of bytes with AVX2, for the files of that level and above. */
#ifndef GS_KERNELS_TILE_AVX2_H
#define GS_KERNELS_TILE_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels/int8_blocks.h"
#include "kernels/viterbi.h"

/* Four activations in every 32-bit lane. */
static inline __m256i four(const int8_t *x)
{
    int32_t v;

    memcpy(&v, x, sizeof v);
    return _mm256_set1_epi32(v);
}

/* Sums of 16 of a block's 64 bytes, in order. */
static inline __m128i sums_of_groups(const int8_t q[GS_INT8_BLOCK])
{
    const __m256i ones = _mm256_set1_epi8(1), order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);
    __m256i v[2];

    for (size_t i = 0; i < 2; i++)
        v[i] = _mm256_madd_epi16(
            _mm256_maddubs_epi16(ones, _mm256_loadu_si256((const void *)(q + 32 * i))),
            _mm256_set1_epi16(1));
    __m256i sums = _mm256_hadd_epi32(v[0], v[1]);
    sums = _mm256_hadd_epi32(sums, sums);
    return _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(sums, order));
}

/* Fills in sum and, if there are low bytes, group of a block whose largest element is 127
 * `scale`; returns what its scale is then. */
static inline float put_sums(const struct gs_int8 *out, float scale)
{
    __m128i sums = sums_of_groups(out->q);
    __m128i s = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4e));

    *out->sum = _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
    if (!out->low)
        return scale;
    scale /= 256;
    sums = _mm_add_epi32(_mm_slli_epi32(sums, 8), sums_of_groups(out->low));
    _mm_storeu_ps(out->group, _mm_mul_ps(_mm_set1_ps(scale), _mm_cvtepi32_ps(sums)));
    return scale;
}

#endif
