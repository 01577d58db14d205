/* SPDX-License-Identifier: MIT
 * A sparse matrix of outliers: compact in a file, quick in a product.
 *
 * As written, little-endian:
 *
 *   i8   exponent e, −126 … 111                values are f16 · 2^e
 *   rows × varint count                        7 bits a byte, lowest first, top bit: more follow
 *   for each entry, row by row
 *        u8 … delta                            column − (column before + 1), the one before the
 *                                              first being −1; 255 = skip 255 columns, and on
 *   for each entry  u16                        f16 value, never infinite or NaN
 *
 * One in 200 weights takes about 24 bits each; rows and cols are known from elsewhere. */
#ifndef GS_COMPENSATE_SPARSE_H
#define GS_COMPENSATE_SPARSE_H

#include "core/cursor.h"
#include "core/team.h"

struct gs_sparse {
    size_t rows, cols;
    size_t entries;
    int exponent;
    size_t *start;    /* (rows + 1): first entry of each row */
    uint32_t *column; /* (entries) ascending in a row */
    float *value;     /* (entries): f16 · 2^exponent, exactly */
};

/* The weights of w (rows, cols) whose mask (rows, cols) is set, to the precision of f16. w is
 * finite; cols below 2^32. */
int gs_sparse_create(const float *w, size_t stride, const uint8_t *mask, size_t rows,
                     size_t cols, struct gs_sparse **out, struct gs_err *err) GS_MUST_USE;
void gs_sparse_destroy(struct gs_sparse **sparse);

/* Bytes as written. */
uint64_t gs_sparse_bytes(const struct gs_sparse *sparse);
void gs_sparse_write(const struct gs_sparse *sparse, uint8_t *dst);

/* Reads what was written and no further. Counts are believed only as far as the remaining bytes
 * could hold them. */
int gs_sparse_read(struct gs_cursor *cursor, size_t rows, size_t cols, struct gs_sparse **out,
                   struct gs_err *err) GS_MUST_USE;

/* y (rows, cols; `stride` apart) += factor · S; factor −1 takes the outliers out of W. */
void gs_sparse_add(const struct gs_sparse *sparse, float factor, float *y, size_t stride);

/* y (T, rows) += S x, x (T, cols). Each row's sum has one order. Rows are handed out in pieces
 * of about equal entries, because a few rows hold most outliers. */
void gs_sparse_mul(const struct gs_sparse *sparse, const float *x, size_t T,
                   struct gs_team *team, float *y);

#endif
