/* SPDX-License-Identifier: MIT
 * Tuning a native file: the dense student is the model that the decoder runs, the gradient of
 * scales, factors, tables and norms is the slope of the loss, and both stages bring the student
 * nearer to its teacher. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "tests/unit/tune_fixture.h"

#include "core/alloc.h"
#include "model/backprop.h"

#define SEQUENCES 4u

static int32_t tokens[SEQUENCES * CTX], target[CTX];

static int prepare(void **state)
{
    (void)state;
    make_files(tokens, GS_COUNT(tokens));
    for (size_t i = 0; i < CTX; i++)
        target[i] = tokens[(i + 1) % CTX];
    const char *path = text;
    struct gs_quantize_options o = {.bpw = 9, .calib = &path, .n_calib = 1, .tokens = 512,
                                    .no_eval = true, .threads = 1, .tune = "block",
                                    .recipe = "grid=trellis8,head_bits=0"};
    struct gs_err err = {0};
    o.bpw = 2.5; /* vectors weigh much in so small a model */
    for (int rc = -1; rc && o.bpw < 12; o.bpw += 0.5) {
        err = (struct gs_err){0};
        rc = gs_quantize(source, rounded, &o, NULL, &err);
    }
    if (access(rounded, F_OK))
        fail_msg("%s", err.msg);
    return 0;
}

static struct gs_student *open_student(const char *path)
{
    struct gs_err err = {0};
    struct gs_student *s;

    if (gs_student_open(path, NULL, &s, &err))
        fail_msg("%s", err.msg);
    return s;
}

static struct gs_backprop *learner_of(struct gs_student *s)
{
    struct gs_backprop_options o = {.texts = 1, .ctx = CTX};
    struct gs_err err = {0};
    struct gs_backprop *bp;

    if (gs_backprop_create(gs_student_params(s), &o, &bp, &err))
        fail_msg("%s", err.msg);
    return bp;
}

/* Logits of the first sequence by the decoder, in f32 throughout. */
static float *decode(const char *path)
{
    struct gs_decoder_options o = {.ctx = CTX, .batch = CTX, .kv_f32 = true, .exact = true};
    struct gs_err err = {0};
    struct gs_store *store;
    struct gs_lm *lm;
    struct gs_decoder *d;

    if (gs_store_open(path, &store, &err) || gs_lm_open(store, &lm, &err) ||
        gs_decoder_create(lm, &o, &d, &err) || gs_decoder_forward(d, tokens, CTX, &err))
        fail_msg("%s", err.msg);
    float *out = gs_alloc((size_t)CTX * lm->config.n_vocab, sizeof *out);
    gs_decoder_logits(d, 0, CTX, out);
    gs_decoder_destroy(&d);
    gs_lm_close(&lm);
    gs_store_close(&store);
    return out;
}

/* The largest difference over the largest logit. */
static double differ(struct gs_student *s, struct gs_backprop *bp, const char *path)
{
    size_t n = (size_t)CTX * gs_student_params(s)->lm->config.n_vocab;
    float *want = decode(path), *got = gs_alloc(n, sizeof *got);
    double worst = 0, largest = 0;

    gs_backprop_forward(bp, tokens);
    gs_backprop_logits(bp, 0, CTX, got);
    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
        largest = fmax(largest, fabs((double)want[i]));
    }
    gs_free(&want);
    gs_free(&got);
    return worst / largest;
}

/* Tables moved to others that 8 bits hold, the largest magnitude staying 127; returns how many
 * there are. */
static size_t move_tables(struct gs_params *theta, struct gs_rng *rng)
{
    struct gs_err err = {0};
    struct gs_store *store;
    size_t n = 0;

    assert_int_equal(gs_store_open(rounded, &store, &err), GS_OK);
    for (size_t i = 0; i < theta->n; i++) {
        const struct gs_param *p = &theta->list[i];
        const void *data;
        if (!strstr(p->name, GS_NATIVE_TABLE))
            continue;
        assert_int_equal(gs_store_data(store, gs_store_find(store, p->name), &data, &err), GS_OK);
        for (size_t j = 0; j < p->count; j++) {
            int was = ((const int8_t *)data)[j];
            int is = abs(was) == 127 ? was : was + (int)gs_rng_below(rng, 9) - 4;
            theta->values[p->offset + j] = was ? (float)is / (float)was - 1 : 0;
        }
        n++;
    }
    gs_store_close(&store);
    return n;
}

