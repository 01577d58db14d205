/* SPDX-License-Identifier: MIT */
#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>

static gs_log_fn log_fn;
static void *log_ctx;

void gs_set_log(gs_log_fn fn, void *ctx)
{
    log_fn = fn;
    log_ctx = ctx;
}

void gs_log(enum gs_log_level level, const char *fmt, ...)
{
    char line[512];

    if (!log_fn)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    log_fn(log_ctx, level, line);
}
