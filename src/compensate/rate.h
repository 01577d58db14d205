/* SPDX-License-Identifier: MIT
 * Rate–distortion rounding: integer codes that are near their weights and cheap to send.
 *
 *   q_i  =  argmin_q  h_i (w_i/Δ − q)²  +  λ · bits(q | codes so far)
 *
 * among the integers around w_i/Δ. Bits are those of an adaptive model, DeepCABAC's
 * (arXiv:1907.11900, section III): a code is written as decisions
 *
 *   zero?   sign?   |q| > 1?   |q| > 2?  …  |q| > 10?   the rest as an Elias gamma code
 *
 * each with a probability of its own under the sign of the code before (three contexts, fresh in
 * each row). A uniform grid without bounds that is rounded so and then coded (transport/) needs
 * fewer bits at the same error than a grid with few levels. For rounders: one model for each
 * piece of rows that one worker rounds in order, so that nothing depends on the threads. */
#ifndef GS_COMPENSATE_RATE_H
#define GS_COMPENSATE_RATE_H

#include "core/attr.h"

#define GS_RATE_FLAGS 12 /* zero, sign, ten of magnitude */

struct gs_rate {
    uint16_t seen[3][GS_RATE_FLAGS], ones[3][GS_RATE_FLAGS]; /* decisions, and those for 1 */
    uint16_t bits[3][GS_RATE_FLAGS][2];                      /* of a 0 and a 1, in 1/256 */
};

/* A model that has seen nothing. */
void gs_rate_init(struct gs_rate *rate);

/* Bits, in 1/256, of code q after the code `previous` (0 at the start of a row). */
uint32_t gs_rate_bits(const struct gs_rate *rate, int32_t previous, int32_t q);

/* The model sees code q. */
void gs_rate_learn(struct gs_rate *rate, int32_t previous, int32_t q);

/* The best code for a weight x in units of the step, with importance h ≥ 0 and λ ≥ 0 (what a
 * bit may cost in squared steps), |code| at most `most` < 2^24; x is finite. The model does not
 * learn it yet. */
int32_t gs_rate_round(const struct gs_rate *rate, int32_t previous, float x, float h,
                      float lambda, int32_t most);

/* A row of n weights with one step > 0, importances h (n) or NULL: codes (n), learnt as they
 * are chosen. Returns their bits in 1/256. */
uint64_t gs_rate_round_row(struct gs_rate *rate, const float *w, const float *h, size_t n,
                           float step, float lambda, int32_t most, int32_t *codes);

#endif
