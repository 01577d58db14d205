/* SPDX-License-Identifier: MIT
 * A plot of costs against costs as inline SVG, with the line through its Pareto front. Colours
 * are the page's (classes), so that they follow its theme. */
#ifndef GS_REPORT_PLOT_H
#define GS_REPORT_PLOT_H

#include "report/page.h"

struct gs_plot_point {
    double x, y;        /* both: less is better */
    double y_error;     /* a bar of y ± y_error; 0 = none */
    const char *label;
    size_t series;      /* points of one are joined by a thin line, in the order of x */
    bool front;         /* no other point beats it in both */
};

struct gs_plot {
    const char *title, *x_title, *y_title;
    const char *class;  /* of the svg element */
    double width, height; /* in px as drawn; the page may scale it */
    const struct gs_plot_point *points;
    size_t n;           /* points that the axes cannot show (y not above 0) are left out */
};

/* y is logarithmic. */
int gs_plot_draw(const struct gs_plot *plot, struct gs_page *page, struct gs_err *err)
    GS_MUST_USE;

#endif
