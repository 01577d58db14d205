/* SPDX-License-Identifier: MIT
 * The page of a comparison, from top to bottom: what won, plot, table, maps of errors, how it was
 * measured. One file without anything from elsewhere; the script only sorts the table. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "report/comparison.h"
#include "report/heat.h"
#include "report/page.h"
#include "report/plot.h"
#include "report/style.h"

#define PLUS_MINUS " \xc2\xb1 "
#define DOT " \xc2\xb7 "

struct writing {
    struct gs_page page;
    const struct gs_comparison *c;
    size_t *order; /* (n_rows) */
    bool *front;   /* (n_rows) */
};

static size_t count_shown(const struct gs_comparison *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_rows; i++)
        n += !c->rows[i].facts.failure;
    return n;
}

/* ---- small pieces ------------------------------------------------------------------------- */

static void put_bytes(struct gs_page *p, uint64_t bytes)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    double v = (double)bytes / 1e3;
    size_t u = 0;

    for (; v >= 999.5 && u + 1 < GS_COUNT(units); u++)
        v /= 1e3;
    gs_page_digits(p, v, v < 100 ? 3 : 4);
    gs_page_format(p, " %s", units[u]);
}

static void put_seconds(struct gs_page *p, double seconds)
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

/* The name of a row and its budget. */
static void put_name(struct gs_page *p, const struct gs_compare_row *row)
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

static void put_tile(struct gs_page *p, const char *label)
{
    gs_page_open(p, "div");
    gs_page_attr(p, "class", "tile");
    gs_page_element(p, "small", "soft", label);
    gs_page_open(p, "b");
}

static void end_tile(struct gs_page *p, const char *more)
{
    gs_page_close(p);
    gs_page_element(p, "small", "soft", more);
    gs_page_close(p);
}

/* ---- the head ----------------------------------------------------------------------------- */

static void put_tiles(struct writing *w)
{
    const struct gs_comparison *c = w->c;
    struct gs_page *p = &w->page;
    size_t shown = count_shown(c), on_front = 0;
    double seconds = 0;
    char text[80];

    for (size_t i = 0; i < c->n_rows; i++) {
        on_front += w->front[i];
        seconds += c->rows[i].facts.cpu_seconds;
    }
    gs_page_open(p, "div");
    gs_page_attr(p, "class", "tiles");
    put_tile(p, "results");
    gs_page_format(p, "%zu", shown);
    snprintf(text, sizeof text, "%zu on the front, %zu failed", on_front, c->n_rows - shown);
    end_tile(p, text);
    put_tile(p, "smallest divergence");
    if (shown) {
        const struct gs_compare_row *best = &c->rows[w->order[0]].facts;
        gs_page_digits(p, best->eval.kld_mean, 3);
        end_tile(p, best->recipe);
    } else {
        end_tile(p, "none yet");
    }
    put_tile(p, "perplexity of the source");
    gs_page_digits(p, c->reference.ppl, 5);
    snprintf(text, sizeof text, "%" PRIu64 " tokens scored", c->reference.tokens);
    end_tile(p, text);
    put_tile(p, "quantizing");
    put_seconds(p, seconds);
    end_tile(p, "processor time, all rows");
    gs_page_close(p);
}

static void put_head(struct writing *w)
{
    const struct gs_comparison *c = w->c;
    struct gs_page *p = &w->page;
    const char *name = *c->model_name ? c->model_name : c->model_path;

    gs_page_element(p, "p", "soft", "gosset compare");
    gs_page_open(p, "h1");
    gs_page_text(p, name);
    gs_page_close(p);
    gs_page_open(p, "p");
    gs_page_attr(p, "class", "soft");
    gs_page_format(p, "%s" DOT, c->arch);
    gs_page_digits(p, (double)c->parameters / 1e6, 4);
    gs_page_text(p, " million weights" DOT);
    gs_page_digits(p, c->model_bpw, 4);
    gs_page_text(p, " bits a weight" DOT);
    put_bytes(p, c->model_bytes);
    gs_page_close(p);
    if (c->n_rows < c->n_planned) {
        gs_page_open(p, "p");
        gs_page_attr(p, "class", "bad");
        gs_page_format(p, "Unfinished: %zu of %zu rows.", c->n_rows, c->n_planned);
        gs_page_close(p);
    }
    put_tiles(w);
}

/* ---- the plot ----------------------------------------------------------------------------- */

