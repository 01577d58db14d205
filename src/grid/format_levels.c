/* SPDX-License-Identifier: MIT
 * Codes of one weight: levels at equal distances, or those of a table.
 *
 * Fitting a scale tries dozens of candidates a run, so the search for nearest levels is written
 * for the compiler to vectorize: no branches, sums in eight lanes (runs are multiples of 8).
 * For a table the level is the first one plus the gaps below x. */
#include <string.h>

#include "grid/formats.h"

static float fold(const float lanes[8])
{
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

static float weigh(struct gs_point_run run, size_t n, const float *x, const float *h,
                   const float *v)
{
    float lanes[8] = {0};

    for (size_t i = 0; i < n; i += 8)
        for (size_t k = 0; k < 8; k++) {
            float e = x[i + k] - (run.a * v[i + k] - run.b);
            lanes[k] += h[i + k] * e * e;
        }
    return fold(lanes);
}

static GS_ALWAYS_INLINE float nearest_step(float t, float low, float high)
{
    t = t > low ? t : low;
    t = t < high ? t : high;
    return (t + GS_ROUNDER) - GS_ROUNDER;
}

float gs_steps_nearest(const struct gs_points *points, struct gs_point_run run, size_t n,
                       const float *x, const float *h, float *v, uint32_t *codes)
{
    float inverse = gs_point_inverse(run), low = points->low, high = points->high;

    for (size_t i = 0; i < n; i++)
        v[i] = nearest_step((x[i] + run.b) * inverse, low, high);
    for (size_t i = 0; codes && i < n; i++)
        codes[i] = (uint32_t)(int)(v[i] - low);
    return weigh(run, n, x, h, v);
}

float gs_levels_nearest(const struct gs_points *points, struct gs_point_run run, size_t n,
                        const float *x, const float *h, float *v, uint32_t *codes)
{
    const struct gs_levels *levels = points->data;
    float inverse = gs_point_inverse(run), t[GS_FORMAT_BLOCK];

    for (size_t i = 0; i < n; i++) {
        t[i] = (x[i] + run.b) * inverse;
        v[i] = levels->table[0];
    }
    for (size_t k = 0; k + 1 < levels->n; k++) {
        float middle = levels->middle[k], gap = levels->table[k + 1] - levels->table[k];
        for (size_t i = 0; i < n; i++)
            v[i] += t[i] > middle ? gap : 0;
    }
    if (codes) {
        memset(codes, 0, n * sizeof *codes);
        for (size_t k = 0; k + 1 < levels->n; k++)
            for (size_t i = 0; i < n; i++)
                codes[i] += t[i] > levels->middle[k];
    }
    return weigh(run, n, x, h, v);
}

/* What is common to both kinds of levels; `is_steps` is a constant where this is inlined. */
static GS_ALWAYS_INLINE double feedback(const struct gs_points *points, bool is_steps,
                                        struct gs_point_run run, size_t first, size_t n,
                                        const struct gs_feedback *f, float *y, uint32_t *codes)
{
    const struct gs_levels *levels = points->data;
    float inverse = gs_point_inverse(run);
    double loss = 0;

    for (size_t j = first + n; j-- > first;) {
        const float *l = f->l + j * f->l_stride;
        float x = f->w[j] + f->c[j], t = (x + run.b) * inverse, v;
        uint32_t code;
        if (is_steps) {
            v = nearest_step(t, points->low, points->high);
            code = (uint32_t)(int)(v - points->low);
        } else {
            code = 0;
            for (size_t k = 0; k + 1 < levels->n; k++)
                code += t > levels->middle[k];
            v = levels->table[code];
        }
        float value = run.a * v - run.b, e = f->w[j] - value, eta = x - value;
        y[j - first] = value;
        codes[j - first] = code;
        f->w[j] = e;
        loss += (double)f->d[j] * (double)eta * (double)eta;
        for (size_t i = 0; i < j; i++)
            f->c[i] += e * l[i];
    }
    return loss;
}

double gs_steps_feedback(const struct gs_points *points, struct gs_point_run run, size_t first,
                         size_t n, const struct gs_feedback *f, float *y, uint32_t *codes)
{
    return feedback(points, true, run, first, n, f, y, codes);
}

double gs_levels_feedback(const struct gs_points *points, struct gs_point_run run, size_t first,
                          size_t n, const struct gs_feedback *f, float *y, uint32_t *codes)
{
    return feedback(points, false, run, first, n, f, y, codes);
}

void gs_steps_value(const struct gs_points *points, unsigned variant GS_UNUSED, uint32_t code,
                    float *v)
{
    *v = points->low + (float)code;
}

void gs_levels_value(const struct gs_points *points, unsigned variant GS_UNUSED, uint32_t code,
                     float *v)
{
    const struct gs_levels *levels = points->data;

    *v = levels->table[code];
}
