/* SPDX-License-Identifier: MIT
 * 8-bit activations (int8.h). A product takes one block row and up to four vectors at once:
 * two registers of weights and their magnitudes, eight of sums. */
#include "kernels/tile_avx2.h"

#define COLS 4

/* Magnitudes of 8 floats as integers: NaN and infinity compare above all others. */
static inline __m256i magnitudes(const float *x)
{
    return _mm256_and_si256(_mm256_loadu_si256((const void *)x),
                            _mm256_set1_epi32(0x7fffffff));
}

static inline uint32_t largest_bits(const float x[GS_INT8_BLOCK])
{
    __m256i top = magnitudes(x);

    for (size_t i = 8; i < GS_INT8_BLOCK; i += 8)
        top = _mm256_max_epi32(top, magnitudes(x + i));
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

/* Four registers of small integers as 32 bytes. */
static inline void store_bytes(const __m256i v[4], int8_t *to)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i bytes =
        _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));

    _mm256_storeu_si256((void *)to, _mm256_permutevar8x32_epi32(bytes, order));
}

/* A block times `inverse`, rounded. */
static inline void round_block(const float *x, float inverse, const struct gs_int8 *out)
{
    const __m256i most = _mm256_set1_epi32(127), least = _mm256_set1_epi32(-127);

    for (size_t i = 0; i < GS_INT8_BLOCK; i += 32) {
        __m256i q[4], low[4];
        for (size_t j = 0; j < 4; j++) {
            __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i + 8 * j), _mm256_set1_ps(inverse));
            q[j] = _mm256_cvtps_epi32(v);
            v = _mm256_sub_ps(v, _mm256_cvtepi32_ps(q[j]));
            low[j] = _mm256_cvtps_epi32(_mm256_mul_ps(v, _mm256_set1_ps(256)));
            low[j] = _mm256_max_epi32(_mm256_min_epi32(low[j], most), least);
        }
        store_bytes(q, out->q + i);
        if (out->low)
            store_bytes(low, out->low + i);
    }
}

static float quantize_block(const float *x, const struct gs_int8 *out)
{
    return quantize_with(x, out, (struct gs_int8_steps){largest_bits, round_block, put_sums});
}

void gs_int8_quantize_avx2(const float *x, size_t n, struct gs_int8 *out)
{
    quantize_blocks(x, n, out, quantize_block);
    if (out->low && out->lanes)
        gs_int8_put_lanes(out, n);
}

/* Sums of one block row over `tiles` tiles, for the vectors at q: [vector][half]. */
static GS_ALWAYS_INLINE void multiply(const uint8_t *w, size_t tiles, const int8_t *q,
                                      size_t q_stride, size_t cols, __m256i sum[COLS][2])
{
    const __m256i ones = _mm256_set1_epi16(1), bias = _mm256_set1_epi8(-128);

    for (size_t t = 0; t < cols; t++)
        sum[t][0] = sum[t][1] = _mm256_setzero_si256();
    for (size_t i = 0; i < 4 * tiles; i++, w += 64, q += 4) {
        __m256i v0 = _mm256_xor_si256(_mm256_loadu_si256((const void *)w), bias);
        __m256i v1 = _mm256_xor_si256(_mm256_loadu_si256((const void *)(w + 32)), bias);
        __m256i a0 = _mm256_abs_epi8(v0), a1 = _mm256_abs_epi8(v1);
        GS_UNROLL for (size_t t = 0; t < cols; t++) {
            __m256i x = four(q + t * q_stride);
            __m256i p0 = _mm256_maddubs_epi16(a0, _mm256_sign_epi8(x, v0));
            __m256i p1 = _mm256_maddubs_epi16(a1, _mm256_sign_epi8(x, v1));
            sum[t][0] = _mm256_add_epi32(sum[t][0], _mm256_madd_epi16(p0, ones));
            sum[t][1] = _mm256_add_epi32(sum[t][1], _mm256_madd_epi16(p1, ones));
        }
    }
}

/* y (16) = fma(scale, sum, y), the first `rows` of them. */
static inline void add_block(const __m256i sum[2], float scale, float *y, size_t rows)
{
    float part[16];
    float *to = rows < 16 ? part : y;

    if (rows < 16)
        memcpy(part, y, rows * sizeof *y);
    for (size_t h = 0; h < 2; h++)
        _mm256_storeu_ps(to + 8 * h, _mm256_fmadd_ps(_mm256_set1_ps(scale),
                                                     _mm256_cvtepi32_ps(sum[h]),
                                                     _mm256_loadu_ps(to + 8 * h)));
    if (rows < 16)
        memcpy(y, part, rows * sizeof *y);
}

/* One block row and `cols` vectors. */
static GS_ALWAYS_INLINE void block_row(const uint8_t *w, size_t tiles, size_t rows,
                                       const struct gs_int8 *x, float *y, size_t y_stride,
                                       size_t cols)
{
    const size_t step = GS_INT8_BLOCK / GS_TRELLIS_COLS;
    __m256i sum[COLS][2];

    for (size_t i = 0; i < tiles; i += step) {
        size_t b = i / step;
        multiply(w + i * GS_TRELLIS_TILE, GS_MIN(step, tiles - i), x->q + b * GS_INT8_BLOCK,
                 x->stride, cols, sum);
        GS_UNROLL for (size_t t = 0; t < cols; t++)
            add_block(sum[t], x->scale[t * x->blocks + b], y + t * y_stride, rows);
    }
}

void gs_tile_mul_avx2(const uint8_t *w, size_t tiles, size_t rows, const struct gs_int8 *x,
                      size_t T, float *y, size_t y_stride)
{
    for (size_t t = 0, cols; t < T; t += cols) {
        struct gs_int8 v = gs_int8_at(x, t, 0);
        cols = T - t >= COLS ? COLS : 1;
        for (size_t r = 0; r < rows; r += 16) {
            const uint8_t *row = w + r * tiles * GS_TRELLIS_COLS;
            float *to = y + t * y_stride + r;
            if (cols == COLS)
                block_row(row, tiles, GS_MIN(rows - r, 16u), &v, to, y_stride, COLS);
            else
                block_row(row, tiles, GS_MIN(rows - r, 16u), &v, to, y_stride, 1);
        }
    }
}
