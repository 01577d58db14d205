/* SPDX-License-Identifier: MIT
 * What a change of weights does to a model's predictions: the divergence of those at the last
 * positions of the first sequence of the calibration set from what they were before. Needs the
 * decoder and the calibration set. Private to src/recipe. */
#ifndef GS_RECIPE_PREDICTIONS_H
#define GS_RECIPE_PREDICTIONS_H

#include "recipe/work.h"

#define GS_DIVERGENCE_LEAST 1e-9 /* below this it is noise */

struct gs_predictions {
    struct gs_work *work;
    size_t positions;   /* whose predictions are compared */
    float *ref, *logits; /* (positions, V) log-probabilities: before, and now */
};

/* At most so many positions, and so many logits. ref is taken from the model as it is. */
int gs_predictions_create(struct gs_work *work, size_t positions, size_t logits,
                          struct gs_predictions *out, struct gs_err *err) GS_MUST_USE;
void gs_predictions_clear(struct gs_predictions *p);

/* logits of the model as it now is. */
int gs_predictions_take(struct gs_predictions *p, struct gs_err *err) GS_MUST_USE;
/* The same where somebody else has put raw logits there. */
void gs_predictions_normalize(struct gs_predictions *p);

/* Mean KL of now from before, no less than the least. */
double gs_predictions_divergence(const struct gs_predictions *p);

#endif
