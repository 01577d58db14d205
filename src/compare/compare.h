/* SPDX-License-Identifier: MIT
 * Recipes on equal footing: the order of work behind gs_compare (gosset.h).
 *
 *   once     the texts; the source over the text to measure on, which also shows the inputs of
 *            its matrices (probe.h) and keeps what divergence needs (eval.h)
 *   a row    quantize to a file, measure the file, write the report, remove the file */
#ifndef GS_COMPARE_COMPARE_H
#define GS_COMPARE_COMPARE_H

#include "report/comparison.h"

/* See gs_compare; *out is also set where a callback stopped the work. */
int gs_compare_run(const char *src, const struct gs_compare_options *options,
                   struct gs_comparison **out, struct gs_err *err) GS_MUST_USE;
void gs_compare_destroy(struct gs_comparison **comparison);

#endif
