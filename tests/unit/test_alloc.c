/* SPDX-License-Identifier: MIT
 * Heap: checked sizes, zeroing, injected failure, the guard that forbids allocation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/alloc.h"

static bool all_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static void blocks_are_aligned_and_zeroed(void **state)
{
    (void)state;
    for (size_t n = 0; n < 300; n += 7) {
        unsigned char *p = gs_alloc(n, 1);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        assert_true(all_zero(p, n));
        if (n)
            memset(p, 0xa5, n); /* the next block may reuse this memory */
        gs_free(&p);
        assert_null(p);
    }
}

static void sizes_that_overflow_are_refused(void **state)
{
    static const struct { size_t count, size; } bad[] = {
        {SIZE_MAX, 1}, {1, SIZE_MAX}, {SIZE_MAX, SIZE_MAX}, {SIZE_MAX / 2 + 2, 2},
        {(size_t)1 << 32, (size_t)1 << 32}, {SIZE_MAX - 62, 1}, {SIZE_MAX / 2 + 1, 1},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(bad); i++)
        assert_null(gs_alloc(bad[i].count, bad[i].size));
    assert_null(gs_strndup("x", SIZE_MAX));
}

static void no_bytes_is_a_valid_block(void **state)
{
    void *a = gs_alloc(0, 8), *b = gs_alloc(8, 0);

    (void)state;
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    gs_free(&a);
    gs_free(&b);
    gs_free(&b); /* NULL by now */
}

static void realloc_keeps_old_bytes_and_zeroes_new(void **state)
{
    unsigned char *p = gs_realloc(NULL, 0, 10);

    (void)state;
    assert_non_null(p);
    memset(p, 7, 10);
    p = gs_realloc(p, 10, 1000);
    assert_non_null(p);
    for (int i = 0; i < 10; i++)
        assert_int_equal(p[i], 7);
    assert_true(all_zero(p + 10, 990));
    p = gs_realloc(p, 1000, 3);
    assert_non_null(p);
    assert_int_equal(p[2], 7);

    gs_alloc_fail_at(1);
    assert_null(gs_realloc(p, 3, 100));
    assert_int_equal(p[2], 7); /* the old block is still there */
    gs_free(&p);
}

static void strndup_ends_with_nul(void **state)
{
    char *s = gs_strndup("ab\0cd", 5), *none = gs_strndup(NULL, 0);

    (void)state;
    assert_memory_equal(s, "ab\0cd", 6);
    assert_string_equal(none, "");
    gs_free(&s);
    gs_free(&none);
}

static void exactly_the_nth_allocation_fails(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 5; n++) {
        gs_alloc_fail_at(n);
        for (uint64_t i = 1; i <= 8; i++) {
            void *p = gs_alloc(1, 1);
            if (i == n)
                assert_null(p);
            else
                assert_non_null(p);
            gs_free(&p);
        }
    }
    gs_alloc_fail_at(1);
    gs_alloc_fail_at(0);
    void *p = gs_alloc(1, 1);
    assert_non_null(p);
    gs_free(&p);
}

static void allocations_are_counted(void **state)
{
    uint64_t before = gs_alloc_count();
    void *p = gs_alloc(1, 1);

    (void)state;
    assert_int_equal(gs_alloc_count(), before + 1);
    gs_free(&p);
    assert_int_equal(gs_alloc_count(), before + 1);
}

/* The signal that ends a child which allocates `depth` guards deep; 0 if none does. */
static int signal_of_guarded_child(int depth)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        fclose(stderr);
        signal(SIGABRT, SIG_DFL); /* cmocka catches it */
        gs_alloc_guard(true);
        gs_alloc_guard(true);
        for (int i = 2; i > depth; i--)
            gs_alloc_guard(false);
        void *p = gs_alloc(1, 1);
        _exit(p ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status))
        assert_int_equal(WEXITSTATUS(status), 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void guard_aborts_and_nests(void **state)
{
    (void)state;
    assert_int_equal(signal_of_guarded_child(2), SIGABRT);
    assert_int_equal(signal_of_guarded_child(1), SIGABRT);
    assert_int_equal(signal_of_guarded_child(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_zeroed),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(no_bytes_is_a_valid_block),
        cmocka_unit_test(realloc_keeps_old_bytes_and_zeroes_new),
        cmocka_unit_test(strndup_ends_with_nul),
        cmocka_unit_test(exactly_the_nth_allocation_fails),
        cmocka_unit_test(allocations_are_counted),
        cmocka_unit_test(guard_aborts_and_nests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
