/* SPDX-License-Identifier: MIT
 * Activations as 8-bit integers, and the products of decoded tiles with them.
 *
 * A vector is cut into blocks of 128; a block is 128 signed bytes, one f32 scale and the sum
 * of its bytes (for kernels whose multiplier wants one factor unsigned):
 *
 *     x (n)   ├── 128 ──┼── 128 ──┼─ rest ─┤          T vectors: q (T, stride)
 *     q       ├ int8 … ─┼─────────┼────────┤                    scale, sum (T, blocks)
 *     scale        s0        s1       s2               x[i] ≈ scale[i / 128] · q[i]
 *
 * A product of a row of 8-bit weights with such a vector is one chain over the blocks, in
 * this order at every level and for every number of vectors:
 *
 *     y = fma(scale[b], (float)Σ w[i] · q[i] over block b, y)      b = 0, 1, …
 *
 * The inner sums are exact: at most 128 · 127 · 127 < 2^24. */
#ifndef GS_KERNELS_INT8_H
#define GS_KERNELS_INT8_H

#include "core/attr.h"

#define GS_INT8_BLOCK 128u
/* Below this a block's largest element counts as 0: 127 / x must stay finite. */
#define GS_INT8_TINY 0x1p-100f

struct gs_int8 {
    int8_t *q;      /* −127 … 127 */
    float *scale;
    int32_t *sum;
    size_t stride;  /* bytes from one vector to the next */
    size_t blocks;  /* scales and sums of a vector */
};

static inline size_t gs_int8_blocks(size_t n)
{
    return (n + GS_INT8_BLOCK - 1) / GS_INT8_BLOCK;
}

/* Vector t of x, from block b on. */
static inline struct gs_int8 gs_int8_at(const struct gs_int8 *x, size_t t, size_t b)
{
    return (struct gs_int8){.q = x->q + t * x->stride + b * GS_INT8_BLOCK,
                            .scale = x->scale + t * x->blocks + b,
                            .sum = x->sum + t * x->blocks + b,
                            .stride = x->stride, .blocks = x->blocks};
}

/* One vector (n): scale = largest |x| / 127, q = x · (127 / largest) rounded to nearest even.
 * A block that holds a NaN or an infinity gets q = 0 and a scale of NaN, so that every
 * product with it is NaN. */
typedef void (*gs_int8_quantize_fn)(const float *x, size_t n, struct gs_int8 *out);

/* y[t · y_stride + r] continues the chain above, for r < rows and t < T, with tiles decoded
 * by trellis_decode (128 + value): block row i of 16 rows is the 256 · tiles bytes from
 * w + i · 256 · tiles on. x has 16 · tiles elements a vector. */
typedef void (*gs_tile_mul_fn)(const uint8_t *w, size_t tiles, size_t rows,
                               const struct gs_int8 *x, size_t T, float *y, size_t y_stride);

#define GS_INT8_KERNELS(isa)                                                                   \
    void gs_int8_quantize_##isa(const float *x, size_t n, struct gs_int8 *out);                \
    void gs_tile_mul_##isa(const uint8_t *w, size_t tiles, size_t rows,                        \
                           const struct gs_int8 *x, size_t T, float *y, size_t y_stride)

#endif
