/* SPDX-License-Identifier: MIT
 * Sorted points: the table, the nearest one, and the error on a Gaussian. */
#include "codebook/points.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "codebook/gaussian.h"

struct numbered {
    float value;
    unsigned code;
};

static int by_value(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;

    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return x->code < y->code ? -1 : 1;
}

void gs_points_set(struct gs_points *points, const float *by_code, unsigned states)
{
    struct numbered sorted[GS_POINTS];
    unsigned n = 0;

    assert(states >= 1 && states <= GS_POINTS);
    for (unsigned i = 0; i < states; i++) {
        assert(isfinite(by_code[i]));
        points->of[i] = by_code[i];
        sorted[i] = (struct numbered){by_code[i], i};
    }
    qsort(sorted, states, sizeof sorted[0], by_value);
    for (unsigned i = 0; i < states; i++)
        if (i == 0 || sorted[i].value != sorted[i - 1].value) {
            points->value[n] = sorted[i].value;
            points->code[n++] = (uint8_t)sorted[i].code;
        }
    points->n = n;
    points->states = states;
    points->narrow = 0;
    points->even = points->mirrored = true;
    for (unsigned i = 0; i < n; i++) {
        if (points->value[i] != -points->value[n - 1 - i])
            points->mirrored = false;
        if (i + 1 < n) {
            points->middle[i] = 0.5f * (points->value[i] + points->value[i + 1]);
            if (points->value[i + 1] - points->value[i] != 1)
                points->even = false;
        }
    }
    /* Where outer points are sparse, a largest weight may well lie below the last ones. */
    points->wide = points->even || n <= 4 ? 1.1f : 1.5f;
    for (unsigned i = n - 1; i < GS_POINTS; i++)
        points->middle[i] = INFINITY;
    points->first_step = n > 1 ? 1u << (31 - __builtin_clz(n - 1)) : 0;
}

unsigned gs_points_nearest(const struct gs_points *points, float scale, float zero, float x,
                           float *y)
{
    /* A scale of 0 makes all points equal; the one at zero is the tidiest. */
    unsigned at = gs_points_index(points, scale != 0 ? x / scale + zero : zero);
    unsigned first = at > 0 ? at - 1 : 0, last = GS_MIN(at + 1, points->n - 1), best = at;
    float value = scale * (points->value[at] - zero);

    /* x / scale was rounded, and so will y be: neighbours have the last word. */
    for (unsigned i = first; i <= last; i++) {
        float v = scale * (points->value[i] - zero);
        if (fabs((double)x - v) < fabs((double)x - value)) {
            value = v;
            best = i;
        }
    }
    *y = value;
    return points->code[best];
}

/* ---- on a Gaussian ------------------------------------------------------------------------ */

/* ∫ (x − y)² φ(x) dx over cells between the middles of points s · (value − zero). */
double gs_points_gaussian_at(const struct gs_points *points, double s, double zero)
{
    double sum = 0, density_low = 0, above_low = 1, low = 0;

    for (unsigned i = 0; i < points->n; i++) {
        bool last = i + 1 == points->n;
        double y = s * (points->value[i] - zero);
        double high = last ? 0 : s * (points->middle[i] - zero);
        double density_high = last ? 0 : gs_gaussian_density(high);
        double above_high = last ? 0 : gs_gaussian_above(high);
        double mass = above_low - above_high;
        double first = density_low - density_high;                       /* ∫ x φ */
        double second = mass + low * density_low - high * density_high;  /* ∫ x² φ */
        sum += second - 2 * y * first + y * y * mass;
        density_low = density_high;
        above_low = above_high;
        low = high;
    }
    return sum;
}

double gs_points_gaussian_mse(const struct gs_points *points, enum gs_zero kind)
{
    double first = points->value[0], last = points->value[points->n - 1];
    double most = fmax(fabs(first), fabs(last));
    double zero = kind == GS_ZERO_REAL ? (first + last) / 2
                : kind == GS_ZERO_INTEGER ? floor((first + last) / 2) : 0;
    double best = 1, best_scale = 1 / most;

    if (kind != GS_ZERO_NONE)
        most = fmax(last - zero, zero - first);
    if (!(most > 0))
        return 1;
    /* The farthest point lies between 0.5 and 500 · wide standard deviations: the far end
     * is for floats, whose error hardly depends on the scale. Finer steps around the best
     * follow. */
    for (double step = 1.05, low = 0.5, high = 500.0 * points->wide; step > 1.0001;
         step = sqrt(sqrt(step))) {
        for (double to = low; to <= high; to *= step) {
            double mse = gs_points_gaussian_at(points, to / most, zero);
            if (mse < best) {
                best = mse;
                best_scale = to / most;
            }
        }
        low = best_scale * most / step;
        high = best_scale * most * step;
    }
    return best;
}
