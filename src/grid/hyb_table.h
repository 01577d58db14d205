/* SPDX-License-Identifier: MIT
 * The table of QTIP's HYB code (grid_qtip.c), made by tools/hyb_table.c. */
#ifndef GS_GRID_HYB_TABLE_H
#define GS_GRID_HYB_TABLE_H

#include "core/attr.h"

enum { GS_HYB_BITS = 9 };

extern const float gs_hyb_unit;               /* what 1 stands for */
extern const int8_t gs_hyb_table[1 << GS_HYB_BITS][2];

#endif
