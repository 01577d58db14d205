/* SPDX-License-Identifier: MIT
 * Types for a stock file under a budget of bytes. Private to src/recipe. */
#ifndef GS_RECIPE_BUDGET_H
#define GS_RECIPE_BUDGET_H

#include "recipe/work.h"

/* Chooses a type for each stock item of work->plan, whose sizes do not matter yet, so that all
 * tensors together take at most `bytes`; types that the caller fixed stay. Into `types` by tensor
 * of the source; negative where it has nothing to say. */
int gs_budget_types(struct gs_work *work, uint64_t bytes, int *types, struct gs_err *err)
    GS_MUST_USE;

#endif
