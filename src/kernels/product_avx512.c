/* SPDX-License-Identifier: MIT
 * Dot products and the matrix product for AVX-512, as in product_avx2.c: the 64 lanes are
 * four registers, a slice is 16 lanes, a tile 4 rows × 6 columns in 24 registers. */
#include "kernels/blocks.h"
#include "kernels/lanes_avx512.h"

#define ROWS 4
#define COLS 6
#define BLOCK 2048       /* elements of a row between two loads of the sums */
#define SHORT 768        /* up to this n a tile's rows and columns fit the first-level cache */
#define GROUP_ROWS 32    /* rows that share a slice of x otherwise */
#define PANEL_FLOATS (96 * 1024) /* of w, for the second-level cache */
#define FEW_COLS 2       /* so few columns, or rows shorter than this, are multiplied one */
#define FEW_ELEMENTS 128 /* by one: that is as fast */
#define SLICE_LANES (GROUP_ROWS * COLS * 16)

/* Loads the elements of a mask, zeros elsewhere. */
typedef __m512 (*load_fn)(const void *p, __mmask16 mask);

static GS_ALWAYS_INLINE __m512 load_f32(const void *p, __mmask16 mask)
{
    return _mm512_maskz_loadu_ps(mask, p);
}

static GS_ALWAYS_INLINE __m512 load_f16(const void *p, __mmask16 mask)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p));
}

static GS_ALWAYS_INLINE __m512 load_bf16(const void *p, __mmask16 mask)
{
    __m512i w = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p));

    return _mm512_castsi512_ps(_mm512_slli_epi32(w, 16));
}

/* Rows of `size`-byte floats. Lanes beyond the end are left untouched. */
static GS_ALWAYS_INLINE float dot(const uint8_t *w, size_t size, load_fn load, const float *x,
                                  size_t n)
{
    __m512 lane[4];

    GS_UNROLL for (int j = 0; j < 4; j++)
        lane[j] = _mm512_setzero_ps();
    for (; n >= 64; n -= 64, w += 64 * size, x += 64)
        GS_UNROLL for (size_t j = 0; j < 4; j++)
            lane[j] = _mm512_fmadd_ps(load(w + 16 * j * size, 0xffff),
                                      _mm512_loadu_ps(x + 16 * j), lane[j]);
    GS_UNROLL for (size_t j = 0; j < 4 && n > 0; j++) {
        __mmask16 mask = mask16(GS_MIN(n, 16));
        __m512 b = _mm512_maskz_loadu_ps(mask, x + 16 * j);
        lane[j] = _mm512_mask3_fmadd_ps(load(w + 16 * j * size, mask), b, lane[j], mask);
        n -= GS_MIN(n, 16);
    }
    return fold_last(fold4(lane[0], lane[1], lane[2], lane[3]));
}

float gs_dot_f32_avx512(const void *row, const float *x, size_t n)
{
    return dot(row, 4, load_f32, x, n);
}

float gs_dot_f16_avx512(const void *row, const float *x, size_t n)
{
    return dot(row, 2, load_f16, x, n);
}

float gs_dot_bf16_avx512(const void *row, const float *x, size_t n)
{
    return dot(row, 2, load_bf16, x, n);
}

/* Two vectors of lanes with one block. */
static GS_ALWAYS_INLINE void dot_block_q8_0(const struct gs_block_q8_0 *b, const float *x,
                                            __m512 lane[2])
{
    uint16_t bits;
    memcpy(&bits, b->d, 2);
    __m512 d = _mm512_set1_ps(_cvtsh_ss(bits));

    GS_UNROLL for (int j = 0; j < 2; j++) {
        __m512i q = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(b->qs + 16 * j)));
        __m512 w = _mm512_mul_ps(_mm512_cvtepi32_ps(q), d);
        lane[j] = _mm512_fmadd_ps(w, _mm512_loadu_ps(x + 16 * j), lane[j]);
    }
}

float gs_dot_q8_0_avx512(const void *row, const float *x, size_t n)
{
    const struct gs_block_q8_0 *b = row;
    __m512 lane[4];

    GS_UNROLL for (int j = 0; j < 4; j++)
        lane[j] = _mm512_setzero_ps();
    for (; n >= 64; n -= 64, b += 2, x += 64) {
        dot_block_q8_0(b, x, lane);
        dot_block_q8_0(b + 1, x + 32, lane + 2);
    }
    if (n)
        dot_block_q8_0(b, x, lane);
    return fold_last(fold4(lane[0], lane[1], lane[2], lane[3]));
}

/* ---- the matrix product ------------------------------------------------------------ */

/* Columns of x, one slice after the other, so that a slice is contiguous:
 * [slice][step][column][16], zeros beyond the end. A slice has ⌈n / 64⌉ steps. */
static void pack(const float *x, size_t x_stride, size_t C, size_t n, float *out)
{
    size_t steps = (n + 63) / 64;

    for (size_t i = 0; i < steps * 64; i += 16) {
        __mmask16 mask = i < n ? mask16(GS_MIN(n - i, 16)) : 0;
        float *to = out + (i / 16 % 4 * steps + i / 64) * C * 16;
        for (size_t c = 0; c < C; c++)
            _mm512_store_ps(to + 16 * c, _mm512_maskz_loadu_ps(mask, x + c * x_stride + i));
    }
}

/* One slice of a tile: lane[r][c] += w[r][i] x[c][i] for i in the slice, of which a row of
 * w has n elements left; the first time, lane starts at 0. R and C are constants wherever
 * this is used, so the loops over them vanish and the sums stay in registers. */
