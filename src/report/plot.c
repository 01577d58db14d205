/* SPDX-License-Identifier: MIT
 * Layout of the picture, in px:
 *
 *     y title
 *     ┌────┬─────────────────────────┐ TOP
 *     │tick│  field                  │
 *     │    │                         │
 *     ├────┼─────────────────────────┤
 *     LEFT │  ticks, x title         │ BOTTOM
 *
 * Widths of text are estimates from above for the sans-serif fonts that browsers use. */
#include "report/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "report/axis.h"
#include "report/labels.h"

#define LEFT 58.0
#define RIGHT 14.0
#define TOP 30.0
#define BOTTOM 46.0
#define RADIUS 4.5
#define CAP 3.0           /* half the width of an error bar's ends */
#define LETTER_WIDTH 6.7
#define LETTER_HEIGHT 13.0
#define LABEL_GAP 5.0     /* between two labels in one line */
#define LABEL_LETTERS 22u
#define LABEL_BYTES (4 * LABEL_LETTERS + 4)

struct drawing {
    const struct gs_plot *plot;
    struct gs_page *page;
    struct gs_axis x, y;
    struct gs_labels labels;
    size_t *order; /* points that are shown, by x, then y */
    size_t n;
};

/* ---- preparing ---------------------------------------------------------------------------- */

static bool comes_before(const struct gs_plot_point *a, const struct gs_plot_point *b)
{
    return a->x < b->x || (a->x <= b->x && a->y < b->y);
}

static int fit(struct drawing *d, struct gs_err *err)
{
    const struct gs_plot *plot = d->plot;
    size_t n = GS_MAX(plot->n, 1);
    double *x = gs_alloc(n, sizeof *x), *y = gs_alloc(3 * n, sizeof *y);
    const struct gs_axis any = {.log = false}, positive = {.log = true};
    int rc = GS_OK;

    d->order = gs_alloc(n, sizeof *d->order);
    if (!x || !y || !d->order) {
        rc = gs_fail_nomem(err, "a plot");
        goto out;
    }
    for (size_t i = 0; i < plot->n; i++) {
        const struct gs_plot_point *p = &plot->points[i];
        if (!gs_axis_shows(&any, p->x) || !gs_axis_shows(&positive, p->y))
            continue;
        x[d->n] = p->x;
        y[3 * d->n] = p->y;
        y[3 * d->n + 1] = p->y + p->y_error;
        /* A bar that reaches 0 does not stretch the axis. */
        y[3 * d->n + 2] = fmax(p->y - p->y_error, p->y / 2);
        size_t at = d->n++;
        for (; at && comes_before(p, &plot->points[d->order[at - 1]]); at--)
            d->order[at] = d->order[at - 1];
        d->order[at] = i;
    }
    d->x = gs_axis_fit(x, d->n, false);
    d->y = gs_axis_fit(y, 3 * d->n, true);
    d->x.low = fmax(d->x.low, 0);
    d->x.from = LEFT;
    d->x.to = plot->width - RIGHT;
    d->y.from = plot->height - BOTTOM;
    d->y.to = TOP;
out:
    gs_free(&x);
    gs_free(&y);
    return rc;
}

/* ---- drawing ------------------------------------------------------------------------------ */

static void line(struct drawing *d, const char *class, double x0, double y0, double x1, double y1)
{
    struct gs_page *p = d->page;

    gs_page_open(p, "line");
    gs_page_attr(p, "class", class);
    gs_page_attr_number(p, "x1", x0, 1);
    gs_page_attr_number(p, "y1", y0, 1);
    gs_page_attr_number(p, "x2", x1, 1);
    gs_page_attr_number(p, "y2", y1, 1);
    gs_page_void(p);
}

static void begin_text(struct drawing *d, const char *class, double x, double y,
                       const char *anchor)
{
    gs_page_open(d->page, "text");
    gs_page_attr(d->page, "class", class);
    gs_page_attr_number(d->page, "x", x, 1);
    gs_page_attr_number(d->page, "y", y, 1);
    gs_page_attr(d->page, "text-anchor", anchor);
}

