/* SPDX-License-Identifier: MIT
 * The fixed point sets of ggml's IQ and FP4 types.
 *
 * A grid point is stored as its coordinates' level numbers: 2 bits each for the eight
 * coordinates of IQ1 and IQ2, 3 bits each for the four of IQ3, first coordinate lowest.
 * The entries of a grid ascend. */
#ifndef GS_KERNELS_GRIDS_H
#define GS_KERNELS_GRIDS_H

#include "core/attr.h"

extern const uint16_t gs_iq2_xxs_grid[256];
extern const uint16_t gs_iq2_xs_grid[512];
extern const uint16_t gs_iq2_s_grid[1024];
extern const uint16_t gs_iq1_grid[2048]; /* IQ1_S and IQ1_M; level l is l − 1 */
extern const uint16_t gs_iq3_xxs_grid[256];
extern const uint16_t gs_iq3_s_grid[512];

extern const uint8_t gs_iq2_levels[4];     /* of all IQ2 grids; three are used */
extern const uint8_t gs_iq3_xxs_levels[8];
extern const uint8_t gs_iq3_s_levels[8];

extern const int8_t gs_iq4_values[16]; /* IQ4_NL and IQ4_XS */
extern const int8_t gs_fp4_values[16]; /* twice E2M1, for MXFP4 and NVFP4 */

/* Seven stored sign bits and the eighth, which makes the number of minuses even. */
static inline unsigned gs_iq_signs(unsigned bits7)
{
    return bits7 | (unsigned)__builtin_parity(bits7) << 7;
}

#endif
