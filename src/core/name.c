/* SPDX-License-Identifier: MIT */
#include "core/name.h"

#include <string.h>

size_t gs_name_distance(const char *word, size_t n, const char *name)
{
    size_t row[GS_NAME_MAX + 1]; /* distances of a beginning of the word to each of the name */
    size_t m = strlen(name);

    n = GS_MIN(n, GS_NAME_MAX);
    m = GS_MIN(m, GS_NAME_MAX);
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t replaced = diagonal + (word[i - 1] != name[j - 1]);
            size_t shifted = GS_MIN(row[j], row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = GS_MIN(replaced, shifted);
        }
    }
    return row[m];
}

const char *gs_name_nearest(const char *word, size_t n,
                            const char *(*name_at)(const void *ctx, size_t index),
                            const void *ctx)
{
    const char *best = NULL, *name;
    size_t least = 0;

    for (size_t i = 0; (name = name_at(ctx, i)); i++) {
        size_t distance = gs_name_distance(word, n, name);
        if (!best || distance < least) {
            best = name;
            least = distance;
        }
    }
    return best;
}