static void draw_axes(struct drawing *d)
{
    const struct gs_plot *plot = d->plot;
    double ticks[GS_TICKS];
    size_t n = gs_axis_ticks(&d->y, plot->height < 350 ? 8 : 12, ticks);

    for (size_t i = 0; i < n; i++) {
        double y = gs_axis_at(&d->y, ticks[i]);
        line(d, "grid", d->x.from, y, d->x.to, y);
        begin_text(d, "tick", d->x.from - 7, y + 4, "end");
        gs_page_digits(d->page, ticks[i], 4);
        gs_page_close(d->page);
    }
    n = gs_axis_ticks(&d->x, plot->width < 500 ? 6 : 12, ticks);
    int decimals = gs_ticks_decimals(ticks, n);
    for (size_t i = 0; i < n; i++) {
        double x = gs_axis_at(&d->x, ticks[i]);
        line(d, "grid", x, d->y.from, x, d->y.to);
        begin_text(d, "tick", x, d->y.from + 18, "middle");
        gs_page_number(d->page, ticks[i], decimals);
        gs_page_close(d->page);
    }
    line(d, "axis", d->x.from, d->y.from, d->x.to, d->y.from);
    line(d, "axis", d->x.from, d->y.from, d->x.from, d->y.to);
    begin_text(d, "axis-title", (d->x.from + d->x.to) / 2, plot->height - 8, "middle");
    gs_page_text(d->page, plot->x_title);
    gs_page_close(d->page);
    begin_text(d, "axis-title", 4, 15, "start");
    gs_page_text(d->page, plot->y_title);
    gs_page_close(d->page);
}

static double at_x(const struct drawing *d, size_t i)
{
    return gs_axis_at(&d->x, d->plot->points[i].x);
}

static double at_y(const struct drawing *d, double y)
{
    return gs_axis_at(&d->y, y);
}

/* The next point on this one's line: of its series, or on the front. n: there is none. */
static size_t next_on_line(const struct drawing *d, size_t at, bool front)
{
    const struct gs_plot_point *points = d->plot->points, *p = &points[d->order[at]];
    size_t next = at + 1;

    while (next < d->n && (front ? !points[d->order[next]].front
                                 : points[d->order[next]].series != p->series))
        next++;
    return next;
}

static void draw_lines(struct drawing *d, bool front)
{
    const struct gs_plot_point *points = d->plot->points;

    for (size_t i = 0; i < d->n; i++) {
        const struct gs_plot_point *p = &points[d->order[i]];
        size_t next = !front || p->front ? next_on_line(d, i, front) : d->n;
        if (next == d->n)
            continue;
        const struct gs_plot_point *q = &points[d->order[next]];
        struct gs_segment s = {at_x(d, d->order[i]), at_y(d, p->y), at_x(d, d->order[next]),
                               at_y(d, q->y)};
        line(d, front ? "front-line" : "series", s.x0, s.y0, s.x1, s.y1);
        if (front)
            gs_labels_add_segment(&d->labels, s);
    }
}

static void draw_point(struct drawing *d, size_t i)
{
    const struct gs_plot_point *p = &d->plot->points[i];
    double x = at_x(d, i), y = at_y(d, p->y);
    double low = at_y(d, fmax(p->y - p->y_error, 0)), high = at_y(d, p->y + p->y_error);

    gs_page_open(d->page, "g");
    gs_page_attr(d->page, "class", p->front ? "front" : "behind");
    gs_page_open(d->page, "title");
    gs_page_text(d->page, p->label);
    gs_page_text(d->page, ": ");
    gs_page_number(d->page, p->x, 3);
    gs_page_text(d->page, " bits, ");
    gs_page_digits(d->page, p->y, 4);
    gs_page_text(d->page, " \xc2\xb1 ");
    gs_page_digits(d->page, p->y_error, 2);
    gs_page_close(d->page);
    if (p->y_error > 0) {
        line(d, "bar", x, low, x, high);
        line(d, "bar", x - CAP, low, x + CAP, low);
        line(d, "bar", x - CAP, high, x + CAP, high);
        gs_labels_add_segment(&d->labels, (struct gs_segment){x, low, x, high});
    }
    gs_page_open(d->page, "circle");
    gs_page_attr_number(d->page, "cx", x, 1);
    gs_page_attr_number(d->page, "cy", y, 1);
    gs_page_attr_number(d->page, "r", RADIUS, 1);
    gs_page_void(d->page);
    gs_page_close(d->page);
    gs_labels_add_box(&d->labels, (struct gs_box){x - RADIUS, y - RADIUS, 2 * RADIUS, 2 * RADIUS});
}

