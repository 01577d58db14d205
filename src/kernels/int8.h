/* SPDX-License-Identifier: MIT
 * Activations as 8-bit integers, and the products of decoded tiles with them.
 *
 * A vector is cut into blocks of 64; a block is 64 signed bytes, one f32 scale and the sum
 * of its bytes (for kernels whose multiplier wants one factor unsigned):
 *
 *     x (n)   ├─── 64 ──┼─── 64 ──┼─ rest ─┤          T vectors: q (T, stride)
 *     q       ├ int8 … ─┼─────────┼────────┤                    scale, sum (T, blocks)
 *     scale        s0        s1       s2               x[i] ≈ scale[i / 64] · q[i]
 *
 * After a Hadamard transform this is enough. Where activations keep their outliers, as the
 * inputs of stored types do, a second byte `low` holds 1/256 of a step, and the scale is that
 * of the two together: v = 256 q + low, x ≈ scale · v. Such vectors are also kept in lanes,
 * for kernels that sum 16 groups of 16 elements side by side:
 *
 *     lanes   for 256 elements  q    dword s · 16 + g = elements 16 g + 4 s … + 3, s < 4, g < 16
 *                               low  the same
 *
 * A product of a row of tiles (trellis.h) with a vector is one chain over the blocks, in this
 * order at every level and for every number of vectors:
 *
 *     y = fma(scale[b], (float)Σ w[i] · q[i] over block b, y)      b = 0, 1, …
 *
 * The inner sums are exact: at most 64 · 127 · 127 < 2^24.
 *
 * Stored types have scales for runs of 16 or more weights. They are unpacked to codes: a byte
 * u a weight, and for each group of 16 a scale d and a minimum m, w = d u − m. The product
 * of a row of codes has 16 chains that fold as dot products do (kernels.h):
 *
 *     S = Σ u[i] v[i] over group g                             exact: 16 · 255 · 32639 < 2^31
 *     lane[g mod 16] = fma(scale[b] · d[g], (float)S, fma(−m[g], group[g], lane[g mod 16]))
 *
 * for g = 0, 1, …, where b = g / 4 and group[g] = scale[b] · (float)Σ v over group g. */
#ifndef GS_KERNELS_INT8_H
#define GS_KERNELS_INT8_H

#include "core/type.h"

#define GS_INT8_BLOCK 64u
#define GS_INT8_PIECE 256u /* of lanes */
/* Below this a block's largest element counts as 0: 127 / x must stay finite. */
#define GS_INT8_TINY 0x1p-100f

#define GS_INT8_GROUP 16u
#define GS_INT8_GROUPS (GS_INT8_BLOCK / GS_INT8_GROUP) /* of a block */

struct gs_int8 {
    int8_t *q;      /* −127 … 127 */
    int8_t *low;    /* the same; NULL: none (then neither lanes nor group) */
    int8_t *lanes;  /* 512 bytes for every 256 elements begun, 0 beyond the end; NULL: none */
    float *scale;
    float *group;   /* 4 for each scale; 0 beyond the end */
    int32_t *sum;
    size_t stride;  /* bytes from one vector to the next */
    size_t blocks;  /* scales and sums of a vector */
};

static inline size_t gs_int8_blocks(size_t n)
{
    return (n + GS_INT8_BLOCK - 1) / GS_INT8_BLOCK;
}

/* Bytes of a vector's lanes. */
static inline size_t gs_int8_lanes(size_t blocks)
{
    return (blocks * GS_INT8_BLOCK + GS_INT8_PIECE - 1) / GS_INT8_PIECE * (2 * GS_INT8_PIECE);
}

/* Vector t of x, from block b on; its lanes only for whole pieces before it. */
static inline struct gs_int8 gs_int8_at(const struct gs_int8 *x, size_t t, size_t b)
{
    size_t at = t * x->stride + b * GS_INT8_BLOCK;

    return (struct gs_int8){.q = x->q + at, .low = x->low ? x->low + at : NULL,
                            .lanes = x->low && x->lanes
                                         ? x->lanes + t * gs_int8_lanes(x->blocks) +
                                               b * (2 * GS_INT8_BLOCK)
                                         : NULL,
                            .scale = x->scale + t * x->blocks + b,
                            .group = x->group + (t * x->blocks + b) * GS_INT8_GROUPS,
                            .sum = x->sum + t * x->blocks + b,
                            .stride = x->stride, .blocks = x->blocks};
}

