/* SPDX-License-Identifier: MIT
 * GGUF files: versions 2 and 3 are read, 3 is written.
 *
 *   "GGUF" u32 version, u64 tensors, u64 pairs
 *   pairs:   string key, u32 type, value              (string = u64 length, bytes)
 *   tensors: string name, u32 n_dims, u64 dim[n_dims], u32 type, u64 offset
 *   padding to general.alignment (default 32), then the data; each tensor is padded too
 *
 * The writer keeps the rules of the strictest stock reader (docs/formats.md), so its
 * files open everywhere. It is told the whole header first, then fed data in order: */
#ifndef GS_FILE_GGUF_H
#define GS_FILE_GGUF_H

#include "file/store.h"

struct gs_gguf_writer;

/* Checks names, shapes and keys against the rules, creates `path` beside its target under a
 * temporary name, writes the header for `tensors` (their bytes field is computed anew from
 * type and shape; data offsets follow listing order) and preallocates the space, so that a
 * full disk is found now. With overwrite false an existing path is an error. */
int gs_gguf_create(const char *path, bool overwrite, const struct gs_meta *meta,
                   const struct gs_tensor *tensors, size_t n_tensors,
                   struct gs_gguf_writer **out, struct gs_err *err) GS_MUST_USE;

/* Bytes that such a file will have. */
int gs_gguf_size(const struct gs_meta *meta, const struct gs_tensor *tensors, size_t n_tensors,
                 uint64_t *bytes, struct gs_err *err) GS_MUST_USE;

/* The next bytes of tensor `index`; tensors come in order, each exactly once, in as many
 * pieces as wanted. Padding is written for you. */
int gs_gguf_write(struct gs_gguf_writer *w, size_t index, const void *data, uint64_t n,
                  struct gs_err *err) GS_MUST_USE;

/* Checks that all is there, syncs, and renames the file into place. */
int gs_gguf_commit(struct gs_gguf_writer **w, uint64_t *bytes, struct gs_err *err) GS_MUST_USE;

/* Drops the unfinished file. */
void gs_gguf_abort(struct gs_gguf_writer **w);

#endif
