/* SPDX-License-Identifier: MIT
 * Optimizers on a problem whose answer is known, and schedules of their rate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "train/optimizer.h"
#include "train/schedule.h"

/* ---- optimizers ------------------------------------------------------------------------------ */

#define ROWS 8u
#define COLS 160u
#define COUNT (ROWS * COLS)

/* A quadratic bowl: every kind comes near its bottom, whatever its states' precision. */
static void test_optimizers(void **state)
{
    static float w[COUNT], bottom[COUNT], g[COUNT];
    const struct gs_optimizer_kind *kind;

    (void)state;
    for (size_t k = 0; (kind = gs_optimizer_kind_at(k)); k++) {
        uint64_t bytes = kind->bytes(ROWS, COLS);
        void *memory = gs_alloc(bytes, 1);
        struct gs_rng rng;
        double first = 0, last = 0;

        assert_ptr_equal(gs_optimizer_kind_find(kind->name), kind);
        gs_rng_init(&rng, 9, k);
        for (size_t i = 0; i < COUNT; i++) {
            w[i] = 0;
            bottom[i] = (float)gs_rng_normal(&rng);
            first += (double)bottom[i] * (double)bottom[i];
        }
        for (unsigned step = 1; step <= 300; step++) {
            for (size_t i = 0; i < COUNT; i++)
                g[i] = w[i] - bottom[i];
            struct gs_update u = {
                .rows = ROWS, .cols = COLS, .w = w, .g = g, .state = memory, .g_scale = 1,
                .lr = step < 200 ? 0.03f : 0.003f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f,
                .unbias1 = (float)(1 / (1 - pow(0.9, step))),
                .unbias2 = (float)(1 / (1 - pow(0.95, step)))};
            kind->update(&u);
        }
        for (size_t i = 0; i < COUNT; i++)
            last += pow((double)w[i] - (double)bottom[i], 2);
        if (!(last < 1e-2 * first))
            fail_msg("%s: %g of %g is left", kind->name, last, first);
        gs_free(&memory);
    }
    assert_null(gs_optimizer_kind_find("adam"));
    uint64_t full = gs_optimizer_kind_find("adamw")->bytes(1024, 1024);
    assert_true(gs_optimizer_kind_find("adamw8")->bytes(1024, 1024) * 39 < full * 10);
    assert_true(gs_optimizer_kind_find("adamw4")->bytes(1024, 1024) * 75 < full * 10);
}

/* ---- schedules ------------------------------------------------------------------------------- */

static double rate(const char *kind, uint64_t step)
{
    struct gs_schedule s = {.kind = gs_schedule_kind_find(kind), .lr = 1, .least = 0.1,
                            .warmup = 10, .steps = 110};

    assert_non_null(s.kind);
    return gs_schedule_lr(&s, step);
}

static void test_schedules(void **state)
{
    const struct gs_schedule_kind *kind;

    (void)state;
    for (size_t i = 0; (kind = gs_schedule_kind_at(i)); i++) {
        double constant = strcmp(kind->name, "constant") ? 0 : 0.9;
        assert_true(fabs(rate(kind->name, 1) - 0.1) < 1e-12);
        assert_true(fabs(rate(kind->name, 10) - 1) < 1e-12);
        assert_true(fabs(rate(kind->name, 110) - (0.1 + constant)) < 1e-12);
        assert_true(fabs(rate(kind->name, 500) - (0.1 + constant)) < 1e-12);
        for (uint64_t step = 11; step <= 110; step++)
            assert_true(rate(kind->name, step) <= rate(kind->name, step - 1));
    }
    assert_true(fabs(rate("linear", 60) - 0.55) < 1e-12);
    assert_true(fabs(rate("cosine", 60) - 0.55) < 1e-12);
    assert_true(rate("cosine", 35) > rate("linear", 35));
    assert_null(gs_schedule_kind_find("sine"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_optimizers),
        cmocka_unit_test(test_schedules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
