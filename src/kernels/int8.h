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
 * After a Hadamard transform this is enough. Where activations keep their outliers, as the
 * inputs of stored types do, a second byte `low` holds 1/256 of a step: x ≈ scale (q + low/256).
 *
 * Stored types have scales for runs of 16 or 32 weights; they are first unpacked to codes:
 * a byte u a weight, and for each group of 16 a scale d and a minimum m, w = d u − m.
 *
 * A product of a row of tiles (trellis.h) with such a vector is one chain over the blocks, in
 * this order at every level and for every number of vectors:
 *
 *     y = fma(scale[b], (float)Σ w[i] · q[i] over block b, y)      b = 0, 1, …
 *
 * The inner sums are exact: at most 128 · 127 · 127 < 2^24. A product of codes has 16 chains
 * for the d and 8 for the m, that fold as dot products do (kernels.h):
 *
 *     part = fma(d[g], (float)Σ u[i] v[i] over quad k of a block, +0) for quad k < 16, g = k / 4
 *     part = fma(d[g], … quad k + 16 …, part)                         g = (k + 16) / 4
 *     lane[k] = fma(scale[b] / 256, part, lane[k])       b = 0, 1, …     y = fold(lane)
 *     least[j] = fma(m[g], group[g], least[j])   g = 0, 1, … j = g mod 8     − fold(least)
 *
 * where v = 256 q + low, quads are 4 elements in a row, and group[g] is the sum of group g,
 * scale / 256 · (float)Σ v. */
#ifndef GS_KERNELS_INT8_H
#define GS_KERNELS_INT8_H

#include "core/type.h"

#define GS_INT8_BLOCK 128u
/* Below this a block's largest element counts as 0: 127 / x must stay finite. */
#define GS_INT8_TINY 0x1p-100f

#define GS_INT8_GROUP 16u
#define GS_INT8_GROUPS (GS_INT8_BLOCK / GS_INT8_GROUP) /* of a block */

struct gs_int8 {
    int8_t *q;      /* −127 … 127 */
    int8_t *low;    /* the same; NULL: none (then group is not set either) */
    float *scale;
    float *group;   /* 8 for each scale; 0 beyond the end */
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
    size_t at = t * x->stride + b * GS_INT8_BLOCK;

    return (struct gs_int8){.q = x->q + at, .low = x->low ? x->low + at : NULL,
                            .scale = x->scale + t * x->blocks + b,
                            .group = x->group + (t * x->blocks + b) * GS_INT8_GROUPS,
                            .sum = x->sum + t * x->blocks + b,
                            .stride = x->stride, .blocks = x->blocks};
}

/* One vector (n): scale = largest |x| / 127, v = x · (127 / largest), q = v rounded to nearest
 * even, low = 256 (v − q) rounded alike and cut to ±127.
 * A block that holds a NaN or an infinity gets q = low = 0 and a scale of NaN, so that every
 * product with it is NaN. */
typedef void (*gs_int8_quantize_fn)(const float *x, size_t n, struct gs_int8 *out);

/* y[t · y_stride + r] continues the chain above, for r < rows and t < T, with tiles decoded
 * by trellis_decode (128 + value): block row i of 16 rows is the 256 · tiles bytes from
 * w + i · 256 · tiles on. x has 16 · tiles elements a vector. */
typedef void (*gs_tile_mul_fn)(const uint8_t *w, size_t tiles, size_t rows,
                               const struct gs_int8 *x, size_t T, float *y, size_t y_stride);

/* Codes of stored weights: n a multiple of the type's block, u (n), d and m (n / 16). */
typedef void (*gs_unpack_fn)(const void *src, size_t n, uint8_t *u, float *d, float *m);

/* `rows` rows of codes, padded with zeros to whole blocks of 128, one after another. */
struct gs_codes {
    uint8_t *u;    /* (rows, 128 · blocks) */
    float *d, *m;  /* (rows, 8 · blocks) */
    size_t blocks; /* of a row */
    bool high;     /* codes above 127 occur */
};

/* Do the codes of this type need it? */
static inline bool gs_codes_high(enum gs_type type)
{
    return type == GS_TYPE_Q8_0 || type == GS_TYPE_IQ4_NL || type == GS_TYPE_IQ4_XS;
}

/* y[t · y_stride + r] = row r times vector t, as above, for x with as many blocks and with
 * low bytes. */
typedef void (*gs_codes_mul_fn)(const struct gs_codes *w, size_t rows, const struct gs_int8 *x,
                                size_t T, float *y, size_t y_stride);

#define GS_INT8_KERNELS(isa)                                                                   \
    void gs_int8_quantize_##isa(const float *x, size_t n, struct gs_int8 *out);                \
    void gs_tile_mul_##isa(const uint8_t *w, size_t tiles, size_t rows,                        \
                           const struct gs_int8 *x, size_t T, float *y, size_t y_stride);      \
    void gs_codes_mul_##isa(const struct gs_codes *w, size_t rows, const struct gs_int8 *x,    \
                            size_t T, float *y, size_t y_stride)
#define GS_UNPACK_KERNEL(type, isa)                                                            \
    void gs_unpack_##type##_##isa(const void *src, size_t n, uint8_t *u, float *d, float *m)
#define GS_UNPACK_KERNELS(isa)                                                                 \
    GS_UNPACK_KERNEL(q4_0, isa);                                                               \
    GS_UNPACK_KERNEL(q4_1, isa);                                                               \
    GS_UNPACK_KERNEL(q5_0, isa);                                                               \
    GS_UNPACK_KERNEL(q5_1, isa);                                                               \
    GS_UNPACK_KERNEL(q8_0, isa);                                                               \
    GS_UNPACK_KERNEL(iq4_nl, isa);                                                             \
    GS_UNPACK_KERNEL(q2_k, isa);                                                               \
    GS_UNPACK_KERNEL(q3_k, isa);                                                               \
    GS_UNPACK_KERNEL(q4_k, isa);                                                               \
    GS_UNPACK_KERNEL(q5_k, isa);                                                               \
    GS_UNPACK_KERNEL(q6_k, isa);                                                               \
    GS_UNPACK_KERNEL(iq4_xs, isa)

#endif
