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

void gs_decode_iq2_xxs_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq2_xxs *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        for (int run = 0; run < 8; run++) {
            const uint8_t *index = b->qs + 8 * run;
            uint32_t rest;
            memcpy(&rest, index + 4, 4);
            float scale = d * (0.5f + (float)(rest >> 28)) * 0.25f;
            for (int l = 0; l < 4; l++, dst += 8)
                put_iq2(scale, gs_iq2_xxs_grid[index[l]], gs_iq_signs(rest >> 7 * l & 127), dst);
        }
    }
}

void gs_decode_iq2_xs_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq2_xs *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            unsigned s = b->scales[l / 4] >> 4 * (l / 2 % 2) & 15;
            unsigned q = b->qs[2 * l] | (unsigned)b->qs[2 * l + 1] << 8;
            put_iq2(d * (0.5f + (float)s) * 0.25f, gs_iq2_xs_grid[q & 511], gs_iq_signs(q >> 9),
                    dst);
        }
    }
}

void gs_decode_iq2_s_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq2_s *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            unsigned s = b->scales[l / 4] >> 4 * (l / 2 % 2) & 15;
            unsigned index = b->qs[l] | (b->qh[l / 4] >> 2 * (l % 4) & 3u) << 8;
            put_iq2(d * (0.5f + (float)s) * 0.25f, gs_iq2_s_grid[index], b->signs[l], dst);
        }
    }
}

void gs_decode_iq3_xxs_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq3_xxs *b = src;
    __m128i levels = _mm_loadl_epi64((const __m128i *)gs_iq3_xxs_levels);

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            uint32_t rest;
            memcpy(&rest, b->signs + l / 4 * 4, 4);
            __m128i q = spread3(gs_iq3_xxs_grid[b->qs[2 * l]], gs_iq3_xxs_grid[b->qs[2 * l + 1]]);
            q = negate(_mm_shuffle_epi8(levels, q), gs_iq_signs(rest >> 7 * (l % 4) & 127));
            put8(q, _mm256_set1_ps(d * (0.5f + (float)(rest >> 28)) * 0.5f), dst);
        }
    }
}

void gs_decode_iq3_s_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq3_s *b = src;
    __m128i levels = _mm_loadl_epi64((const __m128i *)gs_iq3_s_levels);

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            unsigned s = b->scales[l / 8] >> 4 * (l / 4 % 2) & 15;
            unsigned high = b->qh[l / 4] >> 2 * (l % 4);
            __m128i q = spread3(gs_iq3_s_grid[b->qs[2 * l] | (high & 1) << 8],
                                gs_iq3_s_grid[b->qs[2 * l + 1] | (high >> 1 & 1) << 8]);
            q = negate(_mm_shuffle_epi8(levels, q), b->signs[l]);
            put8(q, _mm256_set1_ps(d * (float)(1 + 2 * s)), dst);
        }
    }
}

/* dst[j] = scale (level + shift), each rounded. */
static GS_ALWAYS_INLINE void put_iq1(float scale, float shift, unsigned point, float *dst)
{
    __m256 level = floats8(_mm_sub_epi8(spread2(point), _mm_set1_epi8(1)));

    _mm256_storeu_ps(dst, _mm256_mul_ps(_mm256_set1_ps(scale),
                                        _mm256_add_ps(level, _mm256_set1_ps(shift))));
}

void gs_decode_iq1_s_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq1_s *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            unsigned high = b->qh[l / 4 * 2] | (unsigned)b->qh[l / 4 * 2 + 1] << 8;
            unsigned index = b->qs[l] | (high >> 3 * (l % 4) & 7) << 8;
            put_iq1(d * (float)(2 * (high >> 12 & 7) + 1), high & 0x8000 ? -0.125f : 0.125f,
                    gs_iq1_grid[index], dst);
        }
    }
}

void gs_decode_iq1_m_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq1_m *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        uint16_t word[4];
        memcpy(word, b->scales, 8);
        unsigned d16 = word[0] >> 12 | (word[1] >> 12) << 4 | (word[2] >> 12) << 8 |
                       (word[3] >> 12) << 12;
        float d = _cvtsh_ss((uint16_t)d16);
        for (int l = 0; l < 32; l++, dst += 8) {
            unsigned high = b->qh[l / 2] >> 4 * (l % 2);
            unsigned s = word[l / 8] >> 3 * (l / 2 % 4) & 7u;
            put_iq1(d * (float)(2 * s + 1), high & 8 ? -0.125f : 0.125f,
                    gs_iq1_grid[b->qs[l] | (high & 7) << 8], dst);
        }
    }
}
