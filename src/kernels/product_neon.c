/* SPDX-License-Identifier: MIT
 * Dot products and the matrix product for NEON.
 *
 * The 64 lanes of the fixed order are independent sums. A dot product keeps them in sixteen
 * registers. The matrix product takes one slice of four lanes at a time, for a tile of 4 rows
 * × 4 columns: sixteen sums, four weights and four activations, half a load for each fma.
 *
 *     element i:   0 … 3 | 4 … 7 | … | 60 … 63 | 64 … 67 | …
 *     slice:         0   |   1   | … |   15    |    0    | …
 *
 * The elements of a slice are 256 bytes apart, which uses a quarter of a cache's sets and a
 * quarter of its lines, so the columns are packed by slice first, and the four slices that
 * share the lines of w follow each other. Sums wait in lane[slice][row][column][4] and are
 * folded at the end. */
#include "kernels/blocks.h"
#include "kernels/lanes_neon.h"

#define ROWS 4
#define COLS 4
#define SLICES 16
#define BLOCK 1024       /* elements of a row between two loads of the sums */
#define GROUP_ROWS 32    /* rows that share the packed columns in the first-level cache */
#define PANEL_FLOATS (64 * 1024) /* of w, for the second-level cache */
#define FEW_ELEMENTS 256 /* shorter rows are multiplied one by one: that is as fast */
#define SLICE_LANES (GROUP_ROWS * COLS * 4)

typedef float32x4_t (*load_fn)(const uint8_t *p);

/* The last n < 64 elements: lanes beyond stay untouched. */
static GS_ALWAYS_INLINE void dot_rest(const uint8_t *w, size_t size, load_fn load,
                                      const float *x, size_t n, float32x4_t lane[16])
{
    float sum[64];
    size_t i = 0;

    for (size_t j = 0; j < 16; j++)
        vst1q_f32(sum + 4 * j, lane[j]);
    for (; i + 4 <= n; i += 4)
        vst1q_f32(sum + i, vfmaq_f32(vld1q_f32(sum + i), load(w + i * size), vld1q_f32(x + i)));
    if (i < n) {
        uint8_t w_end[16] = {0};
        memcpy(w_end, w + i * size, (n - i) * size);
        float32x4_t last = vfmaq_f32(vld1q_f32(sum + i), load(w_end), load_part(x + i, n - i));
        vst1q_f32(sum + i, vbslq_f32(mask4(n - i), last, vld1q_f32(sum + i)));
    }
    for (size_t j = 0; j < 16; j++)
        lane[j] = vld1q_f32(sum + 4 * j);
}

/* Rows of `size`-byte floats. */
static GS_ALWAYS_INLINE float dot(const uint8_t *w, size_t size, load_fn load, const float *x,
                                  size_t n)
{
    float32x4_t lane[16];

    for (int j = 0; j < 16; j++)
        lane[j] = vdupq_n_f32(0);
    for (; n >= 64; n -= 64, w += 64 * size, x += 64)
        GS_UNROLL for (size_t h = 0; h < 16; h += 8)
            GS_UNROLL for (size_t j = h; j < h + 8; j++)
                lane[j] = vfmaq_f32(lane[j], load(w + 4 * j * size), vld1q_f32(x + 4 * j));
    if (n)
        dot_rest(w, size, load, x, n, lane);
    return fold_last(fold16(lane));
}

float gs_dot_f32_neon(const void *row, const float *x, size_t n)
{
    return dot(row, 4, load_f32, x, n);
}

float gs_dot_f16_neon(const void *row, const float *x, size_t n)
{
    return dot(row, 2, load_f16, x, n);
}

float gs_dot_bf16_neon(const void *row, const float *x, size_t n)
{
    return dot(row, 2, load_bf16, x, n);
}

