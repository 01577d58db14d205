/* SPDX-License-Identifier: MIT
 * A loop is announced by a new generation number. Helpers take pieces from a shared
 * counter; the caller waits until every helper has left the loop. Spinning is bounded:
 * on a busy machine a spinning waiter would steal the time of the worker it awaits. */
#include "core/team.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "core/alloc.h"
#include "core/cpu.h"

#define SPINS 2000
#define THREADS_MAX 1024

struct worker {
    struct gs_team *team;
    pthread_t thread;
    int index;
};

struct gs_team {
    int size, started;
    struct worker *workers; /* [0] is the caller and has no thread */
    gs_team_fn fn;
    void *ctx;
    size_t n, grain;
    atomic_size_t next GS_ALIGNED(64);
    atomic_uint generation GS_ALIGNED(64);
    atomic_int busy GS_ALIGNED(64);
    atomic_bool quit;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
};

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void work(struct gs_team *team, int worker)
{
    for (;;) {
        size_t begin = atomic_fetch_add(&team->next, team->grain);
        if (begin >= team->n)
            return;
        team->fn(team->ctx, begin, GS_MIN(begin + team->grain, team->n), worker);
    }
}

/* Returns the generation that differs from `seen`. */
static unsigned await_generation(struct gs_team *team, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        unsigned now = atomic_load(&team->generation);
        if (now != seen)
            return now;
        pause_briefly();
    }
    pthread_mutex_lock(&team->lock);
    while (atomic_load(&team->generation) == seen)
        pthread_cond_wait(&team->wake, &team->lock);
    pthread_mutex_unlock(&team->lock);
    return atomic_load(&team->generation);
}

static void *helper(void *arg)
{
    struct worker *self = arg;
    struct gs_team *team = self->team;
    unsigned seen = 0;

    for (;;) {
        seen = await_generation(team, seen);
        if (atomic_load(&team->quit))
            return NULL;
        work(team, self->index);
        if (atomic_fetch_sub(&team->busy, 1) == 1) {
            pthread_mutex_lock(&team->lock);
            pthread_cond_signal(&team->done);
            pthread_mutex_unlock(&team->lock);
        }
    }
}

static void announce(struct gs_team *team)
{
    pthread_mutex_lock(&team->lock);
    atomic_fetch_add(&team->generation, 1);
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->lock);
}

static void await_helpers(struct gs_team *team)
{
    for (int i = 0; i < SPINS; i++) {
        if (!atomic_load(&team->busy))
            return;
        pause_briefly();
    }
    pthread_mutex_lock(&team->lock);
    while (atomic_load(&team->busy))
        pthread_cond_wait(&team->done, &team->lock);
    pthread_mutex_unlock(&team->lock);
}

int gs_team_create(int threads, struct gs_team **out, struct gs_err *err)
{
    *out = NULL;
    if (threads == 0)
        threads = GS_MIN(gs_cpu_count(), THREADS_MAX);
    if (threads < 1 || threads > THREADS_MAX)
        return gs_fail(err, GS_E_ARG, "threads must be 1 to %d, is %d", THREADS_MAX, threads);

    struct gs_team *team = gs_alloc(1, sizeof *team);
    struct worker *workers = gs_alloc((size_t)threads, sizeof *workers);
    if (!team || !workers) {
        gs_free(&team);
        gs_free(&workers);
        return gs_fail_nomem(err, "threads");
    }
    team->size = threads;
    team->workers = workers;
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->wake, NULL);
    pthread_cond_init(&team->done, NULL);
    for (int i = 1; i < threads; i++) {
        workers[i] = (struct worker){.team = team, .index = i};
        if (pthread_create(&workers[i].thread, NULL, helper, &workers[i])) {
            gs_team_destroy(&team);
            return gs_fail(err, GS_E_NOMEM, "cannot start thread %d of %d", i + 1, threads);
        }
        team->started = i;
    }
    *out = team;
    return GS_OK;
}

void gs_team_destroy(struct gs_team **teamp)
{
    struct gs_team *team = *teamp;

    if (!team)
        return;
    atomic_store(&team->quit, true);
    announce(team);
    for (int i = 1; i <= team->started; i++)
        pthread_join(team->workers[i].thread, NULL);
    pthread_cond_destroy(&team->done);
    pthread_cond_destroy(&team->wake);
    pthread_mutex_destroy(&team->lock);
    gs_free(&team->workers);
    gs_free(teamp);
}

int gs_team_size(const struct gs_team *team)
{
    return team ? team->size : 1;
}

void gs_team_run(struct gs_team *team, size_t n, size_t grain, gs_team_fn fn, void *ctx)
{
    assert(grain > 0);
    if (!team || team->size == 1 || n <= grain) {
        for (size_t begin = 0; begin < n; begin += grain)
            fn(ctx, begin, GS_MIN(begin + grain, n), 0);
        return;
    }
    team->fn = fn;
    team->ctx = ctx;
    team->n = n;
    team->grain = grain;
    atomic_store(&team->next, 0);
    atomic_store(&team->busy, team->size - 1);
    announce(team);
    work(team, 0);
    await_helpers(team);
}
