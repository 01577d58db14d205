/* SPDX-License-Identifier: MIT */
#include "train/train_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"

struct gs_train_log {
    int fd;
    uint64_t bytes;
    char *path;
};

static int fail_io(const struct gs_train_log *log, const char *what, struct gs_err *err)
{
    return gs_fail(err, GS_E_IO, "%s: cannot %s: %s", log->path, what, strerror(errno));
}

int gs_train_log_open(const char *path, uint64_t keep, struct gs_train_log **out,
                      struct gs_err *err)
{
    struct gs_train_log *log = gs_alloc(1, sizeof *log);
    struct stat st;
    int rc = GS_OK;

    *out = NULL;
    if (!log)
        return gs_fail_nomem(err, "the log");
    log->fd = -1;
    log->path = gs_strndup(path, strlen(path));
    if (!log->path)
        rc = gs_fail_nomem(err, "the log");
    else if ((log->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666)) < 0)
        rc = fail_io(log, "open", err);
    else if (fstat(log->fd, &st))
        rc = fail_io(log, "look at", err);
    else if (S_ISREG(st.st_mode)) {
        log->bytes = GS_MIN(keep, (uint64_t)st.st_size);
        if (ftruncate(log->fd, (off_t)log->bytes) || lseek(log->fd, 0, SEEK_END) < 0)
            rc = fail_io(log, "cut", err);
    }
    if (rc)
        gs_train_log_close(&log);
    *out = log;
    return rc;
}

void gs_train_log_close(struct gs_train_log **logp)
{
    if (!*logp)
        return;
    if ((*logp)->fd >= 0)
        close((*logp)->fd);
    gs_free(&(*logp)->path);
    gs_free(logp);
}

uint64_t gs_train_log_bytes(const struct gs_train_log *log)
{
    return log->bytes;
}

static int put(struct gs_train_log *log, const char *line, int n, struct gs_err *err)
{
    for (int at = 0; at < n;) {
        ssize_t done = write(log->fd, line + at, (size_t)(n - at));
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return fail_io(log, "write", err);
        at += (int)done;
    }
    log->bytes += (uint64_t)n;
    return GS_OK;
}

int gs_train_log_step(struct gs_train_log *log, const struct gs_train_step *s,
                      struct gs_err *err)
{
    char line[320];
    int n = snprintf(line, sizeof line,
                     "{\"step\": %" PRIu64 ", \"tokens\": %" PRIu64 ", \"loss\": %.9g, "
                     "\"lr\": %.9g, \"grad_norm\": %.9g, \"seconds\": %.3f, "
                     "\"tokens_per_second\": %.1f, \"gflops\": %.2f}\n",
                     s->step, s->tokens, s->loss, s->lr, s->norm, s->seconds,
                     s->tokens_per_second, s->gflops);

    return put(log, line, n, err);
}

int gs_train_log_valid(struct gs_train_log *log, uint64_t step, double loss, struct gs_err *err)
{
    char line[96], value[32] = "null";

    if (isfinite(loss))
        snprintf(value, sizeof value, "%.9g", loss);
    int n = snprintf(line, sizeof line, "{\"step\": %" PRIu64 ", \"valid_loss\": %s}\n", step,
                     value);
    return put(log, line, n, err);
}
