/* SPDX-License-Identifier: MIT
 * Nearest points that are remembered while a scale is looked for. Private to src/grid.
 *
 * Fitting asks for the same weights' nearest points at a dozen scales a near to one another. What a
 * point v costs is Σ h (x − a v)² = Σ h x² − 2 a Σ h x v + a² Σ h v², so for a > 0 the best one
 * makes a Σ h v² − 2 Σ h x v least: each point is a line over a, and their lower envelope is
 * concave, so that the scales at which a point is best are one interval. Between two scales at
 * which the same point was found, it need not be searched for. */
#ifndef GS_GRID_FORMAT_MEMO_H
#define GS_GRID_FORMAT_MEMO_H

#include "grid/format.h"

#define GS_MEMO_SPANS 12   /* a code; what does not fit is searched again */
#define GS_MEMO_VARIANTS 2 /* of a set of points, at most */

struct gs_memo_code {
    unsigned n;
    struct gs_memo_span {
        float low, high; /* scales */
        uint32_t code;
    } spans[GS_MEMO_SPANS];
};

/* One block's; the points have codes of eight weights and no minima. */
struct gs_memo {
    const struct gs_points *points;
    const float *x, *h;
    struct gs_memo_code codes[GS_MEMO_VARIANTS][GS_FORMAT_BLOCK / GS_POINT_DIM];
};

void gs_memo_init(struct gs_memo *memo, const struct gs_points *points, const float *x,
                  const float *h);

/* What points->nearest says for the n weights from `at` on, but for rounding where two points
 * are equally near. */
float gs_memo_nearest(struct gs_memo *memo, struct gs_point_run run, size_t at, size_t n,
                      float *v);

#endif
