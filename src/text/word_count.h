/* SPDX-License-Identifier: MIT
 * The different words of a text and how often each occurs, in the order of their first
 * occurrence. Running text repeats: 10 MB of English have some 50,000 different words. */
#ifndef GS_TEXT_WORD_COUNT_H
#define GS_TEXT_WORD_COUNT_H

#include "core/err.h"

struct gs_counted_word {
    const char *text; /* borrowed from the text that was counted */
    size_t n;         /* bytes, > 0 */
    uint64_t count;
};

/* Zero-initialise; gs_word_counts_clear frees. */
struct gs_word_counts {
    struct gs_counted_word *words;
    size_t n, capacity;
    uint64_t bytes;    /* of the different words together */
    uint32_t *slots;   /* hash of a word -> index + 1, 0 = free; at most half full */
    size_t slot_count; /* a power of two */
};

void gs_word_counts_clear(struct gs_word_counts *counts);

/* One more occurrence. The bytes must stay where they are until the counts are cleared. */
int gs_word_counts_add(struct gs_word_counts *counts, const char *word, size_t n,
                       struct gs_err *err) GS_MUST_USE;

#endif
