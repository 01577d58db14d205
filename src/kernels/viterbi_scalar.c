/* SPDX-License-Identifier: MIT
 * Viterbi search over a trellis tile: the definition (gs_viterbi_fn in trellis.h).
 *
 * Scratch: costs of the states before and after a weight, the best predecessor's low bits
 * for every weight and shared part of a state (the states after a weight that agree in their
 * lower L − b bits have the same predecessors). */
#include <stdlib.h>
#include <string.h>

#include "kernels/viterbi.h"

struct pass {
    const struct gs_trellis *t;
    uint16_t *cost, *next;          /* [states] */
    uint8_t *index;                 /* [states] */
    uint8_t *choice[GS_TRELLIS_TILE]; /* by number of the step within the pass: [states >> b] */
    int16_t target[GS_TRELLIS_TILE];
};

/* D(X, v). */
static unsigned distance(const struct gs_trellis *t, int target, int value)
{
    int d = target - GS_VITERBI_UNIT * value;

    d = d < -32768 ? -32768 : d > 32767 ? 32767 : d;
    unsigned delta = GS_MIN((unsigned)abs(d) << t->gain, 65535);
    return delta * delta >> 16 & ~((1u << t->tag_bits) - 1);
}

static unsigned least(const uint16_t *cost, size_t n)
{
    unsigned min = cost[0];

    for (size_t i = 1; i < n; i++)
        min = GS_MIN(min, cost[i]);
    return min;
}

/* Weight `weight`, the n-th of the pass. */
static void step(struct pass *p, unsigned n, unsigned weight)
{
    const struct gs_trellis *t = p->t;
    unsigned b = t->step[weight % 8], shared = 1u << (t->window - b);
    unsigned base = weight % 8 ? 0 : least(p->cost, (size_t)1 << t->window);
    unsigned by_index[1 << GS_TRELLIS_INDEX_MAX];

    /* Distances depend on the index only. */
    for (unsigned i = 0; i < 1u << t->index_bits; i++) {
        unsigned sign = 1u << (t->index_bits - 1);
        int m = t->magnitude[i & (sign - 1)];
        by_index[i] = distance(t, p->target[weight], i & sign ? -m : m);
    }
    for (unsigned low = 0; low < shared; low++) {
        unsigned best = 65535;
        for (unsigned j = 0; j < 1u << b; j++)
            best = GS_MIN(best, p->cost[low << b | j] | j);
        p->choice[n][low] = (uint8_t)(best & ((1u << b) - 1));
        best &= ~((1u << t->tag_bits) - 1);
        best = best > base ? best - base : 0;
        for (unsigned c = 0; c < 1u << b; c++) {
            unsigned state = c << (t->window - b) | low;
            unsigned sum = best + by_index[p->index[state]];
            p->next[state] = (uint16_t)GS_MIN(sum, 65535);
        }
    }
    uint16_t *swap = p->cost;
    p->cost = p->next;
    p->next = swap;
}

/* All 256 weights, beginning with `first`; costs are set. */
static void run(struct pass *p, unsigned first)
{
    for (unsigned n = 0; n < GS_TRELLIS_TILE; n++)
        step(p, n, (first + n) % GS_TRELLIS_TILE);
}

/* The state before the n-th step on the best path that ends in `state` after it. */
static unsigned back(const struct pass *p, unsigned n, unsigned weight, unsigned state)
{
    unsigned b = p->t->step[weight % 8];
    unsigned low = state & ((1u << (p->t->window - b)) - 1);

    return low << b | p->choice[n][low];
}

/* Pass 1: where the ring closes. */
static unsigned find_closing(struct pass *p)
{
    unsigned states = 1u << p->t->window, state = 0;

    memset(p->cost, 0, states * sizeof *p->cost);
    run(p, 128);
    for (unsigned s = 1; s < states; s++)
        if (p->cost[s] < p->cost[state])
            state = s;
    for (unsigned n = 255; n >= 128; n--)
        state = back(p, n, n - 128, state);
    return state;
}

/* Pass 2: the best ring through `closing`. */
static void find_codes(struct pass *p, unsigned closing, uint8_t *tile)
{
    unsigned states = 1u << p->t->window, state = closing;

    for (unsigned s = 0; s < states; s++)
        p->cost[s] = s == closing ? 0 : 65535;
    run(p, 0);
    memset(tile, 0, gs_trellis_tile_bytes(p->t));
    for (unsigned n = GS_TRELLIS_TILE; n-- > 0;) {
        unsigned b = p->t->step[n % 8];
        gs_viterbi_put(p->t, tile, n, state >> (p->t->window - b));
        state = back(p, n, n, state);
    }
}

void gs_viterbi_scalar(const struct gs_trellis *t, const float *x, size_t tiles,
                       uint8_t *codes, size_t codes_stride, void *work)
{
    size_t states = (size_t)1 << t->window;
    struct pass p = {.t = t, .cost = work, .next = (uint16_t *)work + states,
                     .index = (uint8_t *)work + 4 * states};

    for (unsigned s = 0; s < states; s++)
        p.index[s] = (uint8_t)gs_trellis_index(t, s);
    /* Every b is at least 1: half the states is room enough for a step's choices. */
    for (unsigned n = 0; n < GS_TRELLIS_TILE; n++)
        p.choice[n] = p.index + states + n * (states / 2);
    for (size_t i = 0; i < tiles; i++) {
        for (unsigned n = 0; n < GS_TRELLIS_TILE; n++)
            p.target[n] = gs_viterbi_target(t, x[i * GS_TRELLIS_TILE + n]);
        find_codes(&p, find_closing(&p), codes + i * codes_stride);
    }
}
