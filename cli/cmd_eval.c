/* SPDX-License-Identifier: MIT
 * gosset eval: perplexity, divergence from a reference, tasks. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "generation.h"
#include "output.h"
#include "terminal.h"

/* The numbers of a result: JSON key, where it is, and how the table names it. One list, so
 * that both outputs have the same content. */
struct measure {
    const char *key;
    size_t offset, sigma_offset; /* sigma_offset 0 = no error to show */
    const char *label;
    double scale;
    const char *unit;
};

#define R(field) offsetof(struct gs_eval_result, field)
#define T(field) offsetof(struct gs_task_result, field)

static const struct measure text_measures[] = {
    {"ppl", R(ppl), R(ppl_sigma), "perplexity", 1, ""},
    {"ppl_sigma", R(ppl_sigma), 0, NULL, 1, ""},
};
static const struct measure ref_measures[] = {
    {"ref_ppl", R(ref_ppl), R(ref_ppl_sigma), "reference", 1, ""},
    {"ref_ppl_sigma", R(ref_ppl_sigma), 0, NULL, 1, ""},
    {"ppl_ratio_ln", R(ppl_ratio_ln), R(ppl_ratio_ln_sigma), "ln ratio", 1, ""},
    {"ppl_ratio_ln_sigma", R(ppl_ratio_ln_sigma), 0, NULL, 1, ""},
    {"kld_mean", R(kld_mean), R(kld_sigma), "KL mean", 1, " nats"},
    {"kld_sigma", R(kld_sigma), 0, NULL, 1, ""},
    {"kld_median", R(kld_median), 0, "KL median", 1, " nats"},
    {"kld_p90", R(kld_p90), 0, "KL 90 %", 1, " nats"},
    {"kld_p95", R(kld_p95), 0, "KL 95 %", 1, " nats"},
    {"kld_p99", R(kld_p99), 0, "KL 99 %", 1, " nats"},
    {"kld_p999", R(kld_p999), 0, "KL 99.9 %", 1, " nats"},
    {"kld_max", R(kld_max), 0, "KL maximum", 1, " nats"},
    {"dp_mean", R(dp_mean), 0, "mean dp", 1, " %"},
    {"rms_dp", R(rms_dp), 0, "RMS dp", 1, " %"},
    {"top1", R(top1), R(top1_sigma), "same top", 100, " %"},
    {"top1_sigma", R(top1_sigma), 0, NULL, 100, ""},
};
static const struct measure task_measures[] = {
    {"accuracy", T(accuracy), 0, NULL, 1, ""},
    {"accuracy_low", T(accuracy_low), 0, NULL, 1, ""},
    {"accuracy_high", T(accuracy_high), 0, NULL, 1, ""},
    {"accuracy_norm", T(accuracy_norm), 0, NULL, 1, ""},
    {"norm_low", T(norm_low), 0, NULL, 1, ""},
    {"norm_high", T(norm_high), 0, NULL, 1, ""},
    {"ppl", T(ppl), 0, NULL, 1, ""},
};

/* What gs_eval_options takes for 0. */
enum { EVAL_CTX = 512, EVAL_BATCH = 128 };

static double at(const void *result, size_t offset)
{
    double v;

    memcpy(&v, (const char *)result + offset, sizeof v);
    return v;
}

/* result NULL: the keys are there, their values null. */
static void add_measures(json_t *root, const void *result, const struct measure *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        json_put(root, list[i].key,
                 result ? json_number(at(result, list[i].offset)) : json_null());
}

static void print_measures(const void *result, const struct measure *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!list[i].label)
            continue;
        printf("%-12s%.6g", list[i].label, list[i].scale * at(result, list[i].offset));
        if (list[i].sigma_offset)
            printf(" ± %.3g", list[i].scale * at(result, list[i].sigma_offset));
        printf("%s\n", list[i].unit);
    }
}

static int show_text(const struct gs_eval_result *r, bool json)
{
    if (json) {
        json_t *root = json_object();
        add_measures(root, r, text_measures, COUNT(text_measures));
        json_put(root, "tokens", json_count(r->tokens));
        json_put(root, "chunks", json_count(r->chunks));
        add_measures(root, r->has_ref ? r : NULL, ref_measures, COUNT(ref_measures));
        return print_json(root);
    }
    print_measures(r, text_measures, COUNT(text_measures));
    printf("%-12s%" PRIu64 " scored, in %" PRIu64 " chunks\n", "tokens", r->tokens, r->chunks);
    if (r->has_ref)
        print_measures(r, ref_measures, COUNT(ref_measures));
    return EXIT_OK;
}