/* At most LABEL_LETTERS characters of it; returns their number. */
static size_t shorten(const char *label, char out[LABEL_BYTES])
{
    size_t n = 0, bytes = 0;

    for (; label[bytes] && n < LABEL_LETTERS; n++)
        do
            bytes++;
        while (((unsigned char)label[bytes] & 0xc0) == 0x80 && bytes < LABEL_BYTES - 4);
    bytes = GS_MIN(bytes, LABEL_BYTES - 4);
    memcpy(out, label, bytes);
    strcpy(out + bytes, label[bytes] ? "\xe2\x80\xa6" : "");
    return n + (label[bytes] != 0);
}

static void draw_label(struct drawing *d, size_t i)
{
    const struct gs_plot_point *p = &d->plot->points[i];
    char text[LABEL_BYTES];
    double letter = LETTER_WIDTH + (p->front ? 0.4 : 0); /* bold */
    double width = letter * (double)shorten(p->label, text) + LABEL_GAP;
    struct gs_segment leader;
    struct gs_box box;

    if (!gs_labels_place(&d->labels, at_x(d, i), at_y(d, p->y), RADIUS, width, LETTER_HEIGHT,
                         &box, &leader))
        return; /* the mark still tells its name, and the table does */
    if (leader.x0 > 0)
        line(d, "leader", leader.x0, leader.y0, leader.x1, leader.y1);
    /* Against the point's side, since the width is an estimate from above. */
    bool left = box.x + box.width < at_x(d, i) + 1;
    bool middle = !left && box.x < at_x(d, i);
    begin_text(d, p->front ? "label front-label" : "label",
               left ? box.x + box.width : middle ? box.x + box.width / 2 : box.x,
               box.y + LETTER_HEIGHT - 3, left ? "end" : middle ? "middle" : "start");
    gs_page_text(d->page, text);
    gs_page_close(d->page);
}

static void draw_field(struct drawing *d)
{
    draw_axes(d);
    draw_lines(d, false);
    draw_lines(d, true);
    for (size_t i = 0; i < d->n; i++)
        draw_point(d, d->order[i]);
    for (int front = 1; front >= 0; front--)
        for (size_t i = 0; i < d->n; i++)
            if (d->plot->points[d->order[i]].front == (front == 1))
                draw_label(d, d->order[i]);
}

int gs_plot_draw(const struct gs_plot *plot, struct gs_page *page, struct gs_err *err)
{
    struct drawing d = {.plot = plot, .page = page};
    const struct gs_box bounds = {LEFT + 2, TOP - 8, plot->width - LEFT - RIGHT + 8,
                                  plot->height - TOP - BOTTOM + 6};
    int rc = fit(&d, err);

    /* Marks and labels; lines of the front, bars and leaders. */
    if (!rc && !(rc = gs_labels_create(&bounds, 2 * d.n, 3 * d.n, &d.labels, err))) {
        gs_page_open(page, "svg");
        gs_page_attr(page, "class", plot->class);
        gs_page_attr(page, "xmlns", "http://www.w3.org/2000/svg");
        gs_page_attr_format(page, "viewBox", "0 0 %d %d", (int)plot->width, (int)plot->height);
        gs_page_attr(page, "role", "img");
        gs_page_attr(page, "aria-label", plot->title);
        draw_field(&d);
        gs_page_close(page);
    }
    gs_labels_clear(&d.labels);
    gs_free(&d.order);
    return rc;
}
