/* SPDX-License-Identifier: MIT
 * Stored types as codes (int8.h): points of grids, ternary, binary and FP4 weights.
 *
 * Grid points are loaded as whole bytes from tables of their own, 1 to 16 KiB; sign bits become
 * masks: u = top + ((g ^ mask) − mask). Scales of a block's runs are made eight at a time. */
#include "kernels/blocks.h"
#include "kernels/grids.h"
#include "kernels/put_codes_avx2.h"
#include "kernels/viterbi.h"

/* ---- points ------------------------------------------------------------------------------- */

/* Coordinate i of a point of grids.h in its place: as a number, as its level. */
#define NUMBER2(p, i) ((uint64_t)((p) >> 2 * (i)&3) << 8 * (i))
#define NUMBER3(p, i) ((p) >> 3 * (i)&7)
#define LEVEL2(p, i)                                                                           \
    ((uint64_t)(((p) >> 2 * (i)&3) == 0 ? 8 : ((p) >> 2 * (i)&3) == 1 ? 25 : 43) << 8 * (i))
#define LEVEL3_XXS(p, i) ((uint32_t)(NUMBER3(p, i) == 7 ? 62 : 8 * NUMBER3(p, i) + 4) << 8 * (i))
#define LEVEL3_S(p, i) ((uint32_t)(2 * NUMBER3(p, i) + 1) << 8 * (i))
#define FOUR(f, p) (f(p, 0) | f(p, 1) | f(p, 2) | f(p, 3))
#define EIGHT(f, p) (FOUR(f, p) | f(p, 4) | f(p, 5) | f(p, 6) | f(p, 7))

static const uint64_t iq2_xxs_points[256] = {
#define IQ2_XXS(point) EIGHT(LEVEL2, point),
#include "kernels/grids.def"
};

static const uint64_t iq2_xs_points[512] = {
#define IQ2_XS(point) EIGHT(LEVEL2, point),
#include "kernels/grids.def"
};

static const uint64_t iq2_s_points[1024] = {
#define IQ2_S(point) EIGHT(LEVEL2, point),
#include "kernels/grids.def"
};

static const uint64_t iq1_points[2048] = {
#define IQ1(point) EIGHT(NUMBER2, point),
#include "kernels/grids.def"
};

static const uint32_t iq3_xxs_points[256] = {
#define IQ3_XXS(point) FOUR(LEVEL3_XXS, point),
#include "kernels/grids.def"
};

static const uint32_t iq3_s_points[512] = {
#define IQ3_S(point) FOUR(LEVEL3_S, point),
#include "kernels/grids.def"
};

/* 1 or −1 for each of eight weights by seven bits, an even number of minuses. */
#define SIGN(b, i) ((uint64_t)((b) >> (i)&1 ? 255 : 1) << 8 * (i))
#define HALF_ODD(b) ((b) ^ (b) >> 1 ^ (b) >> 2 ^ (b) >> 3)
#define SIGNS(b) FOUR(SIGN, b) | SIGN(b, 4) | SIGN(b, 5) | SIGN(b, 6) | \
    SIGN(((HALF_ODD(b) ^ HALF_ODD((b) >> 4)) & 1) << 7, 7)
#define SIGNS4(b) SIGNS(b), SIGNS((b) + 1), SIGNS((b) + 2), SIGNS((b) + 3)
#define SIGNS16(b) SIGNS4(b), SIGNS4((b) + 4), SIGNS4((b) + 8), SIGNS4((b) + 12)
#define SIGNS64(b) SIGNS16(b), SIGNS16((b) + 16), SIGNS16((b) + 32), SIGNS16((b) + 48)

static const uint64_t even_signs[128] = {SIGNS64(0), SIGNS64(64)};

/* ---- steps -------------------------------------------------------------------------------- */

static GS_ALWAYS_INLINE __m256i four_words(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return _mm256_set_epi64x((long long)d, (long long)c, (long long)b, (long long)a);
}

/* top ± g for 32 levels, minus where a bit of `signs` is set. */
static GS_ALWAYS_INLINE __m256i signed_codes(__m256i g, int top, uint32_t signs)
{
    const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202,
                                              0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i minus = _mm256_shuffle_epi8(_mm256_set1_epi32((int)signs), spread);

    minus = _mm256_cmpeq_epi8(_mm256_and_si256(minus, bit), bit);
    g = _mm256_sub_epi8(_mm256_xor_si256(g, minus), minus);
    return _mm256_add_epi8(g, _mm256_set1_epi8((char)top));
}

/* Eight points of four weights. */
static GS_ALWAYS_INLINE __m256i eight_points(const uint32_t *points, const unsigned at[8])
{
    return _mm256_setr_epi32((int)points[at[0]], (int)points[at[1]], (int)points[at[2]],
                             (int)points[at[3]], (int)points[at[4]], (int)points[at[5]],
                             (int)points[at[6]], (int)points[at[7]]);
}

