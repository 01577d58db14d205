/* SPDX-License-Identifier: MIT
 * Training a model on text: gs_train of gosset.h from a model that is there. */
#ifndef GS_TRAIN_TRAIN_H
#define GS_TRAIN_TRAIN_H

#include "gosset.h"

#include "core/err.h"

/* Continues the model in the file `init` and writes dst; options->config and ->tokenizer are
 * not read. Beside it lie dst.ckpt (removed when the run is complete) and dst.jsonl. */
int gs_train_model(const char *init, const char *dst, const struct gs_train_options *options,
                   struct gs_train_result *out, struct gs_err *err) GS_MUST_USE;

/* What can be said before a model is there: names, ranges, files in the way. */
int gs_train_check(const char *dst, const struct gs_train_options *options, struct gs_err *err)
    GS_MUST_USE;

#endif
