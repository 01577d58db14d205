/* SPDX-License-Identifier: MIT
 * Sampling: each rule alone, by which tokens can come out and how often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "model/sampler.h"

#define OFF {.temp = 1, .top_p = 1, .repeat_penalty = 1, .seed = 7}
#define DRAWS 4000

static struct gs_err err;

static struct gs_sampler *create(struct gs_sampling params, uint32_t n)
{
    struct gs_sampler *s;

    err = (struct gs_err){0};
    if (gs_sampler_create(&params, n, &s, &err))
        fail_msg("%s", err.msg);
    return s;
}

/* How often each of n ids comes out of DRAWS picks. */
static void count_picks(struct gs_sampling params, const float *logits, uint32_t n, int *counts)
{
    struct gs_sampler *s = create(params, n);

    memset(counts, 0, n * sizeof *counts);
    gs_alloc_guard(true);
    for (int i = 0; i < DRAWS; i++)
        counts[gs_sampler_pick(s, logits)]++;
    gs_alloc_guard(false);
    gs_sampler_destroy(&s);
    assert_null(s);
}

/* Within five standard deviations of the binomial. */
static void assert_share(int count, double p)
{
    double sigma = sqrt(DRAWS * p * (1 - p));

    if (fabs(count - DRAWS * p) > 5 * sigma)
        fail_msg("%d of %d draws, expected a share of %g", count, DRAWS, p);
}

static int32_t pick_once(struct gs_sampling params, const float *logits, uint32_t n)
{
    struct gs_sampler *s = create(params, n);
    int32_t id = gs_sampler_pick(s, logits);
    gs_sampler_destroy(&s);
    return id;
}

static void greedy(void **state)
{
    const float logits[] = {1, 3, NAN, 3, -INFINITY, 2};
    const float none[] = {-INFINITY, -INFINITY, NAN};
    struct gs_sampling p = OFF;

    (void)state;
    p.temp = 0;
    assert_int_equal(pick_once(p, logits, 6), 1); /* the smaller id of the tie */
    assert_int_equal(pick_once(p, none, 3), 0);
    p.temp = 1;
    assert_int_equal(pick_once(p, none, 3), 0);
    p.top_k = 1; /* alone it is greedy too */
    for (p.seed = 0; p.seed < 20; p.seed++)
        assert_int_equal(pick_once(p, logits, 6), 1);
}

static void probabilities(void **state)
{
    const float logits[] = {logf(1), logf(2), logf(5), NAN, -INFINITY};
    struct gs_sampling p = OFF;
    int counts[5];

    (void)state;
    count_picks(p, logits, 5, counts);
    assert_share(counts[0], 1.0 / 8);
    assert_share(counts[1], 2.0 / 8);
    assert_share(counts[2], 5.0 / 8);
    assert_int_equal(counts[3] + counts[4], 0);

    p.temp = 0.5f; /* squares the odds */
    count_picks(p, logits, 5, counts);
    assert_share(counts[0], 1.0 / 30);
    assert_share(counts[1], 4.0 / 30);
    assert_share(counts[2], 25.0 / 30);

    p.temp = 1e-30f;
    count_picks(p, logits, 5, counts);
    assert_int_equal(counts[2], DRAWS);
}

static void infinite_logits_share_alike(void **state)
{
    const float logits[] = {5, INFINITY, 0, INFINITY};
    struct gs_sampling p = OFF;
    int counts[4];

    (void)state;
    count_picks(p, logits, 4, counts);
    assert_int_equal(counts[0] + counts[2], 0);
    assert_share(counts[1], 0.5);
}

static void top_k(void **state)
{
    const float logits[] = {0, 2, 1, 2, 1, -1};
    struct gs_sampling p = OFF;
    int counts[6];

    (void)state;
    p.top_k = 3; /* 1, 3 and of the tie 2 rather than 4 */
    count_picks(p, logits, 6, counts);
    assert_int_equal(counts[0] + counts[4] + counts[5], 0);
    assert_share(counts[2], 1 / (1 + 2 * exp(1)));
    p.top_k = 100; /* more than there are: all */
    count_picks(p, logits, 6, counts);
    for (int i = 0; i < 6; i++)
        assert_true(counts[i] > 0);
}

