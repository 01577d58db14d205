/* SPDX-License-Identifier: MIT
 * The product of codes (int8.h): the 16 chains of a row and a vector are one register, a block
 * of 128 four VPDPBUSD. Up to 2 rows × 4 vectors or 4 rows × 1 vector at once. */
#include "kernels/tile_avx2.h"

#define ROWS 4
#define COLS 4

static GS_ALWAYS_INLINE float fold8(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static GS_ALWAYS_INLINE float fold16(__m512 v)
{
    return fold8(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
}

/* `rows` rows from w's first on, `cols` vectors from x's first on. */
static GS_ALWAYS_INLINE void multiply(const struct gs_codes *w, const struct gs_int8 *x,
                                      float *y, size_t y_stride, size_t rows, size_t cols)
{
    const __m512i first = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(4));
    const __m512i zero = _mm512_setzero_si512();
    size_t codes = w->blocks * GS_INT8_BLOCK, groups = w->blocks * GS_INT8_GROUPS;
    __m512 lane[ROWS][COLS];
    __m256 least[ROWS][COLS];

    GS_UNROLL for (size_t r = 0; r < rows; r++)
        GS_UNROLL for (size_t t = 0; t < cols; t++) {
            lane[r][t] = _mm512_setzero_ps();
            least[r][t] = _mm256_setzero_ps();
        }
    for (size_t b = 0; b < w->blocks; b++)
        GS_UNROLL for (size_t r = 0; r < rows; r++) {
            const uint8_t *u = w->u + r * codes + 128 * b;
            __m512i u0 = _mm512_loadu_si512(u), u1 = _mm512_loadu_si512(u + 64);
            __m512 d = _mm512_castps256_ps512(_mm256_loadu_ps(w->d + r * groups + 8 * b));
            __m512 d0 = _mm512_permutexvar_ps(first, d), d1 = _mm512_permutexvar_ps(second, d);
            __m256 m = _mm256_loadu_ps(w->m + r * groups + 8 * b);
            GS_UNROLL for (size_t t = 0; t < cols; t++) {
                const int8_t *q = x->q + t * x->stride + 128 * b;
                size_t at = t * x->blocks + b;
                const int8_t *l = x->low + t * x->stride + 128 * b;
                __m512i s0 = _mm512_dpbusd_epi32(zero, u0, _mm512_loadu_si512(q));
                __m512i s1 = _mm512_dpbusd_epi32(zero, u1, _mm512_loadu_si512(q + 64));
                s0 = _mm512_dpbusd_epi32(_mm512_slli_epi32(s0, 8), u0, _mm512_loadu_si512(l));
                s1 = _mm512_dpbusd_epi32(_mm512_slli_epi32(s1, 8), u1,
                                         _mm512_loadu_si512(l + 64));
                __m512 part = _mm512_fmadd_ps(d0, _mm512_cvtepi32_ps(s0), _mm512_setzero_ps());
                part = _mm512_fmadd_ps(d1, _mm512_cvtepi32_ps(s1), part);
                lane[r][t] = _mm512_fmadd_ps(_mm512_set1_ps(x->scale[at] / 256), part, lane[r][t]);
                least[r][t] = _mm256_fmadd_ps(m, _mm256_loadu_ps(x->group + 8 * at), least[r][t]);
            }
        }
    GS_UNROLL for (size_t r = 0; r < rows; r++)
        GS_UNROLL for (size_t t = 0; t < cols; t++)
            y[t * y_stride + r] = fold16(lane[r][t]) - fold8(least[r][t]);
}

/* Some rows with all vectors. */
static void multiply_all(const struct gs_codes *w, size_t rows, const struct gs_int8 *x, size_t T,
                         float *y, size_t y_stride)
{
    size_t t = 0;

    for (; t + COLS <= T; t += COLS) {
        struct gs_int8 v = gs_int8_at(x, t, 0);
        if (rows == 2)
            multiply(w, &v, y + t * y_stride, y_stride, 2, COLS);
        else
            multiply(w, &v, y + t * y_stride, y_stride, 1, COLS);
    }
    for (; t < T; t++) {
        struct gs_int8 v = gs_int8_at(x, t, 0);
        if (rows == ROWS)
            multiply(w, &v, y + t * y_stride, y_stride, ROWS, 1);
        else
            for (size_t r = 0; r < rows; r++) {
                const struct gs_codes one = {.u = w->u + r * w->blocks * GS_INT8_BLOCK,
                                             .d = w->d + r * w->blocks * GS_INT8_GROUPS,
                                             .m = w->m + r * w->blocks * GS_INT8_GROUPS,
                                             .blocks = w->blocks};
                multiply(&one, &v, y + t * y_stride + r, y_stride, 1, 1);
            }
    }
}

void gs_codes_mul_avx512vbmi(const struct gs_codes *w, size_t rows, const struct gs_int8 *x,
                             size_t T, float *y, size_t y_stride)
{
    for (size_t r = 0, n; r < rows; r += n) {
        const struct gs_codes part = {.u = w->u + r * w->blocks * GS_INT8_BLOCK,
                                      .d = w->d + r * w->blocks * GS_INT8_GROUPS,
                                      .m = w->m + r * w->blocks * GS_INT8_GROUPS,
                                      .blocks = w->blocks};
        n = T < COLS && rows - r >= ROWS ? ROWS : rows - r >= 2 && T >= COLS ? 2 : 1;
        multiply_all(&part, n, x, T, y + r, y_stride);
    }
}
