/* SPDX-License-Identifier: MIT */
#include "recipe/budget.h"

#include <inttypes.h>
#include <math.h>

#include "core/alloc.h"
#include "core/log.h"
#include "recipe/allocate.h"
#include "recipe/damage.h"

/* A set for each stock item that is not fixed: its types that fit. */
struct sets {
    struct gs_option_set *list;
    struct gs_option *options; /* (n_items, n_types) */
    enum gs_type *types;       /* of options */
    size_t *items, *chosen;    /* by set */
    size_t n;
    uint64_t fixed;            /* bytes of all else */
};

static uint64_t item_bytes(const struct gs_plan_item *item, enum gs_type type)
{
    const struct gs_type_info *info = gs_type_info(type);

    return (uint64_t)item->rows * (item->cols / info->block) * info->bytes;
}

static int make_sets(const struct gs_plan *plan, const struct gs_damage *damage, struct sets *s,
                     struct gs_err *err)
{
    size_t n = plan->n_items, types = damage->n_types;

    s->list = gs_alloc(n, sizeof *s->list);
    s->options = gs_alloc(n * types, sizeof *s->options);
    s->types = gs_alloc(n * types, sizeof *s->types);
    s->items = gs_alloc(n, sizeof *s->items);
    s->chosen = gs_alloc(n, sizeof *s->chosen);
    if (!s->list || !s->options || !s->types || !s->items || !s->chosen)
        return gs_fail_nomem(err, "the budget");
    s->fixed = plan->bytes;
    for (size_t i = 0; i < n; i++) {
        const struct gs_plan_item *item = &plan->items[i];
        struct gs_option *options = s->options + s->n * types;
        size_t count = 0;
        if (!item->stock || item->kept)
            continue;
        for (size_t k = 0; k < types; k++) {
            double of = damage->of[i * types + k];
            if (!isfinite(of))
                continue;
            options[count] = (struct gs_option){item_bytes(item, damage->types[k]), of};
            s->types[s->n * types + count++] = damage->types[k];
        }
        s->fixed -= item->codes_bytes;
        s->items[s->n] = i;
        s->list[s->n++] = (struct gs_option_set){options, count};
    }
    return GS_OK;
}

static void sets_clear(struct sets *s)
{
    gs_free(&s->list);
    gs_free(&s->options);
    gs_free(&s->types);
    gs_free(&s->items);
    gs_free(&s->chosen);
}

int gs_budget_types(struct gs_work *work, uint64_t bytes, int *types, struct gs_err *err)
{
    const struct gs_plan *plan = &work->plan;
    struct gs_damage damage = {.of = NULL};
    struct gs_allocation allocation;
    struct sets s = {.list = NULL};
    int rc = gs_damage_measure(work, &damage, err);

    for (size_t i = 0; i < plan->n_items; i++)
        types[i] = -1;
    if (!rc && !(rc = make_sets(plan, &damage, &s, err))) {
        if (bytes <= s.fixed)
            rc = gs_fail(err, GS_E_ARG, "a budget of %" PRIu64 " bytes: what is not quantized "
                         "takes %" PRIu64 " already", bytes, s.fixed);
        else
            rc = gs_allocate(s.list, s.n, bytes - s.fixed, s.chosen, &allocation, err);
    }
    for (size_t i = 0; !rc && i < s.n; i++)
        types[plan->items[s.items[i]].source - gs_store_tensor(work->store, 0)] =
            (int)s.types[i * damage.n_types + s.chosen[i]];
    if (!rc)
        gs_log(GS_LOG_INFO, "types by %s: expected divergence %.4g (at least %.4g with these "
               "bytes)", allocation.method, allocation.damage, allocation.bound);
    sets_clear(&s);
    gs_damage_clear(&damage);
    return rc;
}
