/* SPDX-License-Identifier: MIT
 * gosset quantize: from a model to a smaller file that runs. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "terminal.h"

static json_t *plan_json(const struct gs_plan_info *plan)
{
    json_t *root = json_object(), *list = json_array();

    for (size_t i = 0; i < plan->n_tensors; i++) {
        const struct gs_plan_tensor *t = &plan->tensors[i];
        json_t *row = json_object();
        json_put(row, "name", json_text(t->name, strlen(t->name)));
        json_put(row, "type", json_string(t->type));
        json_put(row, "bits", json_number(t->bits));
        json_put(row, "bytes", json_count(t->bytes));
        json_add(list, row);
    }
    json_put(root, "parameters", json_count(plan->parameters));
    json_put(root, "bytes", json_count(plan->bytes));
    json_put(root, "file_bytes", json_count(plan->file_bytes));
    json_put(root, "bpw", json_number(plan->bpw));
    json_put(root, "memory_bytes", json_count(plan->memory_bytes));
    json_put(root, "scratch_bytes", json_count(plan->scratch_bytes));
    json_put(root, "seconds", json_number(plan->seconds));
    json_put(root, "calibration_tokens", json_count(plan->calib_tokens));
    json_put(root, "fold", plan->fold ? json_string(plan->fold) : json_null());
    json_put(root, "tensors", list);
    return root;
}

/* With --dry-run every tensor, on stdout; else the sums, as notes. */
static void print_tensors(const struct gs_plan_info *plan)
{
    printf("%-10s %8s %14s  %s\n", "type", "bits", "bytes", "tensor");
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const struct gs_plan_tensor *t = &plan->tensors[i];
        printf("%-10s %8.3f %14" PRIu64 "  ", t->type, t->bits, t->bytes);
        print_clean(t->name);
        putchar('\n');
    }
    putchar('\n');
}

/* A line at a time, as notes come. */
static void print_fold(const struct settings *s, const char *text)
{
    for (size_t n; text && *text; text += n) {
        n = strcspn(text, "\n");
        if (s->dry_run)
            printf("%.*s\n", (int)n, text);
        else
            note("%.*s", (int)n, text);
        n += text[n] == '\n';
    }
}

static int show_plan(void *ctx, const struct gs_plan_info *plan)
{
    const struct settings *s = ctx;
    char size[32], memory[32], scratch[32], text[256];

    progress_clear();
    if (s->dry_run && s->json)
        return print_json(plan_json(plan));
    print_fold(s, plan->fold);
    format_bytes(plan->file_bytes, size, sizeof size);
    format_bytes(plan->memory_bytes, memory, sizeof memory);
    format_bytes(plan->scratch_bytes, scratch, sizeof scratch);
    snprintf(text, sizeof text,
             "%.4f bits per weight, file %" PRIu64 " bytes (%s)\n"
             "memory about %s, scratch on disk %s, about %.0f s, calibration %" PRIu64 " tokens",
             plan->bpw, plan->file_bytes, size, memory, scratch, ceil(plan->seconds),
             plan->calib_tokens);
    if (s->dry_run) {
        print_tensors(plan);
        puts(text);
    } else {
        note("%s", text);
    }
    return interrupted();
}

static json_t *eval_json(const struct gs_eval_result *e)
{
    json_t *row = json_object();

    json_put(row, "ppl", json_number(e->ppl));
    json_put(row, "ref_ppl", json_number(e->ref_ppl));
    json_put(row, "kld_mean", json_number(e->kld_mean));
    json_put(row, "kld_p999", json_number(e->kld_p999));
    json_put(row, "top1", json_number(e->top1));
    json_put(row, "tokens", json_count(e->tokens));
    return row;
}

static json_t *steps_json(const struct gs_quantize_seconds *s)
{
    json_t *row = json_object();

    json_put(row, "forward", json_number(s->forward));
    json_put(row, "moments", json_number(s->moments));
    json_put(row, "rounding", json_number(s->rounding));
    json_put(row, "tuning", json_number(s->tuning));
    json_put(row, "measuring", json_number(s->measuring));
    return row;
}

static int show_result(const struct settings *s, const struct gs_quantize_result *r,
                       double seconds)
{
    if (s->json) {
        json_t *root = json_object();
        json_put(root, "file", json_text(s->output, strlen(s->output)));
        json_put(root, "parameters", json_count(r->parameters));
        json_put(root, "bytes", json_count(r->bytes));
        json_put(root, "file_bytes", json_count(r->file_bytes));
        json_put(root, "bpw", json_number(r->bpw));
        json_put(root, "loss", json_number(r->loss));
        json_put(root, "eval", r->has_eval ? eval_json(&r->eval) : json_null());
        json_put(root, "seconds", json_number(seconds));
        json_put(root, "cpu_seconds", steps_json(&r->cpu_seconds));
        return print_json(root);
    }
    print_clean(s->output);
    printf("\n%8s %7s %9s", "GiB", "bpw", "loss");
    if (r->has_eval)
        printf(" %11s %11s %9s %9s %7s", "perplexity", "of source", "mean KL", "99.9% KL",
               "top-1");
    printf("\n%8.3f %7.4f %9.5f", (double)r->file_bytes / 1073741824.0, r->bpw, r->loss);
    if (r->has_eval)
        printf(" %11.4f %11.4f %9.5f %9.4f %6.2f%%", r->eval.ppl, r->eval.ref_ppl,
               r->eval.kld_mean, r->eval.kld_p999, 100 * r->eval.top1);
    putchar('\n');
    return EXIT_OK;
}

