/* SPDX-License-Identifier: MIT
 * Stored types as codes (int8.h): points of grids, ternary, binary and FP4 weights.
 *
 * A packed grid point is spread to a level number a byte by pdep, a byte shuffle looks the
 * levels up, sign bits become masks: u = top + ((g ^ mask) − mask). */
#include "kernels/blocks.h"
#include "kernels/grids.h"
#include "kernels/put_codes_avx2.h"
#include "kernels/viterbi.h"

static GS_ALWAYS_INLINE uint64_t spread2(unsigned point)
{
    return _pdep_u64(point, 0x0303030303030303u);
}

/* Two points of four numbers. */
static GS_ALWAYS_INLINE uint64_t spread3(unsigned first, unsigned second)
{
    return _pdep_u64(first | (uint64_t)second << 12, 0x0707070707070707u);
}

static GS_ALWAYS_INLINE __m256i four_words(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return _mm256_set_epi64x((long long)d, (long long)c, (long long)b, (long long)a);
}

/* top ± level for 32 level numbers, minus where a bit of `signs` is set. */
static GS_ALWAYS_INLINE __m256i signed_codes(__m256i numbers, __m256i levels, int top,
                                             uint32_t signs)
{
    const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202,
                                              0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i g = _mm256_shuffle_epi8(levels, numbers);
    __m256i minus = _mm256_shuffle_epi8(_mm256_set1_epi32((int)signs), spread);

    minus = _mm256_cmpeq_epi8(_mm256_and_si256(minus, bit), bit);
    g = _mm256_sub_epi8(_mm256_xor_si256(g, minus), minus);
    return _mm256_add_epi8(g, _mm256_set1_epi8((char)top));
}

static GS_ALWAYS_INLINE __m256i iq2_codes(uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                                          uint32_t signs)
{
    const __m256i levels = _mm256_set1_epi32(8 | 25 << 8 | 43 << 16);

    return signed_codes(four_words(a, b, c, d), levels, 43, signs);
}

/* Four times seven bits of signs, each with the eighth that makes their number even. */
static GS_ALWAYS_INLINE uint32_t four_signs(uint32_t bits28)
{
    uint32_t s = _pdep_u32(bits28, 0x7f7f7f7fu), parity = s ^ s >> 4;

    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return s | (parity & 0x01010101u) << 7;
}

void gs_unpack_iq2_xxs_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq2_xxs *b = src;
    const uint16_t *grid = gs_iq2_xxs_grid;

    for (; n > 0; n -= 256, b++) {
        float scale = half_at(b->d);
        for (int run = 0; run < 8; run++, u += 32) {
            const uint8_t *index = b->qs + 8 * run;
            uint32_t rest;
            memcpy(&rest, index + 4, 4);
            float s = scale * (0.5f + (float)(rest >> 28)) * 0.25f;
            put_pair(s, 43 * s, &d, &m);
            store32(u, iq2_codes(spread2(grid[index[0]]), spread2(grid[index[1]]),
                                 spread2(grid[index[2]]), spread2(grid[index[3]]),
                                 four_signs(rest & 0x0fffffffu)));
        }
    }
}

/* Scales of IQ2_XS and IQ2_S: a nibble for every group. */
static GS_ALWAYS_INLINE void put_nibbles(const uint8_t d16[2], const uint8_t scales[8], float *d,
                                         float *m)
{
    uint64_t s;
    memcpy(&s, scales, 8);
    __m128i both = _mm_unpacklo_epi8(
        _mm_cvtsi64_si128((long long)(s & 0x0f0f0f0f0f0f0f0fu)),
        _mm_cvtsi64_si128((long long)(s >> 4 & 0x0f0f0f0f0f0f0f0fu)));

    for (int h = 0; h < 2; h++, both = _mm_srli_si128(both, 8)) {
        __m256 v = _mm256_add_ps(_mm256_set1_ps(0.5f), floats8(both));
        v = _mm256_mul_ps(_mm256_mul_ps(scale_at(d16), v), _mm256_set1_ps(0.25f));
        _mm256_storeu_ps(d + 8 * h, v);
        _mm256_storeu_ps(m + 8 * h, _mm256_mul_ps(_mm256_set1_ps(43), v));
    }
}

void gs_unpack_iq2_xs_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq2_xs *b = src;
    const uint16_t *grid = gs_iq2_xs_grid;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        put_nibbles(b->d, b->scales, d, m);
        for (int run = 0; run < 8; run++, u += 32) {
            uint64_t q;
            memcpy(&q, b->qs + 8 * run, 8);
            store32(u, iq2_codes(spread2(grid[q & 511]), spread2(grid[q >> 16 & 511]),
                                 spread2(grid[q >> 32 & 511]), spread2(grid[q >> 48 & 511]),
                                 four_signs((uint32_t)_pext_u64(q, 0xfe00fe00fe00fe00u))));
        }
    }
}

