/* SPDX-License-Identifier: MIT
 * Codes of one weight for GS_POINT_LANES pairs (a, b) at a time: what the search for scales and
 * the polish spend their time in. A lane's numbers are added weight after weight, so they do not
 * depend on how wide the machine's vectors are: the compiler's vectors of four are written out
 * because it keeps arrays of lanes in memory. */
#include <string.h>

#include "grid/formats.h"

#define LANES GS_POINT_LANES
#define WIDTH 4 /* of the vectors below, what every machine has */

typedef float vector __attribute__((vector_size(WIDTH * sizeof(float))));
typedef int32_t mask __attribute__((vector_size(WIDTH * sizeof(float))));

static GS_ALWAYS_INLINE vector all(float x)
{
    return (vector){x, x, x, x};
}

static GS_ALWAYS_INLINE vector load(const float *p)
{
    vector v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* where ? a : b, lane by lane. */
static GS_ALWAYS_INLINE vector choose(mask where, vector a, vector b)
{
    return (vector)(((mask)a & where) | ((mask)b & ~where));
}

/* The values nearest to t; `is_steps` is a constant where this is inlined. */
static GS_ALWAYS_INLINE vector nearest(const struct gs_points *points, bool is_steps, vector t)
{
    const struct gs_levels *levels = points->data;

    if (is_steps) {
        vector low = all(points->low), high = all(points->high);
        t = choose(t > low, t, low);
        t = choose(t < high, t, high);
        return (t + GS_ROUNDER) - GS_ROUNDER;
    }
    size_t first = levels->mirrored ? levels->n / 2 : 0;
    mask minus = levels->mirrored ? (mask)(t <= 0) & INT32_MIN : (mask){0};
    vector v = all(levels->table[first]), u = (vector)((mask)t ^ minus);
    for (size_t j = first; j + 1 < levels->n; j++) { /* the first level plus the gaps below t */
        vector gap = all(levels->table[j + 1] - levels->table[j]);
        v += (vector)((mask)gap & (u > levels->middle[j]));
    }
    return (vector)((mask)v ^ minus);
}

static GS_ALWAYS_INLINE vector inverses(const float *a)
{
    vector v;

    for (size_t k = 0; k < WIDTH; k++)
        v[k] = gs_point_inverse((struct gs_point_run){.a = a[k]});
    return v;
}

static GS_ALWAYS_INLINE void nearest_lanes(const struct gs_points *points, bool is_steps,
                                           size_t n, const float *x, const float *h,
                                           struct gs_point_lanes *out)
{
    for (size_t k = 0; k < LANES; k += WIDTH) {
        vector a = load(out->a + k), b = load(out->b + k), inverse = inverses(out->a + k);
        vector error = all(0), vv = all(0), sum = all(0), vx = all(0);
        for (size_t i = 0; i < n; i++) {
            vector v = nearest(points, is_steps, (x[i] + b) * inverse);
            vector e = x[i] - (a * v - b), hv = h[i] * v;
            error += h[i] * e * e;
            vv += hv * v;
            sum += hv;
            vx += hv * x[i];
        }
        memcpy(out->error + k, &error, sizeof error);
        memcpy(out->vv + k, &vv, sizeof vv);
        memcpy(out->v + k, &sum, sizeof sum);
        memcpy(out->vx + k, &vx, sizeof vx);
    }
}

void gs_steps_nearest_lanes(const struct gs_points *points, size_t n, const float *x,
                            const float *h, struct gs_point_lanes *lanes)
{
    nearest_lanes(points, true, n, x, h, lanes);
}

void gs_levels_nearest_lanes(const struct gs_points *points, size_t n, const float *x,
                             const float *h, struct gs_point_lanes *lanes)
{
    nearest_lanes(points, false, n, x, h, lanes);
}

static GS_ALWAYS_INLINE void feedback_lanes(const struct gs_points *points, bool is_steps,
                                            size_t n, const struct gs_feedback *f,
                                            struct gs_point_lanes *lanes)
{
    vector c[GS_FORMAT_BLOCK];

    for (size_t k = 0; k < LANES; k += WIDTH) {
        vector a = load(lanes->a + k), b = load(lanes->b + k), inverse = inverses(lanes->a + k);
        vector loss = all(0);
        for (size_t i = 0; i < n; i++)
            c[i] = all(f->c[i]);
        for (size_t j = n; j-- > 0;) {
            const float *l = f->l + j * f->l_stride;
            vector x = f->w[j] + c[j];
            vector value = a * nearest(points, is_steps, (x + b) * inverse) - b;
            vector e = f->w[j] - value, eta = x - value;
            loss += f->d[j] * eta * eta;
            for (size_t i = 0; i < j; i++)
                c[i] += e * l[i];
        }
        memcpy(lanes->error + k, &loss, sizeof loss);
    }
}

void gs_steps_feedback_lanes(const struct gs_points *points, size_t n,
                             const struct gs_feedback *f, struct gs_point_lanes *lanes)
{
    feedback_lanes(points, true, n, f, lanes);
}

void gs_levels_feedback_lanes(const struct gs_points *points, size_t n,
                              const struct gs_feedback *f, struct gs_point_lanes *lanes)
{
    feedback_lanes(points, false, n, f, lanes);
}
