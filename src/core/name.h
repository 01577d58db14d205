/* SPDX-License-Identifier: MIT
 * What somebody may have meant who wrote a name that is not in a list. */
#ifndef GS_CORE_NAME_H
#define GS_CORE_NAME_H

#include "core/attr.h"

/* Longer words and names are compared by their first characters. */
#define GS_NAME_MAX 48

/* Characters to insert, delete or replace, so that word[0, n) becomes `name` (Levenshtein). */
size_t gs_name_distance(const char *word, size_t n, const char *name);

/* The nearest of the names that name_at(ctx, 0), (ctx, 1) … give until NULL; the first of
 * equals, NULL for an empty list. */
const char *gs_name_nearest(const char *word, size_t n,
                            const char *(*name_at)(const void *ctx, size_t index),
                            const void *ctx);

#endif