void gs_unpack_iq2_s_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq2_s *b = src;
    const uint16_t *grid = gs_iq2_s_grid;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        put_nibbles(b->d, b->scales, d, m);
        for (int run = 0; run < 8; run++, u += 32) {
            const uint8_t *qs = b->qs + 4 * run;
            unsigned high = b->qh[run];
            uint32_t signs;
            memcpy(&signs, b->signs + 4 * run, 4);
            store32(u, iq2_codes(spread2(grid[qs[0] | (high << 8 & 0x300)]),
                                 spread2(grid[qs[1] | (high << 6 & 0x300)]),
                                 spread2(grid[qs[2] | (high << 4 & 0x300)]),
                                 spread2(grid[qs[3] | (high << 2 & 0x300)]), signs));
        }
    }
}

void gs_unpack_iq3_xxs_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq3_xxs *b = src;
    const uint16_t *grid = gs_iq3_xxs_grid;
    const __m256i levels = _mm256_broadcastsi128_si256(_mm_loadl_epi64((const void *)gs_iq3_xxs_levels));

    for (; n > 0; n -= 256, b++) {
        float scale = half_at(b->d);
        for (int run = 0; run < 8; run++, u += 32) {
            const uint8_t *qs = b->qs + 8 * run;
            uint32_t rest;
            memcpy(&rest, b->signs + 4 * run, 4);
            float s = scale * (0.5f + (float)(rest >> 28)) * 0.5f;
            put_pair(s, 62 * s, &d, &m);
            __m256i numbers = four_words(
                spread3(grid[qs[0]], grid[qs[1]]), spread3(grid[qs[2]], grid[qs[3]]),
                spread3(grid[qs[4]], grid[qs[5]]), spread3(grid[qs[6]], grid[qs[7]]));
            store32(u, signed_codes(numbers, levels, 62, four_signs(rest & 0x0fffffffu)));
        }
    }
}

/* The level numbers of points l and l + 1 of IQ3_S, whose ninth index bits are in `high`. */
static GS_ALWAYS_INLINE uint64_t iq3_s_pair(const uint8_t *qs, unsigned high, int l)
{
    return spread3(gs_iq3_s_grid[qs[l] | (high >> l & 1) << 8],
                   gs_iq3_s_grid[qs[l + 1] | (high >> (l + 1) & 1) << 8]);
}

void gs_unpack_iq3_s_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq3_s *b = src;
    const __m256i levels = _mm256_broadcastsi128_si256(_mm_loadl_epi64((const void *)gs_iq3_s_levels));

    for (; n > 0; n -= 256, b++) {
        float scale = half_at(b->d);
        for (int run = 0; run < 8; run++, u += 32) {
            const uint8_t *qs = b->qs + 8 * run;
            unsigned high = b->qh[run];
            uint32_t signs;
            memcpy(&signs, b->signs + 4 * run, 4);
            float s = scale * (float)(1 + 2 * (b->scales[run / 2] >> 4 * (run % 2) & 15));
            put_pair(s, 15 * s, &d, &m);
            __m256i numbers = four_words(iq3_s_pair(qs, high, 0), iq3_s_pair(qs, high, 2),
                                         iq3_s_pair(qs, high, 4), iq3_s_pair(qs, high, 6));
            store32(u, signed_codes(numbers, levels, 15, signs));
        }
    }
}

void gs_unpack_iq1_s_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq1_s *b = src;
    const uint16_t *grid = gs_iq1_grid;

    for (; n > 0; n -= 256, b++) {
        float scale = half_at(b->d);
        for (int run = 0; run < 8; run++, u += 32) {
            const uint8_t *qs = b->qs + 4 * run;
            unsigned high = b->qh[2 * run] | (unsigned)b->qh[2 * run + 1] << 8;
            float s = scale * (float)(2 * (high >> 12 & 7) + 1);
            put_pair(s, s * (high & 0x8000 ? 1.125f : 0.875f), &d, &m);
            store32(u, four_words(spread2(grid[qs[0] | (high << 8 & 0x700)]),
                                  spread2(grid[qs[1] | (high << 5 & 0x700)]),
                                  spread2(grid[qs[2] | (high << 2 & 0x700)]),
                                  spread2(grid[qs[3] | (high >> 1 & 0x700)])));
        }
    }
}

/* Eight weights of IQ1_M, with 3 bits of index and the shift in `high`. */
static GS_ALWAYS_INLINE uint64_t iq1_m_codes(unsigned qs, unsigned high)
{
    uint64_t levels = _pdep_u64(gs_iq1_grid[qs | (high & 7) << 8], 0x1818181818181818u);

    return levels + (high & 8 ? 0 : 0x0202020202020202u);
}

void gs_unpack_iq1_m_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq1_m *b = src;

    for (; n > 0; n -= 256, b++) {
        uint16_t word[4];
        memcpy(word, b->scales, 8);
        unsigned d16 = word[0] >> 12 | (word[1] >> 12) << 4 | (word[2] >> 12) << 8 |
                       (word[3] >> 12) << 12;
        float scale = _cvtsh_ss((uint16_t)d16);
        for (int g = 0; g < 16; g++, u += 16) {
            float s = scale * (float)(2 * (word[g / 4] >> 3 * (g % 4) & 7) + 1) / 8;
            uint64_t first = iq1_m_codes(b->qs[2 * g], b->qh[g]);
            uint64_t second = iq1_m_codes(b->qs[2 * g + 1], b->qh[g] >> 4);
            memcpy(u, &first, 8);
            memcpy(u + 8, &second, 8);
            *d++ = s;
            *m++ = 9 * s;
        }
    }
}

