/* SPDX-License-Identifier: MIT
 * Decoding for AVX2: blocks of 256 weights with small integers, see blocks.h. */
#include "kernels/blocks.h"
#include "kernels/grids.h"
#include "kernels/put_avx2.h"

/* Bits shift … shift + 1 of each byte. */
static GS_ALWAYS_INLINE __m256i pairs(__m256i q, int shift)
{
    return _mm256_and_si256(_mm256_srl_epi16(q, _mm_cvtsi32_si128(shift)), _mm256_set1_epi8(3));
}

void gs_decode_q2_k_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_q2_k *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d), dmin = half_at(b->dmin);
        for (int run = 0; run < 8; run++, dst += 32) {
            __m256i q = pairs(load32(b->qs + 32 * (run / 4)), run % 4 * 2);
            const uint8_t *s = b->scales + 2 * run;
            put16_add(_mm256_castsi256_si128(q), _mm256_set1_ps(d * (float)(s[0] & 15)),
                      _mm256_set1_ps(-(dmin * (float)(s[0] >> 4))), dst);
            put16_add(_mm256_extracti128_si256(q, 1), _mm256_set1_ps(d * (float)(s[1] & 15)),
                      _mm256_set1_ps(-(dmin * (float)(s[1] >> 4))), dst + 16);
        }
    }
}

void gs_decode_q3_k_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_q3_k *b = src;

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        __m256i high = load32(b->hmask), one = _mm256_set1_epi8(1);
        for (int run = 0; run < 8; run++, dst += 32) {
            __m256i q = pairs(load32(b->qs + 32 * (run / 4)), run % 4 * 2);
            __m256i top = _mm256_and_si256(_mm256_srl_epi16(high, _mm_cvtsi32_si128(run)), one);
            q = _mm256_sub_epi8(_mm256_or_si256(q, _mm256_slli_epi16(top, 2)),
                                _mm256_set1_epi8(4));
            float scale[2];
            for (int k = 0; k < 2; k++) {
                int i = 2 * run + k;
                int s = (b->scales[i % 8] >> 4 * (i / 8) & 15) |
                        (b->scales[8 + i % 4] >> 2 * (i / 4) & 3) << 4;
                scale[k] = d * (float)(s - 32);
            }
            put16(_mm256_castsi256_si128(q), _mm256_set1_ps(scale[0]), dst);
            put16(_mm256_extracti128_si256(q, 1), _mm256_set1_ps(scale[1]), dst + 16);
        }
    }
}

void gs_decode_q4_k_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_q4_k *b = src;
    __m256i mask = _mm256_set1_epi8(15);

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d), dmin = half_at(b->dmin);
        for (int run = 0; run < 8; run++, dst += 32) {
            __m256i q = load32(b->qs + 32 * (run / 2));
            int s, m;
            gs_k4_scale_min(b->scales, run, &s, &m);
            q = _mm256_and_si256(run % 2 ? _mm256_srli_epi16(q, 4) : q, mask);
            put32_add(q, _mm256_set1_ps(d * (float)s), _mm256_set1_ps(-(dmin * (float)m)), dst);
        }
    }
}

void gs_decode_q5_k_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_q5_k *b = src;
    __m256i mask = _mm256_set1_epi8(15), bit = _mm256_set1_epi8(16);

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d), dmin = half_at(b->dmin);
        __m256i high = load32(b->qh);
        for (int run = 0; run < 8; run++, dst += 32) {
            __m256i q = load32(b->qs + 32 * (run / 2));
            int s, m;
            gs_k4_scale_min(b->scales, run, &s, &m);
            q = _mm256_and_si256(run % 2 ? _mm256_srli_epi16(q, 4) : q, mask);
            __m256i top = run < 4 ? _mm256_sll_epi16(high, _mm_cvtsi32_si128(4 - run))
                                  : _mm256_srl_epi16(high, _mm_cvtsi32_si128(run - 4));
            q = _mm256_or_si256(q, _mm256_and_si256(top, bit));
            put32_add(q, _mm256_set1_ps(d * (float)s), _mm256_set1_ps(-(dmin * (float)m)), dst);
        }
    }
}

void gs_decode_q6_k_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_q6_k *b = src;
    __m256i mask = _mm256_set1_epi8(15);

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        for (int run = 0; run < 8; run++, dst += 32) {
            __m256i q = load32(b->ql + 64 * (run / 4) + 32 * (run % 2));
            __m256i top = pairs(load32(b->qh + 32 * (run / 4)), run % 4 * 2);
            q = _mm256_and_si256(run % 4 < 2 ? q : _mm256_srli_epi16(q, 4), mask);
            q = _mm256_sub_epi8(_mm256_or_si256(q, _mm256_slli_epi16(top, 4)),
                                _mm256_set1_epi8(32));
            const int8_t *s = b->scales + 2 * run;
            put16(_mm256_castsi256_si128(q), _mm256_set1_ps(d * (float)s[0]), dst);
            put16(_mm256_extracti128_si256(q, 1), _mm256_set1_ps(d * (float)s[1]), dst + 16);
        }
    }
}

void gs_decode_tq2_0_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_tq2_0 *b = src;

    for (const float *end = dst + n; dst < end; b++)
        for (int run = 0; run < 8; run++, dst += 32) {
            __m256i q = pairs(load32(b->qs + 32 * (run / 4)), run % 4 * 2);
            put32(_mm256_sub_epi8(q, _mm256_set1_epi8(1)), scale_at(b->d), dst);
        }
}

void gs_decode_iq4_xs_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq4_xs *b = src;
    __m256i values = table16(gs_iq4_values);

    for (const float *end = dst + n; dst < end; b++) {
        float d = half_at(b->d);
        int high = b->scales_h[0] | b->scales_h[1] << 8;
        for (int run = 0; run < 8; run++, dst += 32) {
            int s = (b->scales_l[run / 2] >> 4 * (run % 2) & 15) | (high >> 2 * run & 3) << 4;
            put32(_mm256_shuffle_epi8(values, nibbles(b->qs + 16 * run)),
                  _mm256_set1_ps(d * (float)(s - 32)), dst);
        }
    }
}
