/* SPDX-License-Identifier: MIT
 * The levels that kernels.c lists. Private to src/kernels. */
#ifndef GS_KERNELS_LEVELS_H
#define GS_KERNELS_LEVELS_H

#include "kernels/kernels.h"

extern const struct gs_kernels gs_kernels_scalar;
extern const struct gs_kernels gs_kernels_avx2;
extern const struct gs_kernels gs_kernels_avx512;
extern const struct gs_kernels gs_kernels_avx512vbmi;
extern const struct gs_kernels gs_kernels_neon;
extern const struct gs_kernels gs_kernels_neondot;

#endif
