/* SPDX-License-Identifier: MIT
 * Rotations that are learned: the Cayley map with its gradient, and steps on the manifold. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "linalg/lu.h"
#include "transform/gradient.h"

/* The largest step along the curve times the norm of its direction (SpinQuant: 1). */
#define CURVE_MAX 1.0

/* I + sign · (Θ − Θᵀ) / 2, its factors and room for another matrix. */
struct system {
    double *a, *work;
    size_t *pivot;
};

static int make_system(struct system *s, size_t n, struct gs_err *err)
{
    s->a = gs_alloc(n, n * sizeof *s->a);
    s->work = gs_alloc(n, n * sizeof *s->work);
    s->pivot = gs_alloc(n, sizeof *s->pivot);
    return s->a && s->work && s->pivot ? GS_OK : gs_fail_nomem(err, "a rotation");
}

static void clear_system(struct system *s)
{
    gs_free(&s->a);
    gs_free(&s->work);
    gs_free(&s->pivot);
}

static double skew(const double *theta, size_t n, size_t i, size_t j)
{
    return (theta[i * n + j] - theta[j * n + i]) / 2;
}

/* I + A has no eigenvalue of a real part below 1, so only NaN or infinity makes this fail. */
static int factor_cayley(struct system *s, const double *theta, size_t n, struct gs_err *err)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            s->a[i * n + j] = (i == j) + skew(theta, n, i, j);
    if (gs_lu_factor(s->a, n, s->pivot))
        return GS_OK;
    return gs_fail(err, GS_E_ARG, "the parameters of a rotation are not finite");
}

/* (I − A)(I + A)⁻¹ = (I + A)⁻¹(I − A): the two commute. */
int gs_cayley_forward(const double *theta, size_t n, double *q, struct gs_err *err)
{
    struct system s = {0};
    int rc = make_system(&s, n, err);

    if (!rc && !(rc = factor_cayley(&s, theta, n, err))) {
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                q[i * n + j] = (i == j) - skew(theta, n, i, j);
        gs_lu_solve(s.a, n, s.pivot, q, n);
    }
    clear_system(&s);
    return rc;
}

int gs_cayley_backward(const double *theta, const double *q, const double *G, size_t n,
                       double *dtheta, struct gs_err *err)
{
    struct system s = {0};
    int rc = make_system(&s, n, err);

    if (rc || (rc = factor_cayley(&s, theta, n, err)))
        goto out;
    /* With M = −(I + Q)ᵀ G: K = M (I + A)⁻ᵀ, so Kᵀ = (I + A)⁻¹ Mᵀ. work holds Mᵀ, then Kᵀ. */
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = G[i * n + j];
            for (size_t k = 0; k < n; k++)
                sum += q[k * n + i] * G[k * n + j];
            s.work[j * n + i] = -sum;
        }
    gs_lu_solve(s.a, n, s.pivot, s.work, n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            dtheta[i * n + j] += (s.work[j * n + i] - s.work[i * n + j]) / 2;
out:
    clear_system(&s);
    return rc;
}

bool gs_orthonormalise(double *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double *row = r + i * n, size = 0;
        for (int pass = 0; pass < 2; pass++)
            for (size_t k = 0; k < i; k++) {
                double along = 0;
                for (size_t j = 0; j < n; j++)
                    along += row[j] * r[k * n + j];
                for (size_t j = 0; j < n; j++)
                    row[j] -= along * r[k * n + j];
            }
        for (size_t j = 0; j < n; j++)
            size += row[j] * row[j];
        if (!(size > 1e-20) || !isfinite(size))
            return false;
        for (size_t j = 0; j < n; j++)
            row[j] /= sqrt(size);
    }
    return true;
}

/* The direction: for the curve R(t) = (I + tW/2)⁻¹(I − tW/2) R with W skew, R'(0) = −W R, and
 * W = g Rᵀ − R gᵀ is steepest. The largest row sum bounds W's norm. */
static double descent_skew(const double *r, const double *g, size_t n, double *w)
{
    double norm = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) {
            double sum = 0;
            for (size_t k = 0; k < n; k++)
                sum += g[i * n + k] * r[j * n + k] - r[i * n + k] * g[j * n + k];
            w[i * n + j] = sum;
            w[j * n + i] = -sum;
        }
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        w[i * n + i] = 0;
        for (size_t j = 0; j < n; j++)
            sum += fabs(w[i * n + j]);
        norm = fmax(norm, sum);
    }
    return norm;
}

int gs_stiefel_step(double *r, const double *g, double *momentum, double beta, double lr,
                    size_t n, struct gs_err *err)
{
    struct system s = {0};
    double *w = gs_alloc(n, n * sizeof *w);
    int rc = w ? make_system(&s, n, err) : gs_fail_nomem(err, "a rotation");

    if (rc)
        goto out;
    for (size_t i = 0; momentum && i < n * n; i++)
        momentum[i] = beta * momentum[i] + g[i];
    double norm = descent_skew(r, momentum ? momentum : g, n, w);
    double t = norm > 0 ? fmin(lr, CURVE_MAX / norm) : lr;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = r[i * n + j];
            for (size_t k = 0; k < n; k++)
                sum -= t / 2 * w[i * n + k] * r[k * n + j];
            s.work[i * n + j] = sum;
            s.a[i * n + j] = (i == j) + t / 2 * w[i * n + j];
        }
    if (!gs_lu_factor(s.a, n, s.pivot)) {
        rc = gs_fail(err, GS_E_ARG, "the gradient of a rotation is not finite");
        goto out;
    }
    gs_lu_solve(s.a, n, s.pivot, s.work, n);
    if (gs_orthonormalise(s.work, n))
        memcpy(r, s.work, n * n * sizeof *r);
    else
        rc = gs_fail(err, GS_E_ARG, "a rotation has lost its rank");
out:
    clear_system(&s);
    gs_free(&w);
    return rc;
}
