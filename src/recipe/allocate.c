/* SPDX-License-Identifier: MIT
 * The greedy allocation.
 *
 * Steps of a set's lower convex hull have falling gains a byte, so taking all sets' steps by
 * falling gain takes every set's in order. The first step that does not fit, taken in part,
 * gives the bound of the linear relaxation; it and all later ones of its set are passed over. */
#include "recipe/allocate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"

/* From option `from` of a set to option `to`, the next on its hull. */
struct step {
    size_t set, to;
    uint64_t bytes; /* more */
    double gain;    /* damage less */
};

static double gain_a_byte(const struct step *s)
{
    return s->gain / (double)s->bytes;
}

static int compare_steps(const void *pa, const void *pb)
{
    const struct step *a = pa, *b = pb;
    double ra = gain_a_byte(a), rb = gain_a_byte(b);

    if (ra != rb)
        return ra > rb ? -1 : 1;
    if (a->set != b->set)
        return a->set < b->set ? -1 : 1;
    return a->to < b->to ? -1 : a->to > b->to;
}

/* Fewest bytes; of equal ones the least damage. */
static size_t smallest(const struct gs_option_set *set)
{
    size_t best = 0;

    for (size_t k = 1; k < set->n; k++) {
        const struct gs_option *o = &set->options[k], *b = &set->options[best];
        if (o->bytes < b->bytes || (o->bytes == b->bytes && o->damage < b->damage))
            best = k;
    }
    return best;
}

/* The option after `from` on the hull: the steepest fall of damage; set->n at its end. */
static size_t next_on_hull(const struct gs_option_set *set, size_t from)
{
    const struct gs_option *f = &set->options[from];
    size_t best = set->n;
    double steepest = 0;

    for (size_t k = 0; k < set->n; k++) {
        const struct gs_option *o = &set->options[k];
        if (o->bytes <= f->bytes || o->damage >= f->damage)
            continue;
        double slope = (f->damage - o->damage) / (double)(o->bytes - f->bytes);
        if (slope > steepest ||
            (slope == steepest && best < set->n && o->bytes > set->options[best].bytes)) {
            steepest = slope;
            best = k;
        }
    }
    return best;
}

static size_t list_steps(const struct gs_option_set *sets, size_t n, struct step *steps)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        size_t from = smallest(&sets[i]), to;
        while ((to = next_on_hull(&sets[i], from)) < sets[i].n) {
            const struct gs_option *f = &sets[i].options[from], *t = &sets[i].options[to];
            steps[count++] = (struct step){i, to, t->bytes - f->bytes, f->damage - t->damage};
            from = to;
        }
    }
    qsort(steps, count, sizeof *steps, compare_steps);
    return count;
}

/* Spends the room that is left on the single changes that gain most, until none fits. */
static void fill(const struct gs_option_set *sets, size_t n, uint64_t budget, size_t *chosen,
                 struct gs_allocation *out)
{
    for (bool any = true; any;) {
        size_t set = 0, to = 0;
        double best = 0;
        any = false;
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < sets[i].n; k++) {
                const struct gs_option *f = &sets[i].options[chosen[i]];
                const struct gs_option *o = &sets[i].options[k];
                if (f->damage - o->damage > best && out->bytes - f->bytes + o->bytes <= budget) {
                    best = f->damage - o->damage;
                    set = i;
                    to = k;
                    any = true;
                }
            }
        if (any) {
            out->bytes += sets[set].options[to].bytes - sets[set].options[chosen[set]].bytes;
            out->damage -= best;
            chosen[set] = to;
        }
    }
}

static void sum(const struct gs_option_set *sets, size_t n, const size_t *chosen,
                struct gs_allocation *out)
{
    out->bytes = 0;
    out->damage = 0;
    for (size_t i = 0; i < n; i++) {
        out->bytes += sets[i].options[chosen[i]].bytes;
        out->damage += sets[i].options[chosen[i]].damage;
    }
}

int gs_allocate_greedy(const struct gs_option_set *sets, size_t n, uint64_t budget,
                       size_t *chosen, struct gs_allocation *out, struct gs_err *err)
{
    size_t total = 0, count;
    bool *closed = gs_alloc(n, sizeof *closed);
    struct step *steps;
    int rc = GS_OK;

    *out = (struct gs_allocation){.method = "greedy"};
    for (size_t i = 0; i < n; i++) {
        total += sets[i].n;
        chosen[i] = smallest(&sets[i]);
    }
    steps = gs_alloc(total, sizeof *steps);
    sum(sets, n, chosen, out);
    if (!closed || !steps)
        rc = gs_fail_nomem(err, "allocation of types");
    else if (out->bytes > budget)
        rc = gs_fail(err, GS_E_ARG, "%" PRIu64 " bytes for the matrices are too few: the least is "
                     "%" PRIu64, budget, out->bytes);
    if (rc)
        goto out;
    count = list_steps(sets, n, steps);
    double bound = -1;
    for (size_t s = 0; s < count; s++) {
        if (closed[steps[s].set])
            continue;
        if (out->bytes + steps[s].bytes > budget) {
            if (bound < 0)
                bound = out->damage - (double)(budget - out->bytes) * gain_a_byte(&steps[s]);
            closed[steps[s].set] = true;
            continue;
        }
        out->bytes += steps[s].bytes;
        out->damage -= steps[s].gain;
        chosen[steps[s].set] = steps[s].to;
    }
    fill(sets, n, budget, chosen, out);
    sum(sets, n, chosen, out);
    out->bound = bound < 0 ? out->damage : bound;
out:
    gs_free(&closed);
    gs_free(&steps);
    return rc;
}

int gs_allocate(const struct gs_option_set *sets, size_t n, uint64_t budget, size_t *chosen,
                struct gs_allocation *out, struct gs_err *err)
{
    int rc = gs_allocate_greedy(sets, n, budget, chosen, out, err);
    struct gs_allocation exact = {.method = "integer program"};
    size_t *other = rc ? NULL : gs_alloc(n, sizeof *other);

    if (other && gs_allocate_glpk(sets, n, budget, other)) {
        sum(sets, n, other, &exact);
        if (exact.bytes <= budget && exact.damage < out->damage) {
            exact.bound = out->bound;
            *out = exact;
            memcpy(chosen, other, n * sizeof *chosen);
        }
    }
    gs_free(&other);
    return rc;
}
