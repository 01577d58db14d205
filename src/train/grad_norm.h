/* SPDX-License-Identifier: MIT
 * The norm of a gradient, and where it broke. */
#ifndef GS_TRAIN_GRAD_NORM_H
#define GS_TRAIN_GRAD_NORM_H

#include "model/params.h"

/* √Σg² in f64, in a fixed order. `sums` has gs_grad_norm_sums(params) elements. */
size_t gs_grad_norm_sums(const struct gs_params *params);
double gs_grad_norm(const struct gs_params *params, struct gs_team *team, const float *g,
                        double *sums);

/* The first parameter with a number that is not finite in `values` (params' layout), or NULL. */
const struct gs_param *gs_grad_broken(const struct gs_params *params, const float *values);

#endif
