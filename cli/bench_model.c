/* SPDX-License-Identifier: MIT
 * gosset bench model: speeds of a whole model.
 *
 * For each length of prompt: the prompt, then token after token behind it. A round goes through
 * all lengths, so that what disturbs the machine for a while disturbs all of them; medians and
 * the least and largest values are told.
 *
 * First token: from opening the file to the logits behind a short text, with all that lies
 * between (tokenizer, threads, cache). With --cold the system is asked to drop the file's
 * pages before, and reading the file once from end to end is timed in the same way. */
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "generation.h"
#include "output.h"
#include "terminal.h"

#define SIZES_MAX 16
#define SIZE_MOST (1 << 20)
#define READ_BYTES ((size_t)1 << 20)

struct sample {
    double median, least, most;
};

/* Of one length of prompt, tokens a second. */
struct speeds {
    uint32_t n_prompt;
    struct sample prompt, predict;
};

struct first_token {
    double warm, cold, read; /* seconds; cold and read only with --cold */
};

/* What is to be measured, and values by round. */
struct plan {
    const struct settings *s;
    struct speeds of[SIZES_MAX];
    size_t n;
    uint32_t longest, n_predict, repeat;
    double *values;  /* (n, 2, repeat) */
    int32_t *tokens; /* (longest + n_predict) */
};

/* ---- the lengths --------------------------------------------------------------------------- */

/* "128,1024": numbers with commas between. */
static int read_sizes(struct plan *p, const char *text)
{
    for (p->n = 0; p->n < SIZES_MAX; text++) {
        char *end;
        unsigned long n = strtoul(text, &end, 10);
        if (end == text || *text < '0' || *text > '9' || n > SIZE_MOST || (*end && *end != ','))
            break;
        p->of[p->n++].n_prompt = n ? (uint32_t)n : 256;
        text = end;
        if (!*end)
            return EXIT_OK;
    }
    return usage_error("bench", "option --prompt-tokens: '%s' is no list of up to %d numbers, "
                       "each at most %d", p->s->prompt_sizes, SIZES_MAX, SIZE_MOST);
}

static int make_plan(struct plan *p)
{
    const struct settings *s = p->s;
    int code = read_sizes(p, s->prompt_sizes ? s->prompt_sizes : "256");

    if (code)
        return code;
    p->n_predict = s->predict_tokens ? s->predict_tokens : 64;
    p->repeat = s->repeat ? s->repeat : 5;
    for (size_t i = 0; i < p->n; i++)
        p->longest = p->of[i].n_prompt > p->longest ? p->of[i].n_prompt : p->longest;
    p->values = calloc(2 * p->n * p->repeat, sizeof *p->values);
    p->tokens = calloc((size_t)p->longest + p->n_predict, sizeof *p->tokens);
    if (p->values && p->tokens)
        return EXIT_OK;
    struct gs_err err = {.code = GS_E_NOMEM, .msg = "out of memory for a measurement"};
    return failure(&err);
}

/* ---- tokens a second ----------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static struct sample sample_of(double *values, size_t n)
{
    qsort(values, n, sizeof *values, ascending);
    return (struct sample){
        .median = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2,
        .least = values[0], .most = values[n - 1]};
}

/* A prompt, then token after token. */
static int run_once(const struct plan *p, struct gs_session *session, uint32_t n_prompt,
                    double *prompt, double *predict, struct gs_err *err)
{
    double start;
    int rc;

    gs_session_rewind(session, 0);
    start = seconds_now();
    if ((rc = gs_session_feed(session, p->tokens, n_prompt, NULL, err)))
        return rc;
    *prompt = per_second(n_prompt, seconds_now() - start);
    start = seconds_now();
    for (uint32_t i = 0; !rc && i < p->n_predict; i++)
        rc = gs_session_feed(session, p->tokens + n_prompt + i, 1, NULL, err);
    *predict = per_second(p->n_predict, seconds_now() - start);
    return rc;
}

