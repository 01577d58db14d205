/* SPDX-License-Identifier: MIT
 * Corrections of the output from moments of the input. Sums are in double, each by one worker
 * in one order. */
#include <math.h>
#include <string.h>

#include "compensate/compensate.h"
#include "core/alloc.h"
#include "linalg/mul.h"

struct bias_job {
    const float *e;
    size_t stride, cols;
    const double *mean;
    float *db;
};

static void bias_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct bias_job *job = ctx;
    (void)worker;

    for (size_t r = begin; r < end; r++) {
        double sum = 0;
        for (size_t c = 0; c < job->cols; c++)
            sum += (double)job->e[r * job->stride + c] * job->mean[c];
        job->db[r] = (float)sum;
    }
}

void gs_bias_correct(const float *e, size_t stride, size_t rows, size_t cols,
                     const double *mean, struct gs_team *team, float *db)
{
    struct bias_job job = {.e = e, .stride = stride, .cols = cols, .mean = mean, .db = db};

    gs_team_run(team, rows, 16, bias_run, &job);
}

#define STRIP 32 /* rows whose products with H are formed at once */

struct affine_job {
    const float *w, *what;
    size_t stride, rows, cols;
    const struct gs_moments *moments;
    const double *mean;
    float *gain, *bias;
    uint8_t *work;
    size_t work_bytes;
};

/* v (n rows of cols) = Ŵ H for the rows from r on. u: the same room. */
static void times_moments(const struct affine_job *job, size_t r, size_t n, double *u, double *v,
                          void *work)
{
    size_t cols = job->cols;
    const double *diagonal = job->moments ? job->moments->diagonal : NULL;

    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < cols; c++)
            u[i * cols + c] = (double)job->what[(r + i) * job->stride + c];
    if (!job->moments || !job->moments->full) {
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; c < cols; c++)
                v[i * cols + c] = u[i * cols + c] * (diagonal ? diagonal[c] : 1);
        return;
    }
    memset(v, 0, n * cols * sizeof *v);
    for (size_t c = 0; c < cols; c += GS_MUL_TILE)
        gs_mul_block_f64(n, GS_MIN(GS_MUL_TILE, cols - c), cols, 1,
                         (struct gs_operand_f64){u, cols, 1},
                         (struct gs_operand_f64){job->moments->full + c, cols, 1}, v + c, cols,
                         work);
}

/* Row r, with v (cols) = ŵ H. */
static void fit_row(const struct affine_job *job, size_t r, const double *v)
{
    const float *w = job->w + r * job->stride, *q = job->what + r * job->stride;
    double wq = 0, qq = 0, wm = 0, qm = 0;

    for (size_t c = 0; c < job->cols; c++) {
        wq += (double)w[c] * v[c];
        qq += (double)q[c] * v[c];
        if (job->mean) {
            wm += (double)w[c] * job->mean[c];
            qm += (double)q[c] * job->mean[c];
        }
    }
    double cov = wq - wm * qm, var = qq - qm * qm;
    /* a variance that is mostly cancellation says nothing */
    double gain = var > 1e-9 * qq && isfinite(cov / var) ? cov / var : 1;
    job->gain[r] = (float)gain;
    if (job->bias)
        job->bias[r] = (float)(wm - (double)job->gain[r] * qm);
}

static void affine_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct affine_job *job = ctx;
    double *u = (double *)(void *)(job->work + (size_t)worker * job->work_bytes);
    double *v = u + STRIP * job->cols;

    for (size_t s = begin; s < end; s++) {
        size_t r = s * STRIP, n = GS_MIN(STRIP, job->rows - r);
        times_moments(job, r, n, u, v, v + STRIP * job->cols);
        for (size_t i = 0; i < n; i++)
            fit_row(job, r + i, v + i * job->cols);
    }
}

int gs_affine_correct(const float *w, const float *what, size_t stride, size_t rows, size_t cols,
                      const struct gs_moments *moments, const double *mean,
                      struct gs_team *team, float *gain, float *bias, struct gs_err *err)
{
    struct affine_job job = {.w = w, .what = what, .stride = stride, .rows = rows, .cols = cols,
                             .moments = moments, .mean = mean, .gain = gain, .bias = bias};

    /* 32 rows of doubles are a multiple of 64 bytes, as the products want it */
    job.work_bytes = 2 * STRIP * cols * sizeof(double) + GS_MUL_WORK_F64;
    job.work = gs_work_create(team, job.work_bytes);
    if (!job.work)
        return gs_fail_nomem(err, "affine correction");
    gs_team_run(team, (rows + STRIP - 1) / STRIP, 1, affine_run, &job);
    gs_free(&job.work);
    return GS_OK;
}