static void top_p(void **state)
{
    const float logits[] = {logf(0.1f), logf(0.4f), logf(0.2f), logf(0.3f)};
    struct gs_sampling p = OFF;
    int counts[4];

    (void)state;
    p.top_p = 0.65f; /* 0.4 + 0.3 is the first sum to reach it */
    count_picks(p, logits, 4, counts);
    assert_int_equal(counts[0] + counts[2], 0);
    assert_share(counts[1], 4.0 / 7);
    p.top_p = 1e-20f; /* at least one stays */
    count_picks(p, logits, 4, counts);
    assert_int_equal(counts[1], DRAWS);
    p.top_p = 0;
    count_picks(p, logits, 4, counts);
    assert_int_equal(counts[1], DRAWS);

    /* Among what top-k left: of 0.4 and 0.3 the first holds 4/7. */
    p.top_k = 2;
    p.top_p = 0.55f;
    count_picks(p, logits, 4, counts);
    assert_int_equal(counts[1], DRAWS);
    p.top_p = 0.6f;
    count_picks(p, logits, 4, counts);
    assert_share(counts[3], 3.0 / 7);
}

static void min_p(void **state)
{
    const float logits[] = {logf(1), logf(4), logf(2), logf(8)};
    struct gs_sampling p = OFF;
    int counts[4];

    (void)state;
    p.min_p = 0.3f;
    count_picks(p, logits, 4, counts);
    assert_int_equal(counts[0] + counts[2], 0);
    assert_share(counts[1], 4.0 / 12);
    p.min_p = 1;
    count_picks(p, logits, 4, counts);
    assert_int_equal(counts[3], DRAWS);
    p.min_p = 0.3f;
    p.temp = 100; /* applied last: does not widen the choice */
    count_picks(p, logits, 4, counts);
    assert_int_equal(counts[0] + counts[2], 0);
    assert_true(counts[1] > DRAWS / 3);
}

static void repeat_penalty(void **state)
{
    const float logits[] = {3, 2, -1, -1.5f};
    struct gs_sampling p = OFF;

    (void)state;
    p.temp = 0;
    p.repeat_penalty = 2;
    p.repeat_last_n = 2;
    struct gs_sampler *s = create(p, 4);
    assert_int_equal(gs_sampler_pick(s, logits), 0);
    gs_sampler_accept(s, 0); /* 3 / 2 < 2 */
    assert_int_equal(gs_sampler_pick(s, logits), 1);
    gs_sampler_accept(s, 0); /* penalised once, however often it occurs */
    assert_int_equal(gs_sampler_pick(s, logits), 1);
    gs_sampler_accept(s, 3);
    assert_int_equal(gs_sampler_pick(s, logits), 1); /* 0 is still in the window */
    gs_sampler_accept(s, 3);
    assert_int_equal(gs_sampler_pick(s, logits), 0); /* now it is not */
    gs_sampler_destroy(&s);

    const float negative[] = {-1, -1.5f}; /* a negative logit is multiplied */
    s = create(p, 2);
    gs_sampler_accept(s, 0);
    assert_int_equal(gs_sampler_pick(s, negative), 1);
    gs_sampler_destroy(&s);
}

