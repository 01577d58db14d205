/* SPDX-License-Identifier: MIT
 * gosset convert: any model as one GGUF file. */
#include <inttypes.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "terminal.h"

static int run(const struct settings *s)
{
    const struct gs_session_options session = {.ctx = s->ctx};
    const struct gs_load_options load = {.bits = s->bits, .memory = s->memory,
                                         .session = &session};
    struct gs_convert_options options = {
        .type = s->type, .fold = s->fold && strcmp(s->fold, "none") ? s->fold : NULL,
        .load = &load, .overwrite = s->overwrite, .threads = s->threads, .progress = progress};
    struct gs_convert_result result;
    struct gs_err err = {0};
    char size[32];
    double start = seconds_now();

    if (!s->output)
        return usage_error("convert", "where to? give --output FILE");
    if (gs_convert(s->argument[0], s->output, &options, &result, &err))
        return failure(&err);
    progress_clear();
    if (s->json) {
        json_t *root = json_object();
        json_put(root, "file", json_text(s->output, strlen(s->output)));
        json_put(root, "tensors", json_count(result.tensors));
        json_put(root, "bytes", json_count(result.bytes));
        json_put(root, "seconds", json_number(seconds_now() - start));
        return print_json(root);
    }
    format_bytes(result.bytes, size, sizeof size);
    print_clean(s->output);
    printf(": %" PRIu64 " tensors, %s\n", result.tensors, size);
    return EXIT_OK;
}

static const struct option options[] = {
    {'o', "output", "FILE", "the GGUF file to write", &kind_string,
     offsetof(struct settings, output), 0, 0},
    {0, "type", "TYPE", "type of the matrices: f32, f16, bf16 or q8_0; without it as stored",
     &kind_string, offsetof(struct settings, type), 0, 0},
    {0, "fold", "LIST", "rotations folded into the weights, names with commas of rotate-residual, "
     "untie, rotate-values; the model stays the same function", &kind_string,
     offsetof(struct settings, fold), 0, 0},
    {0, "bits", "N", "of a file that serves several precisions: keep only what run --bits N loads",
     &kind_u32, offsetof(struct settings, bits), 0, 64},
    {0, "memory", "SIZE", "of a file in pieces: keep only what run --memory SIZE loads on as many "
     "threads", &kind_bytes, offsetof(struct settings, memory), 0, 0},
    {'c', "ctx", "N", "with --memory: positions of the run's context; 0 = as many as the model was "
     "trained with, at most 4096", &kind_u32, offsetof(struct settings, ctx), 0, 1 << 30},
    {0, "overwrite", NULL, "replace FILE if it is a GGUF file", &kind_flag,
     offsetof(struct settings, overwrite), 0, 0},
};
static const struct option_group group = {"Converting", options, COUNT(options)};

const struct command command_convert = {
    .name = "convert",
    .summary = "any model as one GGUF file",
    .arguments = "MODEL",
    .details = "Vectors and norms become f32. The file appears under its name when it is whole;\n"
               "an interrupted run leaves nothing behind.\n",
    .examples = "  gosset convert ./SmolLM2-135M -o smollm2-bf16.gguf\n"
                "  gosset convert big-00001-of-00004.gguf -o big-q8.gguf --type q8_0\n"
                "  gosset convert matryoshka.gguf -o three-bits.gguf --bits 3\n",
    .n_arguments = 1,
    .groups = {&group, &group_compute, &group_output},
    .run = run,
};
