/* SPDX-License-Identifier: MIT
 * gosset.h: comparing recipes. */
#include "core/alloc.h"

#include "compare/compare.h"

int gs_compare(const char *src, const struct gs_compare_options *options,
               struct gs_comparison **out, struct gs_err *err)
{
    return gs_compare_run(src, options, out, err);
}

size_t gs_comparison_rows(const struct gs_comparison *comparison)
{
    return comparison->n_rows;
}

const struct gs_compare_row *gs_comparison_row(const struct gs_comparison *comparison,
                                               size_t index)
{
    return index < comparison->n_rows ? &comparison->rows[index].facts : NULL;
}

int gs_comparison_json(const struct gs_comparison *comparison, char **text, struct gs_err *err)
{
    return gs_comparison_text(comparison, text, NULL, err);
}

void gs_comparison_destroy(struct gs_comparison **comparison)
{
    gs_compare_destroy(comparison);
}
