/* SPDX-License-Identifier: MIT
 * A loop is announced in one word:
 *
 *     generation (32 bits) │ open (1) │ helpers inside (31)
 *
 * A helper that sees a new generation joins by adding 1, if the loop is still open; all who
 * are inside take pieces from a shared counter. The caller closes the loop when the counter
 * has run out and waits until nobody is inside: for a helper that was not woken in time, or
 * that the system has put aside, nobody waits.
 *
 * Waiting is spinning at first, for a tenth of a millisecond (about what a serial part of a
 * layer takes), then sleeping: on a busy machine a spinning waiter would steal the time of
 * the worker it awaits. Nobody calls into the system to wake someone who is not asleep. */
#include "core/team.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/cpu.h"

#define SPIN_SECONDS 1e-4
#define SPIN_ROUND 32 /* pauses between two looks at the clock */
#define THREADS_MAX 1024

#define OPEN ((uint64_t)1 << 31)
#define INSIDE (OPEN - 1)
#define GENERATION ((uint64_t)1 << 32)

struct worker {
    struct gs_team *team;
    pthread_t thread;
    int index;
};

struct gs_team {
    int size, started;
    struct worker *workers; /* [0] is the caller and has no thread */
    int *cpu;               /* (n_cpu) one processor of each core */
    size_t n_cpu;
    bool own_core;          /* each helper to one of them */
    gs_team_fn fn;
    void *ctx;
    size_t n, grain;
    atomic_size_t next GS_ALIGNED(64);
    atomic_uint_fast64_t state GS_ALIGNED(64);
    atomic_int asleep GS_ALIGNED(64); /* helpers */
    atomic_bool awaited;              /* the caller sleeps until nobody is inside */
    atomic_bool quit;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
};

/* Workers inside loops, of all teams of the process. */
static atomic_int busy GS_ALIGNED(64);
static atomic_int processors; /* 0 = not counted yet */

static int processor_count(void)
{
    int n = atomic_load_explicit(&processors, memory_order_relaxed);

    if (!n) {
        n = gs_cpu_count();
        atomic_store_explicit(&processors, n, memory_order_relaxed);
    }
    return n;
}

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

/* ---- helpers ------------------------------------------------------------------------------- */

static unsigned generation_of(uint64_t state)
{
    return (unsigned)(state / GENERATION);
}

static unsigned generation(struct gs_team *team)
{
    return generation_of(atomic_load(&team->state));
}

/* Spins while the generation is `seen`, for a while, and not where others need the processor. */
static bool spin_for_generation(struct gs_team *team, unsigned seen)
{
    double end = gs_seconds() + SPIN_SECONDS;

    while (atomic_load_explicit(&busy, memory_order_relaxed) < processor_count()) {
        for (int i = 0; i < SPIN_ROUND; i++) {
            if (generation(team) != seen)
                return true;
            pause_briefly();
        }
        if (gs_seconds() > end)
            return false;
    }
    return generation(team) != seen;
}

static void await_generation(struct gs_team *team, unsigned seen)
{
    if (spin_for_generation(team, seen))
        return;
    pthread_mutex_lock(&team->lock);
    atomic_fetch_add(&team->asleep, 1); /* before the look: announce looks after the change */
    while (generation(team) == seen)
        pthread_cond_wait(&team->wake, &team->lock);
    atomic_fetch_sub(&team->asleep, 1);
    pthread_mutex_unlock(&team->lock);
}

/* Into the loop of this generation, if it is open and a processor is free. */
static bool join(struct gs_team *team, unsigned current)
{
    uint64_t state = atomic_load(&team->state);

    if (atomic_fetch_add(&busy, 1) >= GS_MAX(processor_count(), team->size)) {
        atomic_fetch_sub(&busy, 1);
        return false;
    }
    while (state & OPEN && generation_of(state) == current)
        if (atomic_compare_exchange_weak(&team->state, &state, state + 1))
            return true;
    atomic_fetch_sub(&busy, 1);
    return false;
}

static void leave(struct gs_team *team)
{
    atomic_fetch_sub(&busy, 1);
    if ((atomic_fetch_sub(&team->state, 1) & (OPEN | INSIDE)) != 1)
        return;
    /* The last one out of a closed loop. */
    if (atomic_load(&team->awaited)) {
        pthread_mutex_lock(&team->lock);
        pthread_cond_signal(&team->done);
        pthread_mutex_unlock(&team->lock);
    }
}

