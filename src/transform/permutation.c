/* SPDX-License-Identifier: MIT
 * Channels in the order of their inputs' sizes: T = P, y_j = x_order[j], smallest H_ii first.
 *
 * GPTQ's act-order (arXiv:2210.17323, the authors' code) visits columns so, and then groups of
 * neighbours are of channels that matter alike. There each column needs the number of its group;
 * here the basis is permuted, so that groups lie as ever and feedback, which runs from the last
 * column to the first, begins with the largest.
 *
 * A file carries the order where other transforms have their factors: channel i's f16 has the
 * bits 1 + its position, a positive number, so n may be 31743. Anything else is refused. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/half.h"
#include "transform/members.h"

#define POSITIONS 0x7bffu /* f16 from the least positive number to the largest */

struct ranked {
    double value;
    size_t channel;
};

static int compare_ranked(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;

    if (a->value != b->value)
        return a->value < b->value ? -1 : 1;
    return a->channel < b->channel ? -1 : a->channel > b->channel;
}

/* From factors to the order, which must be one. */
static int arrange(struct gs_transform *t, struct gs_err *err)
{
    if (!t->order && !(t->order = gs_alloc(t->n, sizeof *t->order)))
        return gs_fail_nomem(err, "transform");
    for (size_t i = 0; i < t->n; i++)
        t->order[i] = UINT32_MAX;
    for (size_t i = 0; i < t->n; i++) {
        uint16_t bits = gs_f32_to_f16(t->factor[i]);
        if (!bits || bits > t->n || t->order[bits - 1] != UINT32_MAX)
            return gs_fail(err, GS_E_FORMAT, "transform %s: channel %zu has no position of its own",
                           t->kind->name, i);
        t->order[bits - 1] = (uint32_t)i;
    }
    return GS_OK;
}

static int fit_order(struct gs_transform *t, const struct gs_transform_fit *fit,
                     struct gs_err *err)
{
    if (t->n > POSITIONS)
        return gs_fail(err, GS_E_UNSUPPORTED, "transform %s: %zu channels, at most %u",
                       t->kind->name, t->n, POSITIONS);
    struct ranked *list = gs_alloc(t->n, sizeof *list);
    if (!list)
        return gs_fail_nomem(err, "transform");
    for (size_t i = 0; i < t->n; i++)
        list[i] = (struct ranked){fit->h_diagonal[i], i};
    qsort(list, t->n, sizeof *list, compare_ranked);
    for (size_t j = 0; j < t->n; j++)
        t->factor[list[j].channel] = gs_f16_to_f32((uint16_t)(j + 1));
    gs_free(&list);
    return arrange(t, err);
}

static bool forwards(enum gs_transform_op op)
{
    return op == GS_TRANSFORM_FORWARD || op == GS_TRANSFORM_DUAL;
}

static void apply_f32(const struct gs_transform *t, enum gs_transform_op op, float *x,
                      float *work)
{
    if (!t->order) /* loaded without factors: the identity */
        return;
    memcpy(work, x, t->n * sizeof *x);
    for (size_t j = 0; j < t->n; j++)
        x[forwards(op) ? j : t->order[j]] = work[forwards(op) ? t->order[j] : j];
}

static void apply_f64(const struct gs_transform *t, enum gs_transform_op op, double *x,
                      double *work)
{
    if (!t->order)
        return;
    memcpy(work, x, t->n * sizeof *x);
    for (size_t j = 0; j < t->n; j++)
        x[forwards(op) ? j : t->order[j]] = work[forwards(op) ? t->order[j] : j];
}

static void hessian_diagonal(const struct gs_transform *t, double *diagonal, double *work)
{
    apply_f64(t, GS_TRANSFORM_FORWARD, diagonal, work);
}

static void clear(struct gs_transform *t)
{
    gs_free(&t->order);
}

static size_t work_bytes(const struct gs_transform *t)
{
    return t->n * sizeof(double);
}

const struct gs_transform_kind gs_transform_act_order = {
    .name = "act-order",
    .paper = "Frantar et al., GPTQ, arXiv:2210.17323",
    .needs_fit = true,
    .fit = fit_order,
    .arrange = arrange,
    .apply_f32 = apply_f32,
    .apply_f64 = apply_f64,
    .clear = clear,
    .work_bytes = work_bytes,
    .hessian_diagonal = hessian_diagonal,
};
