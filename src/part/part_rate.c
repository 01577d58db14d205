/* SPDX-License-Identifier: MIT
 * Codes chosen by what they cost to send (DeepCABAC, arXiv:1907.11900; compensate/rate.h): points
 * of a uniform grid so wide that it has no bounds in practice, for files that are packed.
 *
 *     least  Σ h (w − ŵ)² + λ bits,   h mean 1,   λ = rate · mean(w²),   step Δ ≥ √(λ / 0.1155)
 *
 * The step follows from λ: at high rates a uniform step has the error D = Δ²/12, and a bit takes
 * −dD/dR = 2 ln 2 D = 0.1155 Δ² off it, which is what λ says that it is worth. So one number
 * decides the rate. The model of the codes is learned anew in every chunk of rows. */
#include <math.h>

#include "compensate/rate.h"
#include "part/members.h"

#define GAIN_OF_A_BIT 0.1155 /* 2 ln 2 / 12 */

void gs_part_set_rate(struct gs_part_work *work)
{
    const struct gs_part_form *f = work->form;
    size_t n = f->rows * f->cols;
    double squares = 0;

    for (size_t i = 0; i < n; i++)
        squares += (double)work->w[i] * (double)work->w[i];
    work->lambda = (float)(work->spec->rate * squares / (double)n);
    work->least_step = (float)sqrt((double)work->lambda / GAIN_OF_A_BIT);
}

size_t gs_part_rate_scratch(const struct gs_part_work *work)
{
    return work->lambda > 0 ? (sizeof(struct gs_rate) + 63) / 64 * 64 : 0;
}

void gs_part_rate_start(const struct gs_part_work *work, struct gs_rate *rate)
{
    if (work->lambda > 0)
        gs_rate_init(rate);
}

uint64_t gs_part_choose(const struct gs_part_work *work, struct gs_rate *rate, int32_t *previous,
                        const struct gs_group *group, const float *x, float h, float *y)
{
    const struct gs_codebook *codebook = work->form->codebook;
    float scale = group->scale, point;

    if (!(work->lambda > 0) || scale == 0)
        return gs_codebook_nearest(codebook, group, x, NULL, y);
    int32_t most = (int32_t)(codebook->states / 2) - 1;
    int32_t q = gs_rate_round(rate, *previous, x[0] / scale, h, work->lambda / scale / scale, most);
    gs_rate_learn(rate, *previous, q);
    *previous = q;
    point = scale * (float)q;
    return gs_codebook_nearest(codebook, group, &point, NULL, y);
}