static int show_task(const struct gs_task_result *r, bool json)
{
    if (json) {
        json_t *root = json_object();
        json_put(root, "kind", json_string(r->kind));
        json_put(root, "items", json_count(r->items));
        add_measures(root, r, task_measures, COUNT(task_measures));
        return print_json(root);
    }
    printf("%-12s%s, %" PRIu64 " items\n", "task", r->kind, r->items);
    printf("%-12s%.2f %% (95 %% of the time within %.2f to %.2f)\n", "accuracy",
           100 * r->accuracy, 100 * r->accuracy_low, 100 * r->accuracy_high);
    printf("%-12s%.2f %% (%.2f to %.2f), by the answers' bytes\n", "normalised",
           100 * r->accuracy_norm, 100 * r->norm_low, 100 * r->norm_high);
    printf("%-12s%.6g of the right answers\n", "perplexity", r->ppl);
    return EXIT_OK;
}

static int evaluate(const struct settings *s, struct gs_model *model, struct gs_model *ref,
                    const char *text, size_t n)
{
    struct gs_eval_options options = {.ctx = s->ctx, .chunks = s->chunks, .batch = s->batch,
                                      .threads = s->threads, .exact = s->exact,
                                      .progress = progress};
    struct gs_eval_result text_result = {0};
    struct gs_task_result task_result = {0};
    struct gs_err err = {0};
    int rc;

    if (s->task_file)
        rc = gs_eval_task(model, s->task_file, s->limit, &options, &task_result, &err);
    else
        rc = gs_eval_text(model, ref, text, n, &options, &text_result, &err);
    progress_clear();
    if (rc)
        return failure(&err);
    return s->task_file ? show_task(&task_result, s->json) : show_text(&text_result, s->json);
}

static int check_usage(const struct settings *s)
{
    if (!s->text_file == !s->task_file)
        return usage_error("eval", "give --text or --task, one of them");
    if (s->task_file && (s->ref || s->chunks || s->ctx))
        return usage_error("eval", "--ref, --chunks and --ctx belong to --text");
    if (s->text_file && s->limit)
        return usage_error("eval", "--limit belongs to --task");
    return EXIT_OK;
}

static int run(const struct settings *s)
{
    struct gs_model *model = NULL, *ref = NULL;
    struct gs_err err = {0};
    char *text = NULL;
    size_t n = 0;
    int code;

    if ((code = check_usage(s)))
        return code;
    if (s->text_file && (code = read_input(s->text_file, &text, &n)))
        return code;
    if (gs_model_open_delta(s->argument[0], s->delta, &model, &err) ||
        (s->ref && gs_model_open(s->ref, &ref, &err)) ||
        load_model(model, s, &(struct gs_session_options){
            .ctx = s->ctx ? s->ctx : EVAL_CTX, .batch = s->batch ? s->batch : EVAL_BATCH,
            .exact = s->exact}, &err))
        code = failure(&err);
    else
        code = evaluate(s, model, ref, text, n);
    gs_model_close(&ref);
    gs_model_close(&model);
    free(text);
    return code;
}

static const struct option options[] = {
    {'f', "text", "FILE", "text whose perplexity to measure; - is standard input", &kind_string,
     offsetof(struct settings, text_file), 0, 0},
    {0, "ref", "MODEL", "also measure how far MODEL's predictions are: both run in lockstep",
     &kind_string, offsetof(struct settings, ref), 0, 0},
    {0, "delta", "FILE", "measure the model with this delta (gosset delta) applied",
     &kind_string, offsetof(struct settings, delta), 0, 0},
    {'c', "ctx", "N", "tokens a chunk; 0 = 512", &kind_u32, offsetof(struct settings, ctx), 0,
     1 << 24},
    {0, "chunks", "N", "at most N chunks; 0 = all", &kind_u32, offsetof(struct settings, chunks),
     0, UINT32_MAX},
    {0, "task", "FILE", "JSONL of multiple-choice or last-word items to score", &kind_string,
     offsetof(struct settings, task_file), 0, 0},
    {0, "limit", "N", "at most N items of the task; 0 = all", &kind_u64,
     offsetof(struct settings, limit), 0, 0},
    {0, "batch", "N", "most tokens in a forward pass; 0 = 128", &kind_u32,
     offsetof(struct settings, batch), 0, 65536},
    LOAD_OPTIONS,
    {0, "exact", NULL, "multiply in f32 instead of integers: slower (a reference always is)",
     &kind_flag, offsetof(struct settings, exact), 0, 0},
};
static const struct option_group group = {"Measuring", options, COUNT(options)};

const struct command command_eval = {
    .name = "eval",
    .summary = "perplexity, divergence from a reference, tasks",
    .arguments = "MODEL",
    .details = "Perplexity is that of llama.cpp: chunks of --ctx tokens that do not overlap, of\n"
               "which the second half is scored. Divergences are in natural units; dp is the\n"
               "change of the right token's probability in percent.\n",
    .examples = "  gosset eval model.gguf --text wiki.test.raw\n"
                "  gosset eval model-q4.gguf --text wiki.test.raw --ref model-f16.gguf --json\n"
                "  gosset eval model.gguf --task arc_easy.jsonl --limit 500\n",
    .n_arguments = 1,
    .groups = {&group, &group_compute, &group_output},
    .run = run,
};
