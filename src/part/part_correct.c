/* SPDX-License-Identifier: MIT
 * Output correction: what a bias, and a gain for each row, can make good after rounding
 * (compensate/affine.c; DFQ, arXiv:1906.04721, section 4.2).
 *
 *     y = W x   ≈   Ŵ' x + b        Ŵ' = gain ∘ Ŵ,   b = (W − Ŵ') · mean(x)
 *
 * The gain costs nothing where a row has scales of its own: it goes into them, rounded as they
 * are stored. The bias is a vector beside the matrix, which the model adds. With a bias the
 * error that remains is that of inputs less their mean, so H is their covariance. */
#include <math.h>

#include "core/alloc.h"
#include "part/members.h"

/* Scales of row r times the gain; false where they cannot be stored nearer to it than 1 is. */
static bool scale_row(const struct gs_part_work *work, size_t r, float gain)
{
    const struct gs_part_form *f = work->form;
    struct gs_group *groups = work->groups.list + r * f->n_group_cols;
    bool any = false;

    for (size_t g = 0; g < f->n_group_cols; g++) {
        float scale = f->rule->round(groups[g].scale * gain);
        float change = scale / groups[g].scale;
        if (!(fabsf(change - gain) < fabsf(1 - gain)) || scale == groups[g].scale)
            continue;
        groups[g].scale = scale;
        any = true;
    }
    return any;
}

int gs_part_fit_gains(const struct gs_part_work *work, const uint8_t *blob, struct gs_team *team,
                      struct gs_err *err)
{
    const struct gs_part_form *f = work->form;
    const struct gs_moments moments = {.full = work->input->h,
                                       .diagonal = work->input->diagonal};
    size_t dim = f->codebook->dim;
    float *gain = gs_alloc(f->rows, sizeof *gain);
    uint64_t *codes = gs_alloc(f->cols / dim, sizeof *codes);
    int rc = gain && codes ? GS_OK : gs_fail_nomem(err, "affine correction");

    if (!rc) /* H is the covariance already: no mean */
        rc = gs_affine_correct(work->w, work->y, f->cols, f->rows, f->cols, &moments, NULL, team,
                               gain, NULL, err);
    for (size_t r = 0; !rc && r < f->rows; r++) {
        if (!isfinite(gain[r]) || !(gain[r] > 0) || !scale_row(work, r, gain[r]))
            continue;
        gs_codebook_unpack(f->codebook, blob + f->codes_at + r * f->row_bytes, f->cols, codes);
        for (size_t c = 0; c < f->cols; c += dim)
            gs_codebook_value(f->codebook, gs_part_group_of(f, &work->groups, r, c),
                              codes[c / dim], work->y + r * f->cols + c);
    }
    gs_free(&gain);
    gs_free(&codes);
    return rc;
}

int gs_part_find_bias(const struct gs_part_job *job, const struct gs_part_form *form,
                      const float *e, struct gs_err *err)
{
    int rc = GS_OK;

    gs_bias_correct(e, job->cols, job->rows, job->cols, job->input->mean, job->team, job->bias);
    if (job->out)
        rc = gs_transform_columns(job->out, GS_TRANSFORM_INVERSE, job->team, job->bias, 1, 1, err);
    for (size_t r = 0; r < job->rows; r++)
        job->bias[r] *= form->unit;
    return rc;
}