/* One vector (n): scale = largest |x| / 127, v = x · (127 / largest), q = v rounded to nearest
 * even, low = 256 (v − q) rounded alike and cut to ±127; with low, scale is then divided by
 * 256. A block that holds a NaN or an infinity gets q = low = 0 and a scale of NaN, so that
 * every product with it is NaN. */
typedef void (*gs_int8_quantize_fn)(const float *x, size_t n, struct gs_int8 *out);

/* y[t · y_stride + r] continues the chain above, for r < rows and t < T, with tiles decoded
 * by trellis_decode (128 + value): block row i of 16 rows is the 256 · tiles bytes from
 * w + i · 256 · tiles on. x has 16 · tiles elements a vector. */
typedef void (*gs_tile_mul_fn)(const uint8_t *w, size_t tiles, size_t rows,
                               const struct gs_int8 *x, size_t T, float *y, size_t y_stride);

/* Codes of stored weights: n a multiple of the type's block, u (n), d and m (n / 16). */
typedef void (*gs_unpack_fn)(const void *src, size_t n, uint8_t *u, float *d, float *m);

/* y[r] = row r of n stored weights times the vector x, for rows `row_bytes` apart. */
typedef void (*gs_codes_dot_fn)(const void *w, size_t row_bytes, size_t rows, size_t n,
                                const struct gs_int8 *x, float *y);

/* Panels of codes of 16 rows are sorted by chains: a record for each group, first for groups
 * 0, 16, 32 …, then 1, 17 … up to 15, 31 …, as the product reads them:
 *
 *     record   u (4 steps, 16 rows, 4 weights) │ d (16 rows) │ m (16 rows)    384 bytes */
#define GS_CODES_ROWS 16u
#define GS_CODES_SCALES (GS_CODES_ROWS * GS_INT8_GROUP) /* where d begins */
#define GS_CODES_RECORD (GS_CODES_SCALES + 2 * GS_CODES_ROWS * sizeof(float))

/* The record of group g among `groups`. */
static inline size_t gs_codes_place(size_t g, size_t groups)
{
    return g % 16 * (groups / 16) + GS_MIN(g % 16, groups % 16) + g / 16;
}

/* The chain that is number i < 16 where each comes just before the sum it is folded with:
 * i with its four bits reversed. */
static inline size_t gs_codes_chain(unsigned i)
{
    return (i & 1) << 3 | (i & 2) << 1 | (i & 4) >> 1 | (i & 8) >> 3;
}

/* y[t · y_stride + r] = row r times vector t, for r < rows and t < T. Panel i begins
 * i · groups records after w; no code is above `top`. */
typedef void (*gs_codes_mul_fn)(const uint8_t *w, size_t groups, size_t rows, unsigned top,
                                const struct gs_int8 *x, size_t T, float *y, size_t y_stride);

/* The largest code of a type. */
unsigned gs_codes_top(enum gs_type type);

/* Fills in the lanes of a vector of n elements. */
void gs_int8_put_lanes(const struct gs_int8 *x, size_t n);

#define GS_INT8_KERNELS(isa)                                                                   \
    void gs_int8_quantize_##isa(const float *x, size_t n, struct gs_int8 *out);                \
    void gs_tile_mul_##isa(const uint8_t *w, size_t tiles, size_t rows,                        \
                           const struct gs_int8 *x, size_t T, float *y, size_t y_stride);      \
    void gs_codes_mul_##isa(const uint8_t *w, size_t groups, size_t rows, unsigned top,        \
                            const struct gs_int8 *x, size_t T, float *y, size_t y_stride)
#define GS_UNPACK_KERNEL(name, isa)                                                            \
    void gs_unpack_##name##_##isa(const void *src, size_t n, uint8_t *u, float *d, float *m)
#define GS_CODES_DOT_KERNEL(name, isa)                                                         \
    void gs_codes_dot_##name##_##isa(const void *w, size_t row_bytes, size_t rows, size_t n,   \
                                     const struct gs_int8 *x, float *y)

#endif
