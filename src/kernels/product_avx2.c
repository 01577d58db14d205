/* SPDX-License-Identifier: MIT
 * Dot products and the matrix product for AVX2 with FMA.
 *
 * The 64 lanes of the fixed order are independent sums. A dot product keeps them in eight
 * registers. The matrix product takes one slice of eight lanes at a time over the whole
 * row for a tile of 3 rows × 4 columns, so that twelve accumulators, three weights and one
 * activation fill the sixteen registers:
 *
 *     element i:   0 … 7 | 8 … 15 | … | 56 … 63 | 64 … 71 | …
 *     slice:         0   |   1    | … |    7    |    0    | …
 *
 * Sums of a tile are kept in lane[output][64] and folded at the end, four at a time. */
#include "kernels/blocks.h"
#include "kernels/lanes_avx2.h"

#define ROWS 3
#define COLS 4
/* Weights that stay in the second-level cache while all columns pass. */
#define PANEL_FLOATS (128 * 1024)

typedef __m256 (*load_fn)(const void *p);

static GS_ALWAYS_INLINE __m256 load_f32(const void *p)
{
    return _mm256_loadu_ps(p);
}

static GS_ALWAYS_INLINE __m256 load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

static GS_ALWAYS_INLINE __m256 load_bf16(const void *p)
{
    __m256i w = _mm256_cvtepu16_epi32(_mm_loadu_si128(p));

    return _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
}

/* Rows of `size`-byte floats; the last n % 8 elements go through a buffer, and their
 * vector leaves the lanes beyond untouched. */
static GS_ALWAYS_INLINE float dot(const uint8_t *w, size_t size, load_fn load, const float *x,
                                  size_t n)
{
    __m256 lane[8];

    for (int j = 0; j < 8; j++)
        lane[j] = _mm256_setzero_ps();
    for (; n >= 64; n -= 64, w += 64 * size, x += 64)
        for (size_t j = 0; j < 8; j++)
            lane[j] = _mm256_fmadd_ps(load(w + 8 * j * size), _mm256_loadu_ps(x + 8 * j),
                                      lane[j]);
    for (size_t j = 0; j < 8; j++) {
        size_t left = n > 8 * j ? n - 8 * j : 0;
        if (left >= 8) {
            lane[j] = _mm256_fmadd_ps(load(w + 8 * j * size), _mm256_loadu_ps(x + 8 * j),
                                      lane[j]);
        } else if (left > 0) {
            uint8_t w_end[32] = {0};
            float x_end[8] = {0};
            memcpy(w_end, w + 8 * j * size, left * size);
            memcpy(x_end, x + 8 * j, left * sizeof *x);
            __m256 sum = _mm256_fmadd_ps(load(w_end), _mm256_loadu_ps(x_end), lane[j]);
            lane[j] = _mm256_blendv_ps(lane[j], sum, mask8(left));
        }
    }
    return fold8(lane);
}

float gs_dot_f32_avx2(const void *row, const float *x, size_t n)
{
    return dot(row, 4, load_f32, x, n);
}

float gs_dot_f16_avx2(const void *row, const float *x, size_t n)
{
    return dot(row, 2, load_f16, x, n);
}

float gs_dot_bf16_avx2(const void *row, const float *x, size_t n)
{
    return dot(row, 2, load_bf16, x, n);
}

/* Four vectors of lanes with one block. */
static GS_ALWAYS_INLINE void dot_block_q8_0(const struct gs_block_q8_0 *b, const float *x,
                                            __m256 lane[4])
{
    uint16_t bits;
    memcpy(&bits, b->d, 2);
    __m256 d = _mm256_set1_ps(_cvtsh_ss(bits));

    for (int j = 0; j < 4; j++) {
        __m256i q = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(b->qs + 8 * j)));
        __m256 w = _mm256_mul_ps(_mm256_cvtepi32_ps(q), d);
        lane[j] = _mm256_fmadd_ps(w, _mm256_loadu_ps(x + 8 * j), lane[j]);
    }
}

float gs_dot_q8_0_avx2(const void *row, const float *x, size_t n)
{
    const struct gs_block_q8_0 *b = row;
    __m256 lane[8];

    for (int j = 0; j < 8; j++)
        lane[j] = _mm256_setzero_ps();
    for (; n >= 64; n -= 64, b += 2, x += 64) {
        dot_block_q8_0(b, x, lane);
        dot_block_q8_0(b + 1, x + 32, lane + 4);
    }
    if (n)
        dot_block_q8_0(b, x, lane);
    return fold8(lane);
}

