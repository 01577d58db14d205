/* SPDX-License-Identifier: MIT
 * The log of a run: one JSON object a line, appended as the run goes. */
#ifndef GS_TRAIN_TRAIN_LOG_H
#define GS_TRAIN_TRAIN_LOG_H

#include "core/err.h"

struct gs_train_log;

/* Opens or makes the file and cuts it to `keep` bytes: what a checkpoint had written. */
int gs_train_log_open(const char *path, uint64_t keep, struct gs_train_log **out,
                      struct gs_err *err) GS_MUST_USE;
void gs_train_log_close(struct gs_train_log **log);

struct gs_train_step {
    uint64_t step, tokens;
    double loss, lr, norm, seconds, tokens_per_second, gflops;
};

int gs_train_log_step(struct gs_train_log *log, const struct gs_train_step *s,
                      struct gs_err *err) GS_MUST_USE;
int gs_train_log_valid(struct gs_train_log *log, uint64_t step, double loss,
                       struct gs_err *err) GS_MUST_USE;

/* Bytes so far, all of them on their way to the disk. */
uint64_t gs_train_log_bytes(const struct gs_train_log *log);

#endif
