/* SPDX-License-Identifier: MIT
 * Iteration of a subspace. With orthonormal rows Q (p, n):
 *
 *   Y = Q A                     the operator, once a step
 *   T = Y Qᵀ = Vᵀ Λ V           Rayleigh–Ritz: Λ are the estimates of the eigenvalues
 *   done:  vectors V Q          else  Q ← orth(V Y)
 *
 * Rows of V Y are nearly orthogonal already and are taken largest first, so that Gram–Schmidt
 * (twice: "twice is enough", Giraud & Langou) loses no small direction to a large one. */
#include "linalg/eigen.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "linalg/mul.h"

#define STEPS 100
#define LANES 8

/* Element i to lane i mod 8: one order, and eight sums in flight. */
static double dot(const double *x, const double *y, size_t n)
{
    double lane[LANES] = {0}, sum = 0;
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lane[l] += x[i + l] * y[i + l];
    for (; i < n; i++)
        lane[i % LANES] += x[i] * y[i];
    for (size_t l = 0; l < LANES; l++)
        sum += lane[l];
    return sum;
}

static void random_row(struct gs_rng *rng, double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = gs_rng_normal(rng);
}

/* Takes rows 0 … j−1 of q out of row j and makes it a unit vector; false if nothing is left. */
static bool orthonormalize(double *q, size_t n, size_t j)
{
    double *x = q + j * n, before = sqrt(dot(x, x, n));

    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < j; i++) {
            double c = dot(q + i * n, x, n);
            for (size_t l = 0; l < n; l++)
                x[l] -= c * q[i * n + l];
        }
    double after = sqrt(dot(x, x, n));
    if (!(after > 1e-13 * before) || !isfinite(after))
        return false;
    for (size_t l = 0; l < n; l++)
        x[l] /= after;
    return true;
}

/* A direction that is lost (A has a smaller rank) is drawn anew; p ≤ n, so there is room. */
static void orthonormalize_all(double *q, size_t n, size_t p, struct gs_rng *rng)
{
    for (size_t j = 0; j < p; j++)
        while (!orthonormalize(q, n, j))
            random_row(rng, q + j * n, n);
}

/* dst (k, n) = v (k of p rows) · src (p, n) */
static int combine(struct gs_team *team, const double *v, size_t k, size_t p, const double *src,
                   size_t n, double *dst, struct gs_err *err)
{
    memset(dst, 0, k * n * sizeof *dst);
    return gs_mul_f64(team, k, n, p, 1, (struct gs_operand_f64){v, p, 1},
                      (struct gs_operand_f64){src, n, 1}, dst, n, err);
}

struct subspace {
    double *q, *y;         /* (p, n) */
    double *t, *v, *lambda; /* (p, p), (p, p), (p) */
};

/* One step from orthonormal q; the Ritz values go to lambda. */
static int ritz(struct gs_team *team, struct subspace *s, size_t n, size_t p,
                gs_symmetric_fn apply, void *ctx, struct gs_err *err)
{
    int rc = apply(ctx, s->q, p, s->y, err);

    if (rc)
        return rc;
    memset(s->t, 0, p * p * sizeof *s->t);
    rc = gs_mul_f64(team, p, p, n, 1, (struct gs_operand_f64){s->y, n, 1},
                    (struct gs_operand_f64){s->q, 1, n}, s->t, p, err);
    for (size_t i = 0; !rc && i < p; i++)
        for (size_t j = 0; j < i; j++)
            s->t[i * p + j] = s->t[j * p + i] = (s->t[i * p + j] + s->t[j * p + i]) / 2;
    for (size_t i = 0; !rc && i < p * p; i++)
        if (!isfinite(s->t[i]))
            return gs_fail(err, GS_E_FORMAT, "eigenvectors: the matrix has values that are "
                                             "not finite");
    if (!rc)
        gs_eigen_symmetric(s->t, p, s->lambda, s->v);
    return rc;
}

int gs_eigen_top(struct gs_team *team, size_t n, size_t k, gs_symmetric_fn apply, void *ctx,
                 double tolerance, double *values, double *vectors, struct gs_err *err)
{
    size_t p = GS_MIN(n, k + k / 2 + 8);
    struct subspace s = {.q = gs_alloc(p * n, sizeof(double)),
                         .y = gs_alloc(p * n, sizeof(double)),
                         .t = gs_alloc(p * p, sizeof(double)),
                         .v = gs_alloc(p * p, sizeof(double)),
                         .lambda = gs_alloc(p, sizeof(double))};
    struct gs_rng rng;
    double last = 0;
    int rc = GS_OK;

    assert(k <= n);
    if (!s.q || !s.y || !s.t || !s.v || !s.lambda) {
        rc = gs_fail_nomem(err, "eigenvectors");
        goto out;
    }
    gs_rng_init(&rng, 1, 0);
    random_row(&rng, s.q, p * n);
    for (int step = 0;; step++) {
        double sum = 0;
        orthonormalize_all(s.q, n, p, &rng);
        if ((rc = ritz(team, &s, n, p, apply, ctx, err)))
            goto out;
        for (size_t i = 0; i < k; i++)
            sum += s.lambda[i];
        /* a subspace of everything is exact at once */
        if (p == n || step == STEPS || (step && sum - last <= tolerance * sum))
            break;
        last = sum;
        if ((rc = combine(team, s.v, p, p, s.y, n, s.q, err)))
            goto out;
    }
    memcpy(values, s.lambda, k * sizeof *values);
    rc = combine(team, s.v, k, p, s.q, n, vectors, err);
out:
    gs_free(&s.q);
    gs_free(&s.y);
    gs_free(&s.t);
    gs_free(&s.v);
    gs_free(&s.lambda);
    return rc;
}