static GS_ALWAYS_INLINE void tile(const int R, const int C, const float *w, size_t w_stride,
                                  const float *x, size_t n, float *lane, bool first)
{
    __m512 sum[ROWS][COLS];
    size_t i = 0;

    GS_UNROLL for (int r = 0; r < R; r++)
        GS_UNROLL for (int c = 0; c < C; c++)
            sum[r][c] = first ? _mm512_setzero_ps() : _mm512_load_ps(lane + (r * COLS + c) * 16);
    for (; i + 16 <= n; i += 64, x += 16 * C) {
        __m512 a[ROWS];
        GS_UNROLL for (int r = 0; r < R; r++)
            a[r] = _mm512_loadu_ps(w + (size_t)r * w_stride + i);
        GS_UNROLL for (int c = 0; c < C; c++) {
            __m512 b = _mm512_load_ps(x + 16 * c);
            GS_UNROLL for (int r = 0; r < R; r++)
                sum[r][c] = _mm512_fmadd_ps(a[r], b, sum[r][c]);
        }
    }
    if (i < n) {
        __mmask16 mask = mask16(n - i);
        GS_UNROLL for (int r = 0; r < R; r++) {
            __m512 a = _mm512_maskz_loadu_ps(mask, w + (size_t)r * w_stride + i);
            GS_UNROLL for (int c = 0; c < C; c++)
                sum[r][c] = _mm512_mask3_fmadd_ps(a, _mm512_load_ps(x + 16 * c), sum[r][c],
                                                  mask);
        }
    }
    GS_UNROLL for (int r = 0; r < R; r++)
        GS_UNROLL for (int c = 0; c < C; c++)
            _mm512_store_ps(lane + (r * COLS + c) * 16, sum[r][c]);
}

typedef void (*tile_fn)(const float *w, size_t w_stride, const float *x, size_t n, float *lane,
                        bool first);

#define TILE(R, C)                                                                             \
    static void tile_##R##x##C(const float *w, size_t w_stride, const float *x, size_t n,      \
                               float *lane, bool first)                                        \
    {                                                                                          \
        tile(R, C, w, w_stride, x, n, lane, first);                                            \
    }
TILE(1, 3) TILE(1, 4) TILE(1, 5) TILE(1, 6)
TILE(2, 3) TILE(2, 4) TILE(2, 5) TILE(2, 6)
TILE(3, 3) TILE(3, 4) TILE(3, 5) TILE(3, 6)
TILE(4, 3) TILE(4, 4) TILE(4, 5) TILE(4, 6)

static const tile_fn tiles[ROWS][COLS - FEW_COLS] = {
    {tile_1x3, tile_1x4, tile_1x5, tile_1x6},
    {tile_2x3, tile_2x4, tile_2x5, tile_2x6},
    {tile_3x3, tile_3x4, tile_3x5, tile_3x6},
    {tile_4x3, tile_4x4, tile_4x5, tile_4x6},
};

/* Folds the lanes of up to four rows of one column into y. */
static void put_folded(const float *lane, size_t rows, float *y)
{
    __m128 s[4];

    for (size_t r = 0; r < 4; r++) {
        const float *v = lane + (r < rows ? r : 0) * COLS * 16;
        s[r] = fold4(_mm512_load_ps(v), _mm512_load_ps(v + SLICE_LANES),
                     _mm512_load_ps(v + 2 * SLICE_LANES), _mm512_load_ps(v + 3 * SLICE_LANES));
    }
    __m128 p = _mm_add_ps(_mm_movelh_ps(s[0], s[1]), _mm_movehl_ps(s[1], s[0]));
    __m128 q = _mm_add_ps(_mm_movelh_ps(s[2], s[3]), _mm_movehl_ps(s[3], s[2]));
    p = _mm_add_ps(_mm_shuffle_ps(p, q, 0x88), _mm_shuffle_ps(p, q, 0xdd));
    _mm_mask_storeu_ps(y, (__mmask8)((1 << rows) - 1), p);
}

/* Rows begin … end, in tiles, times C packed columns; lane row 0 is row `begin`. */
static void multiply(const float *w, size_t w_stride, size_t begin, size_t end,
                     const float *packed, size_t C, size_t n, float *lane, bool first)
{
    size_t steps = (n + 63) / 64;

    for (size_t s = 0; s < 4; s++)
        for (size_t r = begin; r < end; r += ROWS)
            tiles[GS_MIN(end - r, ROWS) - 1][C - FEW_COLS - 1](
                w + r * w_stride + 16 * s, w_stride, packed + s * steps * C * 16,
                n > 16 * s ? n - 16 * s : 0, lane + s * SLICE_LANES + (r - begin) * COLS * 16,
                first);
}

static void multiply_singly(const float *w, size_t w_stride, size_t rows, const float *x,
                            size_t x_stride, size_t cols, size_t n, float *y, size_t y_stride)
{
    for (size_t c = 0; c < cols; c++)
        for (size_t r = 0; r < rows; r++)
            y[c * y_stride + r] = gs_dot_f32_avx512(w + r * w_stride, x + c * x_stride, n);
}

/* Up to COLS columns. */
static void multiply_tiled(const float *w, size_t w_stride, size_t rows, const float *x,
                           size_t x_stride, size_t C, size_t n, float *y, size_t y_stride)
{
    GS_ALIGNED(64) float packed[COLS * BLOCK], lane[4 * SLICE_LANES];
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
                put_folded(lane + ((f - r) * COLS + c) * 16, GS_MIN(end - f, 4),
                           y + c * y_stride + f);
    }
}

void gs_mul_f32_avx512(const float *w, size_t w_stride, size_t rows, const float *x,
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