/* Eight vectors of lanes with one block. */
static GS_ALWAYS_INLINE void dot_block_q8_0(const struct gs_block_q8_0 *b, const float *x,
                                            float32x4_t lane[8])
{
    float d = half_at(b->d);

    GS_UNROLL for (int j = 0; j < 4; j++) {
        int16x8_t q = vmovl_s8(vld1_s8(b->qs + 8 * j));
        float32x4_t low = vcvtq_f32_s32(vmovl_s16(vget_low_s16(q)));
        float32x4_t high = vcvtq_f32_s32(vmovl_high_s16(q));
        lane[2 * j] = vfmaq_f32(lane[2 * j], vmulq_n_f32(low, d), vld1q_f32(x + 8 * j));
        lane[2 * j + 1] =
            vfmaq_f32(lane[2 * j + 1], vmulq_n_f32(high, d), vld1q_f32(x + 8 * j + 4));
    }
}

float gs_dot_q8_0_neon(const void *row, const float *x, size_t n)
{
    const struct gs_block_q8_0 *b = row;
    float32x4_t lane[16];

    for (int j = 0; j < 16; j++)
        lane[j] = vdupq_n_f32(0);
    for (; n >= 64; n -= 64, b += 2, x += 64) {
        dot_block_q8_0(b, x, lane);
        dot_block_q8_0(b + 1, x + 32, lane + 8);
    }
    if (n)
        dot_block_q8_0(b, x, lane);
    return fold_last(fold16(lane));
}

/* ---- the matrix product ------------------------------------------------------------ */

/* C columns of x, one slice after the other, so that a slice is contiguous:
 * [slice][step][column][4], zeros beyond the end. A slice has ⌈n / 64⌉ steps. */
static void pack(const float *x, size_t x_stride, size_t C, size_t n, float *out)
{
    size_t steps = (n + 63) / 64;

    for (size_t i = 0; i < steps * 64; i += 4) {
        float *to = out + (i / 4 % SLICES * steps + i / 64) * C * 4;
        for (size_t c = 0; c < C; c++) {
            const float *from = x + c * x_stride + i;
            vst1q_f32(to + 4 * c, i + 4 <= n ? vld1q_f32(from)
                                  : i < n    ? load_part(from, n - i)
                                             : vdupq_n_f32(0));
        }
    }
}

/* One slice of a tile: lane[r][c] += w[r][i] x[c][i] for i in the slice, of which a row of
 * w has n elements left; the first time, lane starts at 0. R and C are constants wherever
 * this is used, so the loops over them vanish and the sums stay in registers. */
static GS_ALWAYS_INLINE void tile(const int R, const int C, const float *w, size_t w_stride,
                                  const float *x, size_t n, float *lane, bool first)
{
    float32x4_t sum[ROWS][COLS], b[COLS];
    size_t i = 0;

    GS_UNROLL for (int r = 0; r < R; r++)
        GS_UNROLL for (int c = 0; c < C; c++)
            sum[r][c] = first ? vdupq_n_f32(0) : vld1q_f32(lane + (r * COLS + c) * 4);
    for (; i + 4 <= n; i += 64, x += 4 * C) {
        GS_UNROLL for (int c = 0; c < C; c++)
            b[c] = vld1q_f32(x + 4 * c);
        GS_UNROLL for (int r = 0; r < R; r++) {
            float32x4_t a = vld1q_f32(w + (size_t)r * w_stride + i);
            GS_UNROLL for (int c = 0; c < C; c++)
                sum[r][c] = vfmaq_f32(sum[r][c], a, b[c]);
        }
    }
    if (i < n)
        GS_UNROLL for (int r = 0; r < R; r++) {
            float32x4_t a = load_part(w + (size_t)r * w_stride + i, n - i);
            GS_UNROLL for (int c = 0; c < C; c++)
                sum[r][c] = vbslq_f32(mask4(n - i),
                                      vfmaq_f32(sum[r][c], a, vld1q_f32(x + 4 * c)), sum[r][c]);
        }
    GS_UNROLL for (int r = 0; r < R; r++)
        GS_UNROLL for (int c = 0; c < C; c++)
            vst1q_f32(lane + (r * COLS + c) * 4, sum[r][c]);
}

typedef void (*tile_fn)(const float *w, size_t w_stride, const float *x, size_t n, float *lane,
                        bool first);

