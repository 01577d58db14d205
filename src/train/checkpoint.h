/* SPDX-License-Identifier: MIT
 * All that a run needs to go on as if it had never stopped, in one file beside the target.
 *
 *   "GSTRAIN1"  u64 fingerprints[3]: model, text, options
 *   u64 step, tokens, log bytes; f64 seconds
 *   u64 n, n bytes of weights (f32)    u64 n, n bytes of optimizer state
 *   u64 fingerprint of all before
 *
 * The file is replaced as a whole, so an interrupted write leaves the one before. */
#ifndef GS_TRAIN_CHECKPOINT_H
#define GS_TRAIN_CHECKPOINT_H

#include "core/err.h"

struct gs_checkpoint {
    /* What the run was made of: each must be that of the run that goes on. */
    uint64_t model, text, options;
    uint64_t step, tokens, log_bytes;
    double seconds;
    /* Borrowed: written from here, read to here. */
    void *weights, *state;
    uint64_t weight_bytes, state_bytes;
};

int gs_checkpoint_write(const char *path, const struct gs_checkpoint *c, struct gs_err *err)
    GS_MUST_USE;

/* Fills the numbers, weights and state of a checkpoint whose fingerprints and sizes are set;
 * a file of another run is GS_E_ARG and the message says what differs. On an error nothing
 * has changed. */
int gs_checkpoint_read(const char *path, struct gs_checkpoint *c, struct gs_err *err)
    GS_MUST_USE;

#endif
