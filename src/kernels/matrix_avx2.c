/* SPDX-License-Identifier: MIT
 * Matrix kernels in AVX2. Every element of a product is one chain of fma in the order of
 * k, and every butterfly is one addition, so the bits are the definition's. */
#include "kernels/matrix.h"

#include <immintrin.h>

/* 4 rows × 2 vectors: 8 chains hide the latency of fma and leave registers for operands. */
#define SUB_ROWS 4

static void panel_f32_4x16(const float *a, const float *b, size_t k, float *c, size_t c_stride)
{
    __m256 s[SUB_ROWS][2];

    for (int i = 0; i < SUB_ROWS; i++)
        for (int j = 0; j < 2; j++)
            s[i][j] = _mm256_loadu_ps(c + (size_t)i * c_stride + 8 * j);
    for (size_t p = 0; p < k; p++) {
        __m256 b0 = _mm256_loadu_ps(b + p * GS_PANEL_F32);
        __m256 b1 = _mm256_loadu_ps(b + p * GS_PANEL_F32 + 8);
        for (int i = 0; i < SUB_ROWS; i++) {
            __m256 ai = _mm256_broadcast_ss(a + p * GS_PANEL_ROWS + i);
            s[i][0] = _mm256_fmadd_ps(ai, b0, s[i][0]);
            s[i][1] = _mm256_fmadd_ps(ai, b1, s[i][1]);
        }
    }
    for (int i = 0; i < SUB_ROWS; i++)
        for (int j = 0; j < 2; j++)
            _mm256_storeu_ps(c + (size_t)i * c_stride + 8 * j, s[i][j]);
}

void gs_panel_f32_avx2(const float *a, const float *b, size_t k, float *c, size_t c_stride)
{
    for (size_t i = 0; i < GS_PANEL_ROWS; i += SUB_ROWS)
        for (size_t j = 0; j < GS_PANEL_F32; j += 16)
            panel_f32_4x16(a + i, b + j, k, c + i * c_stride + j, c_stride);
}

/* Up to 4 rows × 16 columns. */
static GS_ALWAYS_INLINE void panel_f16(const float *a, size_t rows, const uint16_t *b, size_t k,
                                       float *c, size_t c_stride)
{
    __m256 s[SUB_ROWS][2];

    GS_UNROLL for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < 2; j++)
            s[i][j] = _mm256_loadu_ps(c + i * c_stride + 8 * j);
    for (size_t p = 0; p < k; p++, a += GS_PANEL_ROWS, b += GS_PANEL_F32) {
        __m256 b0 = _mm256_cvtph_ps(_mm_loadu_si128((const void *)b));
        __m256 b1 = _mm256_cvtph_ps(_mm_loadu_si128((const void *)(b + 8)));
        GS_UNROLL for (size_t i = 0; i < rows; i++) {
            __m256 ai = _mm256_broadcast_ss(a + i);
            s[i][0] = _mm256_fmadd_ps(ai, b0, s[i][0]);
            s[i][1] = _mm256_fmadd_ps(ai, b1, s[i][1]);
        }
    }
    GS_UNROLL for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < 2; j++)
            _mm256_storeu_ps(c + i * c_stride + 8 * j, s[i][j]);
}

GS_PANEL_F16_4X16(avx2, panel_f16)

static void panel_f64_4x8(const double *a, const double *b, size_t k, double *c,
                          size_t c_stride)
{
    __m256d s[SUB_ROWS][2];

    for (int i = 0; i < SUB_ROWS; i++)
        for (int j = 0; j < 2; j++)
            s[i][j] = _mm256_loadu_pd(c + (size_t)i * c_stride + 4 * j);
    for (size_t p = 0; p < k; p++) {
        __m256d b0 = _mm256_loadu_pd(b + p * GS_PANEL_F64);
        __m256d b1 = _mm256_loadu_pd(b + p * GS_PANEL_F64 + 4);
        for (int i = 0; i < SUB_ROWS; i++) {
            __m256d ai = _mm256_broadcast_sd(a + p * GS_PANEL_ROWS + i);
            s[i][0] = _mm256_fmadd_pd(ai, b0, s[i][0]);
            s[i][1] = _mm256_fmadd_pd(ai, b1, s[i][1]);
        }
    }
    for (int i = 0; i < SUB_ROWS; i++)
        for (int j = 0; j < 2; j++)
            _mm256_storeu_pd(c + (size_t)i * c_stride + 4 * j, s[i][j]);
}

