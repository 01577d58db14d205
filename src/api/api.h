/* SPDX-License-Identifier: MIT
 * What the implementation of gosset.h shares between its files. */
#ifndef GS_API_API_H
#define GS_API_API_H

#include "gosset.h"

#include "delta/delta.h"
#include "eval/eval.h"
#include "file/store.h"
#include "model/model.h"
#include "model/native.h"
#include "model/part_file.h"
#include "text/tokenizer.h"

/* The parts of a model that are built on demand, each at most once, behind a const model
 * that several threads may share. A failure is kept and told again to each caller. */
struct gs_model_parts;

struct gs_model {
    struct gs_overlay overlay; /* of a model with a delta: its parts; store is then its store */
    struct gs_store *store;
    struct gs_natives *natives; /* NULL: none, or not to be understood */
    struct gs_part_file *part_file; /* the same */
    struct gs_model_info info;
    struct gs_model_parts *parts;
    /* The last gs_model_meta, as text. */
    char *meta_value;
    char meta_type[48];
};

/* Borrowed from the model. */
int gs_api_tokenizer(const struct gs_model *model, const struct gs_tokenizer **out,
                     struct gs_err *err) GS_MUST_USE;
int gs_api_lm(const struct gs_model *model, const struct gs_load_options *options,
              struct gs_lm **out, struct gs_err *err) GS_MUST_USE;

/* Both, for measuring. */
int gs_api_subject(const struct gs_model *model, const struct gs_load_options *options,
                   struct gs_subject *out, struct gs_err *err)
    GS_MUST_USE;

/* A metadata value as text, arrays cut after their first elements; NULL: out of memory.
 * For gs_free. */
char *gs_api_value_text(const struct gs_value *value);

#endif
