/* SPDX-License-Identifier: MIT
 * gosset bench codebook: what rounding to codebooks loses, by the size of groups. */
#include <math.h>

#include "bench.h"
#include "output.h"
#include "terminal.h"

/* Weights of a group; 0 is one for all. */
static const unsigned groups[] = {0, 128, 32};

static json_t *result_json(const struct gs_codebook_result *r)
{
    json_t *row = json_object();

    json_put(row, "group", json_count(r->group));
    json_put(row, "bpw", json_number(r->bpw));
    json_put(row, "mse", json_number(r->mse));
    json_put(row, "bound", json_number(r->bound));
    json_put(row, "weights", json_count(r->weights));
    return row;
}

static void print_head(void)
{
    printf("%-28s %9s", "codebook", "theory");
    for (size_t i = 0; i < COUNT(groups); i++) {
        if (groups[i])
            printf("  %7s %9s %3u", "bpw", "mse of", groups[i]);
        else
            printf("  %7s %13s", "bpw", "mse of all");
    }
    printf("\n");
}

static int bench_codebook(const struct settings *s, const char *name, bool first, json_t *list)
{
    struct gs_grid_options options = {.seed = s->sampling.seed, .threads = s->threads,
                                      .weights = s->limit, .progress = progress};
    struct gs_codebook_result result[COUNT(groups)];
    struct gs_err err = {0};

    for (size_t i = 0; i < COUNT(groups); i++) {
        int rc = gs_codebook_measure(name, groups[i], "f16", &options, &result[i], &err);
        progress_clear();
        if (rc)
            return failure(&err);
    }
    if (s->json) {
        json_t *row = json_object(), *sizes = json_array();
        for (size_t i = 0; i < COUNT(groups); i++)
            json_add(sizes, result_json(&result[i]));
        json_put(row, "codebook", json_string(name));
        json_put(row, "theory", json_number(result[0].theory));
        json_put(row, "shared_bits", json_count(result[0].shared_bits));
        json_put(row, "groups", sizes);
        json_add(list, row);
        return EXIT_OK;
    }
    if (first)
        print_head();
    printf("%-28s %9.6f", name, result[0].theory);
    for (size_t i = 0; i < COUNT(groups); i++)
        printf("  %7.4f %13.6f", result[i].bpw, result[i].mse);
    printf("\n");
    return flush_output() ? EXIT_OK : EXIT_FAILED;
}

int bench_codebooks(const struct settings *s)
{
    json_t *list = s->json ? json_array() : NULL;
    int code = EXIT_OK;
    const char *name;

    if (s->n_arguments > 1)
        code = bench_codebook(s, s->argument[1], true, list);
    else
        for (size_t i = 0; !code && (name = gs_codebook_name(i)); i++)
            code = bench_codebook(s, name, i == 0, list);
    if (!s->json || code) {
        json_decref(list);
        return code;
    }
    json_t *root = json_object();
    json_put(root, "codebooks", list);
    return print_json(root);
}