/* Equal recipes are one series; there are few rows. */
static size_t series_of(const struct gs_comparison *c, size_t row)
{
    size_t first = 0;

    while (strcmp(c->rows[first].facts.recipe, c->rows[row].facts.recipe))
        first++;
    return first;
}

static int put_plot(struct writing *w, struct gs_err *err)
{
    const struct gs_comparison *c = w->c;
    struct gs_page *p = &w->page;
    struct gs_plot_point *points = gs_alloc(c->n_rows, sizeof *points);
    struct gs_plot plot = {.title = "Mean divergence against bits a weight",
                           .x_title = "bits a weight, all tensors",
                           .y_title = "mean KL divergence, nats", .points = points};
    int rc = points ? GS_OK : gs_fail_nomem(err, "a plot");

    for (size_t i = 0; !rc && i < c->n_rows; i++) {
        const struct gs_compare_row *f = &c->rows[i].facts;
        if (!f->failure)
            points[plot.n++] = (struct gs_plot_point){
                .x = f->bpw, .y = f->eval.kld_mean, .y_error = f->eval.kld_sigma,
                .label = f->recipe, .series = series_of(c, i), .front = w->front[i]};
    }
    gs_page_element(p, "h2", NULL, "Divergence against bits");
    gs_page_open(p, "figure");
    static const struct { const char *class; double width, height; } sizes[] = {
        {"plot wide", 860, 470}, {"plot narrow", 380, 400},
    };
    for (size_t i = 0; !rc && i < GS_COUNT(sizes); i++) {
        plot.class = sizes[i].class;
        plot.width = sizes[i].width;
        plot.height = sizes[i].height;
        rc = gs_plot_draw(&plot, p, err);
    }
    gs_page_open(p, "figcaption");
    gs_page_open(p, "span");
    gs_page_attr(p, "class", "dot on");
    gs_page_close(p);
    gs_page_text(p, "on the Pareto front: no other result has both fewer bits and less "
                    "divergence. ");
    gs_page_open(p, "span");
    gs_page_attr(p, "class", "dot");
    gs_page_close(p);
    gs_page_text(p, "behind it. Bars: one standard error. Dotted: one recipe at several "
                    "budgets. Lower left is better.");
    gs_page_close(p);
    gs_page_close(p);
    gs_free(&points);
    return rc;
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

/* With an error as many decimals as tell two digits of it. */
static void put_value(struct gs_page *p, double value, double error, int digits)
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

static void put_cell(struct gs_page *p, double value, double error, int digits)
{
    open_cell(p, value);
    put_value(p, value, error, digits);
    gs_page_close(p);
}

static void put_fixed(struct gs_page *p, double value, int decimals)
{
    open_cell(p, value);
    gs_page_number(p, value, decimals);
    gs_page_close(p);
}

static void put_recipe(struct writing *w, size_t row)
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
    put_name(p, f);
    gs_page_close(p);
}

static void put_figures(struct gs_page *p, const struct gs_compare_row *f)
{
    const struct gs_eval_result *e = &f->eval;

    put_fixed(p, f->bpw, 3);
    put_fixed(p, f->matrix_bpw, 3);
    open_cell(p, (double)f->file_bytes);
    put_bytes(p, f->file_bytes);
    gs_page_close(p);
    put_cell(p, e->kld_mean, e->kld_sigma, 4);
    put_cell(p, e->kld_p999, 0, 3);
    put_cell(p, e->ppl, e->ppl_sigma, 5);
    put_cell(p, 100 * e->top1, 100 * e->top1_sigma, 4);
    put_cell(p, f->layer_error, 0, 3);
    open_cell(p, f->cpu_seconds);
    put_seconds(p, f->cpu_seconds);
    gs_page_close(p);
    put_fixed(p, f->passes, 0);
}

/* The source as a row of its own. */
static void put_source(struct writing *w)
{
    const struct gs_eval_result *e = &w->c->reference;
    struct gs_page *p = &w->page;

    gs_page_open(p, "tr");
    gs_page_attr(p, "data-last", "1");
    gs_page_element(p, "td", "soft", "the source");
    put_fixed(p, w->c->model_bpw, 3);
    put_cell(p, NAN, 0, 1);
    open_cell(p, (double)w->c->model_bytes);
    put_bytes(p, w->c->model_bytes);
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

static void put_table(struct writing *w)
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
                    "Behind a name: the budget in bits that was asked for. Numbers are \xc2\xb1 one "
                    "standard error. Layer error: squares of what changes in "
                    "the outputs of the blocks' matrices over squares of the outputs, for the same "
                    "inputs. Passes: of the calibration text through the model.");
}

