/* SPDX-License-Identifier: MIT
 * Learning rates over the steps: a linear rise over `warmup` steps, then by kind.
 *
 *   constant  lr
 *   linear    from lr to least
 *   cosine    from lr to least, half a period (arXiv:1608.03983) */
#ifndef GS_TRAIN_SCHEDULE_H
#define GS_TRAIN_SCHEDULE_H

#include "core/attr.h"

struct gs_schedule_kind {
    const char *name;
    /* Share of (lr − least) at `done` in [0, 1] of the way behind the warm-up. */
    double (*share)(double done);
};

struct gs_schedule {
    const struct gs_schedule_kind *kind;
    double lr, least;
    uint64_t warmup, steps;
};

const struct gs_schedule_kind *gs_schedule_kind_at(size_t index);
const struct gs_schedule_kind *gs_schedule_kind_find(const char *name);

/* For step number `step`, from 1. */
double gs_schedule_lr(const struct gs_schedule *s, uint64_t step);

#endif
