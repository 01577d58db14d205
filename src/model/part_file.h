/* SPDX-License-Identifier: MIT
 * Matrices of parts (part/part.h) in a GGUF file that any reader can open:
 *
 *   NAME.weight       I8 [bytes]: the blob; a stock runtime stops at the shape
 *   gosset.part.names string, rows u32, cols u32: arrays with one element a matrix
 *
 * They are decoded when a model is loaded, by all threads, to rows of a type that products know:
 * Q4_0, Q5_0 or Q8_0 where these have every weight exactly, else F16 (gs_part_store). */
#ifndef GS_MODEL_PART_FILE_H
#define GS_MODEL_PART_FILE_H

#include "file/store.h"
#include "part/part.h"

#define GS_KEY_PART "gosset.part." /* then: names, rows, cols */

struct gs_part_file;

/* Reads and checks the metadata; *out is NULL for a file without such matrices. */
int gs_part_file_open(struct gs_store *store, struct gs_part_file **out, struct gs_err *err)
    GS_MUST_USE;
void gs_part_file_close(struct gs_part_file **file);

/* NULL if the tensor holds no such matrix; file may be NULL. */
const struct gs_part_facts *gs_part_file_facts(const struct gs_part_file *file,
                                               const struct gs_tensor *tensor);

/* The weights (rows, cols), decoded by the first call; borrowed. exact: F32 instead of F16. Not
 * for several threads. */
int gs_part_file_weights(struct gs_part_file *file, const struct gs_tensor *tensor, bool exact,
                         struct gs_team *team, const struct gs_part_stored **out,
                         struct gs_err *err) GS_MUST_USE;

#endif
