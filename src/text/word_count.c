/* SPDX-License-Identifier: MIT */
#include "text/word_count.h"

#include <string.h>

#include "core/alloc.h"
#include "core/hash.h"

void gs_word_counts_clear(struct gs_word_counts *counts)
{
    gs_free(&counts->words);
    gs_free(&counts->slots);
    *counts = (struct gs_word_counts){0};
}

/* The slot of the word, or the free one where it belongs. slot_count > 0. */
static uint32_t *find_slot(const struct gs_word_counts *counts, const char *word, size_t n)
{
    size_t mask = counts->slot_count - 1;
    size_t at = gs_hash(word, n) & mask;

    for (; counts->slots[at]; at = (at + 1) & mask) {
        const struct gs_counted_word *have = &counts->words[counts->slots[at] - 1];
        if (have->n == n && !memcmp(have->text, word, n))
            break;
    }
    return &counts->slots[at];
}

static int grow(struct gs_word_counts *counts, struct gs_err *err)
{
    size_t old = counts->capacity, capacity = old ? 2 * old : 1024;

    if (capacity > UINT32_MAX / 4)
        return gs_fail(err, GS_E_ARG, "the text has more than %zu different words", old);
    struct gs_counted_word *words = gs_realloc(counts->words, old * sizeof *words,
                                               capacity * sizeof *words);
    if (!words)
        return gs_fail_nomem(err, "words");
    counts->words = words;
    uint32_t *slots = gs_alloc(2 * capacity, sizeof *slots);
    if (!slots)
        return gs_fail_nomem(err, "words");
    gs_free(&counts->slots);
    counts->slots = slots;
    counts->slot_count = 2 * capacity;
    counts->capacity = capacity;
    for (size_t i = 0; i < counts->n; i++)
        *find_slot(counts, words[i].text, words[i].n) = (uint32_t)(i + 1);
    return GS_OK;
}

int gs_word_counts_add(struct gs_word_counts *counts, const char *word, size_t n,
                       struct gs_err *err)
{
    int rc = counts->n == counts->capacity ? grow(counts, err) : GS_OK;

    if (rc)
        return rc;
    uint32_t *slot = find_slot(counts, word, n);
    if (*slot) {
        counts->words[*slot - 1].count++;
        return GS_OK;
    }
    counts->words[counts->n] = (struct gs_counted_word){word, n, 1};
    counts->bytes += n;
    *slot = (uint32_t)++counts->n;
    return GS_OK;
}
