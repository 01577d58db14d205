/* SPDX-License-Identifier: MIT
 * Talking to whoever started us: results on stdout, everything else on stderr. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <gosset.h>

#include "options.h"

/* Signals, the library's log, and what --quiet and --cpu ask for. EXIT_OK or EXIT_USAGE. */
int terminal_start(const struct settings *settings);

/* Flushes stdout. A result that could not be written is a failure whatever `code` says. */
int terminal_finish(int code);

/* False once a write to stdout has failed: no use going on. */
bool flush_output(void);

/* True after SIGINT or SIGTERM; a second one ends the process at once. */
bool interrupted(void);
/* Forgets a SIGINT that was dealt with; false if there was none or it was a SIGTERM. */
bool interrupt_taken(void);

/* "gosset: MESSAGE" on stderr; returns the exit code for it. */
int failure(const struct gs_err *err);
int failure_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A line on stderr, unless --quiet. */
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A gs_progress_fn: a line with rate and time left, redrawn on a terminal, every half minute
 * elsewhere. Stops the call after an interrupt. progress_clear erases it. */
int progress(void *ctx, const char *what, uint64_t done, uint64_t total);
void progress_clear(void);

double seconds_now(void);

#endif
