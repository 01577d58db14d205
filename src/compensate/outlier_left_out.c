/* SPDX-License-Identifier: MIT
 * SpQR's leave-one-out test (arXiv:2306.03078, section 4.3 and algorithm 1). For a group of a
 * row, with the asymmetric grid from its minimum to its maximum:
 *
 *   gain of i  =  Σ_j (w_j − q_j)² p_j  −  Σ_{j≠i} (w_j − q'_j)² p_j
 *
 * q the nearest points of the grid, q' those of the grid fitted without weight i, p_j what a
 * squared error in column j costs (1/U_jj²). Weight i is an outlier if the gain exceeds
 * τ · mean_j var(W_:j) p_j. Only an end of the range moves the grid when left out, so a group
 * costs three fits, not one a weight.
 *
 * The threshold stands for 4 bits, where about one weight in a hundred exceeds it. At 1 and 2 bits
 * nearly every weight's own error does, so of those that exceed it the largest gains are taken, and
 * no more than a share of the matrix. */
#include <math.h>

#include "compensate/members.h"
#include "core/alloc.h"

struct left_out_job {
    const struct gs_outlier_data *data;
    size_t group;
    float steps; /* of the trial grid: 2^bits − 1 */
    double limit;
    double *spread; /* (cols): var(W_:j) p_j */
    float *gain;    /* (rows, cols): what exceeds the limit, 0 for the rest */
};

static double pivot(const struct gs_outlier_data *d, size_t c)
{
    return d->pivots ? d->pivots[c] : d->h ? d->h[c] : 1;
}

static void spread_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct left_out_job *job = ctx;
    const struct gs_outlier_data *d = job->data;
    (void)worker;

    for (size_t c = begin; c < end; c++) {
        double sum = 0, squares = 0, n = (double)d->rows;
        for (size_t r = 0; r < d->rows; r++) {
            double w = (double)d->w[r * d->stride + c];
            sum += w;
            squares += w * w;
        }
        job->spread[c] = fmax(squares / n - sum / n * sum / n, 0) * pivot(d, c);
    }
}

/* Σ p (w − q)² over n weights but `skip` (n = none) with the grid of their range. */
static double trial(const struct left_out_job *job, const float *w, size_t c0, size_t n,
                    size_t skip)
{
    float low = INFINITY, high = -INFINITY;
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        if (i != skip) {
            low = fminf(low, w[i]);
            high = fmaxf(high, w[i]);
        }
    float step = (high - low) / job->steps;
    for (size_t i = 0; i < n; i++) {
        float q = step > 0 ? low + step * rintf((w[i] - low) / step) : low;
        double e = i == skip ? 0 : (double)w[i] - (double)q;
        sum += e * e * pivot(job->data, c0 + i);
    }
    return sum;
}

static void find_gains(const struct left_out_job *job, const float *w, size_t c0, size_t n,
                       float *gains)
{
    size_t low = 0, high = 0;

    for (size_t i = 1; i < n; i++) {
        low = w[i] < w[low] ? i : low;
        high = w[i] > w[high] ? i : high;
    }
    double whole = trial(job, w, c0, n, n), step = ((double)w[high] - (double)w[low]) /
                                                   (double)job->steps;
    for (size_t i = 0; i < n; i++) {
        double gain;
        if (i == low || i == high)
            gain = whole - trial(job, w, c0, n, i);
        else { /* only its own error goes */
            double x = ((double)w[i] - (double)w[low]);
            double e = step > 0 ? x - step * rint(x / step) : 0;
            gain = e * e * pivot(job->data, c0 + i);
        }
        gains[i] = gain > job->limit ? (float)fmin(gain, 1e38) : 0;
    }
}

static void gain_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct left_out_job *job = ctx;
    const struct gs_outlier_data *d = job->data;
    (void)worker;

    for (size_t r = begin; r < end; r++)
        for (size_t c = 0; c < d->cols; c += job->group) {
            size_t n = GS_MIN(job->group, d->cols - c);
            if (n > 1)
                find_gains(job, d->w + r * d->stride + c, c, n, job->gain + r * d->cols + c);
        }
}

static int mark_left_out(const struct gs_outlier_data *data, const struct gs_outlier_options *o,
                         struct gs_team *team, uint8_t *mask, struct gs_err *err)
{
    size_t n = data->rows * data->cols;
    struct left_out_job job = {.data = data, .group = o->group,
                               .steps = (float)((1u << o->bits) - 1),
                               .spread = gs_alloc(data->cols, sizeof *job.spread),
                               .gain = gs_alloc(n, sizeof *job.gain)};
    uint64_t above = 0, most = (uint64_t)(o->share * (double)n);
    double mean = 0;
    int rc = job.spread && job.gain ? GS_OK : gs_fail_nomem(err, "outliers");

    if (rc)
        goto out;
    gs_team_run(team, data->cols, 64, spread_run, &job);
    for (size_t c = 0; c < data->cols; c++)
        mean += job.spread[c] / (double)data->cols;
    job.limit = o->threshold * mean;
    gs_team_run(team, data->rows, 16, gain_run, &job);
    for (size_t i = 0; i < n; i++)
        above += job.gain[i] > 0;
    gs_outlier_mark_largest(job.gain, data->rows, data->cols, GS_MIN(above, most), mask);
out:
    gs_free(&job.spread);
    gs_free(&job.gain);
    return rc;
}

const struct gs_outlier_rule gs_outlier_rule_leave_one_out = {
    .name = "leave-one-out",
    .paper = "SpQR, arXiv:2306.03078",
    .defaults = {.share = 0.01, .threshold = 0.2, .bits = 4, .group = 16},
    .mark = mark_left_out,
};
