/* SPDX-License-Identifier: MIT */
#include "transform/gradient.h"

#include <string.h>

#include "core/alloc.h"
#include "linalg/lu.h"
#include "transform/members.h"

/* C (m, n) += A (m, k) B (k, n), with strides: (row, column) of A and of B. */
struct view {
    const double *data;
    size_t row, col;
};

static struct view plain(const double *a, size_t cols)
{
    return (struct view){a, cols, 1};
}

static struct view transposed(const double *a, size_t cols)
{
    return (struct view){a, 1, cols};
}

static void add_product(struct view a, struct view b, size_t m, size_t n, size_t k, double *c)
{
    for (size_t i = 0; i < m; i++)
        for (size_t p = 0; p < k; p++) {
            double x = a.data[i * a.row + p * a.col];
            for (size_t j = 0; j < n; j++)
                c[i * n + j] += x * b.data[p * b.row + j * b.col];
        }
}

void gs_diagonal_forward(const double *x, const double *s, bool inverse, size_t rows, size_t n,
                         double *y)
{
    for (size_t i = 0; i < rows * n; i++)
        y[i] = inverse ? x[i] / s[i % n] : x[i] * s[i % n];
}

void gs_diagonal_backward(const double *x, const double *s, bool inverse, const double *G,
                          size_t rows, size_t n, double *dx, double *ds)
{
    for (size_t i = 0; i < rows * n; i++) {
        double f = s[i % n];
        if (dx)
            dx[i] += inverse ? G[i] / f : G[i] * f;
        if (ds)
            ds[i % n] += inverse ? -G[i] * x[i] / (f * f) : G[i] * x[i];
    }
}

void gs_dense_forward(const double *x, const double *p, size_t rows, size_t n, size_t m,
                      double *y)
{
    memset(y, 0, rows * m * sizeof *y);
    add_product(plain(x, n), plain(p, m), rows, m, n, y);
}

void gs_dense_backward(const double *x, const double *p, const double *G, size_t rows,
                       size_t n, size_t m, double *dx, double *dp)
{
    if (dx)
        add_product(plain(G, m), transposed(p, m), rows, n, m, dx);
    if (dp)
        add_product(transposed(x, n), plain(G, m), n, m, rows, dp);
}

int gs_inverse_forward(const double *p, size_t n, double *b, struct gs_err *err)
{
    double *a = gs_alloc(n, n * sizeof *a);
    size_t *pivot = gs_alloc(n, sizeof *pivot);
    int rc = a && pivot ? GS_OK : gs_fail_nomem(err, "an inverse");

    if (rc)
        goto out;
    memcpy(a, p, n * n * sizeof *a);
    if (!gs_lu_factor(a, n, pivot)) {
        rc = gs_fail(err, GS_E_ARG, "a transform of order %zu is singular", n);
        goto out;
    }
    for (size_t i = 0; i < n * n; i++)
        b[i] = i / n == i % n;
    gs_lu_solve(a, n, pivot, b, n);
out:
    gs_free(&a);
    gs_free(&pivot);
    return rc;
}

int gs_inverse_backward(const double *b, const double *G, size_t n, double *dp,
                        struct gs_err *err)
{
    double *left = gs_alloc(n, n * sizeof *left), *both = gs_alloc(n, n * sizeof *both);
    int rc = left && both ? GS_OK : gs_fail_nomem(err, "the gradient of an inverse");

    if (!rc) {
        add_product(transposed(b, n), plain(G, n), n, n, n, left);
        add_product(plain(left, n), transposed(b, n), n, n, n, both);
        for (size_t i = 0; i < n * n; i++)
            dp[i] -= both[i];
    }
    gs_free(&left);
    gs_free(&both);
    return rc;
}

/* ---- Kronecker ------------------------------------------------------------------------------- */

int gs_kronecker_forward(const double *x, const double *p1, const double *p2, size_t rows,
                         size_t a, size_t b, double *y, struct gs_err *err)
{
    double *right = gs_alloc(a, b * sizeof *right);

    if (!right)
        return gs_fail_nomem(err, "a Kronecker product");
    memset(y, 0, rows * a * b * sizeof *y);
    for (size_t r = 0; r < rows; r++) {
        memset(right, 0, a * b * sizeof *right);
        add_product(plain(x + r * a * b, b), plain(p2, b), a, b, b, right);
        add_product(transposed(p1, a), plain(right, b), a, b, a, y + r * a * b);
    }
    gs_free(&right);
    return GS_OK;
}