static void test_student_is_the_model(void **state)
{
    struct gs_student *s = open_student(rounded);
    struct gs_backprop *bp = learner_of(s);
    struct gs_params *theta = gs_student_theta(s);
    struct gs_err err = {0};
    struct gs_rng rng;

    (void)state;
    assert_true(differ(s, bp, rounded) < 1e-4);
    /* Moved and written, it still is, but for rounding to f16. */
    gs_rng_init(&rng, 6, 0);
    for (size_t i = 0; i < theta->floats; i++)
        theta->values[i] = (float)(0.1 * gs_rng_normal(&rng));
    assert_true(move_tables(theta, &rng) > 5);
    assert_int_equal(gs_student_build(s, GS_STUDENT_ALL, &err), GS_OK);
    if (gs_student_write(s, tuned, NULL, &err))
        fail_msg("%s", err.msg);
    assert_true(differ(s, bp, rounded) > 0.05);
    assert_true(differ(s, bp, tuned) < 5e-3);
    gs_backprop_destroy(&bp);
    gs_student_close(&s);
}

/* Along a random direction of each part of θ. The loss is f32: 1e-2 of the slope's size. */
static void test_gradient(void **state)
{
    const float h = 2e-3f;
    struct gs_student *s = open_student(rounded);
    struct gs_backprop *bp = learner_of(s);
    struct gs_params *theta = gs_student_theta(s);
    struct gs_err err = {0};
    struct gs_rng rng;
    double loss;
    float *g = gs_alloc(theta->floats, sizeof *g), *along = gs_alloc(theta->floats, sizeof *g);

    (void)state;
    gs_backprop_loss(bp, tokens, target, 1, &loss);
    assert_int_equal(gs_student_project(s, GS_STUDENT_ALL, gs_backprop_grads(bp), g, &err),
                     GS_OK);
    gs_rng_init(&rng, 8, 0);
    assert_true(theta->n > 20);
    for (size_t i = 0; i < theta->n; i++) {
        const struct gs_param *p = &theta->list[i];
        double slope = 0, size = 0, values[2];
        for (size_t j = 0; j < p->count; j++) {
            along[j] = gs_rng_u64(&rng) & 1 ? 1 : -1;
            slope += (double)along[j] * (double)g[p->offset + j];
            size += (double)g[p->offset + j] * (double)g[p->offset + j];
        }
        for (int k = 0; k < 2; k++) {
            for (size_t j = 0; j < p->count; j++)
                theta->values[p->offset + j] = (k ? -h : h) * along[j];
            assert_int_equal(gs_student_build(s, GS_STUDENT_ALL, &err), GS_OK);
            gs_backprop_measure(bp, tokens, target, &values[k]);
        }
        for (size_t j = 0; j < p->count; j++)
            theta->values[p->offset + j] = 0;
        double want = (values[0] - values[1]) / (2 * (double)h);
        if (!(fabs(slope - want) < 2e-2 * fmax(sqrt(size), 0.1)))
            fail_msg("%s: slope %g, difference %g, norm %g", p->name, slope, want, sqrt(size));
    }
    gs_free(&g);
    gs_free(&along);
    gs_backprop_destroy(&bp);
    gs_student_close(&s);
}

static void test_stages(void **state)
{
    struct gs_tune t = {.teacher = source, .tokens = tokens, .sequences = SEQUENCES,
                        .ctx = CTX};
    struct gs_tune_result r;
    struct gs_err err = {0};

    (void)state;
    assert_int_equal(gs_tune_stages("both", false, &t, &err), GS_OK);
    if (gs_tune_file(&t, rounded, tuned, &r, &err))
        fail_msg("%s", err.msg);
    assert_true(r.block_after < 0.95 * r.block_before && r.block_after > 0);
    assert_true(r.whole_after < 0.98 * r.whole_before && r.whole_after > 0);
    /* The same bits with other threads. */
    struct gs_tune_result again;
    assert_int_equal(gs_team_create(3, &t.team, &err), GS_OK);
    if (gs_tune_file(&t, rounded, tuned, &again, &err))
        fail_msg("%s", err.msg);
    assert_memory_equal(&r, &again, offsetof(struct gs_tune_result, kept));
    gs_team_destroy(&t.team);
    assert_int_equal(gs_tune_stages("blocks", false, &t, &err), GS_E_ARG);
}

static bool as_f16(void *ctx, struct gs_tensor *t, const void **data)
{
    (void)ctx, (void)data;
    if (strstr(t->name, GS_NATIVE_TABLE)) {
        t->type = GS_TYPE_F16;
        t->dim[0] = GS_NATIVE_TABLE_BYTES / 2;
    }
    return true;
}

static void test_hostile_table(void **state)
{
    struct gs_err err = {0};
    struct gs_store *store, *bad;
    struct gs_lm *lm;

    (void)state;
    assert_int_equal(gs_store_open(rounded, &store, &err), GS_OK);
    bad = tiny_copy(store, gs_store_meta(store), as_f16, NULL);
    assert_true(gs_lm_open(bad, &lm, &err) < 0);
    assert_non_null(strstr(err.msg, ".table: expected I8 [64]"));
    gs_store_close(&bad);
    gs_store_close(&store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_student_is_the_model), cmocka_unit_test(test_gradient),
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_hostile_table),
    };
    (void)argc;
    tiny_init(argv[0]);
    int failed = cmocka_run_group_tests(tests, prepare, remove_files);
    tiny_exit();
    return failed;
}
