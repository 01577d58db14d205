/* SPDX-License-Identifier: MIT
 * Tuning what surrounds the codes of a file (student.h) after rounding: the two stages of QuIP#
 * (arXiv:2402.04396, section 5), for block types too.
 *
 *   block   blocks in their order: scales, factors, tables and norms of one block so that its
 *           output, given what the blocks before it now put out, comes near the teacher's (mean
 *           squared error)
 *   e2e     all of them at once: KL of the student's predictions from the teacher's
 *
 * The teacher is the model that was quantized; what its head reads is kept for every sequence
 * (4 bytes a channel and token), so that it runs once. Adam, a cosine from the rate down to 0.
 * Sequences that are held back say how much of what was learned is kept. */
#ifndef GS_RECIPE_TUNE_H
#define GS_RECIPE_TUNE_H

#include "recipe/student.h"

struct gs_tune {
    const char *teacher;    /* path of the model that was quantized */
    struct gs_team *team;
    const int32_t *tokens;  /* (sequences, ctx) */
    size_t sequences, ctx;
    size_t held;            /* the last of them, which only judge */
    unsigned block_passes;  /* over the sequences, for every block; 0: not this stage */
    unsigned whole_passes;  /* the same for the whole model */
    double block_rate, whole_rate;
    gs_progress_fn progress;
    void *progress_ctx;
};

struct gs_tune_result {
    double block_before, block_after; /* Σ squared error over Σ squares, over all blocks */
    double whole_before, whole_after; /* mean KL a token: first pass, last pass */
    double held_before, held_after;   /* of the sequences that only judge; 0: there are none */
    bool kept;                        /* false: these did not gain, all is as it was */
};

/* "block", "e2e" or "both" to passes and rates, those for native or for stock files; GS_E_ARG for
 * another name. */
int gs_tune_stages(const char *name, bool stock, struct gs_tune *tune, struct gs_err *err)
    GS_MUST_USE;

/* Tunes the file `in`, which is native or of block types, and writes `out`. */
int gs_tune_file(const struct gs_tune *tune, const char *in, const char *out,
                 struct gs_tune_result *result, struct gs_err *err) GS_MUST_USE;

#endif
