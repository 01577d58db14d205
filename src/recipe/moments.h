/* SPDX-License-Identifier: MIT
 * Second moments of the inputs of a block's matrices over the calibration set, gathered in
 * one pass for each half of a block.
 *
 *   h     mean of x xᵀ  (n, n), x the input of a matrix when everything before this half is
 *         rounded and the half itself is not
 *   mean  mean of x  (n), for recipes that correct outputs; h is then that of x less its mean
 *
 * Private to src/recipe. */
#ifndef GS_RECIPE_MOMENTS_H
#define GS_RECIPE_MOMENTS_H

#include "model/layers.h"
#include "recipe/plan.h"

struct gs_work;

struct gs_moments {
    size_t n;
    double *h;    /* NULL: not gathered */
    double *mean; /* NULL: not asked for */
    double *most; /* max |x| (n); NULL: not asked for */
};

/* A decoder's tap (model/layers.h) that adds to the lower triangles of the inputs of block w. */
struct gs_moments_tap {
    struct gs_team *team;
    const struct gs_block_weights *w;
    struct gs_moments *inputs; /* by enum gs_plan_input; h NULL: not wanted */
    double seconds;            /* spent in it, of the processor */
    int rc;                    /* what went wrong, once the decoder returns */
    struct gs_err *err;
};

void gs_moments_see(void *tap, const struct gs_matrix *w, const float *x, size_t T);

/* Sums over the inputs of the half `part` of block il, for the unfinished ones of
 * items[first … end-1]; inputs: by enum gs_plan_input. il = n_layer: the input of the head. */
int gs_moments_gather(struct gs_work *work, uint32_t il, enum gs_block_part part, size_t first,
                      size_t end, struct gs_moments *inputs, struct gs_err *err) GS_MUST_USE;

#endif