static int run(const struct settings *s)
{
    bool self = s->calib.count == 1 && !strcmp(s->calib.path[0], "self");
    struct gs_quantize_options options = {
        .bpw = (double)s->bpw, .recipe = s->recipe, .calib = s->calib.path,
        .n_calib = self ? 0 : s->calib.count, .tokens = s->tokens,
        .imatrix = s->imatrix, .type = s->type, .pure = s->pure, .keep = s->keep.path,
        .n_keep = s->keep.count, .size = s->size,
        .reuse = s->requantize_changed,
        .fold = s->fold,
        .allow_requantize = s->allow_requantize, .overwrite = s->overwrite,
        .resume = s->resume, .dry_run = s->dry_run, .no_eval = s->no_eval, .tune = s->tune,
        .threads = s->threads, .plan = show_plan, .progress = progress};
    struct settings copy = *s;
    struct gs_quantize_result result;
    struct gs_err err = {0};
    double start = seconds_now();

    if (!s->output)
        return usage_error("quantize", "where to? give --output FILE");
    if (!(s->bpw > 0) && !s->type && !s->size && !s->recipe)
        return usage_error("quantize", "how small? give --bpw BITS, --size BYTES or --type TYPE");
    options.plan_ctx = &copy;
    if (gs_quantize(s->argument[0], s->output, &options, &result, &err))
        return failure(&err);
    progress_clear();
    return s->dry_run ? EXIT_OK : show_result(s, &result, seconds_now() - start);
}

static const struct option options[] = {
    {'o', "output", "FILE", "the GGUF file to write", &kind_string,
     offsetof(struct settings, output), 0, 0},
    {'b', "bpw", "BITS", "bits a weight, at most, everything counted; fractions are fine",
     &kind_float, offsetof(struct settings, bpw), 0.1, 64},
    {0, "size", "BYTES", "bytes of the file, at most, as 700MB or 3.5GiB; instead of --bpw",
     &kind_bytes, offsetof(struct settings, size), 0, 0},
    {0, "type", "TYPE", "write a stock GGUF file of this type instead, by the names of "
     "llama-quantize: Q4_K_M, IQ4_XS, Q4_0…; auto: types by measurement, under --bpw or --size",
     &kind_string, offsetof(struct settings, type), 0, 0},
    {0, "pure", NULL, "with --type: the same type everywhere, no mix", &kind_flag,
     offsetof(struct settings, pure), 0, 0},
    {0, "keep", "REGEX=TYPE", "with --type: the type of tensors whose name matches; may be "
     "repeated, the first match counts", &kind_files, offsetof(struct settings, keep), 0, 0},
    {0, "requantize-changed", "OLD", "with --type: take matrices whose type is the same from OLD, "
     "a file made from MODEL before", &kind_string,
     offsetof(struct settings, requantize_changed), 0, 0},
    {0, "fold", "LIST", "with --type: transforms folded into the weights first: names with commas "
     "of rotate-residual, untie, rotate-values, scale-values, scale-norms, scale-ffn; none; auto: "
     "those that lower layer errors, the default where there is calibration", &kind_string,
     offsetof(struct settings, fold), 0, 0},
    {0, "recipe", "RECIPE", "a name of gosset recipes, a file, or pairs such as "
     "grid=trellis12,seed=1", &kind_string,
     offsetof(struct settings, recipe), 0, 0},
    {0, "calib", "FILE", "calibration text, or JSONL with a member text; may be repeated; "
     "without it, or as 'self', the model's own samples", &kind_files,
     offsetof(struct settings, calib), 0, 0},
    {0, "imatrix", "FILE", "an importance matrix (GGUF or legacy) as the diagonal of every "
     "Hessian; calibration text then only measures", &kind_string,
     offsetof(struct settings, imatrix), 0, 0},
    {0, "tokens", "N", "tokens of calibration; 0 = 32768 of a text, 4096 of own samples",
     &kind_u64, offsetof(struct settings, tokens), 0, 0},
    {0, "tune", "STAGE", "block, e2e or both: tune the scales and norms (of a native file "
     "also tables and factors) on the calibration text", &kind_string,
     offsetof(struct settings, tune), 0, 0},
    {0, "dry-run", NULL, "print the plan and stop", &kind_flag,
     offsetof(struct settings, dry_run), 0, 0},
    {0, "resume", NULL, "go on with the work that an interrupted run left in FILE.work",
     &kind_flag, offsetof(struct settings, resume), 0, 0},
    {0, "no-eval", NULL, "do not measure the result", &kind_flag,
     offsetof(struct settings, no_eval), 0, 0},
    {0, "allow-requantize", NULL, "accept a source that is quantized already", &kind_flag,
     offsetof(struct settings, allow_requantize), 0, 0},
    {0, "overwrite", NULL, "replace FILE if it is a GGUF file", &kind_flag,
     offsetof(struct settings, overwrite), 0, 0},
};
static const struct option_group group = {"Quantizing", options, COUNT(options)};

const struct command command_quantize = {
    .name = "quantize",
    .summary = "a smaller file that runs, at any bits per weight",
    .arguments = "MODEL",
    .details = "One block at a time: calibrate, transform, round, fit, write. Finished matrices\n"
               "are kept in FILE.work until FILE is whole, so an interrupted run can go on.\n"
               "In the end the result is measured against the source.\n",
    .examples = "  gosset quantize ./SmolLM2-135M -o smollm2-2.25.gguf --bpw 2.25 "
                "--calib text.txt\n"
                "  gosset quantize model.gguf -o small.gguf --bpw 3 --dry-run\n"
                "  gosset quantize model.gguf -o model-Q4_K_M.gguf --type Q4_K_M "
                "--calib text.txt\n",
    .n_arguments = 1,
    .groups = {&group, &group_compute, &group_output},
    .run = run,
};
