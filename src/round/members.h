/* SPDX-License-Identifier: MIT
 * The list of rounders and the sweep that they share. Private to src/round. */
#ifndef GS_ROUND_MEMBERS_H
#define GS_ROUND_MEMBERS_H

#include "round/round.h"

/* One pass over the block columns, last to first; `feedback`: a block's target is moved by
 * the errors of the blocks after it. */
int gs_round_sweep(const struct gs_round *job, bool feedback, struct gs_team *team,
                   struct gs_round_result *out, struct gs_err *err) GS_MUST_USE;

/* Sums over one row after rounding, E = W − s·q, with H + σI and with the identity. */
struct gs_row_sums {
    double ehe, qhe, qhq; /* E H Eᵀ, q H Eᵀ, q H qᵀ */
    double ee, qe, qq;
};

/* Scales before rounding: root mean square of each row (or of all) over the gain. */
void gs_scales_first(const struct gs_round *job, struct gs_round_result *out);

/* Scales after rounding: updates job->scales, writes what was added to each to step (rows),
 * and fills the losses of *out. */
void gs_scales_refit(const struct gs_round *job, const struct gs_row_sums *sums, float *step,
                     struct gs_round_result *out);

extern const struct gs_rounder gs_rounder_nearest;
extern const struct gs_rounder gs_rounder_ldlq;

#endif
