/* SPDX-License-Identifier: MIT
 * Viterbi search for bitshift trellises of 2^16 states whose values may be any table, in
 * floating point and over the whole ring twice: what the kernels' search in 16 bits
 * (kernels/table_viterbi.h) is measured against, and 20 times slower. Private to src/grid. */
#ifndef GS_GRID_FULL_VITERBI_H
#define GS_GRID_FULL_VITERBI_H

#include "core/attr.h"

enum {
    GS_FULL_WINDOW = 16,     /* bits of a state */
    GS_FULL_TILE = 256,      /* weights */
    GS_FULL_STEP_MAX = 8,    /* new bits of a step */
    GS_FULL_EACH_MAX = 2     /* weights of a step */
};

struct gs_full_trellis {
    unsigned each;            /* V: weights that a state stands for */
    unsigned step;            /* new bits of a step: V times the bits of a weight */
    float *value;             /* (each, 2^16): weight v of state s at [v · 2^16 + s] */
};

/* The states s(t), t < 256 / each, of the tail-biting path near x (256):
 *     s(t) = (s(t − 1) · 2^step mod 2^16) + new bits,   s(−1) = s(last)
 * and nothing less for Σ (value − x)² among those through the state where the best open path
 * that begins in the middle crosses the seam (QTIP, algorithm 4). Of equals, the one whose
 * forgotten bits are the lowest. `work` holds gs_full_viterbi_work_bytes. */
void gs_full_viterbi(const struct gs_full_trellis *t, const float *x, uint16_t *states,
                     void *work);

size_t gs_full_viterbi_work_bytes(const struct gs_full_trellis *t);

#endif
