/* SPDX-License-Identifier: MIT
 * Steps of decoding that many types share: take small integers out of bytes, put
 * scale · integer as floats. Only *_avx2.c files include this. */
#ifndef GS_KERNELS_PUT_AVX2_H
#define GS_KERNELS_PUT_AVX2_H

#include "kernels/lanes_avx2.h"

static GS_ALWAYS_INLINE __m128i load16(const void *p)
{
    return _mm_loadu_si128(p);
}

static GS_ALWAYS_INLINE __m256i load32(const void *p)
{
    return _mm256_loadu_si256(p);
}

static GS_ALWAYS_INLINE float half_at(const uint8_t *p)
{
    uint16_t bits;

    memcpy(&bits, p, 2);
    return _cvtsh_ss(bits);
}

/* The f16 at p in every lane. */
static GS_ALWAYS_INLINE __m256 scale_at(const uint8_t *p)
{
    return _mm256_set1_ps(half_at(p));
}

/* A table of 16 bytes for _mm256_shuffle_epi8. */
static GS_ALWAYS_INLINE __m256i table16(const void *table)
{
    return _mm256_broadcastsi128_si256(load16(table));
}

/* Halves of 16 bytes: the low nibbles, then the high ones. */
static GS_ALWAYS_INLINE __m256i nibbles(const uint8_t *p)
{
    __m128i q = load16(p);
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(q), _mm_srli_epi16(q, 4), 1);

    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* Byte j is `value` where bit j of the 32 bits at p is set, else 0. */
static GS_ALWAYS_INLINE __m256i bit_mask(const uint8_t *p, int value)
{
    const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202,
                                              0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    int32_t bits;

    memcpy(&bits, p, 4);
    __m256i q = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), spread), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(q, bit), _mm256_set1_epi8((char)value));
}

/* The eight low signed bytes as floats. */
static GS_ALWAYS_INLINE __m256 floats8(__m128i q)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
}

/* dst[j] = scale q[j] for signed bytes q. */
static GS_ALWAYS_INLINE void put8(__m128i q, __m256 scale, float *dst)
{
    _mm256_storeu_ps(dst, _mm256_mul_ps(scale, floats8(q)));
}

static GS_ALWAYS_INLINE void put16(__m128i q, __m256 scale, float *dst)
{
    put8(q, scale, dst);
    put8(_mm_unpackhi_epi64(q, q), scale, dst + 8);
}

static GS_ALWAYS_INLINE void put32(__m256i q, __m256 scale, float *dst)
{
    put16(_mm256_castsi256_si128(q), scale, dst);
    put16(_mm256_extracti128_si256(q, 1), scale, dst + 16);
}

/* dst[j] = scale q[j] + add. The product is exact (17 bits of scale, 5 of q), so fma rounds
 * as product and sum do. */
static GS_ALWAYS_INLINE void put8_add(__m128i q, __m256 scale, __m256 add, float *dst)
{
    _mm256_storeu_ps(dst, _mm256_fmadd_ps(scale, floats8(q), add));
}

static GS_ALWAYS_INLINE void put16_add(__m128i q, __m256 scale, __m256 add, float *dst)
{
    put8_add(q, scale, add, dst);
    put8_add(_mm_unpackhi_epi64(q, q), scale, add, dst + 8);
}

static GS_ALWAYS_INLINE void put32_add(__m256i q, __m256 scale, __m256 add, float *dst)
{
    put16_add(_mm256_castsi256_si128(q), scale, add, dst);
    put16_add(_mm256_extracti128_si256(q, 1), scale, add, dst + 16);
}

#endif
