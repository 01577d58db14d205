/* SPDX-License-Identifier: MIT
 * What stands beside the codes: sparse outliers and a low rank (compensate/). */
#include "core/alloc.h"
#include "part/members.h"

/* What a squared error in each column costs once feedback has made up for it: D of the factor
 * where codes have one weight, else NULL. */
static double *make_pivots(const struct gs_part_input *in)
{
    bool known = in->ldl.n == in->n && in->block == 1 && !in->ldl.diagonal;
    double *pivots = known ? gs_alloc(in->n, sizeof *pivots) : NULL;

    for (size_t k = 0; pivots && k < in->n; k++)
        pivots[in->order ? in->order[k] : k] = in->ldl.d[k * GS_LDL_BLOCK];
    return pivots;
}

int gs_part_mark_outliers(const struct gs_part_spec *spec, const struct gs_part_form *form,
                          const struct gs_part_input *input, const float *w,
                          const float *fisher, struct gs_team *team, uint8_t *mask,
                          struct gs_err *err)
{
    const struct gs_codebook *c = form->codebook;
    unsigned bits = c->pack_bits / (c->pack_codes * c->dim);
    double *pivots = make_pivots(input);
    const struct gs_outlier_data data = {.w = w, .rows = form->rows, .cols = form->cols,
                                         .stride = form->cols, .fisher = fisher,
                                         .h = input->diagonal, .pivots = pivots};
    const struct gs_outlier_options options = {
        .share = spec->sparse, .range = spec->sparse_range,
        .threshold = spec->sparse_threshold, .bits = GS_MAX(bits, 1u),
        .group = (unsigned)form->group_cols};
    int rc = gs_outliers_mark(gs_outlier_rule_find(spec->sparse_by), &data, &options, team, mask,
                              err);

    gs_free(&pivots);
    return rc;
}

int gs_part_extras_read(const struct gs_part_form *form, const uint8_t *blob, uint64_t bytes,
                        struct gs_part_extras *out, struct gs_err *err)
{
    struct gs_cursor c = gs_cursor_make(blob + form->low_rank_at, bytes - form->low_rank_at);
    int rc = GS_OK;

    *out = (struct gs_part_extras){.sparse = NULL};
    if (form->rank)
        rc = gs_low_rank_read(&c, form->rows, form->cols, form->rank, form->factors,
                              &out->low_rank, err);
    if (!rc && form->sparse)
        rc = gs_sparse_read(&c, form->rows, form->cols, &out->sparse, err);
    if (!rc && gs_cursor_left(&c))
        rc = gs_fail(err, GS_E_FORMAT, "%d bytes too many", (int)gs_cursor_left(&c));
    return rc;
}

void gs_part_extras_add(const struct gs_part_extras *extras, struct gs_team *team, float *y,
                        size_t cols)
{
    if (extras->sparse)
        gs_sparse_add(extras->sparse, 1, y, cols);
    if (extras->low_rank)
        gs_low_rank_add(extras->low_rank, 1, team, y, cols);
}

void gs_part_extras_clear(struct gs_part_extras *extras)
{
    gs_sparse_destroy(&extras->sparse);
    gs_low_rank_destroy(&extras->low_rank);
}
