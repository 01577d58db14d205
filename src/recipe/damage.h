/* SPDX-License-Identifier: MIT
 * What each type would do to each matrix: the expected divergence of the whole model.
 *
 *     damage(matrix, type) = sensitivity(matrix) · ρ(matrix, type),   ρ = tr(E H Eᵀ) / tr(W H Wᵀ)
 *
 * ρ is measured with feedback on some rows of the matrix, for every type. The sensitivity, how
 * much divergence an error of ρ = 1 makes, is measured by a forward pass with this matrix alone
 * rounded, in some of the blocks, and interpolated between them (logarithms, by depth): the
 * layer errors of HAWQ and AdaQuant, weighed by what they do in the end. Small errors add up.
 *
 * The head's is ½ Σ_v p_v e_v H e_vᵀ, the second-order term of the divergence itself. */
#ifndef GS_RECIPE_DAMAGE_H
#define GS_RECIPE_DAMAGE_H

#include "recipe/work.h"

struct gs_damage {
    enum gs_type types[GS_TYPE_COUNT];
    size_t n_types;
    double *of; /* (n_items, n_types); infinite where the type does not fit the rows */
};

/* For the stock items of work->plan. Needs the calibration set and the decoder. */
int gs_damage_measure(struct gs_work *work, struct gs_damage *out, struct gs_err *err)
    GS_MUST_USE;
void gs_damage_clear(struct gs_damage *damage);

#endif
