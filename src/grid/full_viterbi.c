/* SPDX-License-Identifier: MIT
 * Viterbi's algorithm over nodes: what two neighbouring states share, 16 − step bits.
 *
 *     node e ──── state s = c · 2^(16 − step) + e' ────▶ node e'        c: forgotten bits
 *     e = s >> step                                      e' = s mod 2^(16 − step)
 *
 *     cost'(e') = min over c of cost(s >> step) + Σ_v (value_v(s) − x_v)²
 *
 * All 2^16 states are looked at for every step. For a fixed c and a run of e', values are
 * neighbours in the table and costs are, each 2^step times; runs are short enough that the
 * best costs and choices stay in the first-level cache. */
#include "grid/full_viterbi.h"

#include <math.h>

enum { RUN = 1024 };

struct search {
    const struct gs_full_trellis *t;
    unsigned nodes, steps;
    float *cost, *next;   /* (nodes) */
    uint8_t *choice;      /* (steps, nodes): c */
};

size_t gs_full_viterbi_work_bytes(const struct gs_full_trellis *t)
{
    size_t nodes = (size_t)1 << (GS_FULL_WINDOW - t->step), steps = GS_FULL_TILE / t->each;

    return nodes * (2 * sizeof(float) + steps);
}

/* cost[i] = before[i >> step], i < n; `step` is a constant to the compiler. */
static GS_ALWAYS_INLINE void repeat(const float *before, unsigned n, float *cost, unsigned step)
{
    for (unsigned a = 0; a < n >> step; a++)
        for (unsigned i = 0; i < 1u << step; i++)
            cost[a << step | i] = before[a];
}

static void expand(const float *before, unsigned n, float *cost, unsigned step)
{
    switch (step) {
    case 1: repeat(before, n, cost, 1); break;
    case 2: repeat(before, n, cost, 2); break;
    case 3: repeat(before, n, cost, 3); break;
    case 4: repeat(before, n, cost, 4); break;
    default: repeat(before, n, cost, step); break;
    }
}

/* best[i], pick[i] for nodes first … first + n − 1, in c's turn. */
static void try_forgotten(const struct search *s, unsigned c, unsigned first, unsigned n,
                          const float *x, float *restrict best, int32_t *restrict pick)
{
    const struct gs_full_trellis *t = s->t;
    size_t state = (size_t)c * s->nodes + first;
    const float *value = t->value + state;
    float cost[RUN], target = x[t->each - 1];

    expand(s->cost + (state >> t->step), n, cost, t->step);
    if (t->each == 2) {
        for (unsigned i = 0; i < n; i++)
            cost[i] += (value[i] - x[0]) * (value[i] - x[0]);
        value += 1 << GS_FULL_WINDOW;
    }
    /* Masks in place of conditions, which compilers would not turn into vectors. */
    for (unsigned i = 0; i < n; i++) {
        float d = value[i] - target;
        cost[i] += d * d;
    }
    for (unsigned i = 0; i < n; i++) {
        int32_t less = -(int32_t)(cost[i] < best[i]);
        pick[i] = (pick[i] & ~less) | ((int32_t)c & less);
    }
    for (unsigned i = 0; i < n; i++)
        best[i] = cost[i] < best[i] ? cost[i] : best[i];
}

/* The n-th step of a pass, for weights x. */
static void step(struct search *s, unsigned number, const float *x)
{
    uint8_t *choice = s->choice + (size_t)number * s->nodes;
    int32_t pick[RUN];

    for (unsigned first = 0; first < s->nodes; first += RUN) {
        unsigned n = GS_MIN(s->nodes - first, (unsigned)RUN);
        float *best = s->next + first;
        for (unsigned i = 0; i < n; i++) {
            best[i] = INFINITY;
            pick[i] = 0;
        }
        for (unsigned c = 0; c < 1u << s->t->step; c++)
            try_forgotten(s, c, first, n, x, best, pick);
        for (unsigned i = 0; i < n; i++)
            choice[first + i] = (uint8_t)pick[i];
    }
    float *swap = s->cost;
    s->cost = s->next;
    s->next = swap;
}

/* All steps, beginning with `first`; costs are set. */
static void run(struct search *s, unsigned first, const float *x)
{
    for (unsigned n = 0; n < s->steps; n++)
        step(s, n, x + (size_t)((first + n) % s->steps) * s->t->each);
}

/* The state of step n of the pass on the best path that ends in node e after it. */
static unsigned state_before(const struct search *s, unsigned n, unsigned e)
{
    return (unsigned)s->choice[(size_t)n * s->nodes + e] * s->nodes + e;
}

/* Where the ring closes: the node before step 0 on the best open path from the middle on. */
static unsigned find_seam(struct search *s, const float *x)
{
    unsigned half = s->steps / 2, e = 0;

    for (unsigned i = 0; i < s->nodes; i++)
        s->cost[i] = 0;
    run(s, half, x);
    for (unsigned i = 1; i < s->nodes; i++)
        if (s->cost[i] < s->cost[e])
            e = i;
    for (unsigned n = s->steps; n-- > s->steps - half;)
        e = state_before(s, n, e) >> s->t->step;
    return e;
}

void gs_full_viterbi(const struct gs_full_trellis *t, const float *x, uint16_t *states,
                     void *work)
{
    unsigned nodes = 1u << (GS_FULL_WINDOW - t->step);
    struct search s = {.t = t, .nodes = nodes, .steps = GS_FULL_TILE / t->each,
                       .cost = work, .next = (float *)work + nodes,
                       .choice = (uint8_t *)((float *)work + 2 * nodes)};
    unsigned e = find_seam(&s, x), seam = e;

    for (unsigned i = 0; i < nodes; i++)
        s.cost[i] = i == seam ? 0 : INFINITY;
    run(&s, 0, x);
    for (unsigned n = s.steps; n-- > 0;) {
        unsigned state = state_before(&s, n, e);
        states[n] = (uint16_t)state;
        e = state >> t->step;
    }
}
