/* SPDX-License-Identifier: MIT
 * Axes: from values to places on a page, and the values worth a tick. */
#ifndef GS_REPORT_AXIS_H
#define GS_REPORT_AXIS_H

#include "core/attr.h"

struct gs_axis {
    double low, high;  /* values at the axis' ends, low < high; with log both > 0 */
    double from, to;   /* their places; to may lie before from, as upwards on a page */
    bool log;
};

/* An axis for n values, with some room at both ends; values that it cannot show (not finite,
 * with log not above 0) do not count. Without any it shows 0 … 1, with log 0.1 … 1. */
struct gs_axis gs_axis_fit(const double *values, size_t n, bool log);

/* Values beyond the ends are moved to them. */
double gs_axis_at(const struct gs_axis *axis, double value);
bool gs_axis_shows(const struct gs_axis *axis, double value);

#define GS_TICKS 32
/* Values that people like within the axis, upwards: multiples of 1, 2 or 5 times a power of ten,
 * with log the digits 1, 2, 5 or powers of ten. At most `want` (2 … GS_TICKS), where possible
 * half as many. Returns their number. */
size_t gs_axis_ticks(const struct gs_axis *axis, size_t want, double ticks[GS_TICKS]);

/* Fraction digits that tell the ticks of one axis apart. */
int gs_ticks_decimals(const double *ticks, size_t n);

#endif
