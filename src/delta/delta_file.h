/* SPDX-License-Identifier: MIT
 * What the writer and the reader of deltas share. Private to src/delta. */
#ifndef GS_DELTA_DELTA_FILE_H
#define GS_DELTA_DELTA_FILE_H

#include "delta/delta.h"

#define GS_KEY_DELTA "gosset.delta."
#define GS_DELTA_VERSION 1
#define GS_DELTA_PLANES_MAX 8
#define GS_DELTA_NAME_MAX 160

/* Bytes of the signs of a row. */
static inline uint64_t gs_delta_row_bytes(uint64_t cols)
{
    return (cols + 7) / 8;
}

/* True for the matrices that a delta approximates: of the blocks, or with `all` every one. */
bool gs_delta_is_matrix(const struct gs_tensor *t, bool all);

/* "NAME.sign" … in `out` (GS_DELTA_NAME_MAX); GS_E_UNSUPPORTED if the name is too long. */
int gs_delta_name(const char *name, const char *tail, char *out, struct gs_err *err) GS_MUST_USE;

/* Of the names and bytes of all tensors, in whatever order the store has them. */
int gs_delta_fingerprint(struct gs_store *store, uint64_t *out, struct gs_err *err) GS_MUST_USE;

/* GS_E_UNSUPPORTED for files with matrices in gosset's own formats. */
int gs_delta_check_stock(const struct gs_store *store, struct gs_err *err) GS_MUST_USE;

/* Rows [first, first + n) of a tensor as f32; data: all its bytes. */
void gs_delta_decode(const struct gs_tensor *t, const void *data, uint64_t first, uint64_t n,
                     float *dst);

#endif
