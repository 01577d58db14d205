/* SPDX-License-Identifier: MIT
 * Transforms: every kind of the list keeps the function of a layer; the diagonal rescale,
 * folding, files and threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/half.h"
#include "core/rng.h"
#include "transform/transform.h"

static float *random_f32(size_t n, uint64_t seed)
{
    float *x = gs_alloc(n, sizeof *x);
    struct gs_rng rng;

    assert_non_null(x);
    gs_rng_init(&rng, seed, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)gs_rng_normal(&rng);
    return x;
}

/* An instance of n channels with made-up statistics. */
static struct gs_transform *create(const struct gs_transform_kind *kind, size_t n, uint64_t seed)
{
    double *h = gs_alloc(n, sizeof *h), *w = gs_alloc(n, sizeof *w);
    struct gs_transform_fit fit = {.seed = seed, .stream = 1, .h_diagonal = h, .w_squares = w};
    struct gs_transform *t;
    struct gs_rng rng;

    gs_rng_init(&rng, seed, 2);
    for (size_t i = 0; i < n; i++) {
        h[i] = 0.01 + gs_rng_f64(&rng) * 3;
        w[i] = 0.1 + gs_rng_f64(&rng);
    }
    assert_int_equal(gs_transform_create(kind, n, &fit, &t, NULL), GS_OK);
    gs_free(&h);
    gs_free(&w);
    return t;
}

static void apply(const struct gs_transform *t, enum gs_transform_op op, float *x)
{
    void *work = gs_alloc(1, gs_transform_work_bytes(t) + 1);

    gs_transform_apply(t, op, x, 1, gs_transform_size(t), work);
    gs_free(&work);
}

