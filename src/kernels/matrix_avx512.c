/* SPDX-License-Identifier: MIT
 * Matrix kernels in AVX-512: a panel product keeps its whole tile in 16 registers. */
#include "kernels/matrix.h"

#include <immintrin.h>

void gs_panel_f32_avx512(const float *a, const float *b, size_t k, float *c, size_t c_stride)
{
    __m512 s[GS_PANEL_ROWS][2];

    for (size_t i = 0; i < GS_PANEL_ROWS; i++)
        for (size_t j = 0; j < 2; j++)
            s[i][j] = _mm512_loadu_ps(c + i * c_stride + 16 * j);
    for (size_t p = 0; p < k; p++) {
        __m512 b0 = _mm512_loadu_ps(b + p * GS_PANEL_F32);
        __m512 b1 = _mm512_loadu_ps(b + p * GS_PANEL_F32 + 16);
        for (size_t i = 0; i < GS_PANEL_ROWS; i++) {
            __m512 ai = _mm512_set1_ps(a[p * GS_PANEL_ROWS + i]);
            s[i][0] = _mm512_fmadd_ps(ai, b0, s[i][0]);
            s[i][1] = _mm512_fmadd_ps(ai, b1, s[i][1]);
        }
    }
    for (size_t i = 0; i < GS_PANEL_ROWS; i++)
        for (size_t j = 0; j < 2; j++)
            _mm512_storeu_ps(c + i * c_stride + 16 * j, s[i][j]);
}

void gs_panel_f64_avx512(const double *a, const double *b, size_t k, double *c,
                         size_t c_stride)
{
    __m512d s[GS_PANEL_ROWS][2];

    for (size_t i = 0; i < GS_PANEL_ROWS; i++)
        for (size_t j = 0; j < 2; j++)
            s[i][j] = _mm512_loadu_pd(c + i * c_stride + 8 * j);
    for (size_t p = 0; p < k; p++) {
        __m512d b0 = _mm512_loadu_pd(b + p * GS_PANEL_F64);
        __m512d b1 = _mm512_loadu_pd(b + p * GS_PANEL_F64 + 8);
        for (size_t i = 0; i < GS_PANEL_ROWS; i++) {
            __m512d ai = _mm512_set1_pd(a[p * GS_PANEL_ROWS + i]);
            s[i][0] = _mm512_fmadd_pd(ai, b0, s[i][0]);
            s[i][1] = _mm512_fmadd_pd(ai, b1, s[i][1]);
        }
    }
    for (size_t i = 0; i < GS_PANEL_ROWS; i++)
        for (size_t j = 0; j < 2; j++)
            _mm512_storeu_pd(c + i * c_stride + 8 * j, s[i][j]);
}

static GS_ALWAYS_INLINE void panel_f16(const float *a, size_t rows, const uint16_t *b, size_t k,
                                       float *c, size_t c_stride)
{
    __m512 s[GS_PANEL_ROWS][2];

    GS_UNROLL for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < 2; j++)
            s[i][j] = _mm512_loadu_ps(c + i * c_stride + 16 * j);
    for (size_t p = 0; p < k; p++, a += GS_PANEL_ROWS, b += GS_PANEL_F32) {
        __m512 b0 = _mm512_cvtph_ps(_mm256_loadu_si256((const void *)b));
        __m512 b1 = _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(b + 16)));
        GS_UNROLL for (size_t i = 0; i < rows; i++) {
            __m512 ai = _mm512_set1_ps(a[i]);
            s[i][0] = _mm512_fmadd_ps(ai, b0, s[i][0]);
            s[i][1] = _mm512_fmadd_ps(ai, b1, s[i][1]);
        }
    }
    GS_UNROLL for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < 2; j++)
            _mm512_storeu_ps(c + i * c_stride + 16 * j, s[i][j]);
}

