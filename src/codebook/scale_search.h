/* SPDX-License-Identifier: MIT
 * Scales by search on what they are for: the caller says how bad a set of group scales is (the
 * error of a layer's or a block's output, a divergence of the model …), and gets better ones.
 *
 *     scales (n) ──loss──▶ number ──┐
 *        ▲                          │  only losses are compared: no gradient, and nothing is
 *        └──── changed, as stored ◀─┘  assumed of what lies between
 *
 * easyquant  (arXiv:2006.16669): one scale after the other, candidates over a range of factors,
 *            the best is kept; in turns. There the measure is a cosine; here it is the caller's,
 *            for a cosine does not see a wrong gain.
 * evolution  (Evol-Q, arXiv:2308.10814): a population of sets, children of the best of a few
 *            drawn, all scales changed at once by small random factors. In the paper changes
 *            are absolute; scales of weights differ by orders of magnitude, so here they are
 *            relative.
 *
 * Both return the best set that was seen, so never a worse one than they got. */
#ifndef GS_CODEBOOK_SCALE_SEARCH_H
#define GS_CODEBOOK_SCALE_SEARCH_H

#include "codebook/codebook.h"

/* The loss of scales (n), to be made small; NaN counts as infinity. A negative return, after
 * filling err, ends the search with it. `changed` is the index of the only scale that differs
 * from the set of the call before last that was kept (easyquant), or SIZE_MAX: any may. */
typedef int (*gs_scale_loss_fn)(void *ctx, const float *scales, size_t n, size_t changed,
                                double *loss, struct gs_err *err);

struct gs_scale_search {
    const struct gs_scale_rule *rule; /* candidates are rounded by it */
    gs_scale_loss_fn loss;
    void *ctx;
    uint64_t seed;
    /* easyquant: factors from low to high, so many of them, so often over all scales */
    double low, high;
    unsigned candidates, turns;
    /* evolution: sets that live, sets drawn for a parent, children, most relative change */
    unsigned population, tournament, children;
    double change;
};

/* easyquant: 0.8 to 1.2, 20 candidates, 2 turns; evolution: 15, 10, 30 · 15 children, 0.02. */
void gs_scale_search_default(struct gs_scale_search *search);

/* scales (n > 0): what to begin with, and what came of it. *before and *after: their losses. */
int gs_scale_search_easyquant(const struct gs_scale_search *search, float *scales, size_t n,
                              double *before, double *after, struct gs_err *err) GS_MUST_USE;
int gs_scale_search_evolution(const struct gs_scale_search *search, float *scales, size_t n,
                              double *before, double *after, struct gs_err *err) GS_MUST_USE;

#endif