#define TILE(R, C)                                                                             \
    static void tile_##R##x##C(const float *w, size_t w_stride, const float *x, size_t n,      \
                               float *lane, bool first)                                        \
    {                                                                                          \
        tile(R, C, w, w_stride, x, n, lane, first);                                            \
    }
#define TILES(R) TILE(R, 2) TILE(R, 3) TILE(R, 4)
TILES(1)
TILES(2)
TILES(3)
TILES(4)

/* By rows − 1 and columns − 2. */
#define NAMES(R) {tile_##R##x2, tile_##R##x3, tile_##R##x4}
static const tile_fn tiles[ROWS][COLS - 1] = {NAMES(1), NAMES(2), NAMES(3), NAMES(4)};

/* Rows begin … end, in tiles, times C packed columns; lane row 0 is row `begin`. */
static void multiply(const float *w, size_t w_stride, size_t begin, size_t end,
                     const float *packed, size_t C, size_t n, float *lane, bool first)
{
    size_t steps = (n + 63) / 64;

    for (size_t four = 0; four < SLICES; four += 4)
        for (size_t r = begin; r < end; r += ROWS)
            for (size_t s = four; s < four + 4; s++)
                tiles[GS_MIN(end - r, ROWS) - 1][C - 2](
                    w + r * w_stride + 4 * s, w_stride, packed + s * steps * C * 4,
                    n > 4 * s ? n - 4 * s : 0, lane + s * SLICE_LANES + (r - begin) * COLS * 4,
                    first);
}

/* The folded lanes of one row and column. */
static float folded(const float *lane)
{
    float32x4_t v[SLICES];

    GS_UNROLL for (size_t s = 0; s < SLICES; s++)
        v[s] = vld1q_f32(lane + s * SLICE_LANES);
    return fold_last(fold16(v));
}

static void multiply_singly(const float *w, size_t w_stride, size_t rows, const float *x,
                            size_t x_stride, size_t cols, size_t n, float *y, size_t y_stride)
{
    for (size_t c = 0; c < cols; c++)
        for (size_t r = 0; r < rows; r++)
            y[c * y_stride + r] = gs_dot_f32_neon(w + r * w_stride, x + c * x_stride, n);
}

/* Two to four columns. */
static void multiply_tiled(const float *w, size_t w_stride, size_t rows, const float *x,
                           size_t x_stride, size_t C, size_t n, float *y, size_t y_stride)
{
    GS_ALIGNED(64) float packed[COLS * BLOCK], lane[SLICES * SLICE_LANES];

    for (size_t r = 0; r < rows; r += GROUP_ROWS) {
        size_t end = GS_MIN(rows, r + GROUP_ROWS);
        for (size_t k = 0; k < n; k += BLOCK) {
            size_t left = GS_MIN(n - k, BLOCK);
            if (r == 0 || n > BLOCK)
                pack(x + k, x_stride, C, left, packed);
            multiply(w + k, w_stride, r, end, packed, C, left, lane, k == 0);
        }
        for (size_t c = 0; c < C; c++)
            for (size_t i = r; i < end; i++)
                y[c * y_stride + i] = folded(lane + ((i - r) * COLS + c) * 4);
    }
}

void gs_mul_f32_neon(const float *w, size_t w_stride, size_t rows, const float *x,
                     size_t x_stride, size_t cols, size_t n, float *y, size_t y_stride)
{
    size_t panel = GS_MAX(PANEL_FLOATS / (n + 1) / GROUP_ROWS, 1) * GROUP_ROWS;

    for (size_t r = 0; r < rows; r += panel)
        for (size_t c = 0; c < cols; c += COLS) {
            size_t C = GS_MIN(cols - c, COLS);
            bool few = C == 1 || n < FEW_ELEMENTS;
            (few ? multiply_singly : multiply_tiled)(
                w + r * w_stride, w_stride, GS_MIN(rows - r, panel), x + c * x_stride, x_stride,
                C, n, y + c * y_stride + r, y_stride);
        }
}