GS_PANEL_F16_ROWS(panel_f16, 1)
GS_PANEL_F16_ROWS(panel_f16, 2)
GS_PANEL_F16_ROWS(panel_f16, 3)
GS_PANEL_F16_ROWS(panel_f16, 4)
GS_PANEL_F16_ROWS(panel_f16, 5)
GS_PANEL_F16_ROWS(panel_f16, 6)
GS_PANEL_F16_ROWS(panel_f16, 7)
GS_PANEL_F16_ROWS(panel_f16, 8)

void gs_panel_f16_avx512(const float *a, size_t rows, const uint16_t *b, size_t k, float *c,
                         size_t c_stride)
{
    static const gs_panel_f16_rows_fn by_rows[] = {panel_f16_1, panel_f16_2, panel_f16_3,
                                                   panel_f16_4, panel_f16_5, panel_f16_6,
                                                   panel_f16_7, panel_f16_8};

    by_rows[rows - 1](a, b, k, c, c_stride);
}

/* v with its sign flipped in the lanes of `mask`, plus v's partner lanes. */
static __m512 fwht_stage(__m512 v, __m512 partner, __mmask16 mask)
{
    return _mm512_add_ps(partner, _mm512_mask_xor_ps(v, mask, v, _mm512_set1_ps(-0.0f)));
}

/* Stages h = 1, 2, 4, 8 inside a register. */
static __m512 fwht_lanes(__m512 v)
{
    v = fwht_stage(v, _mm512_permute_ps(v, 0xb1), 0xaaaa);
    v = fwht_stage(v, _mm512_permute_ps(v, 0x4e), 0xcccc);
    v = fwht_stage(v, _mm512_shuffle_f32x4(v, v, 0xb1), 0xf0f0);
    return fwht_stage(v, _mm512_shuffle_f32x4(v, v, 0x4e), 0xff00);
}

/* Stages h and 2h at once, h ≥ 16; the result is multiplied by `scale`. */
static void fwht_radix4(float *x, size_t n, size_t h, __m512 scale)
{
    for (size_t i = 0; i < n; i += 4 * h)
        for (float *p = x + i; p < x + i + h; p += 16) {
            __m512 a = _mm512_loadu_ps(p), b = _mm512_loadu_ps(p + h);
            __m512 c = _mm512_loadu_ps(p + 2 * h), d = _mm512_loadu_ps(p + 3 * h);
            __m512 ab = _mm512_add_ps(a, b), cd = _mm512_add_ps(c, d);
            __m512 a_b = _mm512_sub_ps(a, b), c_d = _mm512_sub_ps(c, d);
            _mm512_storeu_ps(p, _mm512_mul_ps(_mm512_add_ps(ab, cd), scale));
            _mm512_storeu_ps(p + h, _mm512_mul_ps(_mm512_add_ps(a_b, c_d), scale));
            _mm512_storeu_ps(p + 2 * h, _mm512_mul_ps(_mm512_sub_ps(ab, cd), scale));
            _mm512_storeu_ps(p + 3 * h, _mm512_mul_ps(_mm512_sub_ps(a_b, c_d), scale));
        }
}

void gs_fwht_f32_avx512(float *x, size_t n, float scale)
{
    const __m512 one = _mm512_set1_ps(1.0f), s = _mm512_set1_ps(scale);

    if (n < 32) {
        gs_fwht_f32_avx2(x, n, scale);
        return;
    }
    /* After the 4 stages in lanes, an odd number of stages leaves one that is not paired. */
    bool odd = __builtin_ctzll(n) % 2 == 1;
    for (size_t i = 0; i < n; i += 32) {
        __m512 a = fwht_lanes(_mm512_loadu_ps(x + i));
        __m512 b = fwht_lanes(_mm512_loadu_ps(x + i + 16));
        __m512 sum = odd ? _mm512_add_ps(a, b) : a;
        __m512 rest = odd ? _mm512_sub_ps(a, b) : b;
        _mm512_storeu_ps(x + i, n == 32 ? _mm512_mul_ps(sum, s) : sum);
        _mm512_storeu_ps(x + i + 16, n == 32 ? _mm512_mul_ps(rest, s) : rest);
    }
    for (size_t h = odd ? 32 : 16; h < n; h *= 4)
        fwht_radix4(x, n, h, 4 * h == n ? s : one);
}
