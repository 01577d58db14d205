/* SPDX-License-Identifier: MIT
 * Measuring a model: perplexity, divergence from a reference, tasks. Results are the public
 * structs of gosset.h. */
#ifndef GS_EVAL_EVAL_H
#define GS_EVAL_EVAL_H

#include "gosset.h"

#include "model/layers.h"
#include "model/model.h"
#include "text/tokenizer.h"

/* A model ready to be measured; `name` (its path) is for messages. All borrowed. */
struct gs_subject {
    struct gs_lm *lm;
    const struct gs_tokenizer *tokenizer;
    const char *name;
};

/* See gs_eval_text; `ref` may be NULL. */
int gs_eval_perplexity(const struct gs_subject *model, const struct gs_subject *ref,
                       const char *text, size_t n, const struct gs_eval_options *options,
                       struct gs_eval_result *out, struct gs_err *err) GS_MUST_USE;

/* What a reference says of a text, kept so that several models are held against it at the cost
 * of one run of it: the hidden states (C floats) of the scored positions, from which its logits
 * are made again, to the same bits. Logits themselves would be some hundred times larger. */
struct gs_reference;

/* Runs `ref` over the text, which is not needed after that; `tap` (or NULL) is shown the inputs
 * of its matrices, the head's not among them. Options hold for all that is compared. *out
 * (may not be NULL) borrows ref and is destroyed by the caller; `result` is the reference's own
 * perplexity. */
int gs_eval_reference(const struct gs_subject *ref, const char *text, size_t n,
                      const struct gs_eval_options *options, gs_tap_fn tap, void *tap_ctx,
                      struct gs_reference **out, struct gs_eval_result *result,
                      struct gs_err *err) GS_MUST_USE;
/* (*n, C): what its head reads at the scored positions. */
const float *gs_reference_hidden(const struct gs_reference *reference, size_t *n);
void gs_reference_destroy(struct gs_reference **reference);

/* As gs_eval_perplexity with that reference, that text and those options: the same figures. */
int gs_eval_against(const struct gs_subject *model, const struct gs_reference *reference,
                    struct gs_eval_result *out, struct gs_err *err) GS_MUST_USE;

/* See gs_eval_task in gosset.h. */
int gs_eval_tasks(const struct gs_subject *model, const char *path, uint64_t limit,
                  const struct gs_eval_options *options, struct gs_task_result *out,
                  struct gs_err *err) GS_MUST_USE;

#endif
