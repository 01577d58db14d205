/* SPDX-License-Identifier: MIT
 * Tuning a stock file: d and dmin of every block type can be read, replaced and learned, the
 * gradients are those of the weights that a decoder reads, nothing else of a file changes, and
 * what does not help on other text is taken back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "tests/unit/tune_fixture.h"

#include "core/alloc.h"
#include "kernels/kernels.h"
#include "recipe/student_stock.h"

enum { ROWS = 5, COLS = 768, N = ROWS * COLS };

#define SEQUENCES 8u

static int32_t tokens[SEQUENCES * CTX];

/* ---- one matrix ---- */

/* A random matrix in a block type, its numbers and random moves of them. */
struct fixture {
    struct gs_stock_matrix m;
    uint8_t *bytes;
    size_t n;
    float *d, *dmin, *theta, *w;
};

static bool set_up(const struct gs_format *f, struct fixture *x)
{
    float ones[N];
    struct gs_rng rng;

    if (!gs_format_has_d(f))
        return false;
    *x = (struct fixture){.m = {.format = f, .rows = ROWS, .cols = COLS}, .w = gs_alloc(N, 4)};
    x->m.row_bytes = COLS / f->block * gs_type_info(f->type)->bytes;
    x->m.data = x->bytes = gs_alloc(ROWS, x->m.row_bytes);
    x->n = gs_stock_blocks(&x->m);
    x->d = gs_alloc(x->n, 4);
    x->dmin = gs_alloc(x->n, 4);
    x->theta = gs_alloc(x->n, 4);
    gs_rng_init(&rng, 3, f->type);
    for (size_t i = 0; i < N; i++) {
        x->w[i] = (float)gs_rng_normal(&rng) + 0.3f;
        ones[i] = 1;
    }
    gs_format_encode(f, x->w, ones, N, x->bytes, NULL);
    gs_stock_read(&x->m, x->d, x->dmin);
    return true;
}

static void tear_down(struct fixture *x)
{
    gs_free(&x->bytes);
    gs_free(&x->d);
    gs_free(&x->dmin);
    gs_free(&x->theta);
    gs_free(&x->w);
}

static struct gs_stock_numbers d_of(const struct fixture *x)
{
    return (struct gs_stock_numbers){x->d, x->theta};
}

static struct gs_stock_numbers dmin_of(const struct fixture *x)
{
    return (struct gs_stock_numbers){x->m.format->mins ? x->dmin : NULL, x->theta};
}

static void decode(const struct fixture *x, const uint8_t *bytes, float *out)
{
    gs_kernels()->decode[x->m.format->type](bytes, out, N);
}

static void assert_near(const struct fixture *x, const float *a, const float *b, float tolerance)
{
    for (size_t i = 0; i < N; i++)
        if (!(fabsf(a[i] - b[i]) <= tolerance))
            fail_msg("%s: weight %zu is %g, not %g", gs_type_info(x->m.format->type)->name, i,
                     (double)a[i], (double)b[i]);
}

/* Unmoved numbers leave every byte; moved ones only change d and dmin, and decode to what the
 * student computes with. */
static void test_bytes(void **state)
{
    float got[N], want[N];
    size_t learned = 0;

    (void)state;
    for (size_t i = 0; gs_format_at(i); i++) {
        const struct gs_format *f = gs_format_at(i);
        struct fixture x;
        if (!set_up(f, &x))
            continue;
        size_t bytes = ROWS * x.m.row_bytes, block = gs_type_info(f->type)->bytes, changed = 0;
        uint8_t *out = gs_alloc(bytes, 1);
        gs_stock_write(&x.m, d_of(&x), dmin_of(&x), out);
        assert_memory_equal(out, x.bytes, bytes);
        gs_stock_build(&x.m, NULL, d_of(&x), dmin_of(&x), got);
        decode(&x, x.bytes, want);
        assert_near(&x, got, want, 2e-6f);

        for (size_t j = 0; j < x.n; j++)
            x.theta[j] = (j % 2 ? 0.25f : -0.5f) / GS_STOCK_PACE;
        gs_stock_write(&x.m, d_of(&x), dmin_of(&x), out);
        for (size_t j = 0; j < bytes; j++) {
            size_t at = j % block - (size_t)f->d_at;
            if (out[j] != x.bytes[j] && !(at < (f->mins ? 4u : 2u)))
                fail_msg("%s: byte %zu of a block changed", gs_type_info(f->type)->name, j % block);
            changed += out[j] != x.bytes[j];
        }
        assert_true(changed >= x.n);
        gs_stock_build(&x.m, NULL, d_of(&x), dmin_of(&x), got);
        decode(&x, out, want);
        assert_near(&x, got, want, 8e-3f); /* f16, times the largest integers */
        gs_free(&out);
        tear_down(&x);
        learned++;
    }
    assert_int_equal(learned, 22); /* all but MXFP4, NVFP4 and IQ1_M */
}

