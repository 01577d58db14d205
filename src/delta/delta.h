/* SPDX-License-Identifier: MIT
 * A fine-tuned model as what it changes of its base.
 *
 *   matrices of the blocks   W' ≈ W + Σ_p α_p S_p + A B
 *                            S_p signs, one bit a weight, α_p one number a matrix or a row:
 *                            BitDelta (arXiv:2402.10193); A B of small rank, in 16, 8 or 1 bits a
 *                            number: adapters (1-bit: arXiv:2408.12320 has them trained)
 *   all other tensors        left out where they are the same, else as they are
 *   metadata                 what differs
 *
 * α is the mean magnitude of what is left, which is least squares for any pattern of signs that
 * follows it; a further plane takes the signs of what the one before leaves. A delta is a GGUF
 * file (docs/formats.md):
 *
 *   NAME.sign   I8 (bytes of a row, rows, planes)   bit c mod 8 of byte c / 8: Δ ≥ 0
 *   NAME.scale  F32 (rows or 1, planes)
 *   NAME.low    I8 (bytes)                          compensate.h, gs_low_rank_write
 *   NAME        the tensor itself
 *   gosset.delta.*                                  version, planes, rank, …, matrices, types,
 *                                                   and a fingerprint of the base
 */
#ifndef GS_DELTA_DELTA_H
#define GS_DELTA_DELTA_H

#include "gosset.h"

#include "core/team.h"
#include "file/store.h"

/* Writes the delta of `tuned` over `base` to dst. Both are stock models of one architecture
 * with the same tensors in the same shapes; types may differ. Memory: four times the largest
 * matrix in f32. */
int gs_delta_make(struct gs_store *base, struct gs_store *tuned, const char *dst,
                  const struct gs_delta_options *options, struct gs_delta_result *out,
                  struct gs_err *err) GS_MUST_USE;

/* A base seen through a delta. */
struct gs_overlay {
    struct gs_store *base, *delta;
    struct gs_store *store; /* what the tuned model was: its tensors are made when asked for */
};

/* Opens both and checks that they belong together. */
int gs_overlay_open(const char *base, const char *delta, struct gs_overlay *out,
                    struct gs_err *err) GS_MUST_USE;
void gs_overlay_close(struct gs_overlay *overlay);

#endif
