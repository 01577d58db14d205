/* SPDX-License-Identifier: MIT
 * What page and JSON have in common: which rows are best, and in which order they stand. */
#include "report/comparison.h"

static bool is_shown(const struct gs_compared_row *row)
{
    return !row->facts.failure;
}

static bool beats(const struct gs_compare_row *a, const struct gs_compare_row *b)
{
    double ka = a->eval.kld_mean, kb = b->eval.kld_mean;

    return a->bpw <= b->bpw && ka <= kb && (a->bpw < b->bpw || ka < kb);
}

void gs_comparison_front(const struct gs_comparison *c, bool *front)
{
    for (size_t i = 0; i < c->n_rows; i++) {
        front[i] = is_shown(&c->rows[i]);
        for (size_t j = 0; front[i] && j < c->n_rows; j++)
            front[i] = !is_shown(&c->rows[j]) || !beats(&c->rows[j].facts, &c->rows[i].facts);
    }
}

static bool comes_before(const struct gs_compared_row *a, const struct gs_compared_row *b)
{
    if (!is_shown(a) || !is_shown(b))
        return is_shown(a) && !is_shown(b);
    return a->facts.eval.kld_mean < b->facts.eval.kld_mean;
}

void gs_comparison_sort(const struct gs_comparison *c, size_t *order)
{
    for (size_t i = 0; i < c->n_rows; i++) {
        size_t at = i;
        for (; at && comes_before(&c->rows[i], &c->rows[order[at - 1]]); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}
