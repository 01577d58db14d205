/* SPDX-License-Identifier: MIT
 * Training a model on text: gs_train of gosset.h. */
#ifndef GS_TRAIN_TRAIN_H
#define GS_TRAIN_TRAIN_H

#include "gosset.h"

#include "file/store.h"

/* A new model by options->config ("key = value" lines of a file, or "key=value,…") with the
 * vocabulary of the model options->tokenizer or, without one, made from the texts. */
int gs_train_new_model(const struct gs_train_options *options, struct gs_store **out,
                       struct gs_err *err) GS_MUST_USE;

/* Trains the model of a store (borrowed) and writes dst; options->init, ->config and
 * ->tokenizer are not read. Beside dst lie dst.ckpt (removed when the run is complete) and
 * dst.jsonl. */
int gs_train_store(struct gs_store *store, const char *dst,
                   const struct gs_train_options *options, struct gs_train_result *out,
                   struct gs_err *err) GS_MUST_USE;

#endif