/* ---- maps of errors ----------------------------------------------------------------------- */

static struct gs_heat_scale fit_heat(const struct gs_comparison *c, double *all)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_rows; i++)
        for (size_t m = 0; !c->rows[i].facts.failure && m < c->n_matrices; m++)
            if (!c->matrices[m].head)
                all[n++] = c->rows[i].errors[m];
    return gs_heat_fit(all, n);
}

static void put_map(struct writing *w, size_t row, const struct gs_heat_scale *scale,
                    double *cells)
{
    const struct gs_comparison *c = w->c;
    const struct gs_compared_row *r = &c->rows[row];
    struct gs_page *p = &w->page;
    struct gs_heat heat = {.title = r->facts.recipe, .names = c->kinds, .rows = c->n_kinds,
                           .columns = c->n_blocks, .values = cells};
    double head = NAN;

    for (size_t i = 0; i < heat.rows * heat.columns; i++)
        cells[i] = NAN;
    for (size_t m = 0; m < c->n_matrices; m++) {
        if (c->matrices[m].head)
            head = r->errors[m];
        else
            cells[c->matrices[m].kind * heat.columns + c->matrices[m].block] = r->errors[m];
    }
    gs_page_open(p, "figure");
    gs_page_open(p, "figcaption");
    put_name(p, &r->facts);
    gs_page_text(p, " ");
    gs_page_open(p, "small");
    gs_page_attr(p, "class", "soft");
    gs_page_number(p, r->facts.bpw, 2);
    gs_page_text(p, " bits" DOT "error ");
    gs_page_digits(p, r->facts.layer_error, 3);
    if (isfinite(head)) {
        gs_page_text(p, DOT "head ");
        gs_page_digits(p, head, 3);
    }
    gs_page_close(p);
    gs_page_close(p);
    gs_page_open(p, "div");
    gs_page_attr(p, "class", "side");
    gs_heat_draw(&heat, scale, p);
    gs_page_close(p);
    gs_page_close(p);
}

static int put_maps(struct writing *w, struct gs_err *err)
{
    const struct gs_comparison *c = w->c;
    struct gs_page *p = &w->page;
    double *all, *cells;
    int rc = GS_OK;

    if (!count_shown(c) || !c->n_blocks || !c->n_kinds)
        return GS_OK;
    all = gs_alloc(c->n_rows, c->n_matrices * sizeof *all);
    cells = gs_alloc(c->n_kinds, c->n_blocks * sizeof *cells);
    if (!all || !cells) {
        rc = gs_fail_nomem(err, "maps");
        goto out;
    }
    struct gs_heat_scale scale = fit_heat(c, all);
    gs_page_element(p, "h2", NULL, "Errors by matrix");
    gs_page_element(p, "p", "soft", "Relative layer error, one colour scale for all maps; rows "
                    "are kinds of matrices, columns blocks.");
    gs_page_open(p, "div");
    gs_page_attr(p, "class", "side");
    gs_heat_legend(&scale, p);
    gs_page_close(p);
    gs_page_open(p, "div");
    gs_page_attr(p, "class", "maps");
    for (size_t i = 0; i < c->n_rows; i++)
        if (!c->rows[w->order[i]].facts.failure)
            put_map(w, w->order[i], &scale, cells);
    gs_page_close(p);
out:
    gs_free(&all);
    gs_free(&cells);
    return rc;
}

/* Whose the recipes are, each once. */
static void put_papers(struct writing *w)
{
    const struct gs_comparison *c = w->c;
    struct gs_page *p = &w->page;
    bool any = false;

    for (size_t i = 0; i < c->n_rows; i++) {
        const struct gs_compare_row *f = &c->rows[i].facts;
        if (!*f->paper || series_of(c, i) != i)
            continue;
        if (!any) {
            gs_page_element(p, "h2", NULL, "Methods");
            gs_page_open(p, "dl");
            any = true;
        }
        gs_page_element(p, "dt", NULL, f->recipe);
        gs_page_element(p, "dd", NULL, f->paper);
    }
    if (any)
        gs_page_close(p);
}

/* ---- how it was measured ------------------------------------------------------------------ */

