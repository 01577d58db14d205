/* SPDX-License-Identifier: MIT
 * What the files that write the page of a comparison share. Private to src/report. */
#ifndef GS_REPORT_COMPARISON_PARTS_H
#define GS_REPORT_COMPARISON_PARTS_H

#include "report/comparison.h"
#include "report/page.h"

struct gs_comparison_draft {
    struct gs_page page;
    const struct gs_comparison *c;
    size_t *order; /* (n_rows) */
    bool *front;   /* (n_rows) */
};

/* comparison_table.c */
void gs_comparison_put_table(struct gs_comparison_draft *draft);

/* Texts of its cells that stand elsewhere, too: "1.23 GB", "2 h 03 min", the name of a row and its
 * budget, a value ± its error with as many decimals as tell two digits of the error (0: none). */
void gs_comparison_put_bytes(struct gs_page *page, uint64_t bytes);
void gs_comparison_put_seconds(struct gs_page *page, double seconds);
void gs_comparison_put_name(struct gs_page *page, const struct gs_compare_row *row);
void gs_comparison_put_value(struct gs_page *page, double value, double error, int digits);

#endif
