/* SPDX-License-Identifier: MIT
 * What one row of logits says about the token that follows, and a decoder with the row
 * buffer that feeds it. */
#ifndef GS_EVAL_SCORE_H
#define GS_EVAL_SCORE_H

#include "eval/eval.h"

/* One predicted position. Natural logarithms. */
struct gs_score {
    double nll;    /* −log p(token) */
    int32_t top;   /* most likely token, the smallest on a tie */
    bool finite;   /* false: a logit is NaN or +inf, nothing else is set */
};

/* The same position under the model and its reference. */
struct gs_score_pair {
    struct gs_score model, ref;
    double kld; /* KL(ref ‖ model) ≥ 0; set if both are finite */
};

/* logits (n); token < n. */
void gs_score_row(const float *logits, size_t n, int32_t token, struct gs_score *out);
void gs_score_row_pair(const float *logits, const float *ref, size_t n, int32_t token,
                       struct gs_score_pair *out);

/* Tokens a forward pass unless asked otherwise: as fast as larger ones (measured from 128 to
 * 512: same processor time), with a quarter of the activations of 512. */
#define GS_SCORER_BATCH 128

/* A decoder and room for the logits of a few positions: `rows` of them, as many as fit in
 * 16 MiB (at least 1, at most 64), since a whole chunk's would outweigh the model. */
struct gs_scorer {
    const struct gs_subject *subject;
    struct gs_decoder *decoder;
    size_t n_vocab, rows;
    float *logits; /* (rows, n_vocab) */
    const float *hidden; /* what the head reads at the positions that are scored next; NULL:
                            the states of the decoder's last batch */
};

int gs_scorer_init(struct gs_scorer *s, const struct gs_subject *subject,
                   const struct gs_decoder_options *options, struct gs_err *err) GS_MUST_USE;
void gs_scorer_clear(struct gs_scorer *s);

/* Scores `count` positions of the last forward batch, from its position `first` on, against
 * tokens[0 … count-1]; work is split over positions. ref (may be NULL) must have seen the
 * same batch. Calls `take` once a position, in order, in this thread; GS_OK or the first
 * negative code it returns. */
typedef int (*gs_score_fn)(void *ctx, size_t index, const struct gs_score_pair *score,
                           struct gs_err *err);
int gs_scorer_run(struct gs_scorer *model, struct gs_scorer *ref, struct gs_team *team,
                  size_t first, size_t count, const int32_t *tokens, gs_score_fn take,
                  void *ctx, struct gs_err *err) GS_MUST_USE;

/* The error for a score that is not finite. */
int gs_scorer_fail_finite(const struct gs_scorer *s, uint64_t position, struct gs_err *err);

#endif
