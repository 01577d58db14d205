/* SPDX-License-Identifier: MIT
 * The page of a comparison, from top to bottom: what won, plot, table, maps of errors, how it was
 * measured. One file without anything from elsewhere; the script only sorts the table. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "report/comparison.h"
#include "report/comparison_parts.h"
#include "report/heat.h"
#include "report/plot.h"
#include "report/style.h"

#define DOT " \xc2\xb7 "

static size_t count_shown(const struct gs_comparison *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_rows; i++)
        n += !c->rows[i].facts.failure;
    return n;
}

/* ---- the head ----------------------------------------------------------------------------- */

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

static void put_tiles(struct gs_comparison_draft *w)
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
    gs_comparison_put_seconds(p, seconds);
    end_tile(p, "processor time, all rows");
    gs_page_close(p);
}

static void put_head(struct gs_comparison_draft *w)
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
    gs_comparison_put_bytes(p, c->model_bytes);
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

static int put_plot(struct gs_comparison_draft *w, struct gs_err *err)
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

static void put_map(struct gs_comparison_draft *w, size_t row, const struct gs_heat_scale *scale,
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
    gs_comparison_put_name(p, &r->facts);
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

static int put_maps(struct gs_comparison_draft *w, struct gs_err *err)
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
static void put_papers(struct gs_comparison_draft *w)
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
    gs_comparison_put_bytes(p, text->bytes);
    gs_page_format(p, ", hash %016" PRIx64, text->hash);
    gs_page_close(p);
}

static void put_facts(struct gs_comparison_draft *w)
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
    gs_comparison_put_value(p, r->ppl, r->ppl_sigma, 6);
    gs_page_text(p, " and ran once, for all rows");
    gs_page_close(p);
    put_text_fact(p, "Calibrated on", &c->calib, c->calib_how);
    begin_fact(p, "Made by");
    gs_page_format(p, "gosset %s, kernels %s, threads %d, %s, ", GS_VERSION, c->level, c->threads,
                   when);
    gs_comparison_put_seconds(p, c->seconds);
    gs_page_text(p, " in all");
    gs_page_close(p);
    gs_page_close(p);
    if (c->command)
        gs_page_element(p, "pre", NULL, c->command);
}

/* ---- the whole ---------------------------------------------------------------------------- */

static void begin_page(struct gs_comparison_draft *w)
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
    struct gs_comparison_draft w = {.c = c, .order = gs_alloc(c->n_rows, sizeof *w.order),
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
        gs_comparison_put_table(&w);
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
