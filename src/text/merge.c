/* SPDX-License-Identifier: MIT */
#include "text/merge.h"

#include <assert.h>

#include "core/alloc.h"

struct gs_merge_candidate {
    uint64_t key;  /* rank, then index of the left symbol: a total order */
    uint32_t size; /* bytes of both symbols when the pair was found */
    int32_t id;    /* of the merged token */
};

void gs_merger_clear(struct gs_merger *m)
{
    gs_free(&m->symbols);
    gs_free(&m->heap);
    *m = (struct gs_merger){0};
}

int gs_merger_reserve(struct gs_merger *m, size_t n, struct gs_err *err)
{
    m->n = 0;
    m->heap_n = 0;
    if (n <= m->capacity)
        return GS_OK;
    if (n >= UINT32_MAX / 2)
        return gs_fail(err, GS_E_ARG, "a text of %zu bytes is too long to tokenize", n);
    size_t capacity = GS_MAX(n, 2 * m->capacity);
    gs_merger_clear(m);
    /* n - 1 pairs to begin with; a merge takes one out and puts at most two in. */
    m->symbols = gs_alloc(capacity, sizeof *m->symbols);
    m->heap = gs_alloc(capacity, 2 * sizeof *m->heap);
    if (!m->symbols || !m->heap) {
        gs_merger_clear(m);
        return gs_fail_nomem(err, "tokens");
    }
    m->capacity = capacity;
    return GS_OK;
}

void gs_merger_add(struct gs_merger *m, uint32_t n, int32_t id)
{
    uint32_t i = m->n++;

    assert(i < m->capacity && n > 0);
    m->symbols[i] = (struct gs_symbol){.n = n, .id = id, .prev = i - 1, .next = GS_NO_SYMBOL};
    if (i == 0)
        return; /* its prev, 0 - 1, is GS_NO_SYMBOL */
    m->symbols[i].at = m->symbols[i - 1].at + m->symbols[i - 1].n;
    m->symbols[i - 1].next = i;
}

static void heap_push(struct gs_merger *m, struct gs_merge_candidate c)
{
    uint32_t i = m->heap_n++;

    assert(i < 2 * m->capacity);
    while (i > 0 && c.key < m->heap[(i - 1) / 2].key) {
        m->heap[i] = m->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    m->heap[i] = c;
}

static struct gs_merge_candidate heap_pop(struct gs_merger *m)
{
    struct gs_merge_candidate top = m->heap[0], last = m->heap[--m->heap_n];
    uint32_t i = 0;

    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= m->heap_n)
            break;
        if (child + 1 < m->heap_n && m->heap[child + 1].key < m->heap[child].key)
            child++;
        if (last.key <= m->heap[child].key)
            break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return top;
}

static void try_pair(struct gs_merger *m, const char *word, gs_pair_fn pair, const void *rules,
                     uint32_t left)
{
    const struct gs_symbol *l = &m->symbols[left];
    uint32_t rank;
    int32_t id;

    if (l->next == GS_NO_SYMBOL)
        return;
    const struct gs_symbol *r = &m->symbols[l->next];
    if (pair(rules, word, l, r, &rank, &id))
        heap_push(m, (struct gs_merge_candidate){(uint64_t)rank << 32 | left, l->n + r->n, id});
}

void gs_merger_run(struct gs_merger *m, const char *word, gs_pair_fn pair, const void *rules)
{
    for (uint32_t i = 0; i + 1 < m->n; i++)
        try_pair(m, word, pair, rules, i);

    while (m->heap_n > 0) {
        struct gs_merge_candidate c = heap_pop(m);
        uint32_t left = (uint32_t)c.key;
        struct gs_symbol *l = &m->symbols[left];
        if (!l->n || l->next == GS_NO_SYMBOL)
            continue;
        struct gs_symbol *r = &m->symbols[l->next];
        if (l->n + r->n != c.size) /* symbols only grow: equal means unchanged */
            continue;
        l->n = c.size;
        l->id = c.id;
        l->next = r->next;
        r->n = 0;
        if (l->next != GS_NO_SYMBOL)
            m->symbols[l->next].prev = left;
        if (l->prev != GS_NO_SYMBOL)
            try_pair(m, word, pair, rules, l->prev);
        try_pair(m, word, pair, rules, left);
    }
}
