/* SPDX-License-Identifier: MIT
 * Decoding for AVX2: floats and the types with blocks of 32 to 128 weights. Layouts are in
 * blocks.h; products and sums are rounded as in the scalar level. */
#include "kernels/blocks.h"
#include "kernels/grids.h"
#include "kernels/put_avx2.h"

void gs_decode_f16_avx2(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(load16(p + 2 * i)));
    for (; i < n; i++)
        dst[i] = half_at(p + 2 * i);
}

void gs_decode_bf16_avx2(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        __m256i w = _mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(p + 2 * i)), 16);
        _mm256_storeu_si256((__m256i *)(dst + i), w);
    }
    for (; i < n; i++) {
        uint32_t bits = (uint32_t)p[2 * i] << 16 | (uint32_t)p[2 * i + 1] << 24;
        memcpy(dst + i, &bits, 4);
    }
}

void gs_decode_q4_0_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_q4_0 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32)
        put32(_mm256_sub_epi8(nibbles(b->qs), _mm256_set1_epi8(8)), scale_at(b->d), dst);
}

void gs_decode_q4_1_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_q4_1 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32)
        put32_add(nibbles(b->qs), scale_at(b->d), scale_at(b->m), dst);
}

void gs_decode_q5_0_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_q5_0 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32) {
        __m256i q = _mm256_or_si256(nibbles(b->qs), bit_mask(b->qh, 16));
        put32(_mm256_sub_epi8(q, _mm256_set1_epi8(16)), scale_at(b->d), dst);
    }
}

void gs_decode_q5_1_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_q5_1 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32)
        put32_add(_mm256_or_si256(nibbles(b->qs), bit_mask(b->qh, 16)), scale_at(b->d),
                  scale_at(b->m), dst);
}

void gs_decode_q8_0_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_q8_0 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 32)
        put32(load32(b->qs), scale_at(b->d), dst);
}

/* 1-bit weights: the sign of d. */
void gs_decode_q1_0_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_q1_0 *b = src;

    for (const float *end = dst + n; dst < end; b++)
        for (int run = 0; run < 4; run++, dst += 32) {
            __m256i q = _mm256_sub_epi8(bit_mask(b->qs + 4 * run, 2), _mm256_set1_epi8(1));
            put32(q, scale_at(b->d), dst);
        }
}

/* Four weights a byte, in order: the four planes of two bits are interleaved. */
void gs_decode_q2_0_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_q2_0 *b = src;

    for (const float *end = dst + n; dst < end; b++, dst += 64) {
        __m128i mask = _mm_set1_epi8(3), q = load16(b->qs), one = _mm_set1_epi8(1);
        __m128i p0 = _mm_and_si128(q, mask), p1 = _mm_and_si128(_mm_srli_epi16(q, 2), mask);
        __m128i p2 = _mm_and_si128(_mm_srli_epi16(q, 4), mask);
        __m128i p3 = _mm_and_si128(_mm_srli_epi16(q, 6), mask);
        __m128i low01 = _mm_unpacklo_epi8(p0, p1), low23 = _mm_unpacklo_epi8(p2, p3);
        __m128i high01 = _mm_unpackhi_epi8(p0, p1), high23 = _mm_unpackhi_epi8(p2, p3);
        __m256 d = scale_at(b->d);
        put16(_mm_sub_epi8(_mm_unpacklo_epi16(low01, low23), one), d, dst);
        put16(_mm_sub_epi8(_mm_unpackhi_epi16(low01, low23), one), d, dst + 16);
        put16(_mm_sub_epi8(_mm_unpacklo_epi16(high01, high23), one), d, dst + 32);
        put16(_mm_sub_epi8(_mm_unpackhi_epi16(high01, high23), one), d, dst + 48);
    }
}

void gs_decode_mxfp4_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_mxfp4 *b = src;
    __m256i values = table16(gs_fp4_values);

    for (const float *end = dst + n; dst < end; b++, dst += 32) {
        uint32_t bits = b->e < 2 ? 0x200000u << b->e : (uint32_t)(b->e - 1) << 23;
        __m256 d = _mm256_castsi256_ps(_mm256_set1_epi32((int)bits)); /* 2^(e−128) */
        put32(_mm256_shuffle_epi8(values, nibbles(b->qs)), d, dst);
    }
}

void gs_decode_iq4_nl_avx2(const void *src, float *dst, size_t n)
{
    const struct gs_block_iq4_nl *b = src;
    __m256i values = table16(gs_iq4_values);

    for (const float *end = dst + n; dst < end; b++, dst += 32)
        put32(_mm256_shuffle_epi8(values, nibbles(b->qs)), scale_at(b->d), dst);
}
