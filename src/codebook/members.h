/* SPDX-License-Identifier: MIT
 * The members of the list in codebook.c. */
#ifndef GS_CODEBOOK_MEMBERS_H
#define GS_CODEBOOK_MEMBERS_H

#include "codebook/codebook.h"

extern const struct gs_codebook_kind gs_codebook_uniform;
extern const struct gs_codebook_kind gs_codebook_float;
extern const struct gs_codebook_kind gs_codebook_quantile;
extern const struct gs_codebook_kind gs_codebook_lloyd;
extern const struct gs_codebook_kind gs_codebook_dynamic;
extern const struct gs_codebook_kind gs_codebook_posit;
extern const struct gs_codebook_kind gs_codebook_ternary;
extern const struct gs_codebook_kind gs_codebook_binary;
extern const struct gs_codebook_kind gs_codebook_mx;
extern const struct gs_codebook_kind gs_codebook_bfp;
extern const struct gs_codebook_kind gs_codebook_minifloat;
extern const struct gs_codebook_kind gs_codebook_blocklog;
extern const struct gs_codebook_kind gs_codebook_residual;
extern const struct gs_codebook_kind gs_codebook_nested;
extern const struct gs_codebook_kind gs_codebook_dual;
extern const struct gs_codebook_kind gs_codebook_power;
extern const struct gs_codebook_kind gs_codebook_kmeans;
extern const struct gs_codebook_kind gs_codebook_choice;
extern const struct gs_codebook_kind gs_codebook_e8p;
extern const struct gs_codebook_kind gs_codebook_vector;
extern const struct gs_codebook_kind gs_codebook_product;
extern const struct gs_codebook_kind gs_codebook_additive;
extern const struct gs_codebook_kind gs_codebook_fsq;
extern const struct gs_codebook_kind gs_codebook_pyramid;

#endif
