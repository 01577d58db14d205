/* SPDX-License-Identifier: MIT
 * Block LDL from Cholesky, and the damping ladder.
 *
 * H is factored in its own memory: its lower triangle becomes C while the upper one and a
 * copy of the diagonal keep H, from which the lower triangle is restored. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "linalg/factor.h"

/* σ = 0.01 … 10⁶ times the mean of the diagonal; long before, H is all but diagonal. */
#define RAISES_MAX 8

static int check_finite(const double *h, size_t n, struct gs_err *err)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            if (!isfinite(h[i * n + j]))
                return gs_fail(err, GS_E_FORMAT, "Hessian element (%zu, %zu) is %s", i, j,
                               isnan(h[i * n + j]) ? "NaN" : "infinite");
    return GS_OK;
}

/* The lower triangle again from the upper one and the diagonal. */
static void restore(double *h, const double *diagonal, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++)
            h[i * n + j] = h[j * n + i];
        h[i * n + i] = diagonal[i];
    }
}

/* D_k = C_kk C_kkᵀ of each block, and C_kk⁻¹ likewise in rows of GS_LDL_BLOCK. */
static void block_factors(const double *c, size_t n, size_t block, double *d, double *inverse)
{
    for (size_t k = 0; k < n; k += block) {
        size_t width = GS_MIN(block, n - k);
        const double *ckk = c + k * n + k;
        for (size_t i = 0; i < width; i++) {
            double *dst = d + (k + i) * GS_LDL_BLOCK, *inv = inverse + (k + i) * GS_LDL_BLOCK;
            for (size_t j = 0; j < width; j++) {
                dst[j] = 0;
                for (size_t p = 0; p <= GS_MIN(i, j); p++)
                    dst[j] += ckk[i * n + p] * ckk[j * n + p];
            }
            inv[i] = 1;
            for (size_t p = 0; p < i; p++)
                for (size_t j = 0; j <= p; j++)
                    inv[j] -= ckk[i * n + p] * inverse[(k + p) * GS_LDL_BLOCK + j];
            for (size_t j = 0; j <= i; j++)
                inv[j] /= ckk[i * n + i];
        }
    }
}

struct lower_job {
    const double *c, *inverse;
    float *lower;
    size_t n, block;
};

static float *element(float *lower, size_t n, size_t i, size_t j)
{
    return lower + j / GS_PANEL_F32 * GS_PANEL_F32 * n + i * GS_PANEL_F32 + j % GS_PANEL_F32;
}

/* Rows of L: L_ik = C_ik · C_kk⁻¹ left of the diagonal block, the identity in it. */
static void lower_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct lower_job *job = ctx;
    size_t n = job->n, block = job->block;

    (void)worker;
    for (size_t i = begin; i < end; i++) {
        for (size_t k = 0; k + block <= i; k += block) {
            const double *c = job->c + i * n + k;
            double row[GS_LDL_BLOCK] = {0};
            for (size_t p = 0; p < block; p++)
                for (size_t j = 0; j <= p; j++)
                    row[j] += c[p] * job->inverse[(k + p) * GS_LDL_BLOCK + j];
            for (size_t j = 0; j < block; j++)
                *element(job->lower, n, i, k + j) = (float)row[j];
        }
        *element(job->lower, n, i, i) = 1;
    }
}

/* Factors h + σI with σ growing until it succeeds; h then holds C below. */
static int factor_damped(struct gs_team *team, double *h, const double *diagonal, size_t n,
                         double sigma, struct gs_ldl *out, struct gs_err *err)
{
    double mean = 0;
    int rc;

    for (size_t i = 0; i < n; i++)
        mean += diagonal[i] / (double)n;
    if (!(mean > 0))
        mean = 1;
    for (out->raised = 0; out->raised <= RAISES_MAX; out->raised++) {
        out->damping = sigma * mean;
        restore(h, diagonal, n);
        for (size_t i = 0; i < n; i++)
            h[i * n + i] += out->damping;
        rc = gs_cholesky(team, h, n, err);
        if (rc <= 0)
            return rc;
        sigma = GS_MAX(sigma * 10, GS_DAMPING);
    }
    return gs_fail(err, GS_E_FORMAT,
                   "Hessian is far from positive: damping by %g times its mean diagonal failed",
                   out->damping / mean);
}

static int ldl_alloc(size_t n, size_t block, bool diagonal, struct gs_ldl *out,
                     struct gs_err *err)
{
    memset(out, 0, sizeof *out);
    if (n == 0 || block == 0 || block > GS_LDL_BLOCK)
        return gs_fail(err, GS_E_ARG, "block LDL: n = %zu, block = %zu, must be 1 to %d", n,
                       block, GS_LDL_BLOCK);
    out->n = n;
    out->block = block;
    out->diagonal = diagonal;
    out->d = gs_alloc(n, GS_LDL_BLOCK * sizeof *out->d);
    if (!diagonal)
        out->lower = gs_alloc((n + GS_PANEL_F32 - 1) / GS_PANEL_F32 * GS_PANEL_F32,
                              n * sizeof *out->lower);
    if (!out->d || (!diagonal && !out->lower)) {
        gs_ldl_clear(out);
        return gs_fail_nomem(err, "block LDL factor");
    }
    return GS_OK;
}

int gs_ldl_create(struct gs_team *team, double *h, size_t n, size_t block, double sigma,
                  struct gs_ldl *out, struct gs_err *err)
{
    double *diagonal = NULL, *inverse = NULL;
    struct lower_job job;
    int rc = ldl_alloc(n, block, false, out, err);

    if (rc < 0)
        return rc;
    if ((rc = check_finite(h, n, err)) < 0)
        goto out;
    diagonal = gs_alloc(n, sizeof *diagonal);
    inverse = gs_alloc(n, GS_LDL_BLOCK * sizeof *inverse);
    if (!diagonal || !inverse) {
        rc = gs_fail_nomem(err, "block LDL factor");
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        diagonal[i] = h[i * n + i];
    rc = factor_damped(team, h, diagonal, n, sigma, out, err);
    if (rc == GS_OK) {
        block_factors(h, n, block, out->d, inverse);
        job = (struct lower_job){h, inverse, out->lower, n, block};
        gs_team_run(team, n, 64, lower_run, &job);
    }
    restore(h, diagonal, n);
out:
    gs_free(&diagonal);
    gs_free(&inverse);
    if (rc < 0)
        gs_ldl_clear(out);
    return rc;
}

int gs_ldl_create_diagonal(const double *diagonal, size_t n, size_t block, double sigma,
                           struct gs_ldl *out, struct gs_err *err)
{
    double mean = 0;
    int rc = ldl_alloc(n, block, true, out, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        double v = diagonal ? diagonal[i] : 1;
        if (!isfinite(v) || v < 0) {
            gs_ldl_clear(out);
            return gs_fail(err, GS_E_FORMAT, "diagonal Hessian element %zu is %g", i, v);
        }
        mean += v / (double)n;
    }
    out->damping = sigma * (mean > 0 ? mean : 1);
    for (size_t i = 0; i < n; i++)
        out->d[i * GS_LDL_BLOCK + i % block] = (diagonal ? diagonal[i] : 1) + out->damping;
    return GS_OK;
}

void gs_ldl_clear(struct gs_ldl *ldl)
{
    gs_free(&ldl->lower);
    gs_free(&ldl->d);
}
