/* SPDX-License-Identifier: MIT
 * gosset bench stream, kernels and model: speeds. */
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

/* ---- model --------------------------------------------------------------------------------- */

struct model_speed {
    double prompt, predict; /* tokens a second */
    double first;           /* seconds from opening the file to the first logits */
};

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, ascending);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* One run: a prompt, then token after token. */
static int run_once(struct gs_session *session, uint32_t n_vocab, uint32_t n_prompt,
                    uint32_t n_predict, int32_t *tokens, double *prompt, double *predict,
                    struct gs_err *err)
{
    double start;
    int rc;

    for (uint32_t i = 0; i < n_prompt + n_predict; i++)
        tokens[i] = (int32_t)((UINT64_C(2654435761) * (i + 1) >> 7) % n_vocab);
    gs_session_rewind(session, 0);
    start = seconds_now();
    if ((rc = gs_session_feed(session, tokens, n_prompt, NULL, err)))
        return rc;
    *prompt = per_second(n_prompt, seconds_now() - start);
    start = seconds_now();
    for (uint32_t i = 0; !rc && i < n_predict; i++)
        rc = gs_session_feed(session, tokens + n_prompt + i, 1, NULL, err);
    *predict = per_second(n_predict, seconds_now() - start);
    return rc;
}

static int run_all(const struct settings *s, const struct gs_model *model, double open_seconds,
                   struct model_speed *out, struct gs_err *err)
{
    uint32_t n_prompt = s->prompt_tokens ? s->prompt_tokens : 256;
    uint32_t n_predict = s->predict_tokens ? s->predict_tokens : 64;
    uint32_t repeat = s->repeat ? s->repeat : 5;
    struct gs_session_options options = {.ctx = n_prompt + n_predict, .threads = s->threads,
                                         .exact = s->exact};
    struct gs_session *session = NULL;
    struct gs_model_info info;
    double start = seconds_now();
    double *values = calloc(2 * (size_t)repeat, sizeof *values);
    int32_t *tokens = calloc(n_prompt + n_predict, sizeof *tokens);
    int rc = values && tokens ? 0 : -1;

    gs_model_info(model, &info);
    if (!rc)
        rc = gs_session_create(model, &options, &session, err);
    if (!rc) /* the first pass brings in the file's pages */
        rc = gs_session_feed(session, tokens, 1, NULL, err);
    out->first = open_seconds + seconds_now() - start;
    for (uint32_t i = 0; !rc && i < repeat && !interrupted(); i++)
        rc = run_once(session, info.n_vocab, n_prompt, n_predict, tokens, &values[i],
                      &values[repeat + i], err);
    if (!rc) {
        out->prompt = median(values, repeat);
        out->predict = median(values + repeat, repeat);
    }
    gs_session_destroy(&session);
    free(values);
    free(tokens);
    return rc;
}

/* Bytes read for a token: all tensors, but one row of an embedding that is no output too. */
static int token_bytes(const struct gs_model *model, uint64_t *bytes, struct gs_err *err)
{
    struct gs_model_info info;
    struct gs_tensor_info t;
    uint64_t embedding = 0;
    bool output = false;
    int rc;

    gs_model_info(model, &info);
    *bytes = info.bytes;
    for (size_t i = 0; i < info.n_tensors; i++) {
        if ((rc = gs_model_tensor(model, i, &t, err)))
            return rc;
        if (!strcmp(t.name, "token_embd.weight"))
            embedding = t.bytes;
        output = output || !strcmp(t.name, "output.weight");
    }
    if (output)
        *bytes -= embedding;
    return 0;
}

static int show_model(const struct settings *s, const struct model_speed *r, uint64_t bytes,
                      double stream)
{
    double used = r->predict * (double)bytes;

    if (s->json) {
        json_t *root = json_object();
        json_put(root, "model", json_text(s->argument[1], strlen(s->argument[1])));
        json_put(root, "prompt_per_second", json_number(r->prompt));
        json_put(root, "predicted_per_second", json_number(r->predict));
        json_put(root, "bytes_per_token", json_count(bytes));
        json_put(root, "gbps", json_number(used / 1e9));
        json_put(root, "stream_gbps", json_number(stream / 1e9));
        json_put(root, "stream_fraction", json_number(used / stream));
        json_put(root, "first_token_seconds", json_number(r->first));
        return print_json(root);
    }
    printf("prompt      %.1f tokens/s\n", r->prompt);
    printf("generation  %.1f tokens/s, %.1f GB/s of weights, %.0f %% of the memory's %.1f\n",
           r->predict, used / 1e9, 100 * used / stream, stream / 1e9);
    printf("first token after %.0f ms\n", 1e3 * r->first);
    return EXIT_OK;
}

int bench_model(const struct settings *s)
{
    const struct gs_bench_options options = {.threads = s->threads};
    struct gs_model *model = NULL;
    struct model_speed speed = {0};
    struct gs_err err = {0};
    double stream = 0, start = seconds_now();
    uint64_t bytes;
    int code;

    if (gs_model_open(s->argument[1], &model, &err) ||
        run_all(s, model, seconds_now() - start, &speed, &err) ||
        token_bytes(model, &bytes, &err) || gs_bench_stream(&options, &stream, &err))
        code = interrupted() ? EXIT_INTERRUPTED : failure(&err);
    else
        code = show_model(s, &speed, bytes, stream);
    gs_model_close(&model);
    return code;
}
