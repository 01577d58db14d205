/* SPDX-License-Identifier: MIT
 * gosset bench grid: what rounding to a grid loses, and the speed of its search. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "output.h"
#include "terminal.h"

static void print_head(void)
{
    printf("%-10s %7s %12s %10s %8s %12s\n", "grid", "bpw", "mse", "bound", "gap dB",
           "Mweights/s");
}

static double weights_per_second(const struct gs_grid_result *r)
{
    return r->cpu_seconds > 0 ? (double)r->weights / r->cpu_seconds : 0;
}

static void print_row(const struct gs_grid_result *r)
{
    printf("%-10s %7.3f %12.6f %10.6f %8.3f %12.3f\n", r->grid, r->bpw, r->mse, r->bound,
           10 * log10(r->mse / r->bound), weights_per_second(r) / 1e6);
}

static json_t *row_json(const struct gs_grid_result *r)
{
    json_t *row = json_object();

    json_put(row, "grid", json_string(r->grid));
    json_put(row, "window", json_count(r->window));
    json_put(row, "bpw", json_number(r->bpw));
    json_put(row, "mse", json_number(r->mse));
    json_put(row, "bound", json_number(r->bound));
    json_put(row, "weights", json_count(r->weights));
    json_put(row, "weights_per_cpu_second", json_number(weights_per_second(r)));
    return row;
}

/* The grids to measure: of the window that was asked for, or all that have a window. */
static const char *next_grid(const struct settings *s, size_t *i)
{
    char wanted[32];
    const char *name;

    snprintf(wanted, sizeof wanted, "trellis%u", (unsigned)s->window);
    while ((name = gs_grid_name((*i)++)))
        if (s->window ? !strcmp(name, wanted) : !strncmp(name, "trellis", 7))
            return name;
    return NULL;
}

/* The rates, in 1/8 bits a weight: 0 at the end. */
static int next_rate(const struct settings *s, int rate)
{
    if (s->bpw > 0)
        return rate ? 0 : (int)lroundf(8 * s->bpw);
    if (s->all_rates)
        return rate == 40 ? 0 : rate ? rate + 1 : 8;
    return rate == 32 ? 0 : rate + 8;
}

static int bench_grid(const struct settings *s, const char *name, int rate, json_t *list)
{
    struct gs_grid_options options = {.seed = s->sampling.seed, .threads = s->threads,
                                      .weights = s->limit, .progress = progress};
    struct gs_grid_result result;
    struct gs_err err = {0};
    int rc = gs_grid_measure(name, rate / 8.0, &options, &result, &err);

    progress_clear();
    if (rc)
        return failure(&err);
    if (s->json) {
        json_add(list, row_json(&result));
        return EXIT_OK;
    }
    print_row(&result);
    return flush_output() ? EXIT_OK : EXIT_FAILED;
}

int bench_grids(const struct settings *s)
{
    json_t *list = NULL;
    const char *name;
    size_t i = 0, found = 0;
    int code = EXIT_OK;

    if (s->bpw > 0 && s->all_rates)
        return usage_error("bench", "give --bpw or --all, one of them");
    if (8 * s->bpw != floorf(8 * s->bpw))
        return usage_error("bench", "option --bpw: %g is not a multiple of 1/8",
                           (double)s->bpw);
    if (s->json)
        list = json_array();
    else
        print_head();
    while (!code && (name = next_grid(s, &i))) {
        found++;
        for (int rate = 0; !code && (rate = next_rate(s, rate));)
            code = bench_grid(s, name, rate, list);
    }
    if (!code && !found)
        code = usage_error("bench", "option --window: no grid has a window of %u bits",
                           (unsigned)s->window);
    if (!s->json || code) {
        json_decref(list);
        return code;
    }
    json_t *root = json_object();
    json_put(root, "grids", list);
    return print_json(root);
}
