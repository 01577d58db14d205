/* SPDX-License-Identifier: MIT
 * Gradients of transforms against central differences, the LU that they need, rotations that
 * stay rotations, and what learned transforms must not change: the layer's function. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "core/alloc.h"
#include "core/half.h"
#include "core/rng.h"
#include "linalg/lu.h"
#include "transform/gradient.h"

#define STEP 1e-5
#define INPUTS 3

static struct gs_rng rng;

static double *random_doubles(size_t n)
{
    double *p = gs_alloc(n, sizeof *p);

    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = gs_rng_normal(&rng);
    return p;
}

/* A function of INPUTS arrays to one, its gradient, and their sizes. */
struct subject {
    const char *name;
    size_t n[INPUTS], n_out;
    void (*forward)(double *const *in, double *out);
    void (*backward)(double *const *in, const double *out, const double *G, double *const *grad);
};

static double value(const struct subject *s, double *const *in, const double *G, double *out)
{
    double sum = 0;

    s->forward(in, out);
    for (size_t i = 0; i < s->n_out; i++)
        sum += G[i] * out[i];
    return sum;
}

static void check_subject(const struct subject *s)
{
    double *in[INPUTS] = {0}, *grad[INPUTS] = {0}, *out = random_doubles(s->n_out);
    double *G = random_doubles(s->n_out);

    for (int k = 0; k < INPUTS && s->n[k]; k++) {
        in[k] = random_doubles(s->n[k]);
        grad[k] = gs_alloc(s->n[k], sizeof(double));
        for (size_t i = 0; i < s->n[k]; i++)
            grad[k][i] = 0.5; /* gradients are added */
    }
    s->forward(in, out);
    s->backward(in, out, G, grad);
    for (int k = 0; k < INPUTS && s->n[k]; k++) {
        double error = 0, norm = 0;
        for (size_t i = 0; i < s->n[k]; i++) {
            double at = in[k][i];
            in[k][i] = at + STEP;
            double above = value(s, in, G, out);
            in[k][i] = at - STEP;
            double want = (above - value(s, in, G, out)) / (2 * STEP);
            in[k][i] = at;
            error += pow(grad[k][i] - 0.5 - want, 2);
            norm += want * want;
        }
        assert_true(norm > 0);
        if (!(sqrt(error / norm) < 1e-6))
            fail_msg("%s: input %d is off by %.2g", s->name, k, sqrt(error / norm));
    }
    for (int k = 0; k < INPUTS; k++) {
        gs_free(&in[k]);
        gs_free(&grad[k]);
    }
    gs_free(&G);
    gs_free(&out);
}

/* ---- the subjects: 3 rows, orders 5 and 4 --------------------------------------------------- */

#define R 3u
#define A 5u
#define B 4u

static void ok(int rc)
{
    assert_int_equal(rc, GS_OK);
}

static void diagonal(double *const *in, double *out)
{
    gs_diagonal_forward(in[0], in[1], false, R, A, out);
}

static void diagonal_back(double *const *in, const double *out, const double *G,
                          double *const *g)
{
    (void)out;
    gs_diagonal_backward(in[0], in[1], false, G, R, A, g[0], g[1]);
}

static void inverse_diagonal(double *const *in, double *out)
{
    gs_diagonal_forward(in[0], in[1], true, R, A, out);
}

static void inverse_diagonal_back(double *const *in, const double *out, const double *G,
                                  double *const *g)
{
    (void)out;
    gs_diagonal_backward(in[0], in[1], true, G, R, A, g[0], g[1]);
}

static void dense(double *const *in, double *out)
{
    gs_dense_forward(in[0], in[1], R, A, B, out);
}

static void dense_back(double *const *in, const double *out, const double *G, double *const *g)
{
    (void)out;
    gs_dense_backward(in[0], in[1], G, R, A, B, g[0], g[1]);
}

static void inverse(double *const *in, double *out)
{
    ok(gs_inverse_forward(in[0], A, out, NULL));
}

static void inverse_back(double *const *in, const double *out, const double *G,
                         double *const *g)
{
    (void)in;
    ok(gs_inverse_backward(out, G, A, g[0], NULL));
}

