/* SPDX-License-Identifier: MIT
 * Stored types as codes (int8.h): those with scales of their own. */
#include "kernels/blocks.h"
#include "kernels/grids.h"
#include "kernels/put_codes_avx2.h"
#include "kernels/viterbi.h"

void gs_unpack_q4_0_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q4_0 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        put_pair(half_at(b->d), half_at(b->d) * 8, &d, &m);
        store32(u, nibbles(b->qs));
    }
}

void gs_unpack_q4_1_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q4_1 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        put_pair(half_at(b->d), -half_at(b->m), &d, &m);
        store32(u, nibbles(b->qs));
    }
}

void gs_unpack_q5_0_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q5_0 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        put_pair(half_at(b->d), half_at(b->d) * 16, &d, &m);
        store32(u, _mm256_or_si256(nibbles(b->qs), bit_mask(b->qh, 16)));
    }
}

void gs_unpack_q5_1_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q5_1 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        put_pair(half_at(b->d), -half_at(b->m), &d, &m);
        store32(u, _mm256_or_si256(nibbles(b->qs), bit_mask(b->qh, 16)));
    }
}

void gs_unpack_q8_0_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q8_0 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        put_pair(half_at(b->d), half_at(b->d) * 128, &d, &m);
        store32(u, _mm256_xor_si256(load32(b->qs), _mm256_set1_epi8(-128)));
    }
}

static GS_ALWAYS_INLINE __m256i iq4_codes(const uint8_t *qs)
{
    return _mm256_xor_si256(_mm256_shuffle_epi8(table16(gs_iq4_values), nibbles(qs)),
                            _mm256_set1_epi8(-128));
}

void gs_unpack_iq4_nl_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq4_nl *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        put_pair(half_at(b->d), half_at(b->d) * 128, &d, &m);
        store32(u, iq4_codes(b->qs));
    }
}

void gs_unpack_iq4_xs_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq4_xs *b = src;

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 8; run++, u += 32) {
            int high = b->scales_h[0] | b->scales_h[1] << 8;
            int s = (b->scales_l[run / 2] >> 4 * (run % 2) & 15) | (high >> 2 * run & 3) << 4;
            float scale = half_at(b->d) * (float)(s - 32);
            put_pair(scale, scale * 128, &d, &m);
            store32(u, iq4_codes(b->qs + 16 * run));
        }
}

void gs_unpack_q2_k_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q2_k *b = src;
    const __m128i low = _mm_set1_epi8(15);

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        __m128i scales = load16(b->scales);
        scale16(_mm_and_si128(scales, low), half_at(b->d), d);
        scale16(_mm_and_si128(_mm_srli_epi16(scales, 4), low), half_at(b->dmin), m);
        for (int run = 0; run < 8; run++, u += 32)
            store32(u, two_bits(b->qs + 32 * (run / 4), run % 4 * 2));
    }
}

/* The sixteen scales of 6 bits, less 32. */
static GS_ALWAYS_INLINE __m128i q3_scales(const uint8_t packed[12])
{
    uint64_t low;
    uint32_t high;
    memcpy(&low, packed, 8);
    memcpy(&high, packed + 8, 4);
    const __m128i shift = _mm_setr_epi32(0, 2, 4, 6);
    __m128i s = _mm_set_epi64x((long long)(low >> 4 & 0x0f0f0f0f0f0f0f0fu),
                               (long long)(low & 0x0f0f0f0f0f0f0f0fu));
    __m128i top = _mm_srlv_epi32(_mm_set1_epi32((int)high), shift);
    top = _mm_slli_epi16(_mm_and_si128(top, _mm_set1_epi8(3)), 4);
    return _mm_sub_epi8(_mm_or_si128(s, top), _mm_set1_epi8(32));
}

void gs_unpack_q3_k_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q3_k *b = src;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        scale16(q3_scales(b->scales), half_at(b->d), d);
        times16(d, 4, m);
        __m256i high = load32(b->hmask);
        for (int run = 0; run < 8; run++, u += 32) {
            __m256i top = _mm256_srl_epi16(high, _mm_cvtsi32_si128(run));
            top = _mm256_slli_epi16(_mm256_and_si256(top, _mm256_set1_epi8(1)), 2);
            store32(u, _mm256_or_si256(two_bits(b->qs + 32 * (run / 4), run % 4 * 2), top));
        }
    }
}

/* The scales and minima of Q4_K and Q5_K, each for two groups. */
static GS_ALWAYS_INLINE void put_k4(const uint8_t scales[12], float scale, float min, float *d,
                                    float *m)
{
    uint32_t a, b, c;
    memcpy(&a, scales, 4);
    memcpy(&b, scales + 4, 4);
    memcpy(&c, scales + 8, 4);
    uint64_t s = (a & 0x3f3f3f3fu) |
                 (uint64_t)((c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u)) << 32;
    uint64_t t = (b & 0x3f3f3f3fu) |
                 (uint64_t)((c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u)) << 32;
    __m128i ss = _mm_cvtsi64_si128((long long)s), tt = _mm_cvtsi64_si128((long long)t);
    scale16(_mm_unpacklo_epi8(ss, ss), scale, d);
    scale16(_mm_unpacklo_epi8(tt, tt), min, m);
}

void gs_unpack_q4_k_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q4_k *b = src;
    const __m256i low = _mm256_set1_epi8(15);

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        put_k4(b->scales, half_at(b->d), half_at(b->dmin), d, m);
        for (int run = 0; run < 4; run++, u += 64) {
            __m256i q = load32(b->qs + 32 * run);
            store32(u, _mm256_and_si256(q, low));
            store32(u + 32, _mm256_and_si256(_mm256_srli_epi16(q, 4), low));
        }
    }
}

void gs_unpack_q5_k_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q5_k *b = src;
    const __m256i low = _mm256_set1_epi8(15), one = _mm256_set1_epi8(1);

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        put_k4(b->scales, half_at(b->d), half_at(b->dmin), d, m);
        __m256i high = load32(b->qh);
        for (int run = 0; run < 8; run++, u += 32) {
            __m256i q = load32(b->qs + 32 * (run / 2));
            __m256i top = _mm256_srl_epi16(high, _mm_cvtsi32_si128(run));
            top = _mm256_slli_epi16(_mm256_and_si256(top, one), 4);
            q = _mm256_and_si256(run % 2 ? _mm256_srli_epi16(q, 4) : q, low);
            store32(u, _mm256_or_si256(q, top));
        }
    }
}

void gs_unpack_q6_k_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q6_k *b = src;
    const __m256i low = _mm256_set1_epi8(15);

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        scale16(load16(b->scales), half_at(b->d), d);
        times16(d, 32, m);
        for (int run = 0; run < 8; run++, u += 32) {
            __m256i q = load32(b->ql + 64 * (run / 4) + 32 * (run % 2));
            __m256i top = two_bits(b->qh + 32 * (run / 4), run % 4 * 2);
            q = _mm256_and_si256(run % 4 < 2 ? q : _mm256_srli_epi16(q, 4), low);
            store32(u, _mm256_or_si256(q, _mm256_slli_epi16(top, 4)));
        }
    }
}
