/* SPDX-License-Identifier: MIT */
#include "codebook/scale_search.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/rng.h"

void gs_scale_search_default(struct gs_scale_search *search)
{
    search->low = 0.8;
    search->high = 1.2;
    search->candidates = 20;
    search->turns = 2;
    search->population = 15;
    search->tournament = 10;
    search->children = 450;
    search->change = 0.02;
}

static int measure(const struct gs_scale_search *search, const float *scales, size_t n,
                   size_t changed, double *loss, struct gs_err *err)
{
    int rc = search->loss(search->ctx, scales, n, changed, loss, err);

    if (isnan(*loss))
        *loss = INFINITY;
    return rc;
}

/* ---- one after the other ------------------------------------------------------------------ */

/* The best factor for scale i, which the others do not change for. */
static int improve(const struct gs_scale_search *search, float *scales, size_t n, size_t i,
                   double *least, struct gs_err *err)
{
    float start = scales[i], best = start, last = start;
    double step = (search->high - search->low) / (search->candidates - 1), loss;

    for (unsigned k = 0; k < search->candidates; k++) {
        scales[i] = search->rule->round((float)(start * (search->low + step * k)));
        if (scales[i] == last || scales[i] == start) /* coarse rules: the same again */
            continue;
        last = scales[i];
        int rc = measure(search, scales, n, i, &loss, err);
        if (rc) {
            scales[i] = best;
            return rc;
        }
        if (loss < *least) {
            *least = loss;
            best = scales[i];
        }
    }
    scales[i] = best;
    return GS_OK;
}

int gs_scale_search_easyquant(const struct gs_scale_search *search, float *scales, size_t n,
                              double *before, double *after, struct gs_err *err)
{
    int rc = measure(search, scales, n, SIZE_MAX, before, err);

    assert(n > 0 && search->candidates >= 2);
    *after = *before;
    for (unsigned turn = 0; !rc && turn < search->turns; turn++) {
        double last = *after;
        for (size_t i = 0; !rc && i < n; i++)
            rc = improve(search, scales, n, i, after, err);
        if (!(*after < last))
            break;
    }
    return rc;
}

/* ---- evolution ---------------------------------------------------------------------------- */

struct population {
    float *scales;  /* [size + 1][n]; the last is a child */
    double *losses; /* [size] */
    size_t n;
    unsigned size;
};

static float *member(const struct population *p, unsigned i)
{
    return p->scales + i * p->n;
}

static void make_child(const struct gs_scale_search *search, struct gs_rng *rng,
                       const float *parent, float *child, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double change = search->change * (2 * gs_rng_f64(rng) - 1);
        child[i] = search->rule->round((float)(parent[i] * (1 + change)));
    }
}

static unsigned fittest(const struct gs_scale_search *search, struct gs_rng *rng,
                        const struct population *p)
{
    unsigned best = (unsigned)gs_rng_below(rng, p->size);

    for (unsigned i = 1; i < search->tournament; i++) {
        unsigned other = (unsigned)gs_rng_below(rng, p->size);
        if (p->losses[other] < p->losses[best])
            best = other;
    }
    return best;
}

/* The worst makes room, so the best is never lost. */
static void settle(struct population *p, double loss)
{
    unsigned worst = 0;

    for (unsigned i = 1; i < p->size; i++)
        if (p->losses[i] > p->losses[worst])
            worst = i;
    if (loss < p->losses[worst]) {
        memcpy(member(p, worst), member(p, p->size), p->n * sizeof(float));
        p->losses[worst] = loss;
    }
}

static int evolve(const struct gs_scale_search *search, struct population *p,
                  struct gs_err *err)
{
    struct gs_rng rng;
    double loss;
    int rc;

    gs_rng_init(&rng, search->seed, 0);
    for (unsigned i = 1; i < p->size; i++) {
        make_child(search, &rng, member(p, 0), member(p, i), p->n);
        if ((rc = measure(search, member(p, i), p->n, SIZE_MAX, &p->losses[i], err)))
            return rc;
    }
    for (unsigned i = 0; i < search->children; i++) {
        unsigned parent = fittest(search, &rng, p);
        make_child(search, &rng, member(p, parent), member(p, p->size), p->n);
        if ((rc = measure(search, member(p, p->size), p->n, SIZE_MAX, &loss, err)))
            return rc;
        settle(p, loss);
    }
    return GS_OK;
}

int gs_scale_search_evolution(const struct gs_scale_search *search, float *scales, size_t n,
                              double *before, double *after, struct gs_err *err)
{
    struct population p = {.n = n, .size = search->population};
    int rc;

    assert(n > 0 && p.size > 0 && search->tournament > 0);
    *before = *after = 0;
    p.scales = gs_alloc(n, (p.size + 1) * sizeof *p.scales);
    p.losses = gs_alloc(p.size, sizeof *p.losses);
    if (!p.scales || !p.losses) {
        rc = gs_fail_nomem(err, "a population of scales");
        goto out;
    }
    memcpy(p.scales, scales, n * sizeof *scales);
    if ((rc = measure(search, scales, n, SIZE_MAX, before, err)))
        goto out;
    p.losses[0] = *after = *before;
    for (unsigned i = 1; i < p.size; i++)
        p.losses[i] = INFINITY;
    rc = evolve(search, &p, err);
    for (unsigned i = 0; i < p.size; i++) /* also of a search that was cut short */
        if (p.losses[i] < *after) {
            *after = p.losses[i];
            memcpy(scales, member(&p, i), n * sizeof *scales);
        }
out:
    gs_free(&p.scales);
    gs_free(&p.losses);
    return rc;
}