static int run_all(struct plan *p, struct gs_model *model, struct gs_err *err)
{
    struct gs_session_options options = {.ctx = p->longest + p->n_predict,
                                         .threads = p->s->threads, .exact = p->s->exact};
    struct gs_session *session = NULL;
    struct gs_model_info info;
    int rc = load_model(model, p->s, &options, err);

    if (!rc)
        rc = gs_session_create(model, &options, &session, err);
    gs_model_info(model, &info);
    for (uint32_t i = 0; i < p->longest + p->n_predict; i++)
        p->tokens[i] = (int32_t)((UINT64_C(2654435761) * (i + 1) >> 7) % info.n_vocab);
    if (!rc) /* the first pass brings in what is not in memory yet */
        rc = gs_session_feed(session, p->tokens, 1, NULL, err);
    for (uint32_t round = 0; !rc && round < p->repeat; round++)
        for (size_t i = 0; !rc && i < p->n; i++) {
            double *values = p->values + 2 * i * p->repeat + round;
            rc = interrupted() ? -1
                               : run_once(p, session, p->of[i].n_prompt, values,
                                          values + p->repeat, err);
        }
    for (size_t i = 0; !rc && i < p->n; i++) {
        p->of[i].prompt = sample_of(p->values + 2 * i * p->repeat, p->repeat);
        p->of[i].predict = sample_of(p->values + (2 * i + 1) * p->repeat, p->repeat);
    }
    gs_session_destroy(&session);
    return rc;
}

/* ---- the first token ----------------------------------------------------------------------- */

static int time_first(const struct settings *s, double *seconds, struct gs_err *err)
{
    struct gs_session_options options = {.threads = s->threads, .exact = s->exact};
    static const char text[] = "The first token";
    struct gs_session *session = NULL;
    struct gs_model *model = NULL;
    double start = seconds_now();
    int32_t *tokens = NULL, first = 0;
    int rc = gs_model_open(s->argument[1], &model, err);

    if (!rc)
        rc = load_model(model, s, &options, err);
    if (!rc)
        rc = gs_session_create(model, &options, &session, err);
    if (!rc) {
        /* A model without a tokenizer still has a first token. */
        int64_t n = gs_tokenize(model, text, sizeof text - 1, GS_TOKENIZE_BOS, &tokens, NULL);
        rc = gs_session_feed(session, n > 0 ? tokens : &first, n > 0 ? (size_t)n : 1, NULL, err);
    }
    *seconds = seconds_now() - start;
    gs_tokens_free(&tokens);
    gs_session_destroy(&session);
    gs_model_close(&model);
    return rc;
}

/* Reads the file from end to end, or only drops its pages (seconds NULL). The system may keep
 * pages that others use. */
static int pass_file(const char *path, double *seconds, struct gs_err *err)
{
    int fd = open(path, O_RDONLY);
    char *buffer = malloc(READ_BYTES);
    ssize_t n = fd < 0 || !buffer ? -1 : 0;

    if (n == 0 && !(n = -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)) && seconds) {
        double start = seconds_now();
        while ((n = read(fd, buffer, READ_BYTES)) > 0)
            continue;
        *seconds = seconds_now() - start;
    }
    if (fd >= 0)
        close(fd);
    free(buffer);
    if (n < 0 && err)
        *err = (struct gs_err){.code = GS_E_IO, .msg = "--cold: cannot read the file"};
    return n < 0 ? -1 : 0;
}

static int measure_first(const struct settings *s, struct first_token *out, struct gs_err *err)
{
    const char *path = s->argument[1];
    int rc = 0;

    if (s->cold) {
        if ((rc = pass_file(path, NULL, err)) || (rc = time_first(s, &out->cold, err)) ||
            (rc = pass_file(path, &out->read, err)))
            return rc;
    }
    return time_first(s, &out->warm, err);
}

/* ---- all ------------------------------------------------------------------------------------ */

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

