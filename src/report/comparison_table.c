/* SPDX-License-Identifier: MIT
 * The table of a comparison: a row for each result, the best first, the source last; columns can
 * be sorted by the values that their cells carry. */
#include <math.h>
#include <string.h>

#include "report/comparison_parts.h"

#define PLUS_MINUS " \xc2\xb1 "

/* ---- texts of cells ------------------------------------------------------------------------- */

void gs_comparison_put_bytes(struct gs_page *p, uint64_t bytes)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    double v = (double)bytes / 1e3;
    size_t u = 0;

    for (; v >= 999.5 && u + 1 < GS_COUNT(units); u++)
        v /= 1e3;
    gs_page_digits(p, v, v < 100 ? 3 : 4);
    gs_page_format(p, " %s", units[u]);
}

void gs_comparison_put_seconds(struct gs_page *p, double seconds)
{
    if (seconds >= 3600)
        gs_page_format(p, "%d h %02d min", (int)(seconds / 3600),
                       (int)fmod(seconds / 60, 60));
    else if (seconds >= 60)
        gs_page_format(p, "%d min %02d s", (int)(seconds / 60), (int)fmod(seconds, 60));
    else {
        gs_page_number(p, seconds, seconds < 10);
        gs_page_text(p, " s");
    }
}

void gs_comparison_put_name(struct gs_page *p, const struct gs_compare_row *row)
{
    gs_page_text(p, row->recipe);
    if (row->budget > 0) {
        gs_page_open(p, "span");
        gs_page_attr(p, "class", "soft");
        gs_page_text(p, " \xe2\x89\xa4\xc2\xa0");
        gs_page_digits(p, row->budget, 4);
        gs_page_close(p);
    }
}

void gs_comparison_put_value(struct gs_page *p, double value, double error, int digits)
{
    if (!(error > 1e-12) || !(error < 1e12)) {
        gs_page_digits(p, value, digits);
        return;
    }
    int decimals = (int)fmin(fmax(1 - floor(log10(error)), 0), 12);
    gs_page_number(p, value, decimals);
    gs_page_text(p, PLUS_MINUS);
    gs_page_number(p, error, decimals);
}

/* ---- the table ---------------------------------------------------------------------------- */

static const struct column {
    const char *name, *unit;
} columns[] = {
    {"recipe", ""}, {"bits", "all tensors"}, {"bits", "matrices"}, {"file", ""},
    {"mean KL", "nats"}, {"KL 99.9 %", "nats"}, {"perplexity", ""}, {"same top", "%"},
    {"layer error", ""}, {"time", "CPU"}, {"passes", ""},
};

static void put_table_head(struct gs_page *p)
{
    gs_page_open(p, "thead");
    gs_page_open(p, "tr");
    for (size_t i = 0; i < GS_COUNT(columns); i++) {
        gs_page_open(p, "th");
        gs_page_attr(p, "scope", "col");
        gs_page_attr(p, "data-sorts", "1");
        if (!strcmp(columns[i].name, "mean KL"))
            gs_page_attr(p, "aria-sort", "ascending");
        gs_page_text(p, columns[i].name);
        if (*columns[i].unit) {
            gs_page_text(p, " ");
            gs_page_element(p, "small", NULL, columns[i].unit);
        }
        gs_page_close(p);
    }
    gs_page_close(p);
    gs_page_close(p);
}

/* A cell that is sorted by `value`. */
static void open_cell(struct gs_page *p, double value)
{
    char text[GS_NUMBER_TEXT];

    gs_page_open(p, "td");
    gs_number_text(value, 9, true, text);
    if (isfinite(value))
        gs_page_attr(p, "data-v", text);
}

static void put_cell(struct gs_page *p, double value, double error, int digits)
{
    open_cell(p, value);
    gs_comparison_put_value(p, value, error, digits);
    gs_page_close(p);
}

static void put_fixed(struct gs_page *p, double value, int decimals)
{
    open_cell(p, value);
    gs_page_number(p, value, decimals);
    gs_page_close(p);
}

