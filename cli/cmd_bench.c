/* SPDX-License-Identifier: MIT
 * gosset bench: measures parts of gosset by themselves. */
#include <string.h>

#include "bench.h"
#include "commands.h"

static const struct {
    const char *name;
    int n_arguments, n_optional;
    int (*run)(const struct settings *s);
} subjects[] = {
    {"grid", 1, 0, bench_grids},
    {"codebook", 1, 1, bench_codebooks},
    {"stream", 1, 0, bench_stream},
    {"kernels", 1, 0, bench_kernels},
    {"model", 2, 0, bench_model},
};

static int run(const struct settings *s)
{
    for (size_t i = 0; i < COUNT(subjects); i++) {
        if (strcmp(s->argument[0], subjects[i].name))
            continue;
        if (s->n_arguments < subjects[i].n_arguments)
            return usage_error("bench", "missing argument: MODEL");
        if (s->n_arguments > subjects[i].n_arguments + subjects[i].n_optional)
            return usage_error("bench", "unexpected argument '%s'", s->argument[1]);
        return subjects[i].run(s);
    }
    return usage_error("bench", "what to measure: grid, codebook, stream, kernels or model, not "
                       "'%s'", s->argument[0]);
}

static const struct option grid_options[] = {
    {0, "window", "L", "only the trellis of this window: 8, 12 or 16 bits; 0 = all", &kind_u32,
     offsetof(struct settings, window), 0, 64},
    {0, "bpw", "B", "only this rate, in bits a weight; 0 = 1, 2, 3 and 4", &kind_float,
     offsetof(struct settings, bpw), 0, 16},
    {0, "limit", "N", "weights a measurement, in multiples of 65536; 0 = 2^20 (codebooks 2^18)",
     &kind_u64, offsetof(struct settings, limit), 0, 0},
    {0, "seed", "N", "seed of the weights", &kind_u64, offsetof(struct settings, sampling.seed),
     0, 0},
    {0, "all", NULL, "every rate from 1 to 5 in steps of 1/8 (also for kernels)", &kind_flag,
     offsetof(struct settings, all_rates), 0, 0},
};
static const struct option_group group_grid = {"grid", grid_options, COUNT(grid_options)};

static const struct option kernel_options[] = {
    {0, "format", "NAME", "only this format, such as trellis8", &kind_string,
     offsetof(struct settings, format), 0, 0},
};
static const struct option_group group_kernels = {"kernels", kernel_options,
                                                  COUNT(kernel_options)};

static const struct option model_options[] = {
    {0, "prompt-tokens", "N,...", "lengths of prompts; 256 if none is given", &kind_string,
     offsetof(struct settings, prompt_sizes), 0, 0},
    {0, "predict-tokens", "N", "tokens generated one by one; 0 = 64", &kind_u32,
     offsetof(struct settings, predict_tokens), 0, 1 << 20},
    {0, "repeat", "N", "runs, of which the medians are told; 0 = 5", &kind_u32,
     offsetof(struct settings, repeat), 0, 1000},
    LOAD_OPTIONS,
    {0, "exact", NULL, "multiply in f32 instead of integers", &kind_flag,
     offsetof(struct settings, exact), 0, 0},
    {0, "cold", NULL, "also the first token after the file's pages were dropped", &kind_flag,
     offsetof(struct settings, cold), 0, 0},
};
static const struct option_group group_model = {"model", model_options, COUNT(model_options)};

const struct command command_bench = {
    .name = "bench",
    .summary = "errors and speeds of single parts",
    .arguments = "grid|codebook|stream|kernels|model [CODEBOOK|MODEL]",
    .details = "grid: mean squared error of rounding weights drawn from a unit Gaussian, beside\n"
               "the bound 4^-bpw below which no code can go, and the speed of the search in\n"
               "weights a second of one processor. codebook: the same error of a codebook, or of\n"
               "every kind, with one scale, one for 128 and one for 32 weights. stream: bytes a\n"
               "second read from memory.\n"
               "kernels: 10^9 weights a second that one thread multiplies from its cache, and\n"
               "10^9 bytes a second that all threads use up from memory, for each format.\n"
               "model: tokens a second of prompts and of generation, and the share of the\n"
               "memory's speed that reading the weights once a token is.\n",
    .examples = "  gosset bench grid\n"
                "  gosset bench grid --window 8 --bpw 2.125 --json\n"
                "  gosset bench codebook float:bits=4,exponent=2\n"
                "  gosset bench kernels --format trellis8\n"
                "  gosset bench model model.gguf --threads 2\n",
    .n_arguments = 1,
    .n_optional = 1,
    .groups = {&group_grid, &group_kernels, &group_model, &group_compute, &group_output},
    .run = run,
};
