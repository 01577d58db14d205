/* SPDX-License-Identifier: MIT
 * Viterbi search over a table: the definition (gs_table_viterbi_fn in table_viterbi.h).
 *
 * Scratch: costs of the nodes before and after a step, and for every step and node the bits
 * that its best state forgets. */
#include <stdlib.h>

#include "kernels/table_viterbi.h"

struct pass {
    const struct gs_table_trellis *t;
    uint16_t *cost, *next;        /* (nodes) */
    uint8_t *choice;              /* (steps, nodes), by number of the step within the pass */
    int16_t target[GS_TABLE_TILE];
};

/* D(X, v). */
static unsigned distance(const struct gs_table_trellis *t, int target, int value)
{
    int d = target - value;

    d = d < -32768 ? -32768 : d > 32767 ? 32767 : d;
    unsigned delta = GS_MIN((unsigned)abs(d), 65535u >> t->gain) << t->gain;
    return delta * delta >> 16;
}

/* by_level = distances of the levels in step `at` of the tile. */
static void find_distances(const struct pass *p, unsigned at, uint16_t *by_level)
{
    const struct gs_table_trellis *t = p->t;
    bool meets = at % t->halves == t->halves - 1u;

    for (unsigned u = 0; u < t->levels; u++) {
        unsigned sum = 0;
        for (unsigned v = 0; meets && v < t->each; v++)
            sum += distance(t, p->target[at / t->halves * t->each + v],
                            t->value[v * t->levels + u]);
        by_level[u] = (uint16_t)(GS_MIN(sum, 65535) & ~((1u << t->step) - 1));
    }
}

static void rebase(struct pass *p)
{
    unsigned nodes = gs_table_nodes(p->t), least = 65535;

    for (unsigned e = 0; e < nodes; e++)
        least = GS_MIN(least, p->cost[e]);
    for (unsigned e = 0; e < nodes; e++)
        p->cost[e] = (uint16_t)(p->cost[e] - least);
}

/* The n-th step of a pass, which is step `at` of the tile. */
static void step(struct pass *p, unsigned n, unsigned at)
{
    const struct gs_table_trellis *t = p->t;
    unsigned nodes = gs_table_nodes(t), mask = (1u << t->step) - 1;
    uint16_t by_level[GS_TABLE_LEVELS_MAX];

    find_distances(p, at, by_level);
    for (unsigned e = 0; e < nodes; e++) {
        unsigned best = 65535;
        for (unsigned c = 0; c <= mask; c++) {
            unsigned state = c * nodes + e;
            unsigned cost = (p->cost[state >> t->step] | c) + by_level[t->level[state]];
            best = GS_MIN(best, cost);
        }
        p->choice[(size_t)n * nodes + e] = (uint8_t)(best & mask);
        p->next[e] = (uint16_t)(best & ~mask);
    }
    uint16_t *swap = p->cost;
    p->cost = p->next;
    p->next = swap;
}

/* `steps` steps, beginning with `first`; costs are set. */
static void run(struct pass *p, unsigned first, unsigned steps)
{
    unsigned all = gs_table_steps(p->t), often = 8u * p->t->halves / p->t->each;

    for (unsigned n = 0; n < steps; n++) {
        if (n > 0 && n % often == 0)
            rebase(p);
        step(p, n, (first + n) % all);
    }
}

/* Writes the states of the best path that ends in node e after a pass of `steps` steps which
 * began with `first`, from the last down to the n-th; returns the node before them. */
static unsigned trace(const struct pass *p, unsigned first, unsigned steps, unsigned n,
                      unsigned e, uint16_t *states)
{
    unsigned nodes = gs_table_nodes(p->t), all = gs_table_steps(p->t), halves = p->t->halves;

    while (steps-- > n) {
        unsigned at = (first + steps) % all;
        unsigned state = (unsigned)p->choice[(size_t)steps * nodes + e] * nodes + e;
        if (at % halves == halves - 1)
            states[at / halves] = (uint16_t)state;
        e = state >> p->t->step;
    }
    return e;
}

static void find_states(struct pass *p, uint16_t *states)
{
    unsigned nodes = gs_table_nodes(p->t), all = gs_table_steps(p->t), e = 0;
    unsigned around = gs_table_seam_steps(p->t);

    for (unsigned i = 0; i < nodes; i++)
        p->cost[i] = 0;
    run(p, all - around / 2, around);
    for (unsigned i = 1; i < nodes; i++)
        if (p->cost[i] < p->cost[e])
            e = i;
    e = trace(p, all - around / 2, around, around / 2, e, states);
    for (unsigned i = 0; i < nodes; i++)
        p->cost[i] = i == e ? 0 : 65535;
    run(p, 0, all);
    trace(p, 0, all, 0, e, states);
}

void gs_table_viterbi_scalar(const struct gs_table_trellis *t, const float *x, size_t tiles,
                             uint16_t *states, void *work)
{
    size_t nodes = gs_table_nodes(t);
    struct pass p = {.t = t, .cost = work, .next = (uint16_t *)work + nodes,
                     .choice = (uint8_t *)work + 4 * nodes};
    int low, high;

    gs_table_limits(t, &low, &high);
    for (size_t i = 0; i < tiles; i++) {
        for (unsigned n = 0; n < GS_TABLE_TILE; n++)
            p.target[n] = gs_table_target(x[i * GS_TABLE_TILE + n], low, high);
        find_states(&p, states + i * (GS_TABLE_TILE / t->each));
    }
}
