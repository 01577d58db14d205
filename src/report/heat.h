/* SPDX-License-Identifier: MIT
 * A small map of positive numbers: rows by name, columns by number, a colour for each. */
#ifndef GS_REPORT_HEAT_H
#define GS_REPORT_HEAT_H

#include "report/page.h"

#define GS_HEAT_COLOURS 9

/* What colours mean, for several maps that are to be compared: equal steps of the logarithm. */
struct gs_heat_scale {
    double low, high; /* 0 < low < high */
};

/* For n values; those that are not above 0 do not count. */
struct gs_heat_scale gs_heat_fit(const double *values, size_t n);
/* 0 … GS_HEAT_COLOURS - 1; negative for what is no number. */
int gs_heat_colour(const struct gs_heat_scale *scale, double value);

struct gs_heat {
    const char *title;
    const char *const *names; /* (rows) */
    size_t rows, columns;
    const double *values;     /* (rows, columns); NaN: no cell */
};

void gs_heat_draw(const struct gs_heat *heat, const struct gs_heat_scale *scale,
                  struct gs_page *page);

/* The colours in a row, with the values between them. */
void gs_heat_legend(const struct gs_heat_scale *scale, struct gs_page *page);

#endif
