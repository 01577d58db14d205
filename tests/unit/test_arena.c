/* SPDX-License-Identifier: MIT
 * Arena: pointers stay valid, blocks do not overlap, sizes are checked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "core/alloc.h"
#include "core/arena.h"
#include "core/rng.h"

static void blocks_keep_their_bytes(void **state)
{
    enum { N = 2000 };
    static unsigned char *blocks[N];
    static size_t sizes[N];
    struct gs_arena arena = {NULL, 0};
    struct gs_rng rng;
    size_t sum = 0;

    (void)state;
    gs_rng_init(&rng, 1, 0);
    for (int i = 0; i < N; i++) {
        /* mostly small, now and then larger than any chunk so far */
        sizes[i] = gs_rng_below(&rng, i % 100 == 50 ? 100000 : 200);
        blocks[i] = gs_arena_alloc(&arena, sizes[i], 1);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(blocks[i][j], 0);
        memset(blocks[i], i & 0xff, sizes[i]);
        sum += (sizes[i] + 15) / 16 * 16;
        assert_int_equal(arena.total, sum);
    }
    for (int i = 0; i < N; i++)
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(blocks[i][j], i & 0xff);
    gs_arena_clear(&arena);
    assert_int_equal(arena.total, 0);
    assert_null(arena.chunks);
}

static void small_objects_take_few_allocations(void **state)
{
    struct gs_arena arena = {NULL, 0};
    uint64_t before = gs_alloc_count();

    (void)state;
    for (int i = 0; i < 100000; i++)
        assert_non_null(gs_arena_alloc(&arena, 1, 16));
    assert_in_range(gs_alloc_count() - before, 1, 12);
    gs_arena_clear(&arena);
}

static void sizes_that_overflow_are_refused(void **state)
{
    struct gs_arena arena = {NULL, 0};

    (void)state;
    assert_null(gs_arena_alloc(&arena, SIZE_MAX, 1));
    assert_null(gs_arena_alloc(&arena, SIZE_MAX / 2, 4));
    assert_null(gs_arena_alloc(&arena, SIZE_MAX - 8, 1));
    assert_null(gs_arena_alloc(&arena, SIZE_MAX / 3, 1));
    assert_null(gs_arena_strndup(&arena, "x", SIZE_MAX));
    assert_non_null(gs_arena_alloc(&arena, 1, 1)); /* still usable */
    gs_arena_clear(&arena);
}

static void failure_leaves_the_arena_usable(void **state)
{
    struct gs_arena arena = {NULL, 0};

    (void)state;
    gs_alloc_fail_at(1);
    assert_null(gs_arena_alloc(&arena, 1, 8));
    char *s = gs_arena_strndup(&arena, "text", 4);
    assert_string_equal(s, "text");
    gs_alloc_fail_at(1);
    assert_null(gs_arena_alloc(&arena, 1, 1 << 20));
    gs_alloc_fail_at(0);
    assert_string_equal(s, "text");
    gs_arena_clear(&arena);
    gs_arena_clear(&arena); /* twice is fine */
}

static void strings_are_copied_with_their_nuls(void **state)
{
    struct gs_arena arena = {NULL, 0};
    char *s = gs_arena_strndup(&arena, "a\0b", 3);
    char *empty = gs_arena_strndup(&arena, NULL, 0);

    (void)state;
    assert_memory_equal(s, "a\0b", 4);
    assert_string_equal(empty, "");
    gs_arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_keep_their_bytes),
        cmocka_unit_test(small_objects_take_few_allocations),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(failure_leaves_the_arena_usable),
        cmocka_unit_test(strings_are_copied_with_their_nuls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
