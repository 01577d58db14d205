/* SPDX-License-Identifier: MIT
 * Rounding to ggml's block types with error feedback, then descent on codes and scales.
 *
 *   W (m, n)     weights of a linear layer as the file will hold them, nothing transformed
 *   H (n, n)     second moments of its input; damped, H + diag(λ) + σI = L D Lᵀ
 *   loss         tr((W − Ŵ) H (W − Ŵ)ᵀ), damped while it is being made small
 *
 * λ_i should be a share of H_ii, not of the mean: nothing is transformed here, and a few channels
 * of a language model carry activations a thousand times as large as others. A σ that is right
 * for them would drown all that H knows of the rest.
 *
 * Sweep (GPTQ, arXiv:2210.17323; as LDLQ: QuIP, arXiv:2307.13304), from the last column to the
 * first: when a block is reached, its scales and minima are fitted to the weights as feedback
 * has moved them, with D as importances, since (W − Ŵ) L = η makes the loss Σ_k η_k D_k η_kᵀ.
 * Then its codes are chosen one by one, later ones knowing the errors of earlier ones.
 *
 * Polish: runs are taken one at a time with all else fixed. The loss as a function of one run
 * is a parabola with the matrix H_RR, so a run can be rounded anew, with feedback by its own
 * factor of H_RR, for every neighbour of its scale and minimum (7 of a scale, 5 × 3 of both, at
 * once in the lanes of grid/format.h; the two next ones where a code has eight weights); the best
 * is taken if the loss falls. After a block's runs its d and dmin move to their least-squares
 * optimum if that, as rounded to f16, lowers the loss. Nothing that raises the loss is ever taken.
 *
 * Rows are independent: a chunk of them does sweep and polish without a word to others. */
#ifndef GS_ROUND_BLOCK_H
#define GS_ROUND_BLOCK_H

#include "grid/format.h"
#include "linalg/factor.h"

#define GS_BLOCK_SWEEPS 2 /* of polish: docs/stock.md has what more would bring */

struct gs_block_round {
    const struct gs_format *format;
    const struct gs_ldl *ldl; /* n = cols; its block is format->points->dim */
    const double *h;          /* (cols, cols) without damping; not read if ldl->diagonal */
    const double *damping;    /* (cols) what was added to h's diagonal before ldl was made (which
                                 added its own σ); NULL: nothing */
    size_t rows, cols;        /* cols a multiple of format->block */
    float *w;                 /* in: W, finite; out: the residual W − Ŵ */
    size_t w_stride;
    uint8_t *dst;             /* out: rows of whole blocks, one after another */
    unsigned sweeps;          /* of polish; 0 = none */
};

struct gs_block_result {
    double loss;      /* tr(E H Eᵀ) of what was written, without damping */
    double energy;    /* tr(W H Wᵀ) */
    double squares;   /* ‖E‖² */
    double sweep;     /* loss after the sweep, damping included; then after all polish */
    double polished;
};

int gs_block_round(const struct gs_block_round *job, struct gs_team *team,
                   struct gs_block_result *out, struct gs_err *err) GS_MUST_USE;

#endif
