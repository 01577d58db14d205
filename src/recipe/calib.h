/* SPDX-License-Identifier: MIT
 * The calibration set: sequences of tokens that the model is shown, and a text apart from
 * them on which the result is measured.
 *
 *   sequence   |BOS t1 t2 … t(ctx-1)|      BOS where the model puts one before a text
 *
 * From files (text, or JSONL whose objects have a member `text`), or, without any data, the
 * model's own samples: what it says at temperature 1 after BOS is what it has learned. */
#ifndef GS_RECIPE_CALIB_H
#define GS_RECIPE_CALIB_H

#include "model/model.h"
#include "recipe/recipe.h"
#include "text/tokenizer.h"

/* Tokens kept apart for measuring: eight chunks of 512, and some, because the text is
 * tokenized anew. */
#define GS_CALIB_EVAL_TOKENS 4608u

struct gs_calib {
    int32_t *tokens;      /* (sequences, ctx) */
    size_t sequences, ctx;
    uint64_t hash;        /* of the tokens */
    char name[128];       /* the files, or "self" */
    char *text;           /* to measure on; NULL: there was too little */
    size_t text_bytes;
};

struct gs_calib_source {
    const char *const *paths; /* NULL or none: the model's own samples */
    size_t n_paths;
    bool eval;                /* keep a text apart */
    bool count_only;          /* own samples are not drawn: only how many there will be */
    gs_progress_fn progress;
    void *progress_ctx;
};

/* Reads or samples. The message for an empty set names the file. */
int gs_calib_create(const struct gs_calib_source *source, const struct gs_recipe *recipe,
                    struct gs_lm *lm, const struct gs_tokenizer *tokenizer,
                    struct gs_team *team, struct gs_calib *out, struct gs_err *err)
    GS_MUST_USE;
void gs_calib_clear(struct gs_calib *calib);

#endif
