/* SPDX-License-Identifier: MIT
 * gosset imatrix: how much each input channel of each matrix matters, as a file. */
#include <inttypes.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "terminal.h"

static int run(const struct settings *s)
{
    bool self = s->calib.count == 1 && !strcmp(s->calib.path[0], "self");
    const struct gs_imatrix_options options = {
        .calib = s->calib.path, .n_calib = self ? 0 : s->calib.count, .tokens = s->tokens,
        .ctx = s->ctx, .overwrite = s->overwrite, .threads = s->threads, .progress = progress};
    struct gs_imatrix_result result;
    struct gs_err err = {0};
    char size[32];

    if (!s->output)
        return usage_error("imatrix", "where to? give --output FILE");
    if (gs_imatrix(s->argument[0], s->output, &options, &result, &err))
        return failure(&err);
    progress_clear();
    if (s->json) {
        json_t *root = json_object();
        json_put(root, "file", json_text(s->output, strlen(s->output)));
        json_put(root, "entries", json_count(result.entries));
        json_put(root, "tokens", json_count(result.tokens));
        json_put(root, "bytes", json_count(result.bytes));
        return print_json(root);
    }
    format_bytes(result.bytes, size, sizeof size);
    print_clean(s->output);
    printf(": %" PRIu64 " matrices, %" PRIu64 " tokens, %s\n", result.entries, result.tokens,
           size);
    return EXIT_OK;
}

static const struct option options[] = {
    {'o', "output", "FILE", "the GGUF file to write", &kind_string,
     offsetof(struct settings, output), 0, 0},
    {0, "calib", "FILE", "calibration text, or JSONL with a member text; may be repeated; "
     "without it, or as 'self', the model's own samples", &kind_files,
     offsetof(struct settings, calib), 0, 0},
    {0, "tokens", "N", "tokens of calibration; 0 = 32768 of a text, 4096 of own samples",
     &kind_u64, offsetof(struct settings, tokens), 0, 0},
    {'c', "ctx", "N", "tokens of a sequence; 0 = 512", &kind_u32, offsetof(struct settings, ctx),
     0, 1 << 20},
    {0, "overwrite", NULL, "replace FILE if it is a GGUF file", &kind_flag,
     offsetof(struct settings, overwrite), 0, 0},
};
static const struct option_group group = {"Importance matrix", options, COUNT(options)};

const struct command command_imatrix = {
    .name = "imatrix",
    .summary = "sums of squares of all matrices' inputs, for quantizers",
    .arguments = "MODEL",
    .details = "The file has the layout of llama.cpp's GGUF imatrix; quantize --imatrix and\n"
               "llama-quantize --imatrix take it.\n",
    .examples = "  gosset imatrix model.gguf -o model.imatrix.gguf --calib text.txt\n",
    .n_arguments = 1,
    .groups = {&group, &group_compute, &group_output},
    .run = run,
};