static void put_sample(json_t *row, const char *key, struct sample sample)
{
    static const char *const suffix[] = {"", "_min", "_max"};
    const double value[] = {sample.median, sample.least, sample.most};

    for (size_t i = 0; i < COUNT(value); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", key, suffix[i]);
        json_put(row, name, json_number(value[i]));
    }
}

static void put_speeds(json_t *row, const struct speeds *v, uint64_t bytes, double stream)
{
    double used = v->predict.median * (double)bytes;

    json_put(row, "prompt_tokens", json_count(v->n_prompt));
    put_sample(row, "prompt_per_second", v->prompt);
    put_sample(row, "predicted_per_second", v->predict);
    json_put(row, "gbps", json_number(used / 1e9));
    json_put(row, "stream_fraction", json_number(used / stream));
}

static int show_json(const struct plan *p, const struct first_token *first, uint64_t bytes,
                     double stream)
{
    const char *path = p->s->argument[1];
    json_t *root = json_object(), *list = json_array();

    json_put(root, "model", json_text(path, strlen(path)));
    put_speeds(root, &p->of[0], bytes, stream);
    json_put(root, "bytes_per_token", json_count(bytes));
    json_put(root, "stream_gbps", json_number(stream / 1e9));
    json_put(root, "repeat", json_count(p->repeat));
    json_put(root, "first_token_seconds", json_number(first->warm));
    if (p->s->cold) {
        json_put(root, "cold_first_token_seconds", json_number(first->cold));
        json_put(root, "cold_read_seconds", json_number(first->read));
        json_put(root, "cold_ratio", json_number(first->cold / first->read));
    }
    for (size_t i = 0; i < p->n; i++) {
        json_t *row = json_object();
        put_speeds(row, &p->of[i], bytes, stream);
        json_add(list, row);
    }
    json_put(root, "sizes", list);
    return print_json(root);
}

static void sample_text(struct sample v, char *out, size_t size)
{
    snprintf(out, size, "%8.1f (%.1f-%.1f)", v.median, v.least, v.most);
}

static int show(const struct plan *p, const struct first_token *first, uint64_t bytes,
                double stream)
{
    if (p->s->json)
        return show_json(p, first, bytes, stream);
    printf("%8s  %-26s %-26s %6s  %s\n", "prompt", "  tokens/s (least-most)",
           "  generation behind it", "GB/s", "of memory's");
    for (size_t i = 0; i < p->n; i++) {
        double used = p->of[i].predict.median * (double)bytes;
        char prompt[64], predict[64];
        sample_text(p->of[i].prompt, prompt, sizeof prompt);
        sample_text(p->of[i].predict, predict, sizeof predict);
        printf("%8u  %-26s %-26s %6.1f  %.0f %%\n", p->of[i].n_prompt, prompt, predict,
               used / 1e9, 100 * used / stream);
    }
    printf("memory: %.1f GB/s\n", stream / 1e9);
    printf("first token after %.0f ms\n", 1e3 * first->warm);
    if (p->s->cold)
        printf("first token with a cold page cache after %.0f ms, %.2f times reading the file\n",
               1e3 * first->cold, first->cold / first->read);
    return EXIT_OK;
}

int bench_model(const struct settings *s)
{
    const struct gs_bench_options options = {.threads = s->threads};
    struct plan p = {.s = s};
    struct first_token first = {0};
    struct gs_model *model = NULL;
    struct gs_err err = {0};
    double stream = 0;
    uint64_t bytes;
    int code = make_plan(&p);

    if (code)
        goto out;
    if (measure_first(s, &first, &err) || gs_model_open(s->argument[1], &model, &err) ||
        run_all(&p, model, &err) || token_bytes(model, &bytes, &err) ||
        gs_bench_stream(&options, &stream, &err))
        code = interrupted() ? EXIT_INTERRUPTED : failure(&err);
    else
        code = show(&p, &first, bytes, stream);
out:
    gs_model_close(&model);
    free(p.values);
    free(p.tokens);
    return code;
}
