/* SPDX-License-Identifier: MIT
 * Squared gradients of single weights: the diagonal of the empirical Fisher information, which
 * tells weights of one column apart where second moments of inputs cannot.
 *
 *     F = mean over sequences of (∂ loss / ∂ W)²      loss: mean −log p of the next token
 *
 * (SqueezeLLM, arXiv:2306.07629, section 4.1; CherryQ, arXiv:2404.02837.) From the source's
 * weights, before any is rounded. Memory: three times the weights in f32, and what backwards
 * keep. Private to src/recipe. */
#ifndef GS_RECIPE_FISHER_H
#define GS_RECIPE_FISHER_H

#include "model/params.h"
#include "recipe/calib.h"

/* So many sequences of the calibration set at most: the paper takes 100. */
#define GS_FISHER_SEQUENCES 100u

struct gs_fisher;

int gs_fisher_create(struct gs_lm *lm, const struct gs_calib *calib, struct gs_team *team,
                     gs_progress_fn progress, void *progress_ctx, struct gs_fisher **out,
                     struct gs_err *err) GS_MUST_USE;
void gs_fisher_destroy(struct gs_fisher **fisher);

/* F of a matrix by the name of its tensor (rows, cols); NULL if there is none, or no fisher. */
const float *gs_fisher_of(const struct gs_fisher *fisher, const char *name);

#endif
