/* SPDX-License-Identifier: MIT
 * For tests: every codebook of the list with combinations of its keys. */
#ifndef CODEBOOK_WALK_H
#define CODEBOOK_WALK_H

#include <stdio.h>
#include <string.h>

#include "codebook/codebook.h"
#include "core/rng.h"

/* The i-th value to try of a key: all of few integers, else both ends and the default. */
static inline bool walk_key(const struct gs_codebook_key *key, unsigned i, double *out)
{
    if (key->integer && key->high - key->low < 9) {
        *out = key->low + i;
        return *out <= key->high;
    }
    *out = i == 0 ? key->low : i == 1 ? key->value : key->high;
    return i < 3;
}

/* The text of the number-th combination of keys; false past the last. */
static inline bool walk_text(const struct gs_codebook_kind *kind, unsigned number, char *text,
                             size_t size)
{
    size_t used = (size_t)snprintf(text, size, "%s", kind->name);
    double value;

    for (size_t k = 0; kind->keys && kind->keys[k].name; k++) {
        unsigned count = 0;
        while (walk_key(&kind->keys[k], count, &value))
            count++;
        walk_key(&kind->keys[k], number % count, &value);
        number /= count;
        used += (size_t)snprintf(text + used, size - used, "%c%s=%.9g", k ? ',' : ':',
                                 kind->keys[k].name, value);
    }
    return number == 0;
}

static inline void walk_normal(float *x, size_t n, uint64_t seed)
{
    struct gs_rng rng;

    gs_rng_init(&rng, seed, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)gs_rng_normal(&rng);
}

#endif
