/* SPDX-License-Identifier: MIT
 * A file in pieces (model/part_file.h), cut to what a run would load of it: so that a slice can
 * be sent instead of the whole.
 *
 *     bases │ piece 0 │ 1 │ 2 │ 3 │ 4 …      --bits, --memory choose some
 *     bases │ piece 0 │ 1 │ 3                the same tensors, the tensor of pieces shorter
 *
 * Readers know files whose last pieces of a matrix are missing, so a slice is nothing new to
 * them: it gives the same weights, and can be cut again. Private to src/recipe. */
#ifndef GS_RECIPE_SLICE_H
#define GS_RECIPE_SLICE_H

#include "gosset.h"

#include "core/team.h"
#include "file/store.h"
#include "recipe/recode.h"

struct gs_slice;

/* By options->bits, memory and session, as gs_model_load would; the team's size counts for
 * memory. *out is NULL where every piece is chosen. The store is borrowed. GS_E_ARG for a file
 * without pieces, and for what it does not serve. */
int gs_slice_create(struct gs_store *store, const struct gs_load_options *options,
                    struct gs_team *team, struct gs_slice **out, struct gs_err *err) GS_MUST_USE;
void gs_slice_destroy(struct gs_slice **slice);

/* Is it the tensor that becomes shorter, and by how much; 0 bytes: it goes. slice may be NULL. */
bool gs_slice_cuts(const struct gs_slice *slice, const struct gs_tensor *tensor);
uint64_t gs_slice_bytes(const struct gs_slice *slice);

/* Keys that a slice does not have from its source: the list of pieces, and what was measured on
 * the whole file. slice may be NULL. */
bool gs_slice_drops(const struct gs_slice *slice, const char *key);
/* Its own list of pieces. */
int gs_slice_set_meta(const struct gs_slice *slice, struct gs_meta *meta, struct gs_err *err)
    GS_MUST_USE;

/* The bytes of the shorter tensor. */
int gs_slice_write(const struct gs_slice *slice, gs_recode_sink_fn sink, void *ctx,
                   struct gs_err *err) GS_MUST_USE;

#endif