static void kronecker(double *const *in, double *out)
{
    ok(gs_kronecker_forward(in[0], in[1], in[2], R, A, B, out, NULL));
}

static void kronecker_back(double *const *in, const double *out, const double *G,
                           double *const *g)
{
    (void)out;
    ok(gs_kronecker_backward(in[0], in[1], in[2], G, R, A, B, g[0], g[1], g[2], NULL));
}

/* Both forms of one transform, one after the other. */
static void svd_form(double *const *in, double *out)
{
    ok(gs_svd_form_forward(in[0], in[1], in[2], false, A, out, NULL));
    ok(gs_svd_form_forward(in[0], in[1], in[2], true, A, out + A * A, NULL));
}

static void svd_form_back(double *const *in, const double *out, const double *G,
                          double *const *g)
{
    (void)out;
    ok(gs_svd_form_backward(in[0], in[1], in[2], G, G + A * A, A, g[0], g[1], g[2], NULL));
}

static void cayley(double *const *in, double *out)
{
    ok(gs_cayley_forward(in[0], A, out, NULL));
}

static void cayley_back(double *const *in, const double *out, const double *G,
                        double *const *g)
{
    ok(gs_cayley_backward(in[0], out, G, A, g[0], NULL));
}

static void test_gradients(void **state)
{
    const struct subject subjects[] = {
        {"diagonal", {R * A, A}, R * A, diagonal, diagonal_back},
        {"inverse diagonal", {R * A, A}, R * A, inverse_diagonal, inverse_diagonal_back},
        {"dense", {R * A, A * B}, R * B, dense, dense_back},
        {"inverse", {A * A}, A * A, inverse, inverse_back},
        {"Kronecker", {R * A * B, A * A, B * B}, R * A * B, kronecker, kronecker_back},
        {"SVD form", {A * A, A, A * A}, 2 * A * A, svd_form, svd_form_back},
        {"Cayley", {A * A}, A * A, cayley, cayley_back},
    };

    (void)state;
    gs_rng_init(&rng, 12, 0);
    for (size_t i = 0; i < GS_COUNT(subjects); i++)
        check_subject(&subjects[i]);
}

/* ---- the list of transforms ------------------------------------------------------------------ */

static void check_transform(const struct gs_transform_kind *kind, size_t n,
                            enum gs_transform_op op)
{
    float *factor = gs_alloc(n, sizeof *factor), *x = gs_alloc(n, sizeof *x);
    float *y = gs_alloc(n, sizeof *y), *G = gs_alloc(n, sizeof *G), *dx = gs_alloc(n, sizeof *dx);
    float *df = gs_alloc(n, sizeof *df);
    struct gs_transform *t;
    struct gs_err err = {0};

    for (size_t i = 0; i < n; i++) {
        factor[i] = (float)(0.5 + gs_rng_f64(&rng)) * (i % 3 ? 1 : -1);
        x[i] = (float)gs_rng_normal(&rng);
        G[i] = (float)gs_rng_normal(&rng);
    }
    for (size_t i = 0; kind->arrange && i < n; i++) /* positions, here all turned round */
        factor[i] = gs_f16_to_f32((uint16_t)(n - i));
    if (gs_transform_load(kind, n, factor, &t, &err))
        fail_msg("%s", err.msg);
    void *work = gs_alloc(1, gs_transform_work_bytes(t) + 64);
    memcpy(y, x, n * sizeof *x);
    gs_transform_apply(t, op, y, 1, n, work);
    memcpy(dx, G, n * sizeof *G);
    gs_transform_backward(t, op, x, y, dx, df, work);
    /* Linear in x: ⟨G, T(x + v)⟩ − ⟨G, T x⟩ = ⟨dx, v⟩ for any v; in f the kind is linear too
     * (or in 1/f), and a small step along one element tells. */
    double left = 0, right = 0;
    for (size_t i = 0; i < n; i++)
        right += (double)dx[i] * (double)x[i];
    for (size_t i = 0; i < n; i++)
        left += (double)G[i] * (double)y[i];
    assert_true(fabs(left - right) < 1e-5 * (fabs(left) + sqrt((double)n)));
    for (size_t i = 0; i < n && gs_transform_gain(t); i += 5) {
        const float h = 1e-2f;
        double values[2];
        for (int k = 0; k < 2; k++) {
            struct gs_transform *other;
            float before = factor[i];
            factor[i] += k ? -h : h;
            ok(gs_transform_load(kind, n, factor, &other, &err));
            factor[i] = before;
            memcpy(y, x, n * sizeof *x);
            gs_transform_apply(other, op, y, 1, n, work);
            values[k] = 0;
            for (size_t j = 0; j < n; j++)
                values[k] += (double)G[j] * (double)y[j];
            gs_transform_destroy(&other);
        }
        double want = (values[0] - values[1]) / (2 * (double)h);
        if (!(fabs((double)df[i] - want) < 2e-3 * fmax(1, fabs(want))))
            fail_msg("%s, op %d: df %zu is %g, not %g", kind->name, (int)op, i, (double)df[i],
                     want);
    }
    gs_transform_destroy(&t);
    gs_free(&work), gs_free(&factor), gs_free(&x), gs_free(&y), gs_free(&G), gs_free(&dx);
    gs_free(&df);
}

