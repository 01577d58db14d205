/* SPDX-License-Identifier: MIT
 * Matrices of an earlier result taken over as they are. Private to src/recipe. */
#ifndef GS_RECIPE_REUSE_H
#define GS_RECIPE_REUSE_H

#include "recipe/work.h"

/* Puts into the journal every stock item that the stock file `path` holds in the same type and
 * shape. The file must come from the same source, by the hash in it. */
int gs_reuse(struct gs_work *work, const char *path, size_t *reused, struct gs_err *err)
    GS_MUST_USE;

/* Of the whole file, for the journal: work that was begun with one cannot go on with another. */
int gs_reuse_hash(const char *path, uint64_t *out, struct gs_err *err) GS_MUST_USE;

#endif
