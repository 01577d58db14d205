/* SPDX-License-Identifier: MIT
 * Threads: every item is handled once, by a worker of the team, before the call returns.
 * The memory accesses are plain, so a thread sanitizer sees any missing ordering. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "core/alloc.h"
#include "core/team.h"

enum { N_MAX = 5000, THREADS_TESTED = 8 };

struct job {
    size_t n, grain;
    int size;
    unsigned char handled[N_MAX];
    uint64_t by_worker[THREADS_TESTED];
    bool bad_piece;
};

static void handle(void *ctx, size_t begin, size_t end, int worker)
{
    struct job *job = ctx;

    /* job->bad_piece is only written when the test fails anyway */
    if (begin >= end || end > job->n || begin % job->grain || end - begin > job->grain ||
        worker < 0 || worker >= job->size)
        job->bad_piece = true;
    for (size_t i = begin; i < end; i++)
        job->handled[i]++;
    job->by_worker[worker] += end - begin;
}

static void run(struct gs_team *team, size_t n, size_t grain)
{
    static struct job job;
    uint64_t total = 0;

    memset(&job, 0, sizeof job);
    job.n = n;
    job.grain = grain;
    job.size = gs_team_size(team);
    gs_team_run(team, n, grain, handle, &job);
    assert_false(job.bad_piece);
    for (size_t i = 0; i < N_MAX; i++)
        assert_int_equal(job.handled[i], i < n);
    for (int i = 0; i < THREADS_TESTED; i++)
        total += job.by_worker[i];
    assert_int_equal(total, n);
}

static void every_item_once_for_any_size_and_grain(void **state)
{
    static const size_t counts[] = {0, 1, 2, 7, 64, 1000, N_MAX};
    static const size_t grains[] = {1, 3, 64, N_MAX, SIZE_MAX / 4};

    (void)state;
    for (int threads = 0; threads <= THREADS_TESTED; threads++) {
        struct gs_team *team = NULL;
        if (threads) { /* else NULL: this thread only */
            assert_int_equal(gs_team_create(threads, &team, NULL), GS_OK);
            assert_int_equal(gs_team_size(team), threads);
        }
        for (size_t c = 0; c < GS_COUNT(counts); c++)
            for (size_t g = 0; g < GS_COUNT(grains); g++)
                run(team, counts[c], grains[g]);
        gs_team_destroy(&team);
        assert_null(team);
    }
    assert_int_equal(gs_team_size(NULL), 1);
}

/* Many short loops back to back: helpers that are late for one must not enter the next. */
static void loops_follow_each_other_closely(void **state)
{
    (void)state;
    for (int threads = 2; threads <= THREADS_TESTED; threads += 3) {
        struct gs_team *team;
        assert_int_equal(gs_team_create(threads, &team, NULL), GS_OK);
        for (int i = 0; i < 300; i++)
            run(team, (size_t)(2 + i % 40), 1);
        gs_team_destroy(&team);
    }
}

/* Helpers fall asleep between loops and must wake again. */
static void sleeping_helpers_wake(void **state)
{
    struct timespec pause = {.tv_nsec = 20000000};
    struct gs_team *team;

    (void)state;
    assert_int_equal(gs_team_create(4, &team, NULL), GS_OK);
    for (int i = 0; i < 5; i++) {
        nanosleep(&pause, NULL);
        run(team, 500, 7);
    }
    nanosleep(&pause, NULL);
    gs_team_destroy(&team);
}

static void teams_may_do_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct gs_team *team;
        assert_int_equal(gs_team_create(1 + i % THREADS_TESTED, &team, NULL), GS_OK);
        gs_team_destroy(&team);
        gs_team_destroy(&team);
    }
}

static void running_allocates_nothing(void **state)
{
    struct gs_team *team;

    (void)state;
    assert_int_equal(gs_team_create(3, &team, NULL), GS_OK);
    gs_alloc_guard(true);
    run(team, 1000, 10);
    gs_alloc_guard(false);
    gs_team_destroy(&team);
}

static void bad_counts_and_no_memory_are_errors(void **state)
{
    static const int bad[] = {-1, 1025, INT32_MIN, INT32_MAX};
    struct gs_team *team;

    (void)state;
    for (size_t i = 0; i < GS_COUNT(bad); i++) {
        struct gs_err err = {.code = 0};
        assert_int_equal(gs_team_create(bad[i], &team, &err), GS_E_ARG);
        assert_null(team);
        assert_non_null(strstr(err.msg, "threads must be 1 to 1024"));
    }
    for (uint64_t n = 1; n <= 2; n++) {
        gs_alloc_fail_at(n);
        assert_int_equal(gs_team_create(2, &team, NULL), GS_E_NOMEM);
        assert_null(team);
    }
    gs_alloc_fail_at(0);
    assert_int_equal(gs_team_create(0, &team, NULL), GS_OK); /* one a processor */
    assert_true(gs_team_size(team) >= 1);
    gs_team_destroy(&team);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_once_for_any_size_and_grain),
        cmocka_unit_test(loops_follow_each_other_closely),
        cmocka_unit_test(sleeping_helpers_wake),
        cmocka_unit_test(teams_may_do_nothing),
        cmocka_unit_test(running_allocates_nothing),
        cmocka_unit_test(bad_counts_and_no_memory_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