static double dot(const float *x, const float *y, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

static const size_t sizes[] = {1, 6, 64, 576, 640};

/* T⁻¹ T = I, (T⁻ᵀ)⁻¹ = Tᵀ, and ⟨T x, T⁻ᵀ y⟩ = ⟨x, y⟩, which is what keeps W x. */
static void test_every_kind_is_an_algebra(void **state)
{
    const struct gs_transform_kind *kind;
    (void)state;

    for (size_t k = 0; (kind = gs_transform_at(k)) != NULL; k++)
        for (size_t s = 0; s < GS_COUNT(sizes); s++) {
            size_t n = sizes[s];
            struct gs_transform *t = create(kind, n, 7 + s);
            float *x = random_f32(n, 1), *y = random_f32(n, 2), *z = random_f32(n, 1);
            double before = dot(x, y, n), size = sqrt(dot(x, x, n) * dot(y, y, n));
            apply(t, GS_TRANSFORM_FORWARD, x);
            apply(t, GS_TRANSFORM_DUAL, y);
            assert_true(fabs(dot(x, y, n) - before) <= 3e-6 * size);
            apply(t, GS_TRANSFORM_INVERSE, x);
            for (size_t i = 0; i < n; i++)
                assert_true(fabsf(x[i] - z[i]) <= 4e-6f);
            gs_free(&z);
            z = random_f32(n, 2);
            apply(t, GS_TRANSFORM_DUAL_INVERSE, y);
            for (size_t i = 0; i < n; i++)
                assert_true(fabsf(y[i] - z[i]) <= 4e-6f);
            assert_ptr_equal(gs_transform_find(kind->name), kind);
            assert_ptr_equal(gs_transform_kind_of(t), kind);
            gs_transform_destroy(&t);
            gs_free(&x);
            gs_free(&y);
            gs_free(&z);
        }
    assert_null(gs_transform_find("no such transform"));
}

/* y = T_out⁻¹ (T_out W T_in⁻¹)(T_in x) for every pair of kinds. */
static void test_two_sided_keeps_the_layer(void **state)
{
    const struct gs_transform_kind *in, *out;
    const size_t m = 40, n = 96;
    (void)state;

    for (size_t a = 0; (in = gs_transform_at(a)) != NULL; a++)
        for (size_t b = 0; (out = gs_transform_at(b)) != NULL; b++) {
            struct gs_transform *tin = create(in, n, 1), *tout = create(out, m, 2);
            float *w = random_f32(m * n, 3), *x = random_f32(n, 4), *y = gs_alloc(m, sizeof *y);
            double want[40];
            for (size_t i = 0; i < m; i++)
                want[i] = dot(w + i * n, x, n);
            assert_int_equal(gs_transform_rows(tin, GS_TRANSFORM_DUAL, NULL, w, m, n, NULL), 0);
            assert_int_equal(gs_transform_columns(tout, GS_TRANSFORM_FORWARD, NULL, w, n, n,
                                                  NULL), 0);
            apply(tin, GS_TRANSFORM_FORWARD, x);
            for (size_t i = 0; i < m; i++)
                y[i] = (float)dot(w + i * n, x, n);
            apply(tout, GS_TRANSFORM_INVERSE, y);
            for (size_t i = 0; i < m; i++)
                assert_true(fabs((double)y[i] - want[i]) < 3e-5);
            gs_transform_destroy(&tin);
            gs_transform_destroy(&tout);
            gs_free(&w);
            gs_free(&x);
            gs_free(&y);
        }
}

/* H~ = Σ (T x)(T x)ᵀ where H = Σ x xᵀ: tr(W H Wᵀ) stays, the diagonal helper agrees. */
static void test_hessian_moves_with_the_input(void **state)
{
    const struct gs_transform_kind *kind;
    const size_t n = 72, tokens = 20;
    (void)state;

    for (size_t k = 0; (kind = gs_transform_at(k)) != NULL; k++) {
        struct gs_transform *t = create(kind, n, 5);
        float *x = random_f32(tokens * n, 6);
        double *h = gs_alloc(n * n, sizeof *h), *diagonal = gs_alloc(n, sizeof *h);
        double *only = gs_alloc(n * n, sizeof *h);
        for (size_t i = 0; i < n * n; i++)
            for (size_t s = 0; s < tokens; s++)
                h[i] += (double)x[s * n + i / n] * (double)x[s * n + i % n];
        for (size_t i = 0; i < n; i++)
            only[i * n + i] = diagonal[i] = h[i * n + i];
        assert_int_equal(gs_transform_rows(t, GS_TRANSFORM_FORWARD, NULL, x, tokens, n, NULL),
                         GS_OK);
        assert_int_equal(gs_transform_hessian(t, NULL, h, NULL), GS_OK);
        for (size_t i = 0; i < n * n; i++) {
            double sum = 0, size = 0;
            for (size_t s = 0; s < tokens; s++) {
                double v = (double)x[s * n + i / n] * (double)x[s * n + i % n];
                sum += v;
                size += fabs(v);
            }
            assert_true(fabs(h[i] - sum) < 1e-5 * (size + 1));
            assert_true(h[i] == h[i % n * n + i / n]);
        }
        assert_int_equal(gs_transform_hessian(t, NULL, only, NULL), GS_OK);
        assert_int_equal(gs_transform_hessian_diagonal(t, diagonal, NULL), GS_OK);
        for (size_t i = 0; i < n; i++)
            assert_true(fabs(only[i * n + i] - diagonal[i]) < 1e-12 * diagonal[i]);
        gs_transform_destroy(&t);
        gs_free(&x);
        gs_free(&h);
        gs_free(&diagonal);
        gs_free(&only);
    }
}

static void test_same_bits_for_threads_and_seeds(void **state)
{
    const struct gs_transform_kind *kind = gs_transform_find("hadamard");
    const size_t m = 50, n = 160;
    float *one = random_f32(m * n, 1), *three = random_f32(m * n, 1);
    double *h1 = gs_alloc(n * n, sizeof *h1), *h3 = gs_alloc(n * n, sizeof *h3);
    struct gs_transform *t = create(kind, n, 9), *same = create(kind, n, 9);
    struct gs_transform *other = create(kind, n, 10), *rows = create(kind, m, 9);
    struct gs_team *team;
    (void)state;

    assert_memory_equal(gs_transform_factor(t), gs_transform_factor(same), n * sizeof *one);
    assert_memory_not_equal(gs_transform_factor(t), gs_transform_factor(other),
                            n * sizeof *one);
    for (size_t i = 0; i < n * n; i++)
        h1[i] = h3[i] = 1.0 / (1.0 + fabs((double)(i / n) - (double)(i % n)));
    assert_int_equal(gs_team_create(3, &team, NULL), GS_OK);
    assert_int_equal(gs_transform_rows(t, GS_TRANSFORM_DUAL, NULL, one, m, n, NULL), GS_OK);
    assert_int_equal(gs_transform_rows(t, GS_TRANSFORM_DUAL, team, three, m, n, NULL), GS_OK);
    assert_int_equal(gs_transform_columns(rows, GS_TRANSFORM_FORWARD, NULL, one, n, n, NULL), 0);
    assert_int_equal(gs_transform_columns(rows, GS_TRANSFORM_FORWARD, team, three, n, n, NULL),
                     GS_OK);
    assert_memory_equal(one, three, m * n * sizeof *one);
    assert_int_equal(gs_transform_hessian(t, NULL, h1, NULL), GS_OK);
    assert_int_equal(gs_transform_hessian(t, team, h3, NULL), GS_OK);
    assert_memory_equal(h1, h3, n * n * sizeof *h1);
    gs_team_destroy(&team);
    gs_transform_destroy(&t);
    gs_transform_destroy(&same);
    gs_transform_destroy(&other);
    gs_transform_destroy(&rows);
    gs_free(&one);
    gs_free(&three);
    gs_free(&h1);
    gs_free(&h3);
}

/* Rotation after rescale in one vector equals the two one after the other. */
static void test_fold(void **state)
{
    const size_t n = 96;
    struct gs_transform *diagonal = create(gs_transform_find("diagonal"), n, 3);
    struct gs_transform *separate = create(gs_transform_find("hadamard"), n, 3);
    struct gs_transform *folded = create(gs_transform_find("hadamard"), n, 3), *loaded;
    struct gs_err err = {0};
    (void)state;

    assert_int_equal(gs_transform_fold(folded, diagonal, NULL), GS_OK);
    assert_int_equal(gs_transform_load(gs_transform_find("hadamard"), n,
                                       gs_transform_factor(folded), &loaded, NULL), GS_OK);
    for (int op = GS_TRANSFORM_FORWARD; op <= GS_TRANSFORM_DUAL; op += 2) {
        float *x = random_f32(n, 4), *y = random_f32(n, 4), *z = random_f32(n, 4);
        apply(diagonal, (enum gs_transform_op)op, x);
        apply(separate, (enum gs_transform_op)op, x);
        apply(folded, (enum gs_transform_op)op, y);
        apply(loaded, (enum gs_transform_op)op, z);
        assert_memory_equal(x, y, n * sizeof *x);
        assert_memory_equal(z, y, n * sizeof *x);
        gs_free(&x);
        gs_free(&y);
        gs_free(&z);
    }
    for (size_t i = 0; i < n; i++) { /* what the file holds is what was used */
        float f = gs_transform_factor(folded)[i];
        assert_true(gs_f16_to_f32(gs_f32_to_f16(f)) == f);
    }
    assert_int_equal(gs_transform_fold(folded, separate, &err), GS_E_ARG);
    assert_string_equal(err.msg, "cannot fold transform hadamard (96) into hadamard (96)");
    gs_transform_destroy(&diagonal);
    gs_transform_destroy(&separate);
    gs_transform_destroy(&folded);
    gs_transform_destroy(&loaded);
}

static void test_rescale_formula_and_dead_channels(void **state)
{
    const double h[6] = {16, 1, 0, 1, 0, 1e12}, w[6] = {1, 1, 1, 0, 0, 1};
    struct gs_transform_fit fit = {.h_diagonal = h, .w_squares = w};
    struct gs_transform *t;
    (void)state;

    /* Exponents of t of the live channels 2, 1, 1000 are 1, 0, 9: the centre is 2^3. */
    assert_int_equal(gs_transform_create(gs_transform_find("diagonal"), 6, &fit, &t, NULL), 0);
    const float *f = gs_transform_factor(t);
    assert_true(f[0] == 4 && f[1] == 8);
    assert_true(f[2] == 64);       /* dead: next to no precision */
    assert_true(f[3] == 1.0f / 64); /* no weights: quiet */
    assert_true(f[4] == 1);        /* neither */
    assert_true(f[5] == 1.0f / 64);
    gs_transform_destroy(&t);
}

/* What a rule balances is equal in all channels afterwards, or of the inputs alone. */
static void test_rules_of_diagonals(void **state)
{
    const double h[4] = {1, 4, 9, 16}, w2[4] = {5, 2, 8, 1}, x[4] = {2, 3, 4, 5};
    const double most[4] = {1, 0.5, 2, 0.25}, source[4] = {3, 1, 2, 6};
    (void)state;

    for (size_t k = 0; gs_diagonal_rule_at(k); k++) {
        const struct gs_diagonal_rule *rule = gs_diagonal_rule_at(k);
        const struct gs_transform_fit fit = {.rule = rule, .h_diagonal = h, .w_squares = w2,
                                             .x_most = x, .w_most = most, .source = source};
        struct gs_transform *t;
        double first = 0;
        assert_ptr_equal(gs_diagonal_rule_find(rule->name), rule);
        assert_int_equal(gs_transform_create(gs_transform_find("diagonal"), 4, &fit, &t, NULL), 0);
        for (size_t i = 0; i < 4; i++) {
            double f = (double)gs_transform_factor(t)[i]; /* x f, W / f */
            double ratio = rule->needs_source ? source[i] * f / (most[i] / f)
                           : !rule->needs_most ? h[i] * f * f / (w2[i] / f / f)
                           : rule->roots ? x[i] * f / (most[i] / f) : x[i] * f;
            first = i ? first : ratio;
            assert_true(fabs(ratio - first) < 4e-3 * first);
        }
        gs_transform_destroy(&t);
    }
    assert_null(gs_diagonal_rule_find("none of these"));
}

/* Inputs by size, smallest first; factors that are no positions are refused. */
static void test_act_order(void **state)
{
    const struct gs_transform_kind *kind = gs_transform_find("act-order");
    const double h[5] = {4, 1, 9, 1, 0};
    const struct gs_transform_fit fit = {.h_diagonal = h, .w_squares = h};
    const float sorted[5] = {0, 1, 1, 4, 9};
    struct gs_transform *t, *loaded;
    struct gs_err err = {0};
    float x[5], factor[5];
    (void)state;

    assert_int_equal(gs_transform_create(kind, 5, &fit, &t, NULL), GS_OK);
    assert_int_equal(gs_transform_load(kind, 5, gs_transform_factor(t), &loaded, NULL), GS_OK);
    for (size_t i = 0; i < 5; i++)
        x[i] = (float)h[i];
    apply(t, GS_TRANSFORM_FORWARD, x);
    assert_memory_equal(x, sorted, sizeof x);
    apply(loaded, GS_TRANSFORM_INVERSE, x);
    for (size_t i = 0; i < 5; i++)
        assert_true(x[i] == (float)h[i]);
    assert_int_equal(gs_transform_fold(t, t, NULL), GS_E_ARG);
    for (size_t bad = 0; bad < 3; bad++) { /* twice the same, past the end, negative */
        memcpy(factor, gs_transform_factor(t), sizeof factor);
        factor[1] = bad == 0 ? factor[0] : bad == 1 ? 1.0f : -factor[1];
        gs_transform_destroy(&loaded);
        assert_int_equal(gs_transform_load(kind, 5, factor, &loaded, &err), GS_E_FORMAT);
        assert_null(loaded);
    }
    gs_transform_destroy(&t);
}

/* A single channel ends up in all of them, each time in another way. */
static void test_kronecker_spreads(void **state)
{
    const struct gs_transform_kind *kind = gs_transform_find("kronecker");
    const size_t n = 640;
    struct gs_transform *t = create(kind, n, 1);
    struct gs_err err = {0};
    (void)state;

    for (size_t i = 0; i < n; i += 97) {
        float *x = gs_alloc(n, sizeof *x), most = 0;
        assert_non_null(x);
        x[i] = 1;
        apply(t, GS_TRANSFORM_FORWARD, x);
        for (size_t j = 0; j < n; j++)
            most = fmaxf(most, fabsf(x[j]));
        assert_true(most < 0.5f && fabs(dot(x, x, n) - 1) < 1e-5);
        gs_free(&x);
    }
    gs_transform_destroy(&t);
    struct gs_transform_fit fit = {.seed = 1};
    assert_int_equal(gs_transform_create(kind, 2053, &fit, &t, &err), GS_E_UNSUPPORTED);
    assert_null(t);
    assert_string_equal(err.msg, "transform kronecker: 2053 is no product of two numbers up to "
                        "1024");
    for (uint64_t at = 1; at < 4; at++) {
        gs_alloc_fail_at(at);
        assert_int_equal(gs_transform_create(kind, 30, &fit, &t, NULL), GS_E_NOMEM);
        gs_alloc_fail_at(0);
        assert_null(t);
    }
}

static void test_bad_input(void **state)
{
    const double good[2] = {1, 1}, bad[2] = {1, NAN};
    const float zero[2] = {1, 0}, infinite[2] = {INFINITY, 1};
    const struct gs_transform_kind *diagonal = gs_transform_find("diagonal");
    struct gs_transform_fit fit = {.h_diagonal = good};
    struct gs_transform *t;
    struct gs_err err = {0};
    (void)state;

    assert_int_equal(gs_transform_create(diagonal, 2, &fit, &t, &err), GS_E_ARG);
    assert_null(t);
    fit.w_squares = bad;
    err = (struct gs_err){0};
    assert_int_equal(gs_transform_create(diagonal, 2, &fit, &t, &err), GS_E_FORMAT);
    assert_string_equal(err.msg, "channel 1: the weights are not finite");
    fit = (struct gs_transform_fit){.h_diagonal = bad, .w_squares = good};
    assert_int_equal(gs_transform_create(diagonal, 2, &fit, &t, NULL), GS_E_FORMAT);
    err = (struct gs_err){0};
    assert_int_equal(gs_transform_load(diagonal, 2, zero, &t, &err), GS_E_FORMAT);
    assert_string_equal(err.msg, "transform diagonal: factor 1 is 0");
    assert_int_equal(gs_transform_load(diagonal, 2, infinite, &t, NULL), GS_E_FORMAT);
    assert_null(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_is_an_algebra),
        cmocka_unit_test(test_two_sided_keeps_the_layer),
        cmocka_unit_test(test_hessian_moves_with_the_input),
        cmocka_unit_test(test_same_bits_for_threads_and_seeds),
        cmocka_unit_test(test_fold),
        cmocka_unit_test(test_rescale_formula_and_dead_channels),
        cmocka_unit_test(test_rules_of_diagonals),
        cmocka_unit_test(test_act_order),
        cmocka_unit_test(test_kronecker_spreads),
        cmocka_unit_test(test_bad_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
