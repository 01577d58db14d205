/* SPDX-License-Identifier: MIT
 * A persistent team of threads that runs one loop at a time.
 *
 * The caller is worker 0; helpers spin briefly for the next loop, then sleep. Work is
 * split over outputs, never over a sum, so results depend neither on the team's size nor on
 * how many of its helpers come in time. One thread at a time may use a team.
 *
 * Several teams of a process share its processors: a helper joins a loop only while fewer
 * workers are busy, in all teams, than there are processors (or workers in its own team, if
 * somebody asked for more). So sessions side by side slow each other down no more than they
 * must, and a loop always makes progress, if need be in the caller alone.
 *
 * Helpers keep to one processor of each core that the process may use, if there are cores
 * enough for the team: two threads on one core would share its vector units. The environment
 * variable GOSSET_PIN=0 leaves them where the system puts them, GOSSET_PIN=1 ties each to a
 * core of its own (for machines that nothing else runs on). The caller's thread is its own. */
#ifndef GS_CORE_TEAM_H
#define GS_CORE_TEAM_H

#include "core/err.h"

struct gs_team;

/* Handles [begin, end) of the loop; worker < gs_team_size. */
typedef void (*gs_team_fn)(void *ctx, size_t begin, size_t end, int worker);

/* threads: workers including the caller, 1 to 1024; 0 = one a core of the usable processors. */
int gs_team_create(int threads, struct gs_team **out, struct gs_err *err) GS_MUST_USE;
void gs_team_destroy(struct gs_team **team);

/* 1 for NULL. */
int gs_team_size(const struct gs_team *team);

/* Calls fn on pieces of [0, n) of at most `grain` items (grain > 0) and returns when
 * all are done. Pieces start at multiples of grain. team NULL: all in this thread. */
void gs_team_run(struct gs_team *team, size_t n, size_t grain, gs_team_fn fn, void *ctx);

#endif
