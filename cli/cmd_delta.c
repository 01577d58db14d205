/* SPDX-License-Identifier: MIT
 * gosset delta: a fine-tuned model as a small file over its base, and back. */
#include <inttypes.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "terminal.h"

static int apply(const struct settings *s)
{
    struct gs_convert_options options = {
        .type = s->type, .overwrite = s->overwrite, .threads = s->threads, .progress = progress};
    struct gs_convert_result result;
    struct gs_err err = {0};
    char size[32];

    if (gs_delta_apply(s->argument[0], s->argument[1], s->output, &options, &result, &err))
        return failure(&err);
    progress_clear();
    if (s->json) {
        json_t *root = json_object();
        json_put(root, "file", json_text(s->output, strlen(s->output)));
        json_put(root, "tensors", json_count(result.tensors));
        json_put(root, "bytes", json_count(result.bytes));
        return print_json(root);
    }
    format_bytes(result.bytes, size, sizeof size);
    print_clean(s->output);
    printf(": %" PRIu64 " tensors, %s\n", result.tensors, size);
    return EXIT_OK;
}

static int take(const struct settings *s)
{
    struct gs_delta_options options = {
        .planes = s->planes, .per_row = s->per_row, .rank = s->rank, .factors = s->factors,
        .all = s->all, .overwrite = s->overwrite, .threads = s->threads, .progress = progress};
    struct gs_delta_result result;
    struct gs_err err = {0};
    char size[32];

    if (gs_delta(s->argument[0], s->argument[1], s->output, &options, &result, &err))
        return failure(&err);
    progress_clear();
    if (s->json) {
        json_t *root = json_object();
        json_put(root, "file", json_text(s->output, strlen(s->output)));
        json_put(root, "bytes", json_count(result.bytes));
        json_put(root, "matrices", json_count(result.matrices));
        json_put(root, "whole", json_count(result.whole));
        json_put(root, "weights", json_count(result.weights));
        json_put(root, "bpw", json_number(result.bpw));
        json_put(root, "error", json_number(result.error));
        return print_json(root);
    }
    format_bytes(result.bytes, size, sizeof size);
    print_clean(s->output);
    printf(": %s; %" PRIu64 " matrices at %.3f bits a weight, %.1f %% of the squared difference "
           "left; %" PRIu64 " tensors whole\n", size, result.matrices, result.bpw,
           100 * result.error, result.whole);
    return EXIT_OK;
}

static int run(const struct settings *s)
{
    if (!s->output)
        return usage_error("delta", "where to? give --output FILE");
    if (s->apply && (s->planes || s->rank || s->per_row || s->all || s->factors))
        return usage_error("delta", "--planes, --rank, --factors, --per-row and --all belong to "
                                    "taking a delta, not to --apply");
    if (!s->apply && s->type)
        return usage_error("delta", "--type belongs to --apply");
    if (s->factors && !s->rank)
        return usage_error("delta", "--factors needs --rank");
    return s->apply ? apply(s) : take(s);
}

static const struct option options[] = {
    {'o', "output", "FILE", "the GGUF file to write", &kind_string,
     offsetof(struct settings, output), 0, 0},
    {0, "planes", "N", "planes of signs, one bit a weight each; 0 = one, or none with --rank",
     &kind_u32, offsetof(struct settings, planes), 0, 8},
    {0, "per-row", NULL, "a scale for each row, not one a matrix", &kind_flag,
     offsetof(struct settings, per_row), 0, 0},
    {0, "rank", "N", "low-rank factors for what the signs leave; 0 = none", &kind_u32,
     offsetof(struct settings, rank), 0, 65536},
    {0, "factors", "TYPE", "their numbers: f16, int8 or sign (one bit); without it f16",
     &kind_string, offsetof(struct settings, factors), 0, 0},
    {0, "all", NULL, "approximate embeddings and head too, instead of storing them", &kind_flag,
     offsetof(struct settings, all), 0, 0},
    {0, "apply", NULL, "write BASE with the delta SECOND applied", &kind_flag,
     offsetof(struct settings, apply), 0, 0},
    {0, "type", "TYPE", "with --apply: type of the matrices, as for convert", &kind_string,
     offsetof(struct settings, type), 0, 0},
    {0, "overwrite", NULL, "replace FILE if it is a GGUF file", &kind_flag,
     offsetof(struct settings, overwrite), 0, 0},
};
static const struct option_group group = {"Deltas", options, COUNT(options)};

const struct command command_delta = {
    .name = "delta",
    .summary = "a fine-tuned model as one bit a weight over its base, and back",
    .arguments = "BASE SECOND",
    .details = "SECOND is the fine-tuned model, or with --apply the delta. Both models have the\n"
               "same tensors in the same shapes. Matrices of the blocks are approximated, all\n"
               "else that differs is stored whole. run, chat and eval take --delta FILE.\n",
    .examples = "  gosset delta base.gguf tuned.gguf -o tuned.delta.gguf\n"
                "  gosset delta --apply base.gguf tuned.delta.gguf -o again.gguf\n"
                "  gosset run base.gguf --delta tuned.delta.gguf -p 'Hello'\n",
    .n_arguments = 2,
    .groups = {&group, &group_compute, &group_output},
    .run = run,
};
