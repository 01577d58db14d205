/* SPDX-License-Identifier: MIT
 * From a model file to a smaller file that runs: the pipeline.
 *
 *   plan ─▶ calibration set ─▶ for each block: ─────────────────────────────────▶ head ─▶ file
 *                              forward, H = Σ x xᵀ of each distinct input
 *                              transform W and H, round, refit, journal
 *                              forward again, through the rounded block
 *
 * The hidden states of the whole set advance block by block through what was rounded so far,
 * so each block is fitted to the inputs that it will really see. Only forwards; memory is the
 * states, one block's Hessians and one matrix in f32. Finished matrices are in a journal
 * (journal.h) from which an interrupted run goes on to the same bytes. */
#ifndef GS_RECIPE_QUANTIZE_H
#define GS_RECIPE_QUANTIZE_H

#include "gosset.h"

#include "core/err.h"

/* Compares the file `path` with the source over a text; see gs_eval_text. */
typedef int (*gs_measure_fn)(void *ctx, const char *path, const char *text, size_t n,
                             struct gs_eval_result *out, struct gs_err *err);

/* See gs_quantize in gosset.h; `measure` is not called with options->no_eval. */
int gs_quantize_model(const char *src, const char *dst,
                      const struct gs_quantize_options *options, gs_measure_fn measure,
                      void *measure_ctx, struct gs_quantize_result *out, struct gs_err *err)
    GS_MUST_USE;

#endif