/* W is linear in the numbers, so differences of Σ G ∘ W are the slope but for rounding. */
static void test_block_gradient(void **state)
{
    const float h = 0.5f;
    float g[N], plus[N], minus[N];
    struct gs_rng rng;

    (void)state;
    for (size_t i = 0; gs_format_at(i); i++) {
        struct fixture x;
        if (!set_up(gs_format_at(i), &x))
            continue;
        float *dd = gs_alloc(x.n, 4), *ddmin = gs_alloc(x.n, 4), *still = gs_alloc(x.n, 4);
        bool mins = x.m.format->mins > 0;
        gs_rng_init(&rng, 4, i);
        for (size_t j = 0; j < N; j++)
            g[j] = (float)gs_rng_normal(&rng);
        gs_stock_project(&x.m, NULL, g, d_of(&x), dmin_of(&x), dd, mins ? ddmin : NULL);
        for (int of_min = 0; of_min <= mins; of_min++)
            for (size_t k = 0; k < x.n; k += 1 + x.n / 7) {
                double want = 0;
                struct gs_stock_numbers rest = {of_min ? x.d : mins ? x.dmin : NULL, still};
                for (int sign = 0; sign < 2; sign++) {
                    struct gs_stock_numbers moved = of_min ? dmin_of(&x) : d_of(&x);
                    x.theta[k] = sign ? -h : h;
                    gs_stock_build(&x.m, NULL, of_min ? rest : moved, of_min ? moved : rest,
                                   sign ? minus : plus);
                }
                x.theta[k] = 0;
                for (size_t j = 0; j < N; j++)
                    want += (double)g[j] * ((double)plus[j] - (double)minus[j]) / (2 * (double)h);
                if (!(fabs(want - (double)(of_min ? ddmin : dd)[k]) < 1e-4 * (1 + fabs(want))))
                    fail_msg("%s: slope %g, difference %g", gs_type_info(x.m.format->type)->name,
                             (double)(of_min ? ddmin : dd)[k], want);
            }
        gs_free(&dd);
        gs_free(&ddmin);
        gs_free(&still);
        tear_down(&x);
    }
}

/* ---- a file ---- */

static int make_stock(const char *to, const char *type, const char *tune)
{
    const char *path = text;
    struct gs_quantize_options o = {.type = type, .calib = &path, .n_calib = 1, .tokens = 512,
                                    .no_eval = true, .overwrite = true, .threads = 2,
                                    .tune = tune};
    struct gs_err err = {0};
    int rc = gs_quantize(source, to, &o, NULL, &err);

    if (rc)
        print_message("%s\n", err.msg);
    return rc;
}

static int prepare(void **state)
{
    (void)state;
    make_files(tokens, GS_COUNT(tokens));
    return make_stock(rounded, "Q2_0", NULL);
}

static struct gs_store *open_store(const char *path)
{
    struct gs_err err = {0};
    struct gs_store *store;

    if (gs_store_open(path, &store, &err))
        fail_msg("%s", err.msg);
    return store;
}

