/* SPDX-License-Identifier: MIT
 * The walk through a vector that becomes 8-bit activations (int8.h), for levels that bring the
 * work on a block; every function given here is known where it is called, so nothing is called
 * through a pointer. */
#ifndef GS_KERNELS_INT8_BLOCKS_H
#define GS_KERNELS_INT8_BLOCKS_H

#include <math.h>
#include <string.h>

#include "kernels/int8.h"

/* What a level brings for one block of x. */
struct gs_int8_steps {
    uint32_t (*largest)(const float *x); /* magnitude's bits: NaN and infinity above all others */
    void (*round)(const float *x, float inverse, const struct gs_int8 *out);
    float (*sums)(const struct gs_int8 *out, float scale); /* sum and group; the block's scale */
};

/* One block; returns its scale. Its elements are 0 where x is too small or not finite. */
static GS_ALWAYS_INLINE float quantize_with(const float *x, const struct gs_int8 *out,
                                            struct gs_int8_steps steps)
{
    uint32_t top = steps.largest(x);
    float largest, scale = 0;

    memcpy(&largest, &top, sizeof largest);
    if (top < 0x7f800000u && largest >= GS_INT8_TINY) {
        steps.round(x, 127.0f / largest, out);
        scale = largest / 127.0f;
    } else {
        memset(out->q, 0, GS_INT8_BLOCK);
        if (out->low)
            memset(out->low, 0, GS_INT8_BLOCK);
        scale = top < 0x7f800000u ? 0 : NAN;
    }
    return steps.sums(out, scale);
}

/* The first n < 64 elements of a block, by `quantize` for whole ones. */
static inline float quantize_rest(const float *x, size_t n, const struct gs_int8 *out,
                                  float (*quantize)(const float *x, const struct gs_int8 *out))
{
    float rest[GS_INT8_BLOCK];
    int8_t q[GS_INT8_BLOCK], low[GS_INT8_BLOCK];
    const struct gs_int8 whole = {.q = q, .low = out->low ? low : NULL, .group = out->group,
                                  .sum = out->sum};

    memset(rest, 0, sizeof rest);
    memcpy(rest, x, n * sizeof *x);
    float scale = quantize(rest, &whole);
    memcpy(out->q, q, n);
    if (out->low)
        memcpy(out->low, low, n);
    return scale;
}

/* All blocks of a vector, without the lanes of int8.h. */
static GS_ALWAYS_INLINE void quantize_blocks(const float *x, size_t n, const struct gs_int8 *out,
                                             float (*quantize)(const float *x,
                                                               const struct gs_int8 *out))
{
    size_t whole = n / GS_INT8_BLOCK;

    for (size_t b = 0; b < whole; b++) {
        struct gs_int8 to = gs_int8_at(out, 0, b);
        *to.scale = quantize(x + b * GS_INT8_BLOCK, &to);
    }
    if (n % GS_INT8_BLOCK) {
        struct gs_int8 to = gs_int8_at(out, 0, whole);
        *to.scale = quantize_rest(x + whole * GS_INT8_BLOCK, n % GS_INT8_BLOCK, &to, quantize);
    }
}

#endif
