/* SPDX-License-Identifier: MIT
 * Scales by search: better ones are found, never worse ones, the same ones again; failures of
 * the objective come through. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codebook/scale_search.h"
#include "codebook_walk.h"
#include "core/alloc.h"
#include "core/err.h"

/* A row of GROUPS groups with correlated inputs: the error of its output is not a sum over
 * groups, so each group's own best scale is not the best together. */
enum { GROUPS = 6, SIZE = 16, COLS = GROUPS * SIZE, TOKENS = 40 };

struct layer {
    struct gs_codebook *codebook;
    float w[COLS], x[TOKENS][COLS];
    unsigned calls, fail_at;
};

static int output_error(void *ctx, const float *scales, size_t n, size_t changed, double *loss,
                        struct gs_err *err)
{
    struct layer *layer = ctx;
    float y[COLS];

    assert_int_equal(n, GROUPS);
    assert_true(changed == SIZE_MAX || changed < n);
    if (++layer->calls == layer->fail_at)
        return gs_fail(err, GS_E_STOPPED, "stopped");
    for (size_t i = 0; i < COLS; i++) {
        struct gs_group group = {.scale = scales[i / SIZE]};
        assert_true(group.scale == gs_scale_rule_find("f16")->round(group.scale));
        gs_codebook_nearest(layer->codebook, &group, &layer->w[i], NULL, &y[i]);
    }
    *loss = 0;
    for (int t = 0; t < TOKENS; t++) {
        double sum = 0;
        for (int i = 0; i < COLS; i++)
            sum += ((double)layer->w[i] - y[i]) * layer->x[t][i];
        *loss += sum * sum;
    }
    return GS_OK;
}

static void layer_init(struct layer *layer, float scales[GROUPS])
{
    struct gs_group group;
    float common[TOKENS];

    *layer = (struct layer){0};
    assert_int_equal(gs_codebook_create("uniform:bits=3,zero=0", &layer->codebook, NULL), GS_OK);
    walk_normal(layer->w, COLS, 1);
    walk_normal(common, TOKENS, 2);
    walk_normal(layer->x[0], TOKENS * COLS, 3);
    for (int t = 0; t < TOKENS; t++)
        for (int i = 0; i < COLS; i++)
            layer->x[t][i] += 2 * common[t];
    for (int g = 0; g < GROUPS; g++) {
        gs_codebook_fit(layer->codebook, gs_scale_rule_find("f16"), layer->w + g * SIZE, NULL,
                        SIZE, NULL, &group);
        scales[g] = group.scale;
    }
}

static struct gs_scale_search search_of(struct layer *layer)
{
    struct gs_scale_search search = {.rule = gs_scale_rule_find("f16"), .loss = output_error,
                                     .ctx = layer, .seed = 5};

    gs_scale_search_default(&search);
    return search;
}

typedef int (*search_fn)(const struct gs_scale_search *search, float *scales, size_t n,
                         double *before, double *after, struct gs_err *err);
static const search_fn searches[] = {gs_scale_search_easyquant, gs_scale_search_evolution};

static void better_scales_are_found_again_and_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < GS_COUNT(searches); i++) {
        struct layer layer;
        float scales[GROUPS], again[GROUPS];
        double before, after, check;
        layer_init(&layer, scales);
        memcpy(again, scales, sizeof scales);
        struct gs_scale_search search = search_of(&layer);
        assert_int_equal(searches[i](&search, scales, GROUPS, &before, &after, NULL), GS_OK);
        if (!(after < 0.7 * before))
            fail_msg("search %zu: %g of %g", i, after, before);
        assert_int_equal(output_error(&layer, scales, GROUPS, SIZE_MAX, &check, NULL), GS_OK);
        assert_true(check == after);
        assert_int_equal(searches[i](&search, again, GROUPS, &before, &after, NULL), GS_OK);
        assert_memory_equal(scales, again, sizeof scales);
        gs_codebook_destroy(&layer.codebook);
    }
}

static int worse_everywhere_else(void *ctx, const float *scales, size_t n, size_t changed,
                                 double *loss, struct gs_err *err)
{
    (void)n;
    (void)changed;
    (void)err;
    *loss = scales[0] == 1 && scales[1] == 1 ? 3 : *(double *)ctx;
    return GS_OK;
}

static void the_best_start_is_kept(void **state)
{
    static double losses[] = {4, NAN, INFINITY, 3};

    (void)state;
    for (size_t i = 0; i < GS_COUNT(searches); i++)
        for (size_t k = 0; k < GS_COUNT(losses); k++) {
            struct gs_scale_search search = {.rule = gs_scale_rule_find("f32"),
                                             .loss = worse_everywhere_else, .ctx = &losses[k]};
            float scales[2] = {1, 1};
            double before, after;
            gs_scale_search_default(&search);
            assert_int_equal(searches[i](&search, scales, 2, &before, &after, NULL), GS_OK);
            assert_true(before == 3 && after == 3 && scales[0] == 1 && scales[1] == 1);
        }
}

/* Whenever the objective gives up, the scales are those of the least loss until then. */
static void failures_come_through(void **state)
{
    (void)state;
    for (size_t i = 0; i < GS_COUNT(searches); i++)
        for (unsigned at = 1; at < 120; at += 7) {
            struct layer layer;
            struct gs_err err = {0};
            float scales[GROUPS];
            double before = 0, after = 0, check;
            layer_init(&layer, scales);
            layer.fail_at = at;
            struct gs_scale_search search = search_of(&layer);
            assert_int_equal(searches[i](&search, scales, GROUPS, &before, &after, &err),
                             GS_E_STOPPED);
            assert_string_equal(err.msg, "stopped");
            layer.fail_at = 0;
            assert_int_equal(output_error(&layer, scales, GROUPS, SIZE_MAX, &check, NULL), GS_OK);
            assert_true(at == 1 || (check == after && after <= before));
            gs_codebook_destroy(&layer.codebook);
        }
}

static void lost_memory_is_an_error(void **state)
{
    struct layer layer;
    float scales[GROUPS];
    double before, after;

    (void)state;
    layer_init(&layer, scales);
    struct gs_scale_search search = search_of(&layer);
    for (unsigned at = 1; at <= 2; at++) {
        gs_alloc_fail_at(at);
        int rc = gs_scale_search_evolution(&search, scales, GROUPS, &before, &after, NULL);
        gs_alloc_fail_at(0);
        assert_int_equal(rc, GS_E_NOMEM);
    }
    gs_codebook_destroy(&layer.codebook);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(better_scales_are_found_again_and_again),
        cmocka_unit_test(the_best_start_is_kept),
        cmocka_unit_test(failures_come_through),
        cmocka_unit_test(lost_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
