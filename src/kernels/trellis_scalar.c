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
                              uint8_t *values)
{
    for (size_t n = 0; n < tiles; n++, codes += gs_trellis_tile_bytes(t))
        for (unsigned i = 0; i < GS_TRELLIS_TILE; i++)
            *values++ = (uint8_t)(GS_TRELLIS_BIAS + gs_trellis_value(t, state_at(t, codes, i)));
}

void gs_trellis_dot_scalar(const struct gs_trellis *t, const uint8_t *codes, size_t tiles,
                           const struct gs_int8 *x, float y[16])
{
    enum { STEP = GS_INT8_BLOCK / GS_TRELLIS_COLS };
    uint8_t values[STEP * GS_TRELLIS_TILE];

    for (unsigned r = 0; r < 16; r++)
        y[r] = 0;
    for (size_t i = 0; i < tiles; i += STEP) {
        size_t n = GS_MIN((size_t)STEP, tiles - i);
        struct gs_int8 block = gs_int8_at(x, 0, i / STEP);
        gs_trellis_decode_scalar(t, codes + i * gs_trellis_tile_bytes(t), n, values);
        gs_tile_mul_scalar(values, n, 16, &block, 1, y, 16);
    }
}
