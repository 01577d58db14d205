/* SPDX-License-Identifier: MIT
 * Stored types as codes (int8.h), and their product: one row and up to four vectors at once,
 * two registers of sums each.
 *
 * VPMADDUBSW adds pairs in 16 bits: enough for codes up to 127. Higher ones are taken as
 * u − 128, by their magnitudes and signs, and 128 · Σ q is added again. */
#include "kernels/blocks.h"
#include "kernels/grids.h"
#include "kernels/put_avx2.h"
#include "kernels/tile_avx2.h"

#define COLS 4

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

void gs_unpack_q3_k_avx2(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q3_k *b = src;

    for (; n > 0; n -= 256, b++, d += 16, m += 16) {
        uint8_t scales[16];
        for (int i = 0; i < 16; i++)
            scales[i] = (uint8_t)(((b->scales[i % 8] >> 4 * (i / 8) & 15) |
                                   (b->scales[8 + i % 4] >> 2 * (i / 4) & 3) << 4) - 32);
        scale16(load16(scales), half_at(b->d), d);
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

/* ---- the product ------------------------------------------------------------------- */

/* Sums of quads of 32 codes times 32 activations. */
static GS_ALWAYS_INLINE __m256i quads(__m256i u, __m256i q, bool high)
{
    const __m256i ones = _mm256_set1_epi16(1);

    if (!high)
        return _mm256_madd_epi16(_mm256_maddubs_epi16(u, q), ones);
    __m256i v = _mm256_xor_si256(u, _mm256_set1_epi8(-128));
    __m256i sum = _mm256_maddubs_epi16(_mm256_abs_epi8(v), _mm256_sign_epi8(q, v));
    __m256i shift = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), q), ones);
    return _mm256_add_epi32(_mm256_madd_epi16(sum, ones), _mm256_slli_epi32(shift, 7));
}

static GS_ALWAYS_INLINE float sum4(__m128 v)
{
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}

static GS_ALWAYS_INLINE float sum8(__m256 v)
{
    return sum4(_mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)));
}

/* One row times `cols` vectors. */
static GS_ALWAYS_INLINE void multiply(const uint8_t *u, const float *d, const float *m,
                                      size_t blocks, const struct gs_int8 *x, float *y,
                                      size_t y_stride, size_t cols, bool high)
{
    const __m256i first = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), two = _mm256_set1_epi32(2);
    __m256 lane[COLS][2], least[COLS];

    GS_UNROLL for (size_t t = 0; t < cols; t++)
        lane[t][0] = lane[t][1] = least[t] = _mm256_setzero_ps();
    for (size_t b = 0; b < blocks; b++, u += 128) {
        __m256 scales = _mm256_loadu_ps(d + 8 * b), part[COLS][2];
        __m256i pick = first;
        GS_UNROLL for (size_t i = 0; i < 4; i++) {
            __m256i code = load32(u + 32 * i);
            __m256 scale = _mm256_permutevar8x32_ps(scales, pick);
            pick = _mm256_add_epi32(pick, two);
            GS_UNROLL for (size_t t = 0; t < cols; t++) {
                size_t at = t * x->stride + 128 * b + 32 * i;
                __m256i s = quads(code, load32(x->q + at), high);
                s = _mm256_add_epi32(_mm256_slli_epi32(s, 8),
                                     quads(code, load32(x->low + at), high));
                __m256 sum = _mm256_cvtepi32_ps(s);
                part[t][i % 2] = _mm256_fmadd_ps(
                    scale, sum, i < 2 ? _mm256_setzero_ps() : part[t][i % 2]);
            }
        }
        GS_UNROLL for (size_t t = 0; t < cols; t++) {
            __m256 scale = _mm256_set1_ps(x->scale[t * x->blocks + b] / 256);
            lane[t][0] = _mm256_fmadd_ps(scale, part[t][0], lane[t][0]);
            lane[t][1] = _mm256_fmadd_ps(scale, part[t][1], lane[t][1]);
            least[t] = _mm256_fmadd_ps(_mm256_loadu_ps(m + 8 * b),
                                     _mm256_loadu_ps(x->group + 8 * (t * x->blocks + b)),
                                     least[t]);
        }
    }
    GS_UNROLL for (size_t t = 0; t < cols; t++)
        y[t * y_stride] = sum8(_mm256_add_ps(lane[t][0], lane[t][1])) - sum8(least[t]);
}

void gs_codes_mul_avx2(const struct gs_codes *w, size_t rows, const struct gs_int8 *x, size_t T,
                       float *y, size_t y_stride)
{
    for (size_t t = 0, cols; t < T; t += cols) {
        struct gs_int8 v = gs_int8_at(x, t, 0);
        cols = T - t >= COLS ? COLS : 1;
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *u = w->u + r * w->blocks * GS_INT8_BLOCK;
            const float *d = w->d + r * w->blocks * GS_INT8_GROUPS;
            const float *m = w->m + r * w->blocks * GS_INT8_GROUPS;
            float *to = y + t * y_stride + r;
            if (cols == COLS && w->high)
                multiply(u, d, m, w->blocks, &v, to, y_stride, COLS, true);
            else if (cols == COLS)
                multiply(u, d, m, w->blocks, &v, to, y_stride, COLS, false);
            else if (w->high)
                multiply(u, d, m, w->blocks, &v, to, y_stride, 1, true);
            else
                multiply(u, d, m, w->blocks, &v, to, y_stride, 1, false);
        }
    }
}
