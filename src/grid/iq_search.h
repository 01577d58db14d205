/* SPDX-License-Identifier: MIT
 * The point of an IQ set that is nearest to eight numbers, searched exactly. Private to src/grid.
 * iq_grid.c has the points, iq12_search.c and iq3_search.c the searches.
 *
 *   IQ2   grid of 8 magnitudes, three levels     code = index | signs << 16
 *   IQ3   two points of 4 magnitudes, eight      code = index | index' << 9 | signs << 18
 *   IQ1   grid of 8 numbers −1 0 1, all ± 1/8    code = index | shift << 11 */
#ifndef GS_GRID_IQ_SEARCH_H
#define GS_GRID_IQ_SEARCH_H

#include "grid/format.h"

/* The points of a grid, and tables to find them by. */
struct gs_iq_grid;
extern struct gs_iq_grid gs_iq2_xxs_points, gs_iq2_xs_points, gs_iq2_s_points, gs_iq1_points,
    gs_iq3_xxs_points, gs_iq3_s_points;

/* What distinguishes the sets. */
struct gs_iq_set {
    struct gs_iq_grid *grid;
    const float *levels;   /* by number: three magnitudes, eight, or −1 0 1 */
    const float *middles;  /* between them */
    bool even;             /* the number of minuses is even */
    bool free_shift;       /* IQ1_M: the shift is the code's own */
    uint32_t (*search)(const struct gs_iq_set *set, unsigned variant, const float *t,
                       const float *h, uint32_t hint);
    void (*value)(const struct gs_iq_set *set, uint32_t code, float *v);
};

#define GS_IQ_KIND(kind)                                                                       \
    uint32_t gs_##kind##_search(const struct gs_iq_set *set, unsigned variant, const float *t, \
                                const float *h, uint32_t hint);                                \
    void gs_##kind##_value(const struct gs_iq_set *set, uint32_t code, float *v)
GS_IQ_KIND(iq1);
GS_IQ_KIND(iq2);
GS_IQ_KIND(iq3);

/* Makes the tables of all grids unless they are made; before any of the following. */
void gs_iq_prepare(void);

/* The code whose values v make Σ h (t − v)² least, for eight numbers t and h ≥ 0; of equals
 * always the same. `hint`, a code that may be near, saves time; GS_NO_CODE if none is known. */
static inline uint32_t gs_iq_search(const struct gs_iq_set *set, unsigned variant, const float *t,
                                    const float *h, uint32_t hint)
{
    return set->search(set, variant, t, h, hint);
}

/* The eight values of a code. */
static inline void gs_iq_value(const struct gs_iq_set *set, uint32_t code, float *v)
{
    set->value(set, code, v);
}

#endif
