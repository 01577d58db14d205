/* SPDX-License-Identifier: MIT
 * 8-bit activations: the definition (int8.h). */
#include <math.h>
#include <string.h>

#include "core/half.h"
#include "kernels/viterbi.h"

/* One block of n ≤ 64; returns its scale. */
static float quantize_block(const float *x, size_t n, const struct gs_int8 *out)
{
    int32_t sums[GS_INT8_GROUPS] = {0};
    uint32_t top = 0; /* of finite numbers the largest magnitude has the largest bits */
    float inverse = 0;

    for (size_t i = 0; i < n; i++)
        top = GS_MAX(top, gs_f32_bits(x[i]) & 0x7fffffffu);
    float largest = gs_f32_from_bits(top);
    bool finite = top < 0x7f800000u;
    if (finite && largest >= GS_INT8_TINY)
        inverse = 127.0f / largest;
    *out->sum = 0;
    for (size_t i = 0; i < n; i++) {
        float v = inverse > 0 ? x[i] * inverse : 0, q = rintf(v), low = rintf(256 * (v - q));
        low = GS_MAX(GS_MIN(low, 127), -127);
        out->q[i] = (int8_t)q;
        *out->sum += out->q[i];
        sums[i / GS_INT8_GROUP] += 256 * out->q[i] + (int8_t)low;
        if (out->low)
            out->low[i] = (int8_t)low;
    }
    float scale = !finite ? NAN : inverse > 0 ? largest / 127.0f : 0;
    scale = out->low ? scale / 256 : scale;
    for (size_t g = 0; out->low && g < GS_INT8_GROUPS; g++)
        out->group[g] = scale * (float)sums[g];
    return scale;
}

void gs_int8_put_lanes(const struct gs_int8 *x, size_t n)
{
    int8_t *to = x->lanes;

    for (size_t i = 0; i < n; i += 256, to += 512)
        for (size_t k = 0; k < 64; k++) {
            size_t at = i + k % 16 * GS_INT8_GROUP + k / 16 * 4;
            size_t bytes = GS_MIN(at < n ? n - at : 0, (size_t)4);
            memset(to + 4 * k, 0, 4);
            memset(to + 256 + 4 * k, 0, 4);
            memcpy(to + 4 * k, x->q + at, bytes);
            memcpy(to + 256 + 4 * k, x->low + at, bytes);
        }
}

void gs_int8_quantize_scalar(const float *x, size_t n, struct gs_int8 *out)
{
    for (size_t b = 0; b * GS_INT8_BLOCK < n; b++) {
        struct gs_int8 to = gs_int8_at(out, 0, b);
        *to.scale = quantize_block(x + b * GS_INT8_BLOCK,
                                   GS_MIN(GS_INT8_BLOCK, n - b * GS_INT8_BLOCK), &to);
    }
    if (out->low && out->lanes)
        gs_int8_put_lanes(out, n);
}

/* The sums of row r of a block row over one block, from its first tile on. */
static int32_t block_sum(const uint8_t *w, size_t tiles, size_t r, const int8_t *q)
{
    int32_t sum = 0;

    for (size_t c = 0; c < tiles * GS_TRELLIS_COLS; c++)
        sum += (w[c / 4 * 64 + r * 4 + c % 4] - GS_TRELLIS_BIAS) * q[c];
    return sum;
}

void gs_tile_mul_scalar(const uint8_t *w, size_t tiles, size_t rows, const struct gs_int8 *x,
                        size_t T, float *y, size_t y_stride)
{
    const size_t step = GS_INT8_BLOCK / GS_TRELLIS_COLS;

    for (size_t t = 0; t < T; t++)
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *row = w + r / 16 * tiles * GS_TRELLIS_TILE;
            float *sum = &y[t * y_stride + r];
            for (size_t i = 0; i < tiles; i += step) {
                struct gs_int8 v = gs_int8_at(x, t, i / step);
                int32_t part = block_sum(row + i * GS_TRELLIS_TILE, GS_MIN(step, tiles - i),
                                         r % 16, v.q);
                *sum = fmaf(*v.scale, (float)part, *sum);
            }
        }
}
