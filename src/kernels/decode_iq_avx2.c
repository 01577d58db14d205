/* SPDX-License-Identifier: MIT
 * Decoding for AVX2 and BMI2: the IQ types with grids.
 *
 * A packed grid point is spread to one level number a byte by pdep, a byte shuffle looks
 * the levels up, sign bits are spread the same way and negate the bytes. */
#include "kernels/blocks.h"
#include "kernels/grids.h"
#include "kernels/put_avx2.h"

/* The packed point's level numbers, one a byte. */
static GS_ALWAYS_INLINE __m128i spread2(unsigned point)
{
    return _mm_cvtsi64_si128((long long)_pdep_u64(point, 0x0303030303030303u));
}

/* Two points of four 3-bit numbers. */
static GS_ALWAYS_INLINE __m128i spread3(unsigned first, unsigned second)
{
    uint64_t both = first | (uint64_t)second << 12;

    return _mm_cvtsi64_si128((long long)_pdep_u64(both, 0x0707070707070707u));
}

/* Bytes negated where the bit of `signs` is set: (q ^ m) − m with m = 0 or −1. */
static GS_ALWAYS_INLINE __m128i negate(__m128i q, unsigned signs)
{
    uint64_t ones = _pdep_u64(signs, 0x0101010101010101u);
    __m128i m = _mm_sub_epi8(_mm_setzero_si128(), _mm_cvtsi64_si128((long long)ones));

    return _mm_sub_epi8(_mm_xor_si128(q, m), m);
}

static GS_ALWAYS_INLINE void put_iq2(float scale, unsigned point, unsigned signs, float *dst)
{
    const __m128i levels = _mm_cvtsi32_si128(8 | 25 << 8 | 43 << 16);

    put8(negate(_mm_shuffle_epi8(levels, spread2(point)), signs), _mm256_set1_ps(scale), dst);
}

static GS_ALWAYS_INLINE void put_iq3(const uint8_t *levels, unsigned first, unsigned second,
                                     unsigned signs, float scale, float *dst)
{
    __m128i q = _mm_shuffle_epi8(_mm_loadl_epi64((const __m128i *)levels), spread3(first, second));

    put8(negate(q, signs), _mm256_set1_ps(scale), dst);
}

/* dst[j] = scale (level + shift), each rounded. */
static GS_ALWAYS_INLINE void put_iq1(float scale, float shift, unsigned point, float *dst)
{
    __m256 level = floats8(_mm_sub_epi8(spread2(point), _mm_set1_epi8(1)));

    _mm256_storeu_ps(dst, _mm256_mul_ps(_mm256_set1_ps(scale),
                                        _mm256_add_ps(level, _mm256_set1_ps(shift))));
}

#define ISA(name) name##_avx2
#include "kernels/decode_iq.inc"