static void *helper(void *arg)
{
    struct worker *self = arg;
    struct gs_team *team = self->team;

    if (team->own_core)
        gs_cpu_pin(&team->cpu[self->index], 1);
    else if (team->n_cpu)
        gs_cpu_pin(team->cpu, team->n_cpu);
    for (unsigned seen = 0;;) {
        await_generation(team, seen);
        seen = generation(team);
        if (atomic_load(&team->quit))
            return NULL;
        if (join(team, seen)) {
            work(team, self->index);
            leave(team);
        }
    }
}

/* ---- the caller ---------------------------------------------------------------------------- */

/* A new generation; nobody is inside. */
static void announce(struct gs_team *team)
{
    uint64_t next = (uint64_t)generation(team) + 1;

    atomic_store(&team->state, next * GENERATION | OPEN);
    if (!atomic_load(&team->asleep))
        return;
    pthread_mutex_lock(&team->lock);
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->lock);
}

static bool is_empty(struct gs_team *team)
{
    return !(atomic_load(&team->state) & INSIDE);
}

static void close_loop(struct gs_team *team)
{
    atomic_fetch_and(&team->state, ~OPEN);
    double end = is_empty(team) ? 0 : gs_seconds() + SPIN_SECONDS;
    while (end > 0 && gs_seconds() < end)
        for (int i = 0; i < SPIN_ROUND; i++) {
            if (is_empty(team))
                return;
            pause_briefly();
        }
    if (is_empty(team))
        return;
    pthread_mutex_lock(&team->lock);
    atomic_store(&team->awaited, true); /* before the look: leave looks after the change */
    while (!is_empty(team))
        pthread_cond_wait(&team->done, &team->lock);
    atomic_store(&team->awaited, false);
    pthread_mutex_unlock(&team->lock);
}

/* Where helpers may run; *cores = how many cores there are. */
static int choose_processors(struct gs_team *team, int threads, int *cores, struct gs_err *err)
{
    const char *pin = getenv("GOSSET_PIN");

    team->cpu = gs_alloc(THREADS_MAX, sizeof *team->cpu);
    if (!team->cpu)
        return gs_fail_nomem(err, "threads");
    size_t n = gs_cpu_cores(team->cpu, THREADS_MAX);
    *cores = (int)GS_MAX(n, 1u);
    if ((pin && *pin == '0') || threads > *cores)
        return GS_OK;
    team->own_core = pin && *pin == '1';
    /* All of them are no restriction. */
    team->n_cpu = team->own_core || (int)n < gs_cpu_count() ? n : 0;
    return GS_OK;
}

static int start(struct gs_team *team, struct gs_err *err)
{
    for (int i = 1; i < team->size; i++) {
        team->workers[i] = (struct worker){.team = team, .index = i};
        if (pthread_create(&team->workers[i].thread, NULL, helper, &team->workers[i]))
            return gs_fail(err, GS_E_NOMEM, "cannot start thread %d of %d", i + 1, team->size);
        team->started = i;
    }
    return GS_OK;
}

int gs_team_create(int threads, struct gs_team **out, struct gs_err *err)
{
    int cores = 0, rc;

    *out = NULL;
    if (threads < 0 || threads > THREADS_MAX)
        return gs_fail(err, GS_E_ARG, "threads must be 1 to %d, is %d", THREADS_MAX, threads);
    struct gs_team *team = gs_alloc(1, sizeof *team);
    if (!team)
        return gs_fail_nomem(err, "threads");
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->wake, NULL);
    pthread_cond_init(&team->done, NULL);
    team->size = threads;
    if (threads != 1 && (rc = choose_processors(team, threads, &cores, err)))
        goto out;
    if (threads == 0)
        team->size = cores;
    team->workers = gs_alloc((size_t)team->size, sizeof *team->workers);
    if (!team->workers) {
        rc = gs_fail_nomem(err, "threads");
        goto out;
    }
    rc = start(team, err);
out:
    if (rc)
        gs_team_destroy(&team);
    *out = team;
    return rc;
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
    gs_free(&team->cpu);
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
    atomic_fetch_add(&busy, 1);
    announce(team);
    work(team, 0);
    atomic_fetch_sub(&busy, 1);
    close_loop(team);
}
