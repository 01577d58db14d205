/* SPDX-License-Identifier: MIT
 * A persistent team of threads that runs one loop at a time.
 *
 * The caller is worker 0; helpers spin briefly for the next loop, then sleep. Work is
 * split over outputs, never over a sum, so results do not depend on the team's size.
 * One thread at a time may use a team. */
#ifndef GS_CORE_TEAM_H
#define GS_CORE_TEAM_H

#include "core/err.h"

struct gs_team;

/* Handles [begin, end) of the loop; worker < gs_team_size. */
typedef void (*gs_team_fn)(void *ctx, size_t begin, size_t end, int worker);

/* threads: workers including the caller, 1 to 1024; 0 = one a usable processor. */
int gs_team_create(int threads, struct gs_team **out, struct gs_err *err) GS_MUST_USE;
void gs_team_destroy(struct gs_team **team);

/* 1 for NULL. */
int gs_team_size(const struct gs_team *team);

/* Calls fn on pieces of [0, n) of at most `grain` items (grain > 0) and returns when
 * all are done. Pieces start at multiples of grain. team NULL: all in this thread. */
void gs_team_run(struct gs_team *team, size_t n, size_t grain, gs_team_fn fn, void *ctx);

#endif