static void test_transforms(void **state)
{
    const struct gs_transform_kind *kind;

    (void)state;
    gs_rng_init(&rng, 13, 0);
    for (size_t i = 0; (kind = gs_transform_at(i)); i++)
        for (int op = GS_TRANSFORM_FORWARD; op <= GS_TRANSFORM_DUAL_INVERSE; op++) {
            check_transform(kind, 96, (enum gs_transform_op)op);
            check_transform(kind, 36, (enum gs_transform_op)op);
        }
}

/* ---- LU, rotations --------------------------------------------------------------------------- */

static void test_lu(void **state)
{
    const size_t sizes[] = {1, 2, 7, 40};

    (void)state;
    gs_rng_init(&rng, 14, 0);
    for (size_t k = 0; k < GS_COUNT(sizes); k++) {
        size_t n = sizes[k];
        double *a = random_doubles(n * n), *x = random_doubles(n * 3);
        double *lu = gs_alloc(n * n, sizeof *lu), *b = gs_alloc(n * 3, sizeof *b);
        size_t *pivot = gs_alloc(n, sizeof *pivot);
        a[0] = 0; /* needs an exchange */
        if (n == 1)
            a[0] = -2;
        memcpy(lu, a, n * n * sizeof *a);
        assert_true(gs_lu_factor(lu, n, pivot));
        for (int transposed = 0; transposed < 2; transposed++) {
            memset(b, 0, n * 3 * sizeof *b);
            for (size_t i = 0; i < n; i++)
                for (size_t p = 0; p < n; p++)
                    for (size_t j = 0; j < 3; j++)
                        b[i * 3 + j] += (transposed ? a[p * n + i] : a[i * n + p]) * x[p * 3 + j];
            (transposed ? gs_lu_solve_transposed : gs_lu_solve)(lu, n, pivot, b, 3);
            for (size_t i = 0; i < n * 3; i++)
                assert_true(fabs(b[i] - x[i]) < 1e-9);
        }
        for (size_t j = 0; j < n; j++)
            a[(n - 1) * n + j] = n > 1 ? 2 * a[j] : 0; /* dependent rows */
        memcpy(lu, a, n * n * sizeof *a);
        struct gs_err err = {0};
        bool singular = !gs_lu_factor(lu, n, pivot);
        if (n <= 2)
            assert_true(singular && gs_inverse_forward(a, n, lu, &err) == GS_E_ARG);
        a[0] = NAN;
        assert_false(gs_lu_factor(a, n, pivot));
        gs_free(&a), gs_free(&x), gs_free(&lu), gs_free(&b), gs_free(&pivot);
    }
}

/* The largest |R Rᵀ − I|. */
static double skewness(const double *r, size_t n)
{
    double worst = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = i == j ? -1 : 0;
            for (size_t k = 0; k < n; k++)
                sum += r[i * n + k] * r[j * n + k];
            worst = fmax(worst, fabs(sum));
        }
    return worst;
}

