/* SPDX-License-Identifier: MIT
 * Types under a budget: the greedy answer and the integer program against exhaustive search,
 * budgets met from below, and budgets that nothing meets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "recipe/allocate.h"

enum { SETS = 60, OPTIONS = 9 };

struct problem {
    struct gs_option options[SETS][OPTIONS];
    struct gs_option_set sets[SETS];
    uint64_t least, most;
};

/* Options as block types give them: damage falls by 4 a bit, with some noise, so that some are
 * dominated and some off the hull. */
static void make(struct problem *p, size_t sets, size_t options, uint64_t seed)
{
    static const double bits[OPTIONS] = {1.5, 2.06, 2.5, 3.1, 3.44, 4.25, 4.5, 5.5, 6.56};
    struct gs_rng rng;

    gs_rng_init(&rng, seed, 0);
    memset(p, 0, sizeof *p);
    for (size_t i = 0; i < sets; i++) {
        double weights = 1000 * (1 + floor(20 * gs_rng_f64(&rng)));
        double scale = exp(2 * gs_rng_normal(&rng));
        uint64_t least = UINT64_MAX, most = 0;
        for (size_t k = 0; k < options; k++) {
            p->options[i][k].bytes = (uint64_t)(weights * bits[k] / 8);
            p->options[i][k].damage = scale * pow(4, -bits[k]) * (0.8 + 0.4 * gs_rng_f64(&rng));
            least = GS_MIN(least, p->options[i][k].bytes);
            most = GS_MAX(most, p->options[i][k].bytes);
        }
        p->sets[i] = (struct gs_option_set){p->options[i], options};
        p->least += least;
        p->most += most;
    }
}

static void check(const struct problem *p, size_t sets, uint64_t budget, const size_t *chosen,
                  const struct gs_allocation *a)
{
    uint64_t bytes = 0;
    double damage = 0;

    for (size_t i = 0; i < sets; i++) {
        assert_true(chosen[i] < p->sets[i].n);
        bytes += p->options[i][chosen[i]].bytes;
        damage += p->options[i][chosen[i]].damage;
    }
    assert_true(bytes == a->bytes && bytes <= budget);
    assert_true(fabs(damage - a->damage) <= 1e-9 * damage);
    assert_true(a->bound <= a->damage * (1 + 1e-9));
}

static double exhaustive(const struct problem *p, size_t sets, size_t options, uint64_t budget)
{
    double best = INFINITY;
    size_t total = 1;

    for (size_t i = 0; i < sets; i++)
        total *= options;
    for (size_t number = 0; number < total; number++) {
        uint64_t bytes = 0;
        double damage = 0;
        for (size_t i = 0, rest = number; i < sets; i++, rest /= options) {
            bytes += p->options[i][rest % options].bytes;
            damage += p->options[i][rest % options].damage;
        }
        if (bytes <= budget)
            best = fmin(best, damage);
    }
    return best;
}

static void test_small(void **state)
{
    static struct problem p;
    struct gs_allocation a;
    size_t chosen[SETS];

    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        make(&p, 6, 5, seed);
        uint64_t budget = p.least + (p.most - p.least) * (seed + 1) / 24;
        double best = exhaustive(&p, 6, 5, budget);
        assert_int_equal(gs_allocate_greedy(p.sets, 6, budget, chosen, &a, NULL), GS_OK);
        check(&p, 6, budget, chosen, &a);
        assert_true(a.damage >= best * (1 - 1e-12) && a.bound <= best * (1 + 1e-12));
        double greedy = a.damage;
        assert_int_equal(gs_allocate(p.sets, 6, budget, chosen, &a, NULL), GS_OK);
        check(&p, 6, budget, chosen, &a);
        assert_true(a.damage <= greedy);
        if (gs_allocate_glpk(p.sets, 6, budget, chosen))
            assert_true(a.damage <= best * (1 + 1e-4));
    }
}

/* As many matrices as a model has: both methods within 1 % of the bound, and the budget spent
 * but for half a percent. */
static void test_large(void **state)
{
    static struct problem p;
    struct gs_allocation greedy, a;
    size_t chosen[SETS];

    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        make(&p, SETS, OPTIONS, seed);
        uint64_t budget = p.least + (p.most - p.least) * (seed + 1) / 24;
        assert_int_equal(gs_allocate_greedy(p.sets, SETS, budget, chosen, &greedy, NULL), GS_OK);
        check(&p, SETS, budget, chosen, &greedy);
        assert_true(greedy.damage <= 1.01 * greedy.bound);
        assert_true((double)greedy.bytes >= 0.995 * (double)budget);
        assert_int_equal(gs_allocate(p.sets, SETS, budget, chosen, &a, NULL), GS_OK);
        check(&p, SETS, budget, chosen, &a);
        assert_true(a.damage <= greedy.damage);
    }
}

static void test_edges(void **state)
{
    static struct problem p;
    struct gs_allocation a;
    struct gs_err err = {0};
    size_t chosen[SETS];

    (void)state;
    make(&p, SETS, OPTIONS, 1);
    assert_int_equal(gs_allocate(p.sets, SETS, p.least - 1, chosen, &a, &err), GS_E_ARG);
    assert_non_null(strstr(err.msg, "too few"));
    assert_int_equal(gs_allocate(p.sets, SETS, p.least, chosen, &a, NULL), GS_OK);
    assert_true(a.bytes == p.least);
    assert_int_equal(gs_allocate(p.sets, SETS, p.most * 2, chosen, &a, NULL), GS_OK);
    for (size_t i = 0; i < SETS; i++) /* room for all: the least damage of each */
        for (size_t k = 0; k < OPTIONS; k++)
            assert_true(p.options[i][chosen[i]].damage <= p.options[i][k].damage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small), cmocka_unit_test(test_large), cmocka_unit_test(test_edges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