void gs_panel_f64_avx2(const double *a, const double *b, size_t k, double *c, size_t c_stride)
{
    for (size_t i = 0; i < GS_PANEL_ROWS; i += SUB_ROWS)
        for (size_t j = 0; j < GS_PANEL_F64; j += 8)
            panel_f64_4x8(a + i, b + j, k, c + i * c_stride + j, c_stride);
}

/* 8 lines of 8 numbers: pairs of lines are interleaved, then pairs of pairs, then halves. */
static void transpose_8x8(const float *src, size_t stride, size_t width, float *dst)
{
    __m256 r[8], t[8];

    for (size_t i = 0; i < 8; i++)
        r[i] = _mm256_loadu_ps(src + i * stride);
    for (size_t i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (size_t i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (size_t i = 0; i < 4; i++) {
        _mm256_storeu_ps(dst + i * width, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(dst + (i + 4) * width, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

void gs_transpose_f32_avx2(const float *src, size_t stride, size_t lines, size_t k,
                           size_t width, float *dst)
{
    size_t whole_lines = lines / 8 * 8, whole = k / 8 * 8;

    for (size_t p = 0; p < whole; p += 8)
        for (size_t i = 0; i < whole_lines; i += 8)
            transpose_8x8(src + i * stride + p, stride, width, dst + p * width + i);
    for (size_t p = 0; p < k; p++)
        for (size_t i = p < whole ? whole_lines : 0; i < lines; i++)
            dst[p * width + i] = src[i * stride + p];
}

/* Stages h = 1, 2, 4 inside a register: each lane adds its partner to plus or minus
 * itself, minus where its index has the bit h. */
static __m256 fwht_lanes(__m256 v)
{
    const __m256 minus1 = _mm256_setr_ps(0, -0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f);
    const __m256 minus2 = _mm256_setr_ps(0, 0, -0.0f, -0.0f, 0, 0, -0.0f, -0.0f);
    const __m256 minus4 = _mm256_setr_ps(0, 0, 0, 0, -0.0f, -0.0f, -0.0f, -0.0f);

    v = _mm256_add_ps(_mm256_permute_ps(v, 0xb1), _mm256_xor_ps(v, minus1));
    v = _mm256_add_ps(_mm256_permute_ps(v, 0x4e), _mm256_xor_ps(v, minus2));
    return _mm256_add_ps(_mm256_permute2f128_ps(v, v, 1), _mm256_xor_ps(v, minus4));
}

/* Stages h and 2h at once, h ≥ 8; the result is multiplied by `scale`. */
static void fwht_radix4(float *x, size_t n, size_t h, __m256 scale)
{
    for (size_t i = 0; i < n; i += 4 * h)
        for (float *p = x + i; p < x + i + h; p += 8) {
            __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + h);
            __m256 c = _mm256_loadu_ps(p + 2 * h), d = _mm256_loadu_ps(p + 3 * h);
            __m256 ab = _mm256_add_ps(a, b), cd = _mm256_add_ps(c, d);
            __m256 a_b = _mm256_sub_ps(a, b), c_d = _mm256_sub_ps(c, d);
            _mm256_storeu_ps(p, _mm256_mul_ps(_mm256_add_ps(ab, cd), scale));
            _mm256_storeu_ps(p + h, _mm256_mul_ps(_mm256_add_ps(a_b, c_d), scale));
            _mm256_storeu_ps(p + 2 * h, _mm256_mul_ps(_mm256_sub_ps(ab, cd), scale));
            _mm256_storeu_ps(p + 3 * h, _mm256_mul_ps(_mm256_sub_ps(a_b, c_d), scale));
        }
}

void gs_fwht_f32_avx2(float *x, size_t n, float scale)
{
    const __m256 one = _mm256_set1_ps(1.0f), s = _mm256_set1_ps(scale);

    if (n < 16) {
        gs_fwht_f32_scalar(x, n, scale);
        return;
    }
    /* After the 3 stages in lanes, an odd number of stages leaves one that is not paired. */
    bool odd = __builtin_ctzll(n) % 2 == 0;
    for (size_t i = 0; i < n; i += 16) {
        __m256 a = fwht_lanes(_mm256_loadu_ps(x + i));
        __m256 b = fwht_lanes(_mm256_loadu_ps(x + i + 8));
        __m256 sum = odd ? _mm256_add_ps(a, b) : a;
        __m256 rest = odd ? _mm256_sub_ps(a, b) : b;
        _mm256_storeu_ps(x + i, n == 16 ? _mm256_mul_ps(sum, s) : sum);
        _mm256_storeu_ps(x + i + 8, n == 16 ? _mm256_mul_ps(rest, s) : rest);
    }
    for (size_t h = odd ? 16 : 8; h < n; h *= 4)
        fwht_radix4(x, n, h, 4 * h == n ? s : one);
}