static void test_cayley_is_orthogonal(void **state)
{
    double *theta, q[16 * 16];

    (void)state;
    gs_rng_init(&rng, 15, 0);
    theta = random_doubles(16 * 16);
    for (size_t i = 0; i < 256; i++)
        theta[i] *= 10;
    ok(gs_cayley_forward(theta, 16, q, NULL));
    assert_true(skewness(q, 16) < 1e-12);
    memset(theta, 0, 256 * sizeof *theta);
    ok(gs_cayley_forward(theta, 16, q, NULL));
    for (size_t i = 0; i < 256; i++)
        assert_true(fabs(q[i] - (i / 16 == i % 16)) < 1e-15);
    theta[3] = NAN;
    assert_int_equal(gs_cayley_forward(theta, 16, q, NULL), GS_E_ARG);
    gs_free(&theta);
}

/* min ‖R X − Y‖², Y = a rotation of X: steps find the rotation and never leave the manifold;
 * 2e-8 is what research found for iterated steps. */
static void test_stiefel(void **state)
{
    enum { S = 16, COLS = 40 };
    double *x, *theta, target[S * S], r[S * S] = {0}, g[S * S], momentum[S * S] = {0};
    double first = 0, loss = 0, before = INFINITY;

    (void)state;
    gs_rng_init(&rng, 16, 0);
    x = random_doubles(S * COLS);
    theta = random_doubles(S * S);
    for (size_t i = 0; i < S * S; i++)
        theta[i] *= 0.2;
    ok(gs_cayley_forward(theta, S, target, NULL));
    for (size_t i = 0; i < S; i++)
        r[i * S + i] = 1;
    for (int step = 0; step < 400; step++) {
        memset(g, 0, sizeof g);
        loss = 0;
        for (size_t t = 0; t < COLS; t++)
            for (size_t i = 0; i < S; i++) {
                double e = 0;
                for (size_t k = 0; k < S; k++)
                    e += (r[i * S + k] - target[i * S + k]) * x[k * COLS + t];
                loss += e * e;
                for (size_t k = 0; k < S; k++)
                    g[i * S + k] += 2 * e * x[k * COLS + t];
            }
        if (step < 20) {
            assert_true(loss < before);
            before = loss;
        }
        if (!step)
            first = loss;
        ok(gs_stiefel_step(r, g, step < 20 ? NULL : momentum, 0.5, 2e-3, S, NULL));
        assert_true(skewness(r, S) < 1e-12);
    }
    assert_true(loss < 1e-6 * first);
    g[0] = NAN;
    memcpy(momentum, r, sizeof r);
    assert_int_equal(gs_stiefel_step(r, g, NULL, 0, 0.1, S, NULL), GS_E_ARG);
    assert_memory_equal(r, momentum, sizeof r); /* as it was */
    memset(g, 0, sizeof g);
    assert_false(gs_orthonormalise(g, S));
    gs_free(&x);
    gs_free(&theta);
}

/* (W P)(P⁻¹ x) = W x for every form; the dual goes with the transpose. */
static void test_function_is_kept(void **state)
{
    double *p, *b, *w, *x, wp[R * A], px[A], want[R] = {0}, got[R] = {0};

    (void)state;
    gs_rng_init(&rng, 17, 0);
    p = random_doubles(A * A);
    b = random_doubles(A * A);
    w = random_doubles(R * A);
    x = random_doubles(A);
    ok(gs_inverse_forward(p, A, b, NULL));
    gs_dense_forward(w, p, R, A, A, wp);
    gs_dense_forward(b, x, A, A, 1, px);
    for (size_t i = 0; i < R; i++)
        for (size_t j = 0; j < A; j++) {
            want[i] += w[i * A + j] * x[j];
            got[i] += wp[i * A + j] * px[j];
        }
    for (size_t i = 0; i < R; i++)
        assert_true(fabs(want[i] - got[i]) < 1e-12);
    gs_free(&p), gs_free(&b), gs_free(&w), gs_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_transforms),
        cmocka_unit_test(test_lu), cmocka_unit_test(test_cayley_is_orthogonal),
        cmocka_unit_test(test_stiefel), cmocka_unit_test(test_function_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
