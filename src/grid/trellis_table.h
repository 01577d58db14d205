/* SPDX-License-Identifier: MIT
 * Codes of the trellis grids, found by tools/trellis_search. */
#ifndef GS_GRID_TRELLIS_TABLE_H
#define GS_GRID_TRELLIS_TABLE_H

#include "core/attr.h"

struct gs_trellis_code {
    uint8_t window, rate, index_bits; /* as in struct gs_trellis */
    float unit;                       /* worth of one magnitude step */
    float mse;                        /* on a unit Gaussian */
    uint8_t column[16];
    int8_t magnitude[64];
};

/* By window, then rate. */
extern const struct gs_trellis_code gs_trellis_codes[];
extern const size_t gs_trellis_codes_count;

#endif