static void same_seed_same_tokens(void **state)
{
    float logits[300];
    struct gs_sampling p = GS_SAMPLING_DEFAULT;
    struct gs_rng rng;
    int different = 0;

    (void)state;
    gs_rng_init(&rng, 1, 0);
    for (int i = 0; i < 300; i++)
        logits[i] = (float)gs_rng_normal(&rng);
    struct gs_sampler *a = create(p, 300), *b = create(p, 300);
    p.seed = 1;
    struct gs_sampler *c = create(p, 300);
    for (int i = 0; i < 100; i++) {
        int32_t id = gs_sampler_pick(a, logits);
        assert_int_equal(id, gs_sampler_pick(b, logits));
        different += id != gs_sampler_pick(c, logits);
        gs_sampler_accept(a, id);
        gs_sampler_accept(b, id);
    }
    assert_true(different > 50);
    gs_sampler_destroy(&a);
    gs_sampler_destroy(&b);
    gs_sampler_destroy(&c);
}

/* Popping from the heap equals sorting: the set that top-k keeps is the k largest. */
static void heap_keeps_the_largest(void **state)
{
    enum { N = 97 };
    float logits[N];
    int counts[N];
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 5, 0);
    for (int k = 1; k < N; k += 16) {
        struct gs_sampling p = OFF;
        p.top_k = k;
        for (int i = 0; i < N; i++) /* close together, so that all k come out; with ties */
            logits[i] = (float)gs_rng_below(&rng, 40) * 0.001f;
        count_picks(p, logits, N, counts);
        for (int i = 0; i < N; i++) {
            int before = 0;
            for (int j = 0; j < N; j++)
                before += logits[j] > logits[i] || (logits[j] == logits[i] && j < i);
            assert_int_equal(counts[i] > 0, before < k);
        }
    }
}

static void bad_parameters(void **state)
{
    static const struct {
        struct gs_sampling p;
        const char *name;
    } cases[] = {
        {{.temp = NAN, .top_p = 1, .repeat_penalty = 1}, "temp"},
        {{.temp = -1, .top_p = 1, .repeat_penalty = 1}, "temp"},
        {{.temp = INFINITY, .top_p = 1, .repeat_penalty = 1}, "temp"},
        {{.top_k = -1, .top_p = 1, .repeat_penalty = 1}, "top_k"},
        {{.top_p = 1.5f, .repeat_penalty = 1}, "top_p"},
        {{.top_p = NAN, .repeat_penalty = 1}, "top_p"},
        {{.top_p = 1, .min_p = -0.5f, .repeat_penalty = 1}, "min_p"},
        {{.top_p = 1, .repeat_penalty = 0}, "repeat_penalty"},
        {{.top_p = 1, .repeat_penalty = INFINITY}, "repeat_penalty"},
        {{.top_p = 1, .repeat_penalty = 1, .repeat_last_n = -1}, "repeat_last_n"},
        {{.top_p = 1, .repeat_penalty = 1, .repeat_last_n = INT32_MAX}, "repeat_last_n"},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct gs_sampler *s;
        err = (struct gs_err){0};
        assert_int_equal(gs_sampler_create(&cases[i].p, 10, &s, &err), GS_E_ARG);
        assert_null(s);
        assert_non_null(strstr(err.msg, cases[i].name));
    }
}

static void out_of_memory(void **state)
{
    struct gs_sampling p = GS_SAMPLING_DEFAULT;
    struct gs_sampler *s = NULL;
    uint64_t n = 0;

    (void)state;
    do {
        err = (struct gs_err){0};
        gs_alloc_fail_at(++n);
        if (gs_sampler_create(&p, 50, &s, &err))
            assert_int_equal(err.code, GS_E_NOMEM);
        gs_alloc_fail_at(0);
    } while (!s && n < 20);
    assert_int_equal(n, 5);
    gs_sampler_destroy(&s);
    gs_sampler_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy),
        cmocka_unit_test(probabilities),
        cmocka_unit_test(infinite_logits_share_alike),
        cmocka_unit_test(top_k),
        cmocka_unit_test(top_p),
        cmocka_unit_test(min_p),
        cmocka_unit_test(repeat_penalty),
        cmocka_unit_test(same_seed_same_tokens),
        cmocka_unit_test(heap_keeps_the_largest),
        cmocka_unit_test(bad_parameters),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
