/* SPDX-License-Identifier: MIT
 * The grids that are compiled in, one line each, and one in the list of grid.c. */
#ifndef GS_GRID_MEMBERS_H
#define GS_GRID_MEMBERS_H

#include "grid/grid.h"

extern const struct gs_grid gs_grid_trellis8, gs_grid_trellis12, gs_grid_trellis16, gs_grid_uniform;
extern const struct gs_grid gs_grid_qtip_1mad, gs_grid_qtip_3inst, gs_grid_qtip_hyb;

#endif
