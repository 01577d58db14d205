/* SPDX-License-Identifier: MIT
 * Byte-pair merging, shared by all kinds of tokenizers (Gage 1994; Sennrich, Haddow & Birch,
 * arXiv:1508.07909). A word starts as a chain of symbols; again and again the best pair of
 * neighbours becomes one symbol, the leftmost of equally good ones first:
 *
 *      h   u   g   s          pairs wait in a heap ordered by (rank, position);
 *      |   \___/   |          an entry whose symbols have changed since is skipped
 *      h    ug     s
 *       \___/      |
 *        hug       s
 *
 * What may merge, and how good it is, is the kind's business (gs_pair_fn). n symbols cost
 * O(n log n) whatever the text. */
#ifndef GS_TEXT_MERGE_H
#define GS_TEXT_MERGE_H

#include "core/err.h"

#define GS_NO_SYMBOL UINT32_MAX

struct gs_symbol {
    uint32_t at, n;      /* bytes of the word; n = 0: merged away */
    int32_t id;          /* token, or negative if these bytes are none */
    uint32_t prev, next; /* neighbours in the chain, or GS_NO_SYMBOL */
};

/* True if `left` and `right`, neighbours in `word`, merge; *rank (smaller is merged first)
 * and the merged token *id are then set. */
typedef bool (*gs_pair_fn)(const void *rules, const char *word, const struct gs_symbol *left,
                           const struct gs_symbol *right, uint32_t *rank, int32_t *id);

/* Working memory, reused from word to word. Zero-initialise. */
struct gs_merger {
    struct gs_symbol *symbols;
    struct gs_merge_candidate *heap;
    uint32_t n, heap_n;
    size_t capacity;
};
void gs_merger_clear(struct gs_merger *m);

/* Room for `n` symbols; m->n becomes 0. */
int gs_merger_reserve(struct gs_merger *m, size_t n, struct gs_err *err) GS_MUST_USE;

/* Appends a symbol of n bytes to the chain. */
void gs_merger_add(struct gs_merger *m, uint32_t n, int32_t id);

/* Merges until nothing merges. The result is the chain from symbols[0] along `next`. */
void gs_merger_run(struct gs_merger *m, const char *word, gs_pair_fn pair, const void *rules);

#endif
