/* SPDX-License-Identifier: MIT
 * gosset bench stream and kernels: speeds. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "generation.h"
#include "output.h"
#include "terminal.h"

/* ---- stream -------------------------------------------------------------------------------- */

int bench_stream(const struct settings *s)
{
    const struct gs_bench_options options = {.threads = s->threads};
    struct gs_err err = {0};
    double speed;

    if (gs_bench_stream(&options, &speed, &err))
        return failure(&err);
    if (s->json) {
        json_t *root = json_object();
        json_put(root, "stream_gbps", json_number(speed / 1e9));
        json_put(root, "threads", json_count((uint64_t)s->threads));
        return print_json(root);
    }
    printf("read from memory: %.1f GB/s\n", speed / 1e9);
    return EXIT_OK;
}

/* ---- kernels ------------------------------------------------------------------------------- */

struct kernels {
    json_t *list; /* or NULL: a table */
    size_t rows;
};

static int take_speed(void *ctx, const struct gs_kernel_speed *r)
{
    struct kernels *k = ctx;
    double fraction = r->stream_bytes > 0 ? r->memory_bytes / r->stream_bytes : 0;

    if (!k->list && !k->rows++)
        printf("%-10s %6s  %-11s %9s %10s %12s\n", "format", "bits", "level", "Gweight/s",
               "GB/s", "of stream");
    if (!k->list) {
        printf("%-10s %6.3f  %-11s %9.1f %10.1f %10.0f %%\n", r->format, r->bits, r->level,
               r->cache_weights / 1e9, r->memory_bytes / 1e9, 100 * fraction);
        return !flush_output() || interrupted();
    }
    json_t *row = json_object();
    json_put(row, "format", json_string(r->format));
    json_put(row, "bits", json_number(r->bits));
    json_put(row, "level", json_string(r->level));
    json_put(row, "cache_gweights", json_number(r->cache_weights / 1e9));
    json_put(row, "dram_gbps", json_number(r->memory_bytes / 1e9));
    json_put(row, "stream_gbps", json_number(r->stream_bytes / 1e9));
    json_put(row, "stream_fraction", json_number(fraction));
    json_add(k->list, row);
    return interrupted();
}

int bench_kernels(const struct settings *s)
{
    const struct gs_bench_options options = {.threads = s->threads, .format = s->format,
                                             .all_rates = s->all_rates};
    struct kernels k = {.list = s->json ? json_array() : NULL};
    struct gs_err err = {0};

    if (gs_bench_kernels(&options, take_speed, &k, &err)) {
        json_decref(k.list);
        return interrupted() ? EXIT_INTERRUPTED : failure(&err);
    }
    if (!s->json)
        return EXIT_OK;
    json_t *root = json_object();
    json_put(root, "kernels", k.list);
    return print_json(root);
}
