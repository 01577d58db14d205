/* SPDX-License-Identifier: MIT
 * Products with stored types as codes: the definition (int8.h). */
#include <math.h>
#include <string.h>

#include "kernels/viterbi.h"

#define PIECE 256u /* weights unpacked at once: every chain gets one group */

static float fold(float lane[16])
{
    for (size_t h = 8; h > 0; h /= 2)
        for (size_t j = 0; j < h; j++)
            lane[j] += lane[j + h];
    return lane[0];
}

/* One group in one vector: its chain goes on from `lane`. */
static float add_group(const uint8_t *u, size_t u_stride, float d, float m,
                       const struct gs_int8 *x, size_t g, float lane)
{
    const int8_t *q = x->q + g * GS_INT8_GROUP, *low = x->low + g * GS_INT8_GROUP;
    int32_t sum = 0;

    for (size_t i = 0; i < GS_INT8_GROUP; i++)
        sum += u[i / 4 * u_stride + i % 4] * (256 * q[i] + low[i]);
    lane = fmaf(-m, x->group[g], lane);
    return fmaf(x->scale[g / GS_INT8_GROUPS] * d, (float)sum, lane);
}

static float row_dot(enum gs_type type, gs_unpack_fn unpack, const uint8_t *row, size_t n,
                     const struct gs_int8 *x)
{
    const struct gs_type_info *info = gs_type_info(type);
    float lane[16] = {0}, d[16], m[16];
    uint8_t u[PIECE];

    for (size_t i = 0; i < n; i += PIECE) {
        size_t count = GS_MIN(n - i, PIECE);
        unpack(row + i / info->block * info->bytes, count, u, d, m);
        for (size_t g = 0; g < count / GS_INT8_GROUP; g++)
            lane[g] = add_group(u + g * GS_INT8_GROUP, 4, d[g], m[g], x,
                                i / GS_INT8_GROUP + g, lane[g]);
    }
    return fold(lane);
}

#define U(type, name, top)                                                                     \
    void gs_codes_dot_##name##_scalar(const void *w, size_t row_bytes, size_t rows, size_t n,  \
                                      const struct gs_int8 *x, float *y)                       \
    {                                                                                          \
        for (size_t r = 0; r < rows; r++)                                                      \
            y[r] = row_dot(GS_TYPE_##type, gs_unpack_##name##_scalar,                          \
                           (const uint8_t *)w + r * row_bytes, n, x);                          \
    }
#include "kernels/codes.def"
#undef U

void gs_codes_mul_scalar(const uint8_t *w, size_t groups, size_t rows, unsigned top GS_UNUSED,
                         const struct gs_int8 *x, size_t T, float *y, size_t y_stride)
{
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *panel = w + r / GS_CODES_ROWS * groups * GS_CODES_RECORD;
        for (size_t t = 0; t < T; t++) {
            struct gs_int8 v = gs_int8_at(x, t, 0);
            float lane[16] = {0}, scale[2 * GS_CODES_ROWS];
            for (size_t g = 0; g < groups; g++) {
                const uint8_t *u = panel + gs_codes_place(g, groups) * GS_CODES_RECORD;
                memcpy(scale, u + GS_CODES_SCALES, sizeof scale);
                lane[g % 16] = add_group(u + r % 16 * 4, 4 * GS_CODES_ROWS, scale[r % 16],
                                         scale[r % 16 + GS_CODES_ROWS], &v, g, lane[g % 16]);
            }
            y[t * y_stride + r] = fold(lane);
        }
    }
}

unsigned gs_codes_top(enum gs_type type)
{
    static const uint8_t tops[GS_TYPE_COUNT] = {
#define U(number, name, top) [GS_TYPE_##number] = top,
#include "kernels/codes.def"
#undef U
    };

    return tops[type];
}
