/* SPDX-License-Identifier: MIT */
#include "text/pair_table.h"

#include <assert.h>

#include "core/alloc.h"
#include "core/hash.h"

#define CAPACITY_MIN 1024u

void gs_pairs_clear(struct gs_pairs *p)
{
    gs_free(&p->pairs);
    gs_free(&p->heap);
    gs_free(&p->slots);
    *p = (struct gs_pairs){0};
}

/* Multiply-shift hashing with a multiplier that no text can know. */
static uint32_t *find_slot(const struct gs_pairs *p, uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * p->multiplier;
    uint32_t at = (uint32_t)((h ^ h >> 32) * p->multiplier >> 32) & p->slot_mask;

    for (; p->slots[at] != GS_NO_PAIR; at = (at + 1) & p->slot_mask) {
        const struct gs_pair *have = &p->pairs[p->slots[at]];
        if (have->left == left && have->right == right)
            break;
    }
    return &p->slots[at];
}

static int grow(struct gs_pairs *p, uint32_t capacity, struct gs_err *err)
{
    size_t old = p->capacity;
    struct gs_pair *pairs = gs_realloc(p->pairs, old * sizeof *pairs, capacity * sizeof *pairs);

    if (!pairs)
        return gs_fail_nomem(err, "pairs");
    p->pairs = pairs;
    uint32_t *heap = gs_realloc(p->heap, old * sizeof *heap, capacity * sizeof *heap);
    if (!heap)
        return gs_fail_nomem(err, "pairs");
    p->heap = heap;
    uint32_t *slots = gs_alloc(2 * (size_t)capacity, sizeof *slots);
    if (!slots)
        return gs_fail_nomem(err, "pairs");
    gs_free(&p->slots);
    p->slots = slots;
    p->slot_mask = 2 * capacity - 1;
    p->capacity = capacity;
    p->multiplier = gs_hash("pairs", 5) | 1;
    for (uint32_t i = 0; i <= p->slot_mask; i++)
        slots[i] = GS_NO_PAIR;
    for (uint32_t i = 0; i < p->n; i++)
        *find_slot(p, pairs[i].left, pairs[i].right) = i;
    return GS_OK;
}

int gs_pairs_reserve(struct gs_pairs *p, uint32_t more, struct gs_err *err)
{
    uint64_t capacity = p->capacity ? p->capacity : CAPACITY_MIN;

    if (p->capacity - p->n >= more)
        return GS_OK;
    while (capacity < (uint64_t)p->n + more)
        capacity *= 2;
    if (capacity > UINT32_MAX / 4)
        return gs_fail(err, GS_E_ARG, "the text has more than %u different pairs", p->n);
    return grow(p, (uint32_t)capacity, err);
}

uint32_t gs_pairs_find(struct gs_pairs *p, uint32_t left, uint32_t right)
{
    uint32_t *slot = find_slot(p, left, right);

    if (*slot == GS_NO_PAIR) {
        assert(p->n < p->capacity);
        *slot = p->n;
        p->pairs[p->n++] = (struct gs_pair){
            .left = left, .right = right, .first = GS_NO_PAIR, .heap_at = GS_NO_PAIR};
    }
    return *slot;
}

static bool is_before(const struct gs_pair *a, const struct gs_pair *b)
{
    if (a->count != b->count)
        return a->count > b->count;
    return a->left != b->left ? a->left < b->left : a->right < b->right;
}

static void place(struct gs_pairs *p, uint32_t at, uint32_t pair)
{
    p->heap[at] = pair;
    p->pairs[pair].heap_at = at;
}

/* `pair` belongs at `at` or nearer to the top. */
static void sift_up(struct gs_pairs *p, uint32_t at, uint32_t pair)
{
    while (at > 0 && is_before(&p->pairs[pair], &p->pairs[p->heap[(at - 1) / 2]])) {
        place(p, at, p->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(p, at, pair);
}

/* `pair` belongs at `at` or further down. */
static void sift_down(struct gs_pairs *p, uint32_t at, uint32_t pair)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= p->heap_n)
            break;
        if (child + 1 < p->heap_n &&
            is_before(&p->pairs[p->heap[child + 1]], &p->pairs[p->heap[child]]))
            child++;
        if (is_before(&p->pairs[pair], &p->pairs[p->heap[child]]))
            break;
        place(p, at, p->heap[child]);
        at = child;
    }
    place(p, at, pair);
}

void gs_pairs_change(struct gs_pairs *p, uint32_t pair, int64_t change)
{
    struct gs_pair *x = &p->pairs[pair];

    assert(change > 0 || x->count >= (uint64_t)-change);
    x->count += (uint64_t)change;
    if (x->heap_at != GS_NO_PAIR && change < 0)
        sift_down(p, x->heap_at, pair);
    else if (x->heap_at != GS_NO_PAIR)
        sift_up(p, x->heap_at, pair);
    else if (!x->closed && change > 0)
        sift_up(p, p->heap_n++, pair);
}

uint32_t gs_pairs_pop(struct gs_pairs *p)
{
    if (!p->heap_n)
        return GS_NO_PAIR;
    uint32_t top = p->heap[0], last = p->heap[--p->heap_n];
    if (p->heap_n)
        sift_down(p, 0, last);
    p->pairs[top].heap_at = GS_NO_PAIR;
    return top;
}