/* Bytes that two files of the same tensors differ in: within norms, d and dmin; elsewhere. */
static void compare_files(size_t *free_bytes, size_t *fixed_bytes)
{
    struct gs_store *a = open_store(rounded), *b = open_store(tuned);
    struct gs_err err = {0};

    *free_bytes = *fixed_bytes = 0;
    assert_int_equal(gs_store_count(a), gs_store_count(b));
    for (size_t i = 0; i < gs_store_count(a); i++) {
        const struct gs_tensor *s = gs_store_tensor(a, i), *t = gs_store_find(b, s->name);
        const struct gs_format *f = gs_format_find(s->type);
        const void *p, *q;
        assert_true(t && t->type == s->type && t->bytes == s->bytes);
        assert_int_equal(gs_store_data(a, s, &p, &err) || gs_store_data(b, t, &q, &err), 0);
        for (size_t j = 0; j < s->bytes; j++) {
            size_t at = f ? j % gs_type_info(f->type)->bytes - (size_t)f->d_at : 0;
            bool differ = ((const uint8_t *)p)[j] != ((const uint8_t *)q)[j];
            bool is_norm = strstr(s->name, "norm") != NULL;
            *free_bytes += differ && (is_norm || (f && at < 4));
            *fixed_bytes += differ && !(is_norm || (f && at < 4));
        }
    }
    gs_store_close(&a);
    gs_store_close(&b);
}

static void test_file(void **state)
{
    struct gs_tune t = {.teacher = source, .tokens = tokens, .sequences = SEQUENCES,
                        .ctx = CTX, .held = 2};
    struct gs_tune_result r, again;
    struct gs_err err = {0};
    size_t changed, broken;

    (void)state;
    assert_int_equal(gs_tune_stages("e2e", true, &t, &err), GS_OK);
    if (gs_tune_file(&t, rounded, tuned, &r, &err))
        fail_msg("%s", err.msg);
    assert_true(r.kept && r.held_after < r.held_before && r.held_after > 0);
    assert_true(r.whole_after < r.whole_before);
    compare_files(&changed, &broken);
    assert_true(changed > 100);
    assert_int_equal(broken, 0);
    /* The same bits with other threads. */
    assert_int_equal(gs_team_create(3, &t.team, &err), GS_OK);
    assert_int_equal(gs_tune_file(&t, rounded, tuned, &again, &err), GS_OK);
    assert_memory_equal(&r, &again, offsetof(struct gs_tune_result, kept));
    gs_team_destroy(&t.team);
}

/* A rate that destroys the model. */
static void test_taken_back(void **state)
{
    struct gs_tune t = {.teacher = source, .tokens = tokens, .sequences = SEQUENCES,
                        .ctx = CTX, .held = 2};
    struct gs_tune_result r;
    struct gs_err err = {0};
    size_t changed, broken;

    (void)state;
    assert_int_equal(gs_tune_stages("e2e", true, &t, &err), GS_OK);
    t.whole_rate = 50;
    if (gs_tune_file(&t, rounded, tuned, &r, &err))
        fail_msg("%s", err.msg);
    assert_false(r.kept);
    compare_files(&changed, &broken);
    assert_int_equal(changed + broken, 0);
}

/* Through the pipeline; types whose blocks have no f16 number still have norms. */
static void test_pipeline(void **state)
{
    static const char *const types[] = {"Q4_1", "MXFP4"};
    struct gs_err err = {0};

    (void)state;
    for (size_t i = 0; i < GS_COUNT(types); i++) {
        assert_int_equal(make_stock(tuned, types[i], "both"), GS_OK);
        struct gs_store *s = open_store(tuned);
        struct gs_lm *lm;
        assert_non_null(gs_meta_find(gs_store_meta(s), "gosset.tune"));
        assert_int_equal(gs_lm_open(s, &lm, &err), GS_OK);
        gs_lm_close(&lm);
        gs_store_close(&s);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes), cmocka_unit_test(test_block_gradient),
        cmocka_unit_test(test_file), cmocka_unit_test(test_taken_back),
        cmocka_unit_test(test_pipeline),
    };
    (void)argc;
    tiny_init(argv[0]);
    int failed = cmocka_run_group_tests(tests, prepare, remove_files);
    tiny_exit();
    return failed;
}
