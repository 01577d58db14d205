/* SPDX-License-Identifier: MIT
 * The finished file: metadata and tensors from plan, journal and source (model/native.h draws
 * the layout). Private to src/recipe. */
#ifndef GS_RECIPE_NATIVE_FILE_H
#define GS_RECIPE_NATIVE_FILE_H

#include "recipe/work.h"

/* Exact size of the file; nothing is written. */
int gs_native_file_size(const struct gs_work *work, uint64_t *bytes, struct gs_err *err)
    GS_MUST_USE;

/* All items are in the journal. `eval` may be NULL: not measured yet. */
int gs_native_file_write(struct gs_work *work, const char *path, bool overwrite,
                         const struct gs_eval_result *eval, uint64_t *bytes,
                         struct gs_err *err) GS_MUST_USE;

/* A copy of the file `draft` with the figures (NULL: as they are) at `path`. */
int gs_native_file_stamp(const char *draft, const char *path, bool overwrite,
                         const struct gs_eval_result *eval, uint64_t *bytes,
                         struct gs_err *err) GS_MUST_USE;

#endif
