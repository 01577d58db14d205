/* SPDX-License-Identifier: MIT
 * Reading trellis tiles: the definition (trellis.h). */
#include "kernels/viterbi.h"

/* The window of weight `weight` in a tile. */
static unsigned state_at(const struct gs_trellis *t, const uint8_t *tile, unsigned weight)
{
    unsigned ring = 32u * t->rate, state = 0;

    for (unsigned i = 0; i < t->window; i++) {
        unsigned bit = (gs_trellis_start(t, weight) + i) % ring;
        state |= (tile[bit / 8] >> bit % 8 & 1u) << i;
    }
    return state;
}

void gs_trellis_decode_scalar(const struct gs_trellis *t, const uint8_t *codes, size_t tiles,
                              int8_t *values)
{
    for (size_t n = 0; n < tiles; n++)
        for (unsigned i = 0; i < GS_TRELLIS_TILE; i++)
            values[n * GS_TRELLIS_TILE + i] = (int8_t)gs_trellis_value(
                t, state_at(t, codes + n * gs_trellis_tile_bytes(t), i));
}

void gs_tile_dot_scalar(const int8_t *values, size_t tiles, const int8_t *x, int32_t y[16])
{
    for (unsigned r = 0; r < 16; r++)
        y[r] = 0;
    for (size_t n = 0; n < tiles; n++)
        for (unsigned i = 0; i < GS_TRELLIS_TILE; i++) {
            unsigned row = i / 4 % 16, col = i / 64 * 4 + i % 4;
            y[row] += values[n * GS_TRELLIS_TILE + i] * x[n * GS_TRELLIS_COLS + col];
        }
}

void gs_trellis_dot_scalar(const struct gs_trellis *t, const uint8_t *codes, size_t tiles,
                           const int8_t *x, int32_t y[16])
{
    int8_t values[GS_TRELLIS_TILE];
    int32_t part[16];

    for (unsigned r = 0; r < 16; r++)
        y[r] = 0;
    for (size_t n = 0; n < tiles; n++) {
        gs_trellis_decode_scalar(t, codes + n * gs_trellis_tile_bytes(t), 1, values);
        gs_tile_dot_scalar(values, 1, x + n * GS_TRELLIS_COLS, part);
        for (unsigned r = 0; r < 16; r++)
            y[r] += part[r];
    }
}
