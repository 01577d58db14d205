/* SPDX-License-Identifier: MIT
 * One option for each set such that the damage is least and the bytes fit a budget: the
 * multiple-choice knapsack (HAWQ-V3, arXiv:2011.10680, and AdaQuant, arXiv:2006.10518, pose bit
 * allocation so).
 *
 *     min Σ damage(i, k_i)   with   Σ bytes(i, k_i) ≤ budget
 *
 * Greedy along the sets' lower convex hulls is the optimum of the linear relaxation but for one
 * set; what room it leaves is filled option by option. With GLPK the integer program itself is
 * solved; without it, or where it finds nothing better in time, the greedy answer stands. */
#ifndef GS_RECIPE_ALLOCATE_H
#define GS_RECIPE_ALLOCATE_H

#include "core/err.h"

struct gs_option {
    uint64_t bytes;
    double damage; /* finite, ≥ 0 */
};

struct gs_option_set {
    const struct gs_option *options;
    size_t n; /* at least 1 */
};

struct gs_allocation {
    uint64_t bytes;
    double damage;
    double bound;        /* no allocation within the budget has less damage */
    const char *method;  /* "greedy", "integer program" */
};

/* chosen (n): an option's number for each set. GS_E_ARG with the least bytes if the budget is
 * below them. */
int gs_allocate_greedy(const struct gs_option_set *sets, size_t n, uint64_t budget,
                       size_t *chosen, struct gs_allocation *out, struct gs_err *err)
    GS_MUST_USE;

/* The better of greedy and, where it is compiled in, GLPK. */
int gs_allocate(const struct gs_option_set *sets, size_t n, uint64_t budget, size_t *chosen,
                struct gs_allocation *out, struct gs_err *err) GS_MUST_USE;

/* The integer program; false if GLPK is not compiled in or found nothing in time. */
bool gs_allocate_glpk(const struct gs_option_set *sets, size_t n, uint64_t budget,
                      size_t *chosen);

#endif