int gs_kronecker_backward(const double *x, const double *p1, const double *p2, const double *G,
                          size_t rows, size_t a, size_t b, double *dx, double *dp1,
                          double *dp2, struct gs_err *err)
{
    double *part = gs_alloc(a, b * sizeof *part);

    if (!part)
        return gs_fail_nomem(err, "the gradient of a Kronecker product");
    for (size_t r = 0; r < rows; r++) {
        const double *xr = x + r * a * b, *g = G + r * a * b;
        if (dp1) { /* (X P₂) Gᵀ */
            memset(part, 0, a * b * sizeof *part);
            add_product(plain(xr, b), plain(p2, b), a, b, b, part);
            add_product(plain(part, b), transposed(g, b), a, a, b, dp1);
        }
        if (dp2) { /* (P₁ᵀ X)ᵀ G */
            memset(part, 0, a * b * sizeof *part);
            add_product(transposed(p1, a), plain(xr, b), a, b, a, part);
            add_product(transposed(part, b), plain(g, b), b, b, a, dp2);
        }
        if (dx) { /* P₁ G P₂ᵀ */
            memset(part, 0, a * b * sizeof *part);
            add_product(plain(p1, a), plain(g, b), a, b, a, part);
            add_product(plain(part, b), transposed(p2, b), a, b, b, dx + r * a * b);
        }
    }
    gs_free(&part);
    return GS_OK;
}

/* ---- U diag(s) Vᵀ ---------------------------------------------------------------------------- */

static void scale_columns(const double *u, const double *s, bool inverse, size_t n, double *out)
{
    for (size_t i = 0; i < n * n; i++)
        out[i] = inverse ? u[i] / s[i % n] : u[i] * s[i % n];
}

int gs_svd_form_forward(const double *u, const double *s, const double *v, bool dual, size_t n,
                        double *p, struct gs_err *err)
{
    double *us = gs_alloc(n, n * sizeof *us);

    if (!us)
        return gs_fail_nomem(err, "a transform");
    scale_columns(u, s, dual, n, us);
    memset(p, 0, n * n * sizeof *p);
    add_product(plain(us, n), transposed(v, n), n, n, n, p);
    gs_free(&us);
    return GS_OK;
}

/* The part of one of the two products; `work` (2, n, n). */
static void svd_part(const double *u, const double *s, const double *v, const double *G,
                     bool dual, size_t n, double *du, double *ds, double *dv, double *work)
{
    double *gv = work, *scaled = work + n * n;

    memset(work, 0, 2 * n * n * sizeof *work);
    add_product(plain(G, n), plain(v, n), n, n, n, gv);
    for (size_t j = 0; ds && j < n; j++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += u[i * n + j] * gv[i * n + j];
        ds[j] += dual ? -sum / (s[j] * s[j]) : sum;
    }
    for (size_t i = 0; du && i < n * n; i++)
        du[i] += dual ? gv[i] / s[i % n] : gv[i] * s[i % n];
    if (dv) {
        scale_columns(u, s, dual, n, scaled);
        add_product(transposed(G, n), plain(scaled, n), n, n, n, dv);
    }
}

int gs_svd_form_backward(const double *u, const double *s, const double *v, const double *G,
                         const double *G_dual, size_t n, double *du, double *ds, double *dv,
                         struct gs_err *err)
{
    double *work = gs_alloc(2 * n, n * sizeof *work);

    if (!work)
        return gs_fail_nomem(err, "the gradient of a transform");
    if (G)
        svd_part(u, s, v, G, false, n, du, ds, dv, work);
    if (G_dual)
        svd_part(u, s, v, G_dual, true, n, du, ds, dv, work);
    gs_free(&work);
    return GS_OK;
}

/* ---- the list of transform.c ----------------------------------------------------------------- */

/* With T = M D, D = diag(f), M orthogonal:
 *
 *   op             y        dx        df
 *   FORWARD        M D x    Tᵀ G      x · dx / f
 *   INVERSE        D⁻¹Mᵀx   T⁻ᵀ G     −G · y / f
 *   DUAL           M D⁻¹ x  T⁻¹ G     −x · dx / f
 *   DUAL_INVERSE   D Mᵀ x   T G       G · y / f */
void gs_transform_backward(const struct gs_transform *t, enum gs_transform_op op,
                           const float *x, const float *y, float *G, float *df, void *work)
{
    static const enum gs_transform_op adjoint[] = {
        [GS_TRANSFORM_FORWARD] = GS_TRANSFORM_DUAL_INVERSE,
        [GS_TRANSFORM_INVERSE] = GS_TRANSFORM_DUAL,
        [GS_TRANSFORM_DUAL] = GS_TRANSFORM_INVERSE,
        [GS_TRANSFORM_DUAL_INVERSE] = GS_TRANSFORM_FORWARD,
    };
    const float *f = gs_transform_gain(t);
    size_t n = gs_transform_size(t);
    bool of_result = op == GS_TRANSFORM_INVERSE || op == GS_TRANSFORM_DUAL_INVERSE;
    float sign = op == GS_TRANSFORM_INVERSE || op == GS_TRANSFORM_DUAL ? -1 : 1;

    for (size_t i = 0; f && df && of_result && i < n; i++)
        df[i] += sign * G[i] * y[i] / f[i];
    gs_transform_apply(t, adjoint[op], G, 1, n, work);
    for (size_t i = 0; f && df && !of_result && i < n; i++)
        df[i] += sign * x[i] * G[i] / f[i];
}