/* Eight numbers, each to the two groups of its run. */
static GS_ALWAYS_INLINE void put_runs(__m256 v, float *to)
{
    __m256 a = _mm256_unpacklo_ps(v, v), b = _mm256_unpackhi_ps(v, v);

    _mm256_storeu_ps(to, _mm256_permute2f128_ps(a, b, 0x20));
    _mm256_storeu_ps(to + 8, _mm256_permute2f128_ps(a, b, 0x31));
}

/* Scales d · (s + 1/2) · factor of eight runs with the minima top times these. */
static GS_ALWAYS_INLINE void put_half_steps(const uint8_t *d16, __m256i s, float factor, float top,
                                            float *d, float *m)
{
    __m256 v = _mm256_add_ps(_mm256_set1_ps(0.5f), _mm256_cvtepi32_ps(s));

    v = _mm256_mul_ps(_mm256_mul_ps(scale_at(d16), v), _mm256_set1_ps(factor));
    put_runs(v, d);
    put_runs(_mm256_mul_ps(_mm256_set1_ps(top), v), m);
}

/* top ± g for 32 levels, by signs of ±1. */
static GS_ALWAYS_INLINE __m256i times_signs(__m256i g, int top, __m256i signs)
{
    return _mm256_add_epi8(_mm256_sign_epi8(g, signs), _mm256_set1_epi8((char)top));
}

/* Signs for four times eight weights by four times seven bits. */
static GS_ALWAYS_INLINE __m256i four_signs(uint32_t bits)
{
    return four_words(even_signs[bits & 127], even_signs[bits >> 7 & 127],
                      even_signs[bits >> 14 & 127], even_signs[bits >> 21 & 127]);
}

void gs_unpack_iq2_xxs_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq2_xxs *b = src;
    const uint64_t *points = iq2_xxs_points;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        __m256 odd = _mm256_shuffle_ps(_mm256_castsi256_ps(load32(b->qs)),
                                       _mm256_castsi256_ps(load32(b->qs + 32)), 0xdd);
        __m256i rests = _mm256_permute4x64_epi64(_mm256_castps_si256(odd), 0xd8);
        put_half_steps(b->d, _mm256_srli_epi32(rests, 28), 0.25f, 43, d, m);
        for (int run = 0; run < 8; run++, u += 32) {
            const uint8_t *index = b->qs + 8 * run;
            uint32_t rest;
            memcpy(&rest, index + 4, 4);
            __m256i g = four_words(points[index[0]], points[index[1]], points[index[2]],
                                   points[index[3]]);
            store32(u, times_signs(g, 43, four_signs(rest)));
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
    const uint64_t *points = iq2_xs_points;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        put_nibbles(b->d, b->scales, d, m);
        for (int run = 0; run < 8; run++, u += 32) {
            uint64_t q;
            memcpy(&q, b->qs + 8 * run, 8);
            __m256i g = four_words(points[q & 511], points[q >> 16 & 511], points[q >> 32 & 511],
                                   points[q >> 48 & 511]);
            __m256i signs = four_words(even_signs[q >> 9 & 127], even_signs[q >> 25 & 127],
                                       even_signs[q >> 41 & 127], even_signs[q >> 57]);
            store32(u, times_signs(g, 43, signs));
        }
    }
}

void gs_unpack_iq2_s_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq2_s *b = src;
    const uint64_t *points = iq2_s_points;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        put_nibbles(b->d, b->scales, d, m);
        for (int run = 0; run < 8; run++, u += 32) {
            const uint8_t *qs = b->qs + 4 * run;
            unsigned high = b->qh[run];
            uint32_t signs;
            memcpy(&signs, b->signs + 4 * run, 4);
            __m256i g = four_words(points[qs[0] | (high << 8 & 0x300)],
                                   points[qs[1] | (high << 6 & 0x300)],
                                   points[qs[2] | (high << 4 & 0x300)],
                                   points[qs[3] | (high << 2 & 0x300)]);
            store32(u, signed_codes(g, 43, signs));
        }
    }
}

void gs_unpack_iq3_xxs_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq3_xxs *b = src;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        put_half_steps(b->d, _mm256_srli_epi32(load32(b->signs), 28), 0.5f, 62, d, m);
        for (int run = 0; run < 8; run++, u += 32) {
            const uint8_t *qs = b->qs + 8 * run;
            const unsigned at[8] = {qs[0], qs[1], qs[2], qs[3], qs[4], qs[5], qs[6], qs[7]};
            uint32_t rest;
            memcpy(&rest, b->signs + 4 * run, 4);
            store32(u, times_signs(eight_points(iq3_xxs_points, at), 62, four_signs(rest)));
        }
    }
}

