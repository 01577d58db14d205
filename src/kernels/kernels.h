/* SPDX-License-Identifier: MIT
 * The hot loops: one table of functions per instruction set, scalar is the definition.
 *
 * A level is a `static const struct gs_kernels`; a slot that it leaves NULL is inherited
 * from the level below. kernels.def has one row per slot and is expanded into the fields
 * here, the overlay code, the check test and the benchmark.
 *
 * Every level gives the same bits. A float reduction over n elements goes, in the
 * definition and in every level, as
 *     lane[i mod 64] = fma(a[i], b[i], lane[i mod 64])   for i = 0 … n-1, lanes from +0
 *     for h = 32, 16, 8, 4, 2, 1:  lane[j] += lane[j + h]  for j < h
 *     result = lane[0]
 * and exp is one polynomial (kernels/math.h) with the same operations everywhere.
 * (A result that is NaN is NaN at every level; its sign and payload are not fixed.)
 * Nothing here allocates, fails or checks: callers did at the border. Lengths may be 0;
 * float pointers need the alignment of float, stored weights (void pointers) none. Outputs
 * do not overlap inputs unless a slot says so. */
#ifndef GS_KERNELS_KERNELS_H
#define GS_KERNELS_KERNELS_H

#include "core/type.h"
#include "kernels/table_viterbi.h"
#include "kernels/trellis.h"

/* n stored weights (a whole number of blocks) to f32, exactly as the format defines. */
typedef void (*gs_decode_fn)(const void *src, float *dst, size_t n);

/* n floats to stored weights, rounding to nearest as the reference encoder does. */
typedef void (*gs_encode_fn)(const float *src, void *dst, size_t n);

/* Σ row[i]·x[i] with row in its stored type: equal, bit for bit, to decoding the row
 * and calling dot_f32. */
typedef float (*gs_dot_fn)(const void *row, const float *x, size_t n);

/* y[c·y_stride + r] = dot_f32(w + r·w_stride, x + c·x_stride, n), r < rows, c < cols,
 * bit for bit. Strides in floats. */
typedef void (*gs_mul_fn)(const float *w, size_t w_stride, size_t rows, const float *x,
                          size_t x_stride, size_t cols, size_t n, float *y, size_t y_stride);

/* y[i] = fma(a, x[i], y[i]) with x stored as f32 or f16. */
typedef void (*gs_axpy_fn)(float a, const void *x, float *y, size_t n);

/* x[i] = exp(x[i] − max) and returns the sum of these (in the fixed order); n = 0 gives 0.
 * The caller divides. */
typedef float (*gs_exp_sum_fn)(float *x, float max, size_t n);

/* The largest element, −inf for n = 0; NaN elements are ignored. */
typedef float (*gs_max_fn)(const float *x, size_t n);

/* y = x · weight / sqrt(mean(x²) + eps); y may be x. */
typedef void (*gs_rms_norm_fn)(const float *x, const float *weight, float eps, float *y, size_t n);

/* y = (x − mean) / sqrt(var + eps) · weight + bias (bias may be NULL); y may be x. */
typedef void (*gs_layer_norm_fn)(const float *x, const float *weight, const float *bias,
                                 float eps, float *y, size_t n);

/* y = f(x) elementwise; y may be x. */
typedef void (*gs_map_fn)(const float *x, float *y, size_t n);

/* A product of packed panels, for r < 8 and s < 32 (f32) or 16 (f64):
 *     c[r·c_stride + s] = fma(a[p·8 + r], b[p·32 + s], c[r·c_stride + s])   for p = 0 … k-1
 * in this order, so that blocking over k leaves the bits alone. */
#define GS_PANEL_ROWS 8
#define GS_PANEL_F32 32
#define GS_PANEL_F64 16
typedef void (*gs_panel_f32_fn)(const float *a, const float *b, size_t k, float *c,
                                size_t c_stride);
typedef void (*gs_panel_f64_fn)(const double *a, const double *b, size_t k, double *c,
                                size_t c_stride);

/* The same for the first `rows` of a and c, 1 to 8 (a still has 8 a step), with b (k, 32)
 * stored as f16: attention over cached keys and values. */
typedef void (*gs_panel_f16_fn)(const float *a, size_t rows, const uint16_t *b, size_t k,
                                float *c, size_t c_stride);

/* A panel of a row-major matrix: dst[p·width + i] = src[i·stride + p] for p < k and i < lines;
 * lines ≤ width, the rest of dst is left alone. */
typedef void (*gs_transpose_f32_fn)(const float *src, size_t stride, size_t lines, size_t k,
                                    size_t width, float *dst);

/* Walsh–Hadamard transform in place, natural (Sylvester) order, n a power of two:
 *     for h = 1, 2, … n/2:  (x[i], x[i + h]) = (x[i] + x[i + h], x[i] − x[i + h])
 * for every i without the bit h; then every element times `scale`. */
typedef void (*gs_fwht_fn)(float *x, size_t n, float scale);

struct gs_kernels {
    const char *name; /* "scalar", "avx2", "avx512" */
    uint32_t need;    /* bits of enum gs_cpu_flag */
    gs_decode_fn decode[GS_TYPE_COUNT]; /* every type; NULL only for unknown numbers */
    gs_encode_fn encode[GS_TYPE_COUNT]; /* F32 F16 BF16 Q8_0 */
    gs_dot_fn dot[GS_TYPE_COUNT];       /* F32 F16 BF16 Q8_0; others: decode, then F32 */
    gs_unpack_fn unpack[GS_TYPE_COUNT]; /* types that have products in integers (int8.h) */
    gs_codes_dot_fn codes_dot[GS_TYPE_COUNT];
#define K(slot, type) type slot;
#include "kernels/kernels.def"
#undef K
};

/* The table in use: the strongest level that the processor has, or the one that GOSSET_CPU
 * or gs_kernels_select asked for, with inherited slots filled in. Never NULL. */
const struct gs_kernels *gs_kernels(void);

/* Levels compiled in, weakest first, unresolved; NULL at the end. */
const struct gs_kernels *gs_kernels_level(size_t index);

/* The table of one level with its inherited slots, whether or not it is selected; false if
 * this processor lacks it. */
bool gs_kernels_resolve(size_t index, struct gs_kernels *out);

/* Not to be called while kernels run. */
int gs_kernels_select(const char *name, struct gs_err *err) GS_MUST_USE;

#endif
