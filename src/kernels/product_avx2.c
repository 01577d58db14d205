/* SPDX-License-Identifier: MIT
 * Dot products and the matrix product for AVX2 with FMA.
 *
 * The 64 lanes of the fixed order are independent sums. A dot product keeps them in eight
 * registers. The matrix product takes one slice of eight lanes at a time, for a tile of
 * 4 rows × 3 columns: twelve sums, three activations and one weight fill the registers.
 *
 *     element i:   0 … 7 | 8 … 15 | … | 56 … 63 | 64 … 71 | …
 *     slice:         0   |   1    | … |    7    |    0    | …
 *
 * The elements of a slice are 256 bytes apart, which uses a quarter of a cache's sets, so
 * the columns are packed by slice first. Short rows: tile by tile, all slices of a tile,
 * with everything in the first-level cache. Long rows: slice by slice for a group of rows,
 * so that a slice of x stays in the first-level cache and w comes from the second.
 * Sums wait in lane[slice][row][column][8] and are folded at the end. */
#include "kernels/blocks.h"
#include "kernels/lanes_avx2.h"

#define ROWS 4
#define COLS 3
#define BLOCK 2048       /* elements of a row between two loads of the sums */
#define SHORT 768        /* up to this n a tile's rows and columns fit the first-level cache */
#define GROUP_ROWS 32    /* rows that share a slice of x otherwise */
#define PANEL_FLOATS (96 * 1024) /* of w, for the second-level cache */
#define FEW_COLS 2       /* so few columns, or rows shorter than this, are multiplied one */
#define FEW_ELEMENTS 256 /* by one: that is as fast */
#define SLICE_LANES (GROUP_ROWS * COLS * 8)

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

    GS_UNROLL for (int j = 0; j < 8; j++)
        lane[j] = _mm256_setzero_ps();
    for (; n >= 64; n -= 64, w += 64 * size, x += 64)
        GS_UNROLL for (size_t j = 0; j < 8; j++)
            lane[j] = _mm256_fmadd_ps(load(w + 8 * j * size), _mm256_loadu_ps(x + 8 * j),
                                      lane[j]);
    GS_UNROLL for (size_t j = 0; j < 8; j++) {
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
    return fold_last(fold8(lane));
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

    GS_UNROLL for (int j = 0; j < 4; j++) {
        __m256i q = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(b->qs + 8 * j)));
        __m256 w = _mm256_mul_ps(_mm256_cvtepi32_ps(q), d);
        lane[j] = _mm256_fmadd_ps(w, _mm256_loadu_ps(x + 8 * j), lane[j]);
    }
}

float gs_dot_q8_0_avx2(const void *row, const float *x, size_t n)
{
    const struct gs_block_q8_0 *b = row;
    __m256 lane[8];

    GS_UNROLL for (int j = 0; j < 8; j++)
        lane[j] = _mm256_setzero_ps();
    for (; n >= 64; n -= 64, b += 2, x += 64) {
        dot_block_q8_0(b, x, lane);
        dot_block_q8_0(b + 1, x + 32, lane + 4);
    }
    if (n)
        dot_block_q8_0(b, x, lane);
    return fold_last(fold8(lane));
}

/* ---- the matrix product ------------------------------------------------------------ */

/* Columns of x, one slice after the other, so that a slice is contiguous:
 * [slice][step][column][8], zeros beyond the end. A slice has ⌈n / 64⌉ steps. */
static void pack(const float *x, size_t x_stride, size_t C, size_t n, float *out)
{
    size_t steps = (n + 63) / 64;

    for (size_t i = 0; i < steps * 64; i += 8) {
        float *to = out + (i / 8 % 8 * steps + i / 64) * C * 8;
        for (size_t c = 0; c < C; c++) {
            __m256 v = _mm256_setzero_ps();
            if (i + 8 <= n)
                v = _mm256_loadu_ps(x + c * x_stride + i);
            else if (i < n)
                v = _mm256_maskload_ps(x + c * x_stride + i, _mm256_castps_si256(mask8(n - i)));
            _mm256_store_ps(to + 8 * c, v);
        }
    }
}

/* One slice of a tile: lane[r][c] += w[r][i] x[c][i] for i in the slice, of which a row of
 * w has n elements left; the first time, lane starts at 0. R and C are constants wherever
 * this is used, so the loops over them vanish and the sums stay in registers. */
static GS_ALWAYS_INLINE void tile(const int R, const int C, const float *w, size_t w_stride,
                                  const float *x, size_t n, float *lane, bool first)
{
    __m256 sum[ROWS][COLS];
    size_t i = 0;

    GS_UNROLL for (int r = 0; r < R; r++)
        GS_UNROLL for (int c = 0; c < C; c++)
            sum[r][c] = first ? _mm256_setzero_ps() : _mm256_load_ps(lane + (r * COLS + c) * 8);
    for (; i + 8 <= n; i += 64, x += 8 * C) {
        __m256 b[COLS];
        GS_UNROLL for (int c = 0; c < C; c++)
            b[c] = _mm256_load_ps(x + 8 * c);
        GS_UNROLL for (int r = 0; r < R; r++) {
            __m256 a = _mm256_loadu_ps(w + (size_t)r * w_stride + i);
            GS_UNROLL for (int c = 0; c < C; c++)
                sum[r][c] = _mm256_fmadd_ps(a, b[c], sum[r][c]);
        }
    }
    if (i < n) {
        __m256 mask = mask8(n - i);
        GS_UNROLL for (int r = 0; r < R; r++) {
            __m256 a = _mm256_maskload_ps(w + (size_t)r * w_stride + i,
                                          _mm256_castps_si256(mask));
            GS_UNROLL for (int c = 0; c < C; c++) {
                __m256 s = _mm256_fmadd_ps(a, _mm256_load_ps(x + 8 * c), sum[r][c]);
                sum[r][c] = _mm256_blendv_ps(sum[r][c], s, mask);
            }
        }
    }
    GS_UNROLL for (int r = 0; r < R; r++)
        GS_UNROLL for (int c = 0; c < C; c++)
            _mm256_store_ps(lane + (r * COLS + c) * 8, sum[r][c]);
}