static void put_recipe(struct gs_comparison_draft *w, size_t row)
{
    const struct gs_compare_row *f = &w->c->rows[row].facts;
    struct gs_page *p = &w->page;

    gs_page_open(p, "td");
    if (!f->failure) {
        gs_page_open(p, "span");
        gs_page_attr(p, "class", w->front[row] ? "dot on" : "dot");
        gs_page_attr(p, "title", w->front[row] ? "on the front" : "behind the front");
        gs_page_close(p);
    }
    gs_comparison_put_name(p, f);
    gs_page_close(p);
}

static void put_figures(struct gs_page *p, const struct gs_compare_row *f)
{
    const struct gs_eval_result *e = &f->eval;

    put_fixed(p, f->bpw, 3);
    put_fixed(p, f->matrix_bpw, 3);
    open_cell(p, (double)f->file_bytes);
    gs_comparison_put_bytes(p, f->file_bytes);
    gs_page_close(p);
    put_cell(p, e->kld_mean, e->kld_sigma, 4);
    put_cell(p, e->kld_p999, 0, 3);
    put_cell(p, e->ppl, e->ppl_sigma, 5);
    put_cell(p, 100 * e->top1, 100 * e->top1_sigma, 4);
    put_cell(p, f->layer_error, 0, 3);
    open_cell(p, f->cpu_seconds);
    gs_comparison_put_seconds(p, f->cpu_seconds);
    gs_page_close(p);
    put_fixed(p, f->passes, 0);
}

/* The source as a row of its own. */
static void put_source(struct gs_comparison_draft *w)
{
    const struct gs_eval_result *e = &w->c->reference;
    struct gs_page *p = &w->page;

    gs_page_open(p, "tr");
    gs_page_attr(p, "data-last", "1");
    gs_page_element(p, "td", "soft", "the source");
    put_fixed(p, w->c->model_bpw, 3);
    put_cell(p, NAN, 0, 1);
    open_cell(p, (double)w->c->model_bytes);
    gs_comparison_put_bytes(p, w->c->model_bytes);
    gs_page_close(p);
    put_cell(p, 0, 0, 1);
    put_cell(p, 0, 0, 1);
    put_cell(p, e->ppl, e->ppl_sigma, 5);
    put_fixed(p, 100, 0);
    put_cell(p, 0, 0, 1);
    put_cell(p, NAN, 0, 1);
    put_cell(p, NAN, 0, 1);
    gs_page_close(p);
}

void gs_comparison_put_table(struct gs_comparison_draft *w)
{
    struct gs_page *p = &w->page;

    gs_page_element(p, "h2", NULL, "Results");
    gs_page_open(p, "div");
    gs_page_attr(p, "class", "scroll");
    gs_page_attr(p, "tabindex", "0");
    gs_page_open(p, "table");
    put_table_head(p);
    gs_page_open(p, "tbody");
    for (size_t i = 0; i < w->c->n_rows; i++) {
        const struct gs_compare_row *f = &w->c->rows[w->order[i]].facts;
        gs_page_open(p, "tr");
        if (f->failure)
            gs_page_attr(p, "data-last", "1");
        put_recipe(w, w->order[i]);
        if (f->failure) {
            gs_page_open(p, "td");
            gs_page_attr(p, "class", "why bad");
            gs_page_attr_format(p, "colspan", "%zu", GS_COUNT(columns) - 1);
            gs_page_text(p, f->failure);
            gs_page_close(p);
        } else {
            put_figures(p, f);
        }
        gs_page_close(p);
    }
    put_source(w);
    gs_page_close(p);
    gs_page_close(p);
    gs_page_close(p);
    gs_page_element(p, "p", "soft",
                    "Behind a name: the budget in bits that was asked for. Numbers are \xc2\xb1 "
                    "one standard error. Layer error: squares of what changes in "
                    "the outputs of the blocks' matrices over squares of the outputs, for the same "
                    "inputs. Passes: of the calibration text through the model.");
}
