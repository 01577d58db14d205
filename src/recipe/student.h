/* SPDX-License-Identifier: MIT
 * A quantized file as a student: its codes stay, what surrounds them learns. Matrices of block
 * types are in student_stock.h; a native one is
 *
 *     W = T_out⁻¹ · diag(s) · K · diag(f)        K = G · H,  G_rc = ± τ[index_rc]
 *
 * s are the scales of rows, f the factor of the input (random signs and QuIP's rescale; QuIP#
 * calls both its sign vectors, arXiv:2402.04396, section 5), shared by matrices of one input,
 * and τ the table of a trellis, where the file holds one (else K stays as it is). They and the
 * norms are the parameters θ, each relative to its first value: s = s₀ (1 + θ), so that one
 * learning rate fits all. With dU = T_out⁻ᵀ dW,
 *
 *     ds_r = Σ_c dU_rc K_rc f_c      df_c = Σ_r dU_rc s_r K_rc
 *     dG = (dU_rc s_r f_c) · Hᵀ      dτ_j = Σ ± dG_rc over index_rc = j
 *
 * Memory: W and its gradient in f32, of native matrices K and indices too: 8 or 13 bytes a weight
 * of the model. Private to recipe. */
#ifndef GS_RECIPE_STUDENT_H
#define GS_RECIPE_STUDENT_H

#include "model/params.h"

struct gs_student;

int gs_student_open(const char *path, struct gs_team *team, struct gs_student **out,
                    struct gs_err *err) GS_MUST_USE;
void gs_student_close(struct gs_student **student);

/* The dense weights, for gs_backprop; and θ with its layout, for an optimizer. */
const struct gs_params *gs_student_params(const struct gs_student *student);
struct gs_params *gs_student_theta(struct gs_student *student);

#define GS_STUDENT_ALL UINT32_MAX

/* Dense weights from θ: of block il (n_layer: the model's own), or all. */
int gs_student_build(struct gs_student *student, uint32_t il, struct gs_err *err) GS_MUST_USE;

/* From dense gradients (layout of gs_student_params; they are overwritten) to those of θ,
 * which are set; other blocks' are 0. */
int gs_student_project(struct gs_student *student, uint32_t il, float *grads, float *out,
                       struct gs_err *err) GS_MUST_USE;

/* The file with what θ says now: scales and factors rounded to f16, tables to 8 bits with their
 * largest magnitude at 127, for which the scales make up. */
int gs_student_write(struct gs_student *student, const char *path, uint64_t *bytes,
                     struct gs_err *err) GS_MUST_USE;

#endif
