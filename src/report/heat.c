/* SPDX-License-Identifier: MIT
 * Colours are classes h0 … h8 of the page's style. */
#include "report/heat.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CELL 11.0
#define CELL_WIDTH_MAX 26.0
#define FIELD_WIDTH 240.0  /* that few columns fill */
#define GAP 1.0
#define NAME_WIDTH 84.0
#define NAME_LETTERS 14
#define FOOT 16.0
#define SWATCH 32.0
#define SWATCH_LEFT 26.0   /* room for half of the first number */
#define FITS 520.0         /* maps up to this width shrink with the page, wider ones scroll */

struct gs_heat_scale gs_heat_fit(const double *values, size_t n)
{
    struct gs_heat_scale s = {INFINITY, 0};

    for (size_t i = 0; i < n; i++) {
        if (!(values[i] > 1e-30) || !isfinite(values[i]))
            continue;
        s.low = fmin(s.low, values[i]);
        s.high = fmax(s.high, values[i]);
    }
    if (!(s.low <= s.high))
        return (struct gs_heat_scale){1e-3, 1};
    if (s.high < s.low * 1.5) /* nearly equal: no colour for the noise */
        s.high = s.low * 1.5;
    return s;
}

int gs_heat_colour(const struct gs_heat_scale *s, double value)
{
    if (isnan(value))
        return -1;
    if (!(value > s->low))
        return 0;
    double part = log(value / s->low) / log(s->high / s->low);
    return (int)fmin(part * GS_HEAT_COLOURS, GS_HEAT_COLOURS - 1);
}

/* The value where colour `i` begins. */
static double colour_edge(const struct gs_heat_scale *s, int i)
{
    return s->low * pow(s->high / s->low, (double)i / GS_HEAT_COLOURS);
}

static void open_svg(struct gs_page *p, double width, double height, const char *label)
{
    gs_page_open(p, "svg");
    gs_page_attr(p, "class", width <= FITS ? "heat fits" : "heat");
    gs_page_attr(p, "xmlns", "http://www.w3.org/2000/svg");
    gs_page_attr_number(p, "width", width, 0);
    gs_page_attr_number(p, "height", height, 0);
    gs_page_attr_format(p, "viewBox", "0 0 %d %d", (int)width, (int)height);
    gs_page_attr(p, "role", "img");
    gs_page_attr(p, "aria-label", label);
}

static void put_rect(struct gs_page *p, int colour, double x, double y, double width,
                     double height)
{
    gs_page_open(p, "rect");
    gs_page_attr_format(p, "class", "h%d", colour);
    gs_page_attr_number(p, "x", x, 0);
    gs_page_attr_number(p, "y", y, 0);
    gs_page_attr_number(p, "width", width, 0);
    gs_page_attr_number(p, "height", height, 0);
}

static void put_label(struct gs_page *p, double x, double y, const char *anchor,
                      const char *text)
{
    gs_page_open(p, "text");
    gs_page_attr(p, "class", "tick");
    gs_page_attr_number(p, "x", x, 0);
    gs_page_attr_number(p, "y", y, 0);
    gs_page_attr(p, "text-anchor", anchor);
    gs_page_text(p, text);
    gs_page_close(p);
}

/* Whole pixels, so that gaps are even. */
static double cell_width(const struct gs_heat *heat)
{
    return fmin(fmax(floor(FIELD_WIDTH / (double)heat->columns), CELL), CELL_WIDTH_MAX);
}

static void draw_cell(const struct gs_heat *heat, const struct gs_heat_scale *scale, size_t row,
                      size_t column, struct gs_page *p)
{
    double value = heat->values[row * heat->columns + column];
    int colour = gs_heat_colour(scale, value);

    if (colour < 0)
        return;
    double width = cell_width(heat);
    put_rect(p, colour, NAME_WIDTH + width * (double)column, CELL * (double)row, width - GAP,
             CELL - GAP);
    gs_page_open(p, "title");
    gs_page_text(p, heat->names[row]);
    gs_page_format(p, ", block %zu: ", column);
    gs_page_digits(p, value, 3);
    gs_page_close(p);
    gs_page_close(p);
}

void gs_heat_draw(const struct gs_heat *heat, const struct gs_heat_scale *scale,
                  struct gs_page *p)
{
    double height = CELL * (double)heat->rows, width = cell_width(heat);
    size_t step = heat->columns > 50 ? 20 : heat->columns > 20 ? 10 : heat->columns > 8 ? 5 : 1;
    char text[32];

    open_svg(p, NAME_WIDTH + width * (double)heat->columns + 8, height + FOOT, heat->title);
    for (size_t row = 0; row < heat->rows; row++) {
        snprintf(text, sizeof text, "%.*s", NAME_LETTERS, heat->names[row]);
        put_label(p, NAME_WIDTH - 5, CELL * (double)row + 9, "end", text);
        for (size_t column = 0; column < heat->columns; column++)
            draw_cell(heat, scale, row, column, p);
    }
    for (size_t column = 0; column < heat->columns; column += step) {
        snprintf(text, sizeof text, "%zu", column);
        put_label(p, NAME_WIDTH + width * ((double)column + 0.5), height + 12, "middle", text);
    }
    gs_page_close(p);
}

void gs_heat_legend(const struct gs_heat_scale *scale, struct gs_page *p)
{
    char text[GS_NUMBER_TEXT];

    open_svg(p, SWATCH * GS_HEAT_COLOURS + 2 * SWATCH_LEFT, 32, "The colours of the maps");
    for (int i = 0; i <= GS_HEAT_COLOURS; i++) {
        gs_number_text(colour_edge(scale, i), 2, true, text);
        if (i % 3 == 0)
            put_label(p, SWATCH_LEFT + SWATCH * i, 28, "middle", text);
        if (i == GS_HEAT_COLOURS)
            break;
        put_rect(p, i, SWATCH_LEFT + SWATCH * i, 2, SWATCH - GAP, 12);
        gs_page_void(p);
    }
    gs_page_close(p);
}