/* Lanes of slice `s` of a tile: sum[r][c] += w[r][i] x[c][i] for i in the slice. R and C
 * are constants wherever this is used, so the loops over them vanish. */
static GS_ALWAYS_INLINE void tile_slice(const int R, const int C, const float *w,
                                        size_t w_stride, const float *x, size_t x_stride,
                                        size_t n, __m256 sum[ROWS][COLS])
{
    size_t i = 0;

    for (; i + 8 <= n; i += 64) {
        __m256 a[ROWS];
        for (int r = 0; r < R; r++)
            a[r] = _mm256_loadu_ps(w + (size_t)r * w_stride + i);
        for (int c = 0; c < C; c++) {
            __m256 b = _mm256_loadu_ps(x + (size_t)c * x_stride + i);
            for (int r = 0; r < R; r++)
                sum[r][c] = _mm256_fmadd_ps(a[r], b, sum[r][c]);
        }
    }
    if (i < n) {
        __m256 mask = mask8(n - i);
        for (int c = 0; c < C; c++) {
            __m256 b = _mm256_maskload_ps(x + (size_t)c * x_stride + i,
                                          _mm256_castps_si256(mask));
            for (int r = 0; r < R; r++) {
                __m256 a = _mm256_maskload_ps(w + (size_t)r * w_stride + i,
                                              _mm256_castps_si256(mask));
                sum[r][c] = _mm256_blendv_ps(sum[r][c], _mm256_fmadd_ps(a, b, sum[r][c]), mask);
            }
        }
    }
}

/* y[c·y_stride + r] for r < R, c < C. w: R × n, x: C × n. */
static GS_ALWAYS_INLINE void tile(const int R, const int C, const float *w, size_t w_stride,
                                  const float *x, size_t x_stride, size_t n, float *y,
                                  size_t y_stride)
{
    GS_ALIGNED(32) float lane[COLS * ROWS][64];
    const int outputs = R * C;

    for (size_t s = 0; s < 8; s++) {
        __m256 sum[ROWS][COLS];
        for (int r = 0; r < R; r++)
            for (int c = 0; c < C; c++)
                sum[r][c] = _mm256_setzero_ps();
        if (8 * s < n)
            tile_slice(R, C, w + 8 * s, w_stride, x + 8 * s, x_stride, n - 8 * s, sum);
        for (int r = 0; r < R; r++)
            for (int c = 0; c < C; c++)
                _mm256_store_ps(lane[c * R + r] + 8 * s, sum[r][c]);
    }
    for (int k = 0; k < outputs; k += 4) {
        float out[4];
        _mm_storeu_ps(out, fold8x4((const float(*)[64])(lane + k)));
        for (int j = k; j < k + 4 && j < outputs; j++)
            y[(size_t)(j / R) * y_stride + (size_t)(j % R)] = out[j - k];
    }
}

typedef void (*tile_fn)(const float *w, size_t w_stride, const float *x, size_t x_stride,
                        size_t n, float *y, size_t y_stride);

#define TILE(R, C)                                                                             \
    static void tile_##R##x##C(const float *w, size_t w_stride, const float *x,                \
                               size_t x_stride, size_t n, float *y, size_t y_stride)           \
    {                                                                                          \
        tile(R, C, w, w_stride, x, x_stride, n, y, y_stride);                                  \
    }
TILE(1, 1) TILE(1, 2) TILE(1, 3) TILE(1, 4)
TILE(2, 1) TILE(2, 2) TILE(2, 3) TILE(2, 4)
TILE(3, 1) TILE(3, 2) TILE(3, 3) TILE(3, 4)

static const tile_fn tiles[ROWS][COLS] = {
    {tile_1x1, tile_1x2, tile_1x3, tile_1x4},
    {tile_2x1, tile_2x2, tile_2x3, tile_2x4},
    {tile_3x1, tile_3x2, tile_3x3, tile_3x4},
};

void gs_mul_f32_avx2(const float *w, size_t w_stride, size_t rows, const float *x,
                     size_t x_stride, size_t cols, size_t n, float *y, size_t y_stride)
{
    size_t panel = n < PANEL_FLOATS / ROWS ? PANEL_FLOATS / (n + 1) / ROWS * ROWS : ROWS;

    for (size_t p = 0; p < rows; p += panel) {
        size_t end = GS_MIN(rows, p + panel);
        for (size_t c = 0; c < cols; c += COLS)
            for (size_t r = p; r < end; r += ROWS)
                tiles[GS_MIN(end - r, ROWS) - 1][GS_MIN(cols - c, COLS) - 1](
                    w + r * w_stride, w_stride, x + c * x_stride, x_stride, n,
                    y + c * y_stride + r, y_stride);
    }
}