typedef void (*tile_fn)(const float *w, size_t w_stride, const float *x, size_t n, float *lane,
                        bool first);

#define TILE(R, C)                                                                             \
    static void tile_##R##x##C(const float *w, size_t w_stride, const float *x, size_t n,      \
                               float *lane, bool first)                                        \
    {                                                                                          \
        tile(R, C, w, w_stride, x, n, lane, first);                                            \
    }
TILE(1, 3)
TILE(2, 3)
TILE(3, 3)
TILE(4, 3)

static const tile_fn tiles[ROWS][COLS - FEW_COLS] = {
    {tile_1x3},
    {tile_2x3},
    {tile_3x3},
    {tile_4x3},
};

/* Folds the lanes of up to four rows of one column into y. */
static void put_folded(const float *lane, size_t rows, float *y)
{
    __m128 s[4];
    float out[4];

    for (size_t r = 0; r < 4; r++) {
        const float *v = lane + (r < rows ? r : 0) * COLS * 8;
        __m256 a[8];
        GS_UNROLL for (size_t j = 0; j < 8; j++)
            a[j] = _mm256_load_ps(v + j * SLICE_LANES);
        s[r] = fold8(a);
    }
    __m128 p = _mm_add_ps(_mm_movelh_ps(s[0], s[1]), _mm_movehl_ps(s[1], s[0]));
    __m128 q = _mm_add_ps(_mm_movelh_ps(s[2], s[3]), _mm_movehl_ps(s[3], s[2]));
    _mm_storeu_ps(out, _mm_add_ps(_mm_shuffle_ps(p, q, 0x88), _mm_shuffle_ps(p, q, 0xdd)));
    memcpy(y, out, rows * sizeof *y);
}

/* Rows begin … end, in tiles, times C packed columns; lane row 0 is row `begin`. Two
 * slices share the cache lines of w and follow each other. */
static void multiply(const float *w, size_t w_stride, size_t begin, size_t end,
                     const float *packed, size_t C, size_t n, float *lane, bool first)
{
    size_t steps = (n + 63) / 64;

    for (size_t pair = 0; pair < 8; pair += 2)
        for (size_t r = begin; r < end; r += ROWS)
            for (size_t s = pair; s < pair + 2; s++)
                tiles[GS_MIN(end - r, ROWS) - 1][C - FEW_COLS - 1](
                    w + r * w_stride + 8 * s, w_stride, packed + s * steps * C * 8,
                    n > 8 * s ? n - 8 * s : 0, lane + s * SLICE_LANES + (r - begin) * COLS * 8,
                    first);
}

static void multiply_singly(const float *w, size_t w_stride, size_t rows, const float *x,
                            size_t x_stride, size_t cols, size_t n, float *y, size_t y_stride)
{
    for (size_t c = 0; c < cols; c++)
        for (size_t r = 0; r < rows; r++)
            y[c * y_stride + r] = gs_dot_f32_avx2(w + r * w_stride, x + c * x_stride, n);
}

/* Up to COLS columns. */
static void multiply_tiled(const float *w, size_t w_stride, size_t rows, const float *x,
                           size_t x_stride, size_t C, size_t n, float *y, size_t y_stride)
{
    GS_ALIGNED(64) float packed[COLS * BLOCK], lane[8 * SLICE_LANES];
    size_t group = n <= SHORT ? ROWS : GROUP_ROWS;

    for (size_t r = 0; r < rows; r += group) {
        size_t end = GS_MIN(rows, r + group);
        for (size_t k = 0; k < n; k += BLOCK) {
            size_t left = GS_MIN(n - k, BLOCK);
            if (r == 0 || n > BLOCK)
                pack(x + k, x_stride, C, left, packed);
            multiply(w + k, w_stride, r, end, packed, C, left, lane, k == 0);
        }
        for (size_t f = r; f < end; f += 4)
            for (size_t c = 0; c < C; c++)
                put_folded(lane + ((f - r) * COLS + c) * 8, GS_MIN(end - f, 4),
                           y + c * y_stride + f);
    }
}

void gs_mul_f32_avx2(const float *w, size_t w_stride, size_t rows, const float *x,
                     size_t x_stride, size_t cols, size_t n, float *y, size_t y_stride)
{
    size_t panel = GS_MAX(PANEL_FLOATS / (n + 1) / GROUP_ROWS, 1) * GROUP_ROWS;

    for (size_t r = 0; r < rows; r += panel)
        for (size_t c = 0; c < cols; c += COLS) {
            size_t C = GS_MIN(cols - c, COLS);
            bool few = C <= FEW_COLS || n < FEW_ELEMENTS;
            (few ? multiply_singly : multiply_tiled)(
                w + r * w_stride, w_stride, GS_MIN(rows - r, panel), x + c * x_stride, x_stride,
                C, n, y + c * y_stride + r, y_stride);
        }
}