void gs_unpack_iq3_s_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq3_s *b = src;
    const __m256i nibble = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        int32_t packed;
        memcpy(&packed, b->scales, 4);
        __m256i s = _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(packed), nibble),
                                     _mm256_set1_epi32(15));
        s = _mm256_add_epi32(_mm256_add_epi32(s, s), _mm256_set1_epi32(1));
        __m256 v = _mm256_mul_ps(scale_at(b->d), _mm256_cvtepi32_ps(s));
        put_runs(v, d);
        put_runs(_mm256_mul_ps(_mm256_set1_ps(15), v), m);
        for (int run = 0; run < 8; run++, u += 32) {
            const uint8_t *qs = b->qs + 8 * run;
            unsigned high = b->qh[run], at[8];
            uint32_t signs;
            memcpy(&signs, b->signs + 4 * run, 4);
            GS_UNROLL for (int l = 0; l < 8; l++)
                at[l] = qs[l] | (high << (8 - l) & 256);
            store32(u, signed_codes(eight_points(iq3_s_points, at), 15, signs));
        }
    }
}

void gs_unpack_iq1_s_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq1_s *b = src;
    const uint64_t *points = iq1_points;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        __m256i words = _mm256_cvtepu16_epi32(load16(b->qh));
        __m256i s = _mm256_and_si256(_mm256_srli_epi32(words, 12), _mm256_set1_epi32(7));
        s = _mm256_add_epi32(_mm256_add_epi32(s, s), _mm256_set1_epi32(1));
        __m256 v = _mm256_mul_ps(scale_at(b->d), _mm256_cvtepi32_ps(s));
        __m256 shift = _mm256_blendv_ps(_mm256_set1_ps(0.875f), _mm256_set1_ps(1.125f),
                                        _mm256_castsi256_ps(_mm256_slli_epi32(words, 16)));
        put_runs(v, d);
        put_runs(_mm256_mul_ps(v, shift), m);
        for (int run = 0; run < 8; run++, u += 32) {
            const uint8_t *qs = b->qs + 4 * run;
            unsigned high = b->qh[2 * run] | (unsigned)b->qh[2 * run + 1] << 8;
            store32(u, four_words(points[qs[0] | (high << 8 & 0x700)],
                                  points[qs[1] | (high << 5 & 0x700)],
                                  points[qs[2] | (high << 2 & 0x700)],
                                  points[qs[3] | (high >> 1 & 0x700)]));
        }
    }
}

/* Eight weights of IQ1_M, with 3 bits of index and the shift in `high`. */
static GS_ALWAYS_INLINE uint64_t iq1_m_codes(unsigned qs, unsigned high)
{
    return 8 * iq1_points[qs | (high & 7) << 8] + 0x0101010101010101u * (~high >> 2 & 2);
}

/* The scales of IQ1_M: sixteen times 3 bits in four words, whose top nibbles are d. */
static GS_ALWAYS_INLINE void put_iq1_m(const uint8_t scales[8], float *d, float *m)
{
    const __m256i field = _mm256_setr_epi32(0, 3, 6, 9, 0, 3, 6, 9);
    uint16_t word[4];
    memcpy(word, scales, 8);
    unsigned d16 = word[0] >> 12 | (word[1] >> 12) << 4 | (word[2] >> 12) << 8 |
                   (word[3] >> 12) << 12;
    __m256 scale = _mm256_set1_ps(_cvtsh_ss((uint16_t)d16));

    for (int h = 0; h < 2; h++) {
        __m256i s = _mm256_setr_m128i(_mm_set1_epi32(word[2 * h]), _mm_set1_epi32(word[2 * h + 1]));
        s = _mm256_and_si256(_mm256_srlv_epi32(s, field), _mm256_set1_epi32(7));
        s = _mm256_add_epi32(_mm256_add_epi32(s, s), _mm256_set1_epi32(1));
        __m256 v = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(s));
        v = _mm256_mul_ps(v, _mm256_set1_ps(0.125f));
        _mm256_storeu_ps(d + 8 * h, v);
        _mm256_storeu_ps(m + 8 * h, _mm256_mul_ps(_mm256_set1_ps(9), v));
    }
}

void gs_unpack_iq1_m_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq1_m *b = src;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        put_iq1_m(b->scales, d, m);
        for (int g = 0; g < 16; g += 2, u += 32)
            store32(u, four_words(iq1_m_codes(b->qs[2 * g], b->qh[g]),
                                  iq1_m_codes(b->qs[2 * g + 1], b->qh[g] >> 4),
                                  iq1_m_codes(b->qs[2 * g + 2], b->qh[g + 1]),
                                  iq1_m_codes(b->qs[2 * g + 3], b->qh[g + 1] >> 4)));
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
    const uint64_t threes = 0x0303030303030303u;

    for (; n > 0; n -= 64, b++) {
        put_groups(4, half_at(b->d), half_at(b->d), &d, &m);
        for (int run = 0; run < 2; run++, u += 32) {
            uint64_t q;
            memcpy(&q, b->qs + 8 * run, 8);
            store32(u, four_words(_pdep_u64(q, threes), _pdep_u64(q >> 16, threes),
                                  _pdep_u64(q >> 32, threes), _pdep_u64(q >> 48, threes)));
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
