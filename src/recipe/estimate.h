/* SPDX-License-Identifier: MIT
 * Memory, disk and time that a plan will take. Private to src/recipe. */
#ifndef GS_RECIPE_ESTIMATE_H
#define GS_RECIPE_ESTIMATE_H

#include "recipe/work.h"

/* Fills the estimates of *out from a plan with its calibration set; out->file_bytes is set. */
int gs_estimate(struct gs_work *work, struct gs_plan_info *out, struct gs_err *err)
    GS_MUST_USE;

#endif