static void begin_fact(struct gs_page *p, const char *name)
{
    gs_page_element(p, "dt", NULL, name);
    gs_page_open(p, "dd");
}

static void put_text_fact(struct gs_page *p, const char *label,
                          const struct gs_compared_text *text, const char *how)
{
    begin_fact(p, label);
    gs_page_text(p, text->name);
    gs_page_format(p, "%s%s, %" PRIu64 " tokens, ", how ? ", " : "", how ? how : "",
                   text->tokens);
    put_bytes(p, text->bytes);
    gs_page_format(p, ", hash %016" PRIx64, text->hash);
    gs_page_close(p);
}

static void put_facts(struct writing *w)
{
    const struct gs_comparison *c = w->c;
    const struct gs_eval_result *r = &c->reference;
    struct gs_page *p = &w->page;
    struct tm tm;
    char when[64] = "";

    if (gmtime_r(&c->started, &tm))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M UTC", &tm);
    gs_page_element(p, "h2", NULL, "How it was measured");
    gs_page_open(p, "dl");
    begin_fact(p, "Model");
    gs_page_text(p, c->model_path);
    gs_page_format(p, ", hash of its tensors %016" PRIx64, c->model_hash);
    gs_page_close(p);
    put_text_fact(p, "Measured on", &c->text, NULL);
    begin_fact(p, "Scored");
    gs_page_format(p, "%" PRIu64 " tokens in %" PRIu64 " chunks of %" PRIu32 "; the source has "
                   "perplexity ", r->tokens, r->chunks, c->ctx);
    put_value(p, r->ppl, r->ppl_sigma, 6);
    gs_page_text(p, " and ran once, for all rows");
    gs_page_close(p);
    put_text_fact(p, "Calibrated on", &c->calib, c->calib_how);
    begin_fact(p, "Made by");
    gs_page_format(p, "gosset %s, kernels %s, threads %d, %s, ", GS_VERSION, c->level, c->threads,
                   when);
    put_seconds(p, c->seconds);
    gs_page_text(p, " in all");
    gs_page_close(p);
    gs_page_close(p);
    if (c->command)
        gs_page_element(p, "pre", NULL, c->command);
}

/* ---- the whole ---------------------------------------------------------------------------- */

static void begin_page(struct writing *w)
{
    struct gs_page *p = &w->page;

    gs_page_raw(p, "<!DOCTYPE html>\n");
    gs_page_open(p, "html");
    gs_page_attr(p, "lang", "en");
    gs_page_open(p, "head");
    gs_page_open(p, "meta");
    gs_page_attr(p, "charset", "utf-8");
    gs_page_void(p);
    gs_page_open(p, "meta");
    gs_page_attr(p, "name", "viewport");
    gs_page_attr(p, "content", "width=device-width, initial-scale=1");
    gs_page_void(p);
    gs_page_open(p, "title");
    gs_page_text(p, "gosset compare: ");
    gs_page_text(p, *w->c->model_name ? w->c->model_name : w->c->model_path);
    gs_page_close(p);
    gs_page_open(p, "style");
    gs_page_raw(p, gs_report_style);
    gs_page_close(p);
    gs_page_close(p);
    gs_page_open(p, "body");
}

static void end_page(struct gs_page *p)
{
    gs_page_open(p, "script");
    gs_page_raw(p, gs_report_script);
    gs_page_close(p);
    gs_page_close(p);
    gs_page_close(p);
    gs_page_raw(p, "\n");
}

int gs_comparison_page(const struct gs_comparison *c, char **text, size_t *n,
                       struct gs_err *err)
{
    struct writing w = {.c = c, .order = gs_alloc(c->n_rows, sizeof *w.order),
                        .front = gs_alloc(c->n_rows, sizeof *w.front)};
    int rc = w.order && w.front ? GS_OK : gs_fail_nomem(err, "a report");

    *text = NULL;
    if (!rc) {
        gs_comparison_sort(c, w.order);
        gs_comparison_front(c, w.front);
        begin_page(&w);
        put_head(&w);
        rc = put_plot(&w, err);
    }
    if (!rc) {
        put_table(&w);
        rc = put_maps(&w, err);
    }
    if (!rc) {
        put_papers(&w);
        put_facts(&w);
        end_page(&w.page);
        rc = gs_page_take(&w.page, text, n, err);
    } else {
        gs_buffer_clear(&w.page.out);
    }
    gs_free(&w.order);
    gs_free(&w.front);
    return rc;
}