/* ---- ternary, binary and FP4 ------------------------------------------------------------ */

/* The same scale and minimum for `groups` groups. */
static GS_ALWAYS_INLINE void put_groups(size_t groups, float scale, float min, float **d,
                                        float **m)
{
    for (; groups > 0; groups--) {
        *(*d)++ = scale;
        *(*m)++ = min;
    }
}

/* The leading base-3 digit of 16 fractions. */
static GS_ALWAYS_INLINE __m128i leading_digit(__m128i v)
{
    const __m128i low = _mm_set1_epi16(255), three = _mm_set1_epi16(3);
    __m128i even = _mm_srli_epi16(_mm_mullo_epi16(_mm_and_si128(v, low), three), 8);
    __m128i odd = _mm_srli_epi16(_mm_mullo_epi16(_mm_srli_epi16(v, 8), three), 8);

    return _mm_or_si128(even, _mm_slli_epi16(odd, 8));
}

/* 3 v in bytes. */
static GS_ALWAYS_INLINE __m128i thrice(__m128i v)
{
    return _mm_add_epi8(v, _mm_add_epi8(v, v));
}

void gs_unpack_tq1_0_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_tq1_0 *b = src;

    for (; n > 0; n -= 256, b++, u += 256) {
        __m128i v[4] = {load16(b->qs), load16(b->qs + 16), load16(b->qs + 32)};
        int32_t rest;
        memcpy(&rest, b->qh, 4);
        v[3] = _mm_cvtsi32_si128(rest);
        put_groups(16, half_at(b->d), half_at(b->d), &d, &m);
        for (int k = 0; k < 5; k++)
            for (int i = 0; i < 3; i++) {
                int at = i < 2 ? 32 * k + 16 * i : 160 + 16 * k;
                _mm_storeu_si128((void *)(u + at), leading_digit(v[i]));
                v[i] = thrice(v[i]);
            }
        for (int k = 0; k < 4; k++, v[3] = thrice(v[3])) {
            rest = _mm_cvtsi128_si32(leading_digit(v[3]));
            memcpy(u + 240 + 4 * k, &rest, 4);
        }
    }
}

void gs_unpack_tq2_0_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_tq2_0 *b = src;

    for (; n > 0; n -= 256, b++) {
        put_groups(16, half_at(b->d), half_at(b->d), &d, &m);
        for (int run = 0; run < 8; run++, u += 32)
            store32(u, two_bits(b->qs + 32 * (run / 4), run % 4 * 2));
    }
}

void gs_unpack_q1_0_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q1_0 *b = src;

    for (; n > 0; n -= 128, b++) {
        put_groups(8, 2 * half_at(b->d), half_at(b->d), &d, &m);
        for (int run = 0; run < 4; run++, u += 32)
            store32(u, bit_mask(b->qs + 4 * run, 1));
    }
}

void gs_unpack_q2_0_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q2_0 *b = src;

    for (; n > 0; n -= 64, b++) {
        put_groups(4, half_at(b->d), half_at(b->d), &d, &m);
        for (int run = 0; run < 2; run++, u += 32) {
            uint64_t q;
            memcpy(&q, b->qs + 8 * run, 8);
            store32(u, four_words(spread2(q & 0xffff), spread2(q >> 16 & 0xffff),
                                  spread2(q >> 32 & 0xffff), spread2((unsigned)(q >> 48))));
        }
    }
}

static GS_ALWAYS_INLINE __m256i fp4_codes(__m256i numbers)
{
    return _mm256_add_epi8(_mm256_shuffle_epi8(table16(gs_fp4_values), numbers),
                           _mm256_set1_epi8(12));
}

void gs_unpack_mxfp4_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_mxfp4 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        float scale = gs_e8m0_half(b->e);
        put_pair(scale, 12 * scale, &d, &m);
        store32(u, fp4_codes(nibbles(b->qs)));
    }
}

void gs_unpack_nvfp4_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_nvfp4 *b = src;
    const __m128i low = _mm_set1_epi8(15);

    for (; n > 0; n -= 64, b++)
        for (int run = 0; run < 4; run += 2, u += 32) {
            __m128i q = load16(b->qs + 8 * run), a = _mm_and_si128(q, low);
            __m128i c = _mm_and_si128(_mm_srli_epi16(q, 4), low);
            __m256i numbers = _mm256_setr_m128i(_mm_unpacklo_epi64(a, c),
                                                _mm_unpackhi_epi64(a, c));
            for (int k = 0; k < 2; k++) {
                float scale = gs_e4m3_half(b->d[run + k]);
                put_groups(1, scale, 12 * scale, &d, &m);
            }
            store32(u, fp4_codes(numbers));
        }
}
