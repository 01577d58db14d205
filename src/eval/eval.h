/* SPDX-License-Identifier: MIT
 * Measuring a model: perplexity, divergence from a reference, tasks. Results are the public
 * structs of gosset.h. */
#ifndef GS_EVAL_EVAL_H
#define GS_EVAL_EVAL_H

#include "gosset.h"

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

/* See gs_eval_task in gosset.h. */
int gs_eval_tasks(const struct gs_subject *model, const char *path, uint64_t limit,
                  const struct gs_eval_options *options, struct gs_task_result *out,
                  struct gs_err *err) GS_MUST_USE;

#endif
