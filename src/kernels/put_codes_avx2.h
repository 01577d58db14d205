/* SPDX-License-Identifier: MIT
 * Steps of unpacking to codes that many types share. Only *_avx2.c files include this. */
#ifndef GS_KERNELS_PUT_CODES_AVX2_H
#define GS_KERNELS_PUT_CODES_AVX2_H

#include "kernels/put_avx2.h"

static GS_ALWAYS_INLINE void store32(uint8_t *u, __m256i v)
{
    _mm256_storeu_si256((void *)u, v);
}

/* One scale and minimum for two groups. */
static GS_ALWAYS_INLINE void put_pair(float scale, float min, float **d, float **m)
{
    (*d)[0] = (*d)[1] = scale;
    (*m)[0] = (*m)[1] = min;
    *d += 2;
    *m += 2;
}

/* Bits shift … shift + 1 of each byte. */
static GS_ALWAYS_INLINE __m256i two_bits(const uint8_t *p, int shift)
{
    return _mm256_and_si256(_mm256_srl_epi16(load32(p), _mm_cvtsi32_si128(shift)),
                            _mm256_set1_epi8(3));
}

/* 16 bytes as floats times `scale`, to `out`. */
static GS_ALWAYS_INLINE void scale16(__m128i bytes, float scale, float *out)
{
    __m256 s = _mm256_set1_ps(scale);

    _mm256_storeu_ps(out, _mm256_mul_ps(s, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))));
    bytes = _mm_srli_si128(bytes, 8);
    _mm256_storeu_ps(out + 8, _mm256_mul_ps(s, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))));
}

/* out[i] = scale · in[i] for 16 floats. */
static GS_ALWAYS_INLINE void times16(const float *in, float scale, float *out)
{
    for (int i = 0; i < 16; i += 8)
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_loadu_ps(in + i), _mm256_set1_ps(scale)));
}

#endif
