/* SPDX-License-Identifier: MIT */
#include "terminal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1
#define LINE_SECONDS 30.0

static volatile sig_atomic_t caught; /* the signal's number */
static bool quiet;
static int write_errno; /* why stdout failed first, if known */

/* The progress line. A long call has one `what` at a time; a new one starts the clock. */
static struct {
    char what[32];
    double start, last;
    uint64_t first; /* done at start: a rate counts from there */
    bool drawn;
} line;

double seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void on_signal(int number)
{
    caught = number;
}

bool interrupted(void)
{
    return caught != 0;
}

bool interrupt_taken(void)
{
    if (caught != SIGINT)
        return false;
    caught = 0;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    return true;
}

void progress_clear(void)
{
    if (line.drawn)
        fputs("\r\033[K", stderr);
    line.drawn = false;
}

static void log_line(void *ctx, enum gs_log_level level, const char *text)
{
    (void)ctx;
    if (level == GS_LOG_WARN) {
        progress_clear();
        fprintf(stderr, "gosset: warning: %s\n", text);
    } else {
        note("%s", text);
    }
}

int terminal_start(const struct settings *settings)
{
    struct gs_err err = {0};
    /* No SA_RESTART: waiting for a line of input ends too. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;

    quiet = settings->quiet;
    /* A job in the background of a script is started with SIGINT ignored, for a reason. */
    if (!sigaction(SIGINT, NULL, &before) && before.sa_handler != SIG_IGN)
        sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGPIPE, &ignore, NULL); /* a closed stdout shows as a write error */
    gs_set_log(log_line, NULL);
    if (settings->cpu && gs_cpu_select(settings->cpu, &err))
        return usage_error(NULL, "option --cpu: %s", err.msg);
    return EXIT_OK;
}

int terminal_finish(int code)
{
    progress_clear();
    if (flush_output())
        return code;
    return failure_text("cannot write to standard output%s%s", write_errno ? ": " : "",
                        write_errno ? strerror(write_errno) : "");
}

bool flush_output(void)
{
    errno = 0;
    if (fflush(stdout) && !write_errno)
        write_errno = errno;
    return !ferror(stdout);
}

int failure(const struct gs_err *err)
{
    if (err->code == GS_E_STOPPED && interrupted()) {
        progress_clear();
        fputs("gosset: interrupted\n", stderr);
        return EXIT_INTERRUPTED;
    }
    return failure_text("%s", err->msg);
}

int failure_text(const char *fmt, ...)
{
    va_list args;

    progress_clear();
    fputs("gosset: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return EXIT_FAILED;
}

void note(const char *fmt, ...)
{
    va_list args;

    if (quiet)
        return;
    progress_clear();
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

static void format_time(double seconds, char *out, size_t size)
{
    uint64_t s = seconds < 1e9 ? (uint64_t)(seconds + 0.5) : 0;

    if (s >= 3600)
        snprintf(out, size, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, size, "%" PRIu64 ":%02" PRIu64, s / 60, s % 60);
}

/* "chunks 12/100, 3.41/s, 0:25 left"; bytes are told in MiB. */
static void format_progress(uint64_t done, uint64_t total, double elapsed, char *out,
                            size_t size)
{
    bool bytes = !strcmp(line.what, "bytes");
    double unit = bytes ? 1024.0 * 1024.0 : 1;
    double rate = elapsed > 0 ? (double)(done - line.first) / elapsed : 0;
    char left[32] = "?";

    if (rate > 0)
        format_time((double)(total - done) / rate, left, sizeof left);
    if (bytes)
        snprintf(out, size, "%.1f/%.1f MiB, %.1f MiB/s, %s left", (double)done / unit,
                 (double)total / unit, rate / unit, left);
    else
        snprintf(out, size, "%s %" PRIu64 "/%" PRIu64 ", %.3g/s, %s left", line.what, done,
                 total, rate, left);
}

int progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    bool terminal = isatty(STDERR_FILENO);
    double now = seconds_now();
    char text[128];

    (void)ctx;
    if (interrupted() || quiet || done > total)
        return interrupted();
    if (strncmp(line.what, what, sizeof line.what - 1) || done < line.first) {
        snprintf(line.what, sizeof line.what, "%s", what);
        line.start = line.last = now;
        line.first = done;
    }
    if (now - line.last < (terminal ? REDRAW_SECONDS : LINE_SECONDS))
        return 0;
    line.last = now;
    format_progress(done, total, now - line.start, text, sizeof text);
    fprintf(stderr, terminal ? "\r\033[K%s" : "%s\n", text);
    line.drawn = terminal;
    return 0;
}
