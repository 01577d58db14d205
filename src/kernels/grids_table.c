/* SPDX-License-Identifier: MIT
 * Grids of the IQ types, see grids.h. */
#include "kernels/grids.h"

const uint8_t gs_iq2_levels[4] = {8, 25, 43, 0};
const uint8_t gs_iq3_xxs_levels[8] = {4, 12, 20, 28, 36, 44, 52, 62};
const uint8_t gs_iq3_s_levels[8] = {1, 3, 5, 7, 9, 11, 13, 15};

const int8_t gs_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
const int8_t gs_fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

const uint16_t gs_iq2_xxs_grid[256] = {
#define IQ2_XXS(point) point,
#include "kernels/grids.def"
};

const uint16_t gs_iq2_xs_grid[512] = {
#define IQ2_XS(point) point,
#include "kernels/grids.def"
};

const uint16_t gs_iq2_s_grid[1024] = {
#define IQ2_S(point) point,
#include "kernels/grids.def"
};

const uint16_t gs_iq1_grid[2048] = {
#define IQ1(point) point,
#include "kernels/grids.def"
};

const uint16_t gs_iq3_xxs_grid[256] = {
#define IQ3_XXS(point) point,
#include "kernels/grids.def"
};

const uint16_t gs_iq3_s_grid[512] = {
#define IQ3_S(point) point,
#include "kernels/grids.def"
};
