/* SPDX-License-Identifier: MIT
 * Pairs of neighbouring tokens with their counts, found by their tokens and ordered by count:
 *
 *   slots   hash of (left, right) -> index of the pair
 *   heap    indices of pairs, the most frequent on top; equal counts: smaller left, then
 *           smaller right first, which makes the order total
 *
 * A pair knows its place in the heap, so a changed count costs O(log n) and no entry is ever
 * stale. Pairs stay in the table when their count falls to 0. */
#ifndef GS_TEXT_PAIR_TABLE_H
#define GS_TEXT_PAIR_TABLE_H

#include "core/err.h"

#define GS_NO_PAIR UINT32_MAX

struct gs_pair {
    uint32_t left, right; /* tokens */
    uint32_t first;       /* the caller's: head of the chain of its places */
    uint32_t heap_at;     /* GS_NO_PAIR: not in the heap */
    uint64_t count;
    bool closed;          /* never enters the heap */
};

/* Zero-initialise; gs_pairs_clear frees. */
struct gs_pairs {
    struct gs_pair *pairs;
    uint32_t *heap, *slots;
    uint32_t n, heap_n, capacity, slot_mask;
    uint64_t multiplier; /* odd, of the hash */
};

void gs_pairs_clear(struct gs_pairs *p);

/* Room for `more` further pairs: that many calls of gs_pairs_find cannot fail. */
int gs_pairs_reserve(struct gs_pairs *p, uint32_t more, struct gs_err *err) GS_MUST_USE;

/* The index of the pair; a new one has count 0, first GS_NO_PAIR and is not in the heap. */
uint32_t gs_pairs_find(struct gs_pairs *p, uint32_t left, uint32_t right);

/* Adds `change` to the count and keeps the heap in order; a pair that is neither closed nor
 * in the heap enters it when its count grows. */
void gs_pairs_change(struct gs_pairs *p, uint32_t pair, int64_t change);

/* Takes the most frequent pair out of the heap, or returns GS_NO_PAIR. */
uint32_t gs_pairs_pop(struct gs_pairs *p);

#endif
