/* SPDX-License-Identifier: MIT
 * How far a model's predictions lie from its reference's. */
#ifndef GS_EVAL_DIVERGENCE_H
#define GS_EVAL_DIVERGENCE_H

#include "eval/score.h"
#include "eval/stats.h"

/* Figures gathered over the scored tokens. Memory: 4 bytes a token, for percentiles. */
struct gs_divergence {
    size_t count, capacity;
    float *kld; /* (capacity), one a scored token */
    struct gs_moments kld_moments, ref_nll, nll_diff, dp, dp2;
    uint64_t same_top;
};

int gs_divergence_init(struct gs_divergence *d, size_t capacity, struct gs_err *err)
    GS_MUST_USE;
void gs_divergence_clear(struct gs_divergence *d);

/* At most `capacity` times. */
void gs_divergence_add(struct gs_divergence *d, const struct gs_score_pair *score);

/* Fills the reference part of `out`; sorts d->kld, so to be called once, after the last
 * add. Leaves NaN where nothing was added. */
void gs_divergence_report(struct gs_divergence *d, struct gs_eval_result *out);

/* GS_OK if tokens of one mean the same in the other: equal vocabularies, equal rows of
 * logits. The message names the first token that differs. */
int gs_divergence_comparable(const struct gs_subject *model, const struct gs_subject *ref,
                             struct gs_err *err) GS_MUST_USE;

#endif
