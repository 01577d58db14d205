/* SPDX-License-Identifier: MIT
 * Residual sign blocks: a matrix as a sum that may be cut anywhere (BitStack, arXiv:2410.23918).
 *
 *   W  ≈  Σ_k  S_k ∘ (A_k B_k)        S_k (rows, cols) signs of what blocks before k leave,
 *                                     A_k B_k of small rank near its magnitudes
 *
 * The first K blocks are the best that the file has for K blocks: one file serves every size.
 * A block takes 1 + r · 16 · (rows + cols) / (rows · cols) bits a weight with factors in f16.
 * Magnitudes are mostly of rank one, so that a block leaves about a third of the squares; a
 * rank of 16 is BitStack's choice. Columns are weighed by what their inputs are.
 *
 * As written: signs, each row in whole bytes, bit c mod 8 of byte c / 8 is 1 for w ≥ 0; then the
 * factors (gs_low_rank_write). */
#ifndef GS_COMPENSATE_SIGN_BLOCK_H
#define GS_COMPENSATE_SIGN_BLOCK_H

#include "compensate/compensate.h"

struct gs_sign_block {
    size_t rows, cols;
    uint8_t *signs;          /* (rows, ⌈cols / 8⌉) */
    struct gs_low_rank *low; /* of the magnitudes */
};

/* The block for w (rows, cols; `stride` apart), which becomes what the block leaves; w is
 * finite. weights (cols): how much errors of a column count, as H_jj (> 0), or NULL. */
int gs_sign_block_create(float *w, size_t stride, size_t rows, size_t cols, size_t rank,
                         const double *weights, const struct gs_factor_format *format,
                         struct gs_team *team, struct gs_sign_block **out, struct gs_err *err)
    GS_MUST_USE;
void gs_sign_block_destroy(struct gs_sign_block **block);

/* y (rows, cols; `stride` apart) += factor · S ∘ (A B). */
void gs_sign_block_add(const struct gs_sign_block *block, float factor, struct gs_team *team,
                       float *y, size_t stride);

uint64_t gs_sign_block_bytes(const struct gs_sign_block *block);
void gs_sign_block_write(const struct gs_sign_block *block, uint8_t *dst);
int gs_sign_block_read(struct gs_cursor *cursor, size_t rows, size_t cols, size_t rank,
                       const struct gs_factor_format *format, struct gs_sign_block **out,
                       struct gs_err *err) GS_MUST_USE;

#endif
