/* SPDX-License-Identifier: MIT
 * What gosset bench measures: one function a subject, listed in cmd_bench.c. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "options.h"

/* Each returns an exit code, after a message if not EXIT_OK. */
int bench_grids(const struct settings *settings);
int bench_codebooks(const struct settings *settings);
int bench_stream(const struct settings *settings);
int bench_kernels(const struct settings *settings);
int bench_model(const struct settings *settings);

#endif
