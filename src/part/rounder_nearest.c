/* SPDX-License-Identifier: MIT
 * Each code by itself: the nearest point; and from there greedy passes. */
#include "compensate/rate.h"
#include "part/members.h"

static size_t nearest_scratch(const struct gs_part_work *work GS_UNUSED)
{
    return 0;
}

/* Codes of one weight that are weighed by their bits. */
static void weigh_run(const struct gs_part_rows *rows)
{
    const struct gs_part_work *work = rows->work;
    const struct gs_part_form *form = work->form;
    struct gs_rate *rate = rows->scratch;
    double mean = 0;

    for (size_t c = 0; work->h && c < form->cols; c++)
        mean += (double)work->h[c] / (double)form->cols;
    gs_part_rate_start(work, rate);
    for (size_t r = 0; r < rows->rows; r++) {
        int32_t previous = 0;
        for (size_t c = 0; c < form->cols; c++) {
            size_t at = (rows->row + r) * form->cols + c;
            float h = mean > 0 ? (float)((double)work->h[c] / mean) : 1;
            rows->codes[r * form->cols + c] =
                gs_part_choose(work, rate, &previous,
                               gs_part_group_of(form, &work->groups, rows->row + r, c),
                               work->w + at, h, work->y + at);
        }
    }
}

static void nearest_run(const struct gs_part_rows *rows)
{
    const struct gs_part_work *work = rows->work;
    const struct gs_part_form *form = work->form;
    const struct gs_codebook *codebook = form->codebook;
    size_t dim = codebook->dim;

    if (work->lambda > 0) {
        weigh_run(rows);
        return;
    }
    for (size_t r = 0; r < rows->rows; r++)
        for (size_t c = 0; c < form->cols; c += dim) {
            size_t at = (rows->row + r) * form->cols + c;
            const struct gs_group *group =
                gs_part_group_of(form, &work->groups, rows->row + r, c);
            rows->codes[(r * form->cols + c) / dim] =
                gs_codebook_nearest(codebook, group, work->w + at, NULL, work->y + at);
        }
}

const struct gs_part_rounder gs_part_rounder_nearest = {
    .name = "nearest",
    .paper = "",
    .scratch = nearest_scratch,
    .run = nearest_run,
};

/* The passes are those that every rounder may have (part_round.c). */
const struct gs_part_rounder gs_part_rounder_greedy = {
    .name = "greedy",
    .paper = "Chee et al., QuIP, arXiv:2307.13304, section 4.3; QuantEase, arXiv:2309.01885",
    .uses_h = true,
    .descends = true,
    .sweeps = 10,
    .scratch = nearest_scratch,
    .run = nearest_run,
};
