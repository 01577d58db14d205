/* SPDX-License-Identifier: MIT
 * 8-bit activations (int8.h). A product keeps up to 4 block rows × 6 vectors of sums in
 * registers; weights are loaded once for 6 vectors, activations broadcast once for 4 block
 * rows. VPDPBUSD multiplies 128 + value, so sums begin at −128 · Σ q. */
#include "kernels/dot4_avx512vbmi.h"
#include "kernels/tile_avx2.h"

#define ROWS 4 /* block rows */
#define COLS 6

/* 16 elements times `inverse`, rounded, to place i. */
static GS_ALWAYS_INLINE void round16(__m512 x, __m512 inverse, const struct gs_int8 *out, size_t i)
{
    __m512 v = _mm512_mul_ps(x, inverse);
    __m512i q = _mm512_cvtps_epi32(v);

    _mm_storeu_si128((void *)(out->q + i), _mm512_cvtepi32_epi8(q));
    if (!out->low)
        return;
    v = _mm512_sub_ps(v, _mm512_cvtepi32_ps(q));
    q = _mm512_cvtps_epi32(_mm512_mul_ps(v, _mm512_set1_ps(256)));
    q = _mm512_max_epi32(_mm512_min_epi32(q, _mm512_set1_epi32(127)), _mm512_set1_epi32(-127));
    _mm_storeu_si128((void *)(out->low + i), _mm512_cvtepi32_epi8(q));
}

static inline uint32_t largest_bits(const float x[GS_INT8_BLOCK])
{
    __m512i top = _mm512_setzero_si512();

    for (size_t j = 0; j < GS_INT8_BLOCK; j += 16)
        top = _mm512_max_epi32(top, _mm512_and_si512(_mm512_loadu_si512(x + j),
                                                     _mm512_set1_epi32(0x7fffffff)));
    return (uint32_t)_mm512_reduce_max_epi32(top);
}

static inline void round_block(const float *x, float inverse, const struct gs_int8 *out)
{
    for (size_t j = 0; j < GS_INT8_BLOCK; j += 16)
        round16(_mm512_loadu_ps(x + j), _mm512_set1_ps(inverse), out, j);
}

static float quantize_block(const float *x, const struct gs_int8 *out)
{
    return quantize_with(x, out, (struct gs_int8_steps){largest_bits, round_block, put_sums});
}

/* The lanes of int8.h: step s of 16 groups is every fourth dword from s on. */
static void put_lanes(const struct gs_int8 *x, size_t n)
{
    const __m512i every = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52,
                                            56, 60);
    struct gs_int8 rest = gs_int8_at(x, 0, n / GS_INT8_PIECE * (GS_INT8_PIECE / GS_INT8_BLOCK));

    for (size_t i = 0; i + GS_INT8_PIECE <= n; i += GS_INT8_PIECE)
        for (size_t s = 0; s < 4; s++) {
            int8_t *to = x->lanes + 2 * i + 64 * s;
            _mm512_storeu_si512(to, _mm512_i32gather_epi32(every, x->q + i + 4 * s, 4));
            _mm512_storeu_si512(to + 256, _mm512_i32gather_epi32(every, x->low + i + 4 * s, 4));
        }
    gs_int8_put_lanes(&rest, n % GS_INT8_PIECE);
}

void gs_int8_quantize_avx512vbmi(const float *x, size_t n, struct gs_int8 *out)
{
    quantize_blocks(x, n, out, quantize_block);
    if (out->low && out->lanes)
        put_lanes(out, n);
}

struct product {
    const uint8_t *w;
    size_t w_stride; /* bytes of a block row */
    size_t tiles;
    __mmask16 last;  /* rows of the last block row */
    float *y;
    size_t y_stride;
};

/* All tiles of `rows` block rows times `cols` vectors. */
static GS_ALWAYS_INLINE void multiply(const struct product *p, const struct gs_int8 *x,
                                      size_t rows, size_t cols)
{
    const size_t step = GS_INT8_BLOCK / GS_TRELLIS_COLS;
    const uint8_t *w = p->w;
    const int8_t *q = x->q;

    for (size_t i = 0, b = 0; i < p->tiles; i += step, b++) {
        __m512i sum[ROWS][COLS];
        GS_UNROLL for (size_t t = 0; t < cols; t++)
            GS_UNROLL for (size_t r = 0; r < rows; r++)
                sum[r][t] = _mm512_set1_epi32(-128 * x->sum[t * x->blocks + b]);
        for (size_t k = 4 * GS_MIN(step, p->tiles - i); k > 0; k--, w += 64, q += 4) {
            __m512i v[ROWS];
            GS_UNROLL for (size_t r = 0; r < rows; r++)
                v[r] = _mm512_loadu_si512(w + r * p->w_stride);
            GS_UNROLL for (size_t t = 0; t < cols; t++) {
                __m512i a = four_wide(q + t * x->stride);
                GS_UNROLL for (size_t r = 0; r < rows; r++)
                    add_dot4(&sum[r][t], v[r], a);
            }
        }
        GS_UNROLL for (size_t t = 0; t < cols; t++) {
            __m512 scale = _mm512_set1_ps(x->scale[t * x->blocks + b]);
            GS_UNROLL for (size_t r = 0; r < rows; r++) {
                float *y = p->y + t * p->y_stride + 16 * r;
                __mmask16 mask = r + 1 == rows ? p->last : 0xffff;
                __m512 old = _mm512_maskz_loadu_ps(mask, y);
                __m512 part = _mm512_cvtepi32_ps(sum[r][t]);
                _mm512_mask_storeu_ps(y, mask, _mm512_fmadd_ps(scale, part, old));
            }
        }
    }
}

#define SHAPE(rows, cols)                                                                      \
    static void multiply_##rows##_##cols(const struct product *p, const struct gs_int8 *x)     \
    {                                                                                          \
        multiply(p, x, rows, cols);                                                            \
    }
#define SHAPES(rows) SHAPE(rows, 1) SHAPE(rows, 2) SHAPE(rows, 3) SHAPE(rows, 4) \
    SHAPE(rows, 5) SHAPE(rows, 6)
#define NAMES(rows) {multiply_##rows##_1, multiply_##rows##_2, multiply_##rows##_3, \
    multiply_##rows##_4, multiply_##rows##_5, multiply_##rows##_6}
SHAPES(1)
SHAPES(4)

typedef void (*multiply_fn)(const struct product *p, const struct gs_int8 *x);

static const multiply_fn products[2][COLS] = {NAMES(1), NAMES(4)};

void gs_tile_mul_avx512vbmi(const uint8_t *w, size_t tiles, size_t rows,
                            const struct gs_int8 *x, size_t T, float *y, size_t y_stride)
{
    struct product p = {.w_stride = tiles * GS_TRELLIS_TILE, .tiles = tiles,
                        .y_stride = y_stride};

    for (size_t t = 0; t < T; t += COLS) {
        size_t cols = GS_MIN((size_t)COLS, T - t);
        struct gs_int8 v = gs_int8_at(x, t, 0);
        for (size_t r = 0, n; r < rows; r += 16 * n) {
            n = rows - r > 16 * (ROWS - 1) ? ROWS : 1;
            size_t last = GS_MIN(rows - r - 16 * (n - 1), (size_t)16);
            p.w = w + r / 16 * p.w_stride;
            p.last = (__mmask16)((1u << last) - 1);
            p.y = y + t * y_stride + r;
            products[n == ROWS][cols - 1](&p, &v);
        }
    }
}
