/* SPDX-License-Identifier: MIT
 * gosset pack, gosset unpack: a model file smaller for sending, and the same bytes again. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "terminal.h"

#define TAIL ".pack"

typedef int (*pack_fn)(const char *src, const char *dst, const struct gs_pack_options *options,
                       struct gs_pack_result *out, struct gs_err *err);

static int show(const struct settings *s, const char *path, const struct gs_pack_result *r,
                double seconds)
{
    char in[32], out[32];
    double ratio = r->bytes_in ? (double)r->bytes_out / (double)r->bytes_in : 1;

    if (s->json) {
        json_t *root = json_object();
        json_put(root, "file", json_text(path, strlen(path)));
        json_put(root, "bytes_in", json_count(r->bytes_in));
        json_put(root, "bytes", json_count(r->bytes_out));
        json_put(root, "ratio", json_number(ratio));
        json_put(root, "chunks", json_count(r->chunks));
        json_put(root, "seconds", json_number(seconds));
        return print_json(root);
    }
    format_bytes(r->bytes_in, in, sizeof in);
    format_bytes(r->bytes_out, out, sizeof out);
    print_clean(path);
    printf(": %s from %s, %.2f %%\n", out, in, 100 * ratio);
    return EXIT_OK;
}

static int work(const struct settings *s, pack_fn fn, const char *path)
{
    struct gs_pack_options options = {
        .overwrite = s->overwrite, .threads = s->threads, .progress = progress};
    struct gs_pack_result result;
    struct gs_err err = {0};
    double start = seconds_now();

    if (fn(s->argument[0], path, &options, &result, &err))
        return failure(&err);
    progress_clear();
    return show(s, path, &result, seconds_now() - start);
}

static int run_pack(const struct settings *s)
{
    size_t n = strlen(s->argument[0]);
    char *path = malloc(n + sizeof TAIL);

    if (!path)
        return failure_text("out of memory");
    memcpy(path, s->argument[0], n);
    memcpy(path + n, TAIL, sizeof TAIL);
    int code = work(s, gs_pack, s->output ? s->output : path);
    free(path);
    return code;
}

static int run_unpack(const struct settings *s)
{
    size_t n = strlen(s->argument[0]), tail = sizeof TAIL - 1;
    bool named = n > tail && !strcmp(s->argument[0] + n - tail, TAIL);
    char *path = malloc(n + 1);

    if (!path)
        return failure_text("out of memory");
    memcpy(path, s->argument[0], n + 1);
    if (named)
        path[n - tail] = 0;
    int code = !named && !s->output
                   ? usage_error("unpack", "where to? give --output FILE, or a pack that is "
                                           "named FILE" TAIL)
                   : work(s, gs_unpack, s->output ? s->output : path);
    free(path);
    return code;
}

static const struct option pack_options[] = {
    {'o', "output", "PACK", "the pack to write; without it FILE" TAIL, &kind_string,
     offsetof(struct settings, output), 0, 0},
    {0, "overwrite", NULL, "replace PACK if it is a pack", &kind_flag,
     offsetof(struct settings, overwrite), 0, 0},
};
static const struct option unpack_options[] = {
    {'o', "output", "FILE", "the file to write; without it the pack's name less " TAIL,
     &kind_string, offsetof(struct settings, output), 0, 0},
    {0, "overwrite", NULL, "replace FILE if it is a GGUF file", &kind_flag,
     offsetof(struct settings, overwrite), 0, 0},
};
static const struct option_group pack_group = {"Packing", pack_options, COUNT(pack_options)};
static const struct option_group unpack_group = {"Unpacking", unpack_options,
                                                 COUNT(unpack_options)};

const struct command command_pack = {
    .name = "pack",
    .summary = "a model file smaller for sending, without loss",
    .arguments = "FILE",
    .details = "Works for every file; what it knows are GGUF files, whose tensors are coded by\n"
               "their types. unpack gives the same bytes again.\n",
    .examples = "  gosset pack model-f16.gguf\n"
                "  gosset unpack model-f16.gguf.pack -o again.gguf\n",
    .n_arguments = 1,
    .groups = {&pack_group, &group_compute, &group_output},
    .run = run_pack,
};

const struct command command_unpack = {
    .name = "unpack",
    .summary = "the file that a pack was made of",
    .arguments = "PACK",
    .details = "Every chunk is checked; a damaged or shortened pack is refused, and nothing is\n"
               "left behind.\n",
    .examples = "  gosset unpack model-f16.gguf.pack\n",
    .n_arguments = 1,
    .groups = {&unpack_group, &group_compute, &group_output},
    .run = run_unpack,
};
