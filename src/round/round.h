/* SPDX-License-Identifier: MIT
 * Rounders: how the weights of a matrix find their points on a grid.
 *
 *   W (m, n)   weights of a linear layer, transformed; input channels are columns
 *   H (n, n)   second moments of its input, given as H + σI = L D Lᵀ (linalg/factor.h)
 *   Ŵ = s ∘ Q  codes Q of a grid, one scale s_r a row (or one for all)
 *
 * A rounder makes the proxy loss tr((W − Ŵ) H (W − Ŵ)ᵀ) small (QuIP, arXiv:2307.13304, eq. 1).
 * Rows are independent: they are shared out over the team in chunks and the result does not
 * depend on it. Memory beside the arguments, for each worker: 2 · 64 · n floats, about 100 KiB
 * and what the codec needs.
 *
 * A kind is one `static const struct` in the list of round.c; tests walk the list. */
#ifndef GS_ROUND_ROUND_H
#define GS_ROUND_ROUND_H

#include "grid/grid.h"
#include "linalg/factor.h"

/* Below 1, because feedback adds to the spread of what the grid sees; measured best within
 * 1 % for every grid and rate (docs/rounding.md). */
#define GS_ROUND_GAIN 0.95f

/* One matrix to round. */
struct gs_round {
    const struct gs_codec *codec;
    const struct gs_ldl *ldl; /* ldl->n = cols; its block a multiple of the grid's columns
                                 that divides 128, and divides cols */
    size_t rows, cols;
    float *w;                 /* in: W, finite; out: the residual W − Ŵ */
    size_t w_stride;
    uint8_t *codes;           /* out, grid/grid.h; a last incomplete block row is padded with
                                 zero weights, so that rows need be no multiple */
    size_t codes_stride;
    float *scales;            /* out: (rows) */

    float gain;               /* the grid sees weights of this root mean square; 0 = the
                                 default GS_ROUND_GAIN */
    bool per_tensor;          /* one scale for all rows */
    bool refit;               /* least-squares scales after rounding (see result) */
    bool f16_scales;          /* scales are a power of two, one for all, times f16 values */
};

struct gs_round_result {
    double loss;        /* tr(E H Eᵀ), E = W − Ŵ with the scales returned, without damping */
    double energy;      /* tr(W H Wᵀ): loss / energy compares layers and methods */
    double squares;     /* ‖E‖² */
    float scale_unit;   /* the power of two of f16_scales, else 1 */
};

struct gs_rounder {
    const char *name, *paper;
    bool uses_h; /* the codes depend on more than H's diagonal */
    int (*run)(const struct gs_round *job, struct gs_team *team,
               struct gs_round_result *out, struct gs_err *err);
};

/* Kinds compiled in; NULL past the end. */
const struct gs_rounder *gs_rounder_at(size_t index);

/* NULL if there is none of this name. */
const struct gs_rounder *gs_rounder_find(const char *name);

/* Rounds w; the message of a failure names the row and column of a weight that is not
 * finite, or the rule that the shape breaks. */
int gs_round_matrix(const struct gs_rounder *rounder, const struct gs_round *job,
                    struct gs_team *team, struct gs_round_result *out, struct gs_err *err)
    GS_MUST_USE;

/* Bytes of codes for such a matrix, and the stride to use. */
size_t gs_round_codes_bytes(const struct gs_codec *codec, size_t rows, size_t cols,
                            size_t *stride);

#endif
