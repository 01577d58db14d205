/* SPDX-License-Identifier: MIT
 * The transform of an input, and the diagonal that is folded into it: what its rule balances
 * (transform/diagonal.c) is gathered here from the matrices that read the input and, for
 * equalization, from what makes it:
 *
 *   attention, ffn, head   the weight of the norm before        |γ_i|
 *   attention's output     the row of V that value i comes from  max |V_i:|, heads share rows
 *   ffn down               the row of up                         max |U_i:|           */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "kernels/kernels.h"
#include "recipe/work.h"

/* Of the columns of all matrices that read an input. */
struct columns {
    double *squares, *most; /* (cols) */
};

static int add_columns(const struct gs_work *work, const struct gs_plan_item *item,
                       const struct columns *out, struct gs_err *err)
{
    size_t strip = gs_work_strip_rows(item), cols = item->cols;
    float *w = gs_alloc(strip * cols, sizeof *w);
    int rc = w ? GS_OK : gs_fail_nomem(err, item->source->name);

    for (size_t first = 0; !rc && first < item->rows; first += strip) {
        size_t rows = GS_MIN(strip, item->rows - first);
        rc = gs_work_decode(work, item, first, rows, w, err);
        for (size_t r = 0; !rc && r < rows; r++)
            for (size_t c = 0; c < cols; c++) {
                double v = (double)w[r * cols + c];
                out->squares[c] += v * v;
                out->most[c] = fmax(out->most[c], fabs(v));
            }
    }
    gs_free(&w);
    return rc;
}

/* Σ_r W_ri² and max_r |W_ri| over all matrices that read the input of items[first]. */
static int measure_columns(const struct gs_work *work, size_t first, size_t end,
                           const struct columns *out, struct gs_err *err)
{
    const struct gs_plan_item *items = work->plan.items;
    int rc = GS_OK;

    for (size_t i = first; !rc && i < end; i++)
        if ((items[i].native || items[i].part) && items[i].input == items[first].input)
            rc = add_columns(work, &items[i], out, err);
    return rc;
}

/* max |row r of w|, w of a source model. */
static double largest_of_row(const struct gs_matrix *w, size_t r, float *row)
{
    double most = 0;

    gs_kernels()->decode[w->type]((const uint8_t *)w->data + r * w->row_bytes, row, w->cols);
    for (size_t c = 0; c < w->cols; c++)
        most = fmax(most, (double)fabsf(row[c]));
    return most;
}

/* What makes channel i of the input of item: see above. */
static int find_source(const struct gs_work *work, const struct gs_plan_item *item, double *out,
                       struct gs_err *err)
{
    const struct gs_config *c = &work->lm->config;
    const struct gs_block_weights *b =
        item->il < c->n_layer ? &work->lm->blocks[item->il] : NULL;
    const float *norm = !b ? work->lm->model.output_norm
                        : item->input == GS_INPUT_ATTN ? b->attn_norm
                        : item->input == GS_INPUT_FFN ? b->ffn_norm : NULL;
    const struct gs_matrix *w = !b || norm ? NULL
                                : item->input == GS_INPUT_FFN_DOWN ? &b->ffn_up : &b->attn_v;
    size_t shared = w == NULL || w == &b->ffn_up ? 1 : c->n_head / c->n_head_kv;
    float *row = w ? gs_alloc(w->cols, sizeof *row) : NULL;

    if (w && !row)
        return gs_fail_nomem(err, item->source->name);
    for (size_t i = 0; i < item->cols; i++) {
        size_t head = c->head_v, r = shared > 1 ? i / head / shared * head + i % head : i;
        out[i] = w ? largest_of_row(w, r, row) : norm ? (double)fabsf(norm[i]) : 1;
    }
    gs_free(&row);
    return GS_OK;
}

/* The diagonal by the recipe's rule. */
static int make_diagonal(const struct gs_work *work, size_t first, size_t end,
                         const double *diagonal_h, const double *most,
                         struct gs_transform **out, struct gs_err *err)
{
    const struct gs_plan_item *item = &work->plan.items[first];
    size_t n = item->cols;
    double *sums = gs_alloc(3, n * sizeof *sums);
    const struct columns columns = {sums, sums + n};
    const struct gs_transform_fit fit = {.rule = gs_diagonal_rule_find(work->recipe.rescale_by),
                                         .h_diagonal = diagonal_h, .w_squares = sums,
                                         .w_most = sums + n, .source = sums + 2 * n,
                                         .x_most = most};
    int rc = sums ? measure_columns(work, first, end, &columns, err)
                  : gs_fail_nomem(err, item->source->name);

    if (!rc && fit.rule->needs_source)
        rc = find_source(work, item, sums + 2 * n, err);
    if (!rc)
        rc = gs_transform_create(gs_transform_find("diagonal"), n, &fit, out, err);
    gs_free(&sums);
    return rc;
}

int gs_work_transform(const struct gs_work *work, size_t first, size_t end,
                      const double *diagonal_h, const double *most, struct gs_transform **out,
                      struct gs_err *err)
{
    const struct gs_plan_item *item = &work->plan.items[first];
    const struct gs_transform_kind *kind =
        gs_transform_find(gs_plan_transform_in(&work->plan, item));
    const struct gs_transform_fit fit = {.seed = work->recipe.seed, .stream = item->in_stream};
    struct gs_transform *diagonal = NULL;
    int rc;

    if (kind->arrange) {
        const struct gs_transform_fit by_size = {.h_diagonal = diagonal_h,
                                                 .w_squares = diagonal_h};
        return gs_transform_create(kind, item->cols, &by_size, out, err);
    }
    if (kind->needs_fit)
        return make_diagonal(work, first, end, diagonal_h, most, out, err);
    rc = gs_transform_create(kind, item->cols, &fit, out, err);
    if (rc || !item->rescaled)
        return rc;
    if (!(rc = make_diagonal(work, first, end, diagonal_h, most, &diagonal, err)))
        rc = gs_transform_fold(*out, diagonal, err);
    gs_transform_destroy(&diagonal);
    return rc;
}
