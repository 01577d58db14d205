/* SPDX-License-Identifier: MIT
 * The product of panels of codes (int8.h): 2 × 16 rows and up to 6 vectors at once. A group
 * takes eight VPDPBUSD and five other instructions for 16 rows and a vector. */
#include "kernels/dot4_avx512vbmi.h"
#include "kernels/tile_avx2.h"

#define PANELS 2
#define COLS 6

struct product {
    const uint8_t *w;
    size_t w_stride; /* bytes of a panel */
    size_t groups;
    __mmask16 last;  /* rows of the last panel */
    float *y;
    size_t y_stride;
};

/* Adds Σ u v over a group, one byte of v at q. */
static GS_ALWAYS_INLINE void add_group(const uint8_t *record, size_t w_stride, const int8_t *q,
                                       size_t q_stride, size_t panels, size_t cols,
                                       __m512i sum[PANELS][COLS])
{
    GS_UNROLL for (size_t s = 0; s < 4; s++) {
        __m512i u[PANELS];
        GS_UNROLL for (size_t r = 0; r < panels; r++)
            u[r] = _mm512_loadu_si512(record + r * w_stride + 64 * s);
        GS_UNROLL for (size_t t = 0; t < cols; t++) {
            __m512i v = four_wide(q + t * q_stride + 4 * s);
            GS_UNROLL for (size_t r = 0; r < panels; r++)
                add_dot4(&sum[r][t], u[r], v);
        }
    }
}

/* One chain of 16 · panels rows: the records of groups j, j + 16 … */
static GS_ALWAYS_INLINE void chain(const struct product *p, size_t j, const struct gs_int8 *x,
                                   size_t panels, size_t cols, __m512 lane[PANELS][COLS])
{
    const uint8_t *record = p->w + gs_codes_place(j, p->groups) * GS_CODES_RECORD;

    GS_UNROLL for (size_t t = 0; t < cols; t++)
        GS_UNROLL for (size_t r = 0; r < panels; r++)
            lane[r][t] = _mm512_setzero_ps();
    for (size_t g = j; g < p->groups; g += 16, record += GS_CODES_RECORD) {
        size_t at = g * GS_INT8_GROUP;
        __m512i sum[PANELS][COLS];
        GS_UNROLL for (size_t t = 0; t < cols; t++)
            GS_UNROLL for (size_t r = 0; r < panels; r++)
                sum[r][t] = _mm512_setzero_si512();
        add_group(record, p->w_stride, x->q + at, x->stride, panels, cols, sum);
        GS_UNROLL for (size_t t = 0; t < cols; t++)
            GS_UNROLL for (size_t r = 0; r < panels; r++)
                sum[r][t] = _mm512_slli_epi32(sum[r][t], 8);
        add_group(record, p->w_stride, x->low + at, x->stride, panels, cols, sum);
        GS_UNROLL for (size_t r = 0; r < panels; r++) {
            const uint8_t *scales = record + r * p->w_stride + GS_CODES_SCALES;
            __m512 d = _mm512_loadu_ps(scales), m = _mm512_loadu_ps(scales + 64);
            GS_UNROLL for (size_t t = 0; t < cols; t++) {
                __m512 group = _mm512_set1_ps(x->group[t * x->blocks * GS_INT8_GROUPS + g]);
                __m512 scale = _mm512_set1_ps(x->scale[t * x->blocks + g / GS_INT8_GROUPS]);
                lane[r][t] = _mm512_fnmadd_ps(m, group, lane[r][t]);
                lane[r][t] = _mm512_fmadd_ps(_mm512_mul_ps(scale, d),
                                             _mm512_cvtepi32_ps(sum[r][t]), lane[r][t]);
            }
        }
    }
}

/* All chains, in the order in which they fold: after number i come as many additions as i
 * has ones at its end. */
static GS_ALWAYS_INLINE void multiply(const struct product *p, const struct gs_int8 *x,
                                      size_t panels, size_t cols)
{
    __m512 lane[PANELS][COLS], folds[5][PANELS][COLS];
    size_t depth = 0;

    for (unsigned i = 0; i < 16; i++) {
        chain(p, gs_codes_chain(i), x, panels, cols, lane);
        for (unsigned k = i; k & 1; k /= 2) {
            depth--;
            GS_UNROLL for (size_t t = 0; t < cols; t++)
                GS_UNROLL for (size_t r = 0; r < panels; r++)
                    lane[r][t] = _mm512_add_ps(folds[depth][r][t], lane[r][t]);
        }
        GS_UNROLL for (size_t t = 0; t < cols; t++)
            GS_UNROLL for (size_t r = 0; r < panels; r++)
                folds[depth][r][t] = lane[r][t];
        depth++;
    }
    GS_UNROLL for (size_t t = 0; t < cols; t++)
        GS_UNROLL for (size_t r = 0; r < panels; r++)
            _mm512_mask_storeu_ps(p->y + t * p->y_stride + 16 * r,
                                  r + 1 == panels ? p->last : 0xffff, folds[0][r][t]);
}

#define SHAPE(panels, cols)                                                                    \
    static void multiply_##panels##_##cols(const struct product *p, const struct gs_int8 *x)   \
    {                                                                                          \
        multiply(p, x, panels, cols);                                                          \
    }
#define SHAPES(panels) SHAPE(panels, 1) SHAPE(panels, 2) SHAPE(panels, 3) SHAPE(panels, 4) \
    SHAPE(panels, 5) SHAPE(panels, 6)
#define NAMES(panels) {multiply_##panels##_1, multiply_##panels##_2, multiply_##panels##_3, \
    multiply_##panels##_4, multiply_##panels##_5, multiply_##panels##_6}
SHAPES(1)
SHAPES(2)

typedef void (*multiply_fn)(const struct product *p, const struct gs_int8 *x);

static const multiply_fn products[PANELS][COLS] = {NAMES(1), NAMES(2)};

void gs_codes_mul_avx512vbmi(const uint8_t *w, size_t groups, size_t rows,
                             unsigned top GS_UNUSED, const struct gs_int8 *x, size_t T, float *y,
                             size_t y_stride)
{
    struct product p = {.w_stride = groups * GS_CODES_RECORD, .groups = groups,
                        .y_stride = y_stride};

    for (size_t t = 0; t < T; t += COLS) {
        size_t cols = GS_MIN((size_t)COLS, T - t);
        struct gs_int8 v = gs_int8_at(x, t, 0);
        for (size_t r = 0, n; r < rows; r += 16 * n) {
            n = rows - r > 16 ? 2 : 1;
            p.w = w + r / 16 * p.w_stride;
            p.last = (__mmask16)((1u << GS_MIN(rows - r - 16 * (n - 1), (size_t)16)) - 1);
            p.y = y + t * y_stride + r;
            products[n - 1][cols - 1](&p, &v);
        }
    }
}
