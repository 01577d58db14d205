/* SPDX-License-Identifier: MIT
 * An output file that appears under its name only when it is whole.
 *
 * It is written beside its target as PATH.<pid>.part, with the space reserved at the start
 * so that a full disk is found before the work; commit syncs it and renames it. */
#ifndef GS_FILE_OUT_H
#define GS_FILE_OUT_H

#include "core/err.h"

struct gs_out;

/* bytes: the final size if known, else 0. Errors name what is in the way: a missing folder,
 * an existing file (unless overwrite), too little room. */
int gs_out_create(const char *path, bool overwrite, uint64_t bytes, struct gs_out **out,
                  struct gs_err *err) GS_MUST_USE;
int gs_out_write(struct gs_out *out, const void *data, uint64_t n, struct gs_err *err)
    GS_MUST_USE;
uint64_t gs_out_size(const struct gs_out *out); /* bytes written so far */

/* Both end the object; a failed commit has removed the unfinished file. */
int gs_out_commit(struct gs_out **out, struct gs_err *err) GS_MUST_USE;
void gs_out_abort(struct gs_out **out);

#endif
