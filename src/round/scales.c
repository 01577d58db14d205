/* SPDX-License-Identifier: MIT
 * Scales of rows: first guess, and least squares once the codes are known.
 *
 * With q the values of a row before scaling, E = w − s q, the proxy loss as a function of the
 * scale is a parabola, (E − δq) H (E − δq)ᵀ, with its minimum at
 *     δ = (q H Eᵀ) / (q H qᵀ),   that is   s + δ = (q H wᵀ) / (q H qᵀ).
 * The sweep gathers these sums in the basis of L, where they cost nothing extra, with H + σI;
 * σ is taken out here, so the fit and the losses are those of H itself. */
#include <float.h>
#include <math.h>

#include "core/half.h"
#include "round/members.h"

static float stored(const struct gs_round *job, float unit, float scale)
{
    return job->f16_scales ? unit * gs_f16_to_f32(gs_f32_to_f16(scale / unit)) : scale;
}

void gs_scales_first(const struct gs_round *job, struct gs_round_result *out)
{
    double total = 0, gain = (double)(job->gain > 0 ? job->gain : GS_ROUND_GAIN);
    float largest = 0;

    for (size_t r = 0; r < job->rows; r++) {
        const float *w = job->w + r * job->w_stride;
        double sum = 0;
        for (size_t c = 0; c < job->cols; c++)
            sum += (double)w[c] * (double)w[c];
        total += sum;
        job->scales[r] = (float)(sqrt(sum / (double)job->cols) / gain);
    }
    for (size_t r = 0; r < job->rows; r++) {
        if (job->per_tensor)
            job->scales[r] = (float)(sqrt(total / (double)job->cols / (double)job->rows) / gain);
        if (job->scales[r] < FLT_MIN)
            job->scales[r] = 0; /* a row of zeros: its codes stand for zeros */
        largest = GS_MAX(largest, job->scales[r]);
    }
    out->scale_unit = job->f16_scales && largest > 0 ? ldexpf(1, ilogbf(largest)) : 1;
    for (size_t r = 0; r < job->rows; r++)
        job->scales[r] = stored(job, out->scale_unit, job->scales[r]);
}

/* The sums with H instead of H + σI. */
static struct gs_row_sums undamped(const struct gs_row_sums *s, double damping)
{
    struct gs_row_sums u = *s;

    u.ehe -= damping * s->ee;
    u.qhe -= damping * s->qe;
    u.qhq -= damping * s->qq;
    return u;
}

/* A scale keeps its sign, so that a fit of noise cannot turn a row around. */
static float fitted(const struct gs_round *job, float unit, float scale, double qhe, double qhq)
{
    double s = qhq > 0 ? (double)scale + qhe / qhq : (double)scale;

    return s > 0 && s < (double)FLT_MAX ? stored(job, unit, (float)s) : scale;
}

void gs_scales_refit(const struct gs_round *job, const struct gs_row_sums *sums, float *step,
                     struct gs_round_result *out)
{
    double qhe = 0, qhq = 0;

    for (size_t r = 0; r < job->rows; r++) {
        struct gs_row_sums u = undamped(&sums[r], job->ldl->damping);
        qhe += u.qhe;
        qhq += u.qhq;
    }
    for (size_t r = 0; r < job->rows; r++) {
        struct gs_row_sums u = undamped(&sums[r], job->ldl->damping);
        float scale = job->scales[r];
        double s = (double)scale;
        if (job->refit)
            job->scales[r] = fitted(job, out->scale_unit, scale,
                                    job->per_tensor ? qhe : u.qhe,
                                    job->per_tensor ? qhq : u.qhq);
        double d = (double)job->scales[r] - s;
        step[r] = (float)d;
        out->loss += u.ehe - 2 * d * u.qhe + d * d * u.qhq;
        out->squares += u.ee - 2 * d * u.qe + d * d * u.qq;
        out->energy += u.ehe + 2 * s * u.qhe + s * s * u.qhq;
    }
}
