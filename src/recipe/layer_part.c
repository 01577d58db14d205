/* SPDX-License-Identifier: MIT
 * One input's matrices to codebooks (part/part.h): each becomes a blob. */
#include <string.h>

#include "core/alloc.h"
#include "core/half.h"
#include "recipe/recode.h"
#include "recipe/work.h"

/* What matrices with the same input share. */
struct shared {
    struct gs_transform *transform;
    struct gs_part_input input;
    double *mean; /* of the input in the basis of the transform; NULL: nothing is corrected */
};

/* The bias that the file gets: what corrects, and what the source has. */
static int put_bias(const struct gs_work *work, const struct gs_plan_item *item,
                    const float *bias, uint8_t *p, struct gs_err *err)
{
    float *sum = gs_alloc(item->rows, sizeof *sum);
    int rc = sum ? GS_OK : gs_fail_nomem(err, item->bias);

    if (!rc && item->source_bias)
        rc = gs_decode_rows(work->store, work->team, item->source_bias, 0, 1, sum, err);
    for (size_t r = 0; !rc && r < item->rows; r++)
        gs_put_u32(gs_f32_bits(sum[r] + bias[r]), p + 4 * r);
    gs_free(&sum);
    return rc;
}

/* The record, and the item's size, which outliers only now decide. */
static int keep_blob(struct gs_work *work, size_t index, const uint8_t *blob, const float *bias,
                     const struct gs_part_result *result, struct gs_err *err)
{
    const struct gs_plan_item *item = &work->plan.items[index];
    uint64_t losses_at = result->bytes + gs_plan_bias_bytes(item);
    size_t losses = gs_plan_losses_bytes(item);
    uint64_t bytes = losses_at + losses + GS_ROUNDED_BYTES;
    uint8_t *record = gs_alloc(bytes, 1);
    int rc = GS_OK;

    if (!record)
        return gs_fail_nomem(err, "a record");
    memcpy(record, blob, result->bytes);
    if (item->bias)
        rc = put_bias(work, item, bias, record + result->bytes, err);
    for (size_t i = 0; i < losses; i++) {
        uint64_t bits;
        memcpy(&bits, &result->losses[i / 8], sizeof bits);
        record[losses_at + i] = (uint8_t)(bits >> i % 8 * 8);
    }
    gs_work_put_rounded(&(struct gs_rounded){.loss = result->loss, .energy = result->energy,
                                             .unit = 1}, record + bytes - GS_ROUNDED_BYTES);
    if (!rc)
        rc = gs_journal_add(work->journal, index, record, bytes, err);
    gs_free(&record);
    gs_work_know_part(work, index);
    return rc;
}

void gs_work_know_part(struct gs_work *work, size_t index)
{
    struct gs_plan_item *item = &work->plan.items[index];
    uint64_t bytes = gs_journal_bytes(work->journal, index);
    uint64_t beside = gs_plan_bias_bytes(item) + gs_plan_losses_bytes(item) +
                      GS_ROUNDED_BYTES;

    if (item->part && bytes > beside)
        item->codes_bytes = item->codes_stride = (size_t)(bytes - beside);
}

static int round_item(struct gs_work *work, size_t index, void *ctx, struct gs_err *err)
{
    const struct shared *shared = ctx;
    const struct gs_plan_item *item = &work->plan.items[index];
    const struct gs_transform_fit fit = {.seed = work->recipe.seed, .stream = item->out_stream};
    struct gs_part_job job = {.spec = gs_plan_spec(&work->plan, item), .input = &shared->input,
                              .in = shared->transform, .factor = item->rescaled,
                              .seed = work->recipe.seed, .stream_in = item->in_stream,
                              .stream_out = item->out_stream, .rows = item->rows,
                              .cols = item->cols, .team = work->team,
                              .fisher = gs_fisher_of(work->fisher, item->source->name)};
    struct gs_transform *out = NULL;
    struct gs_part_result result;
    uint8_t *blob = NULL;
    int rc = GS_OK;

    job.w = gs_alloc(item->rows * item->cols, sizeof *job.w);
    if (item->bias)
        job.bias = gs_alloc(item->rows, sizeof *job.bias);
    if (!job.w || (item->bias && !job.bias))
        rc = gs_fail_nomem(err, item->source->name);
    if (!rc && item->mixes_rows)
        rc = gs_transform_create(gs_transform_find(work->recipe.transform_out), item->rows, &fit,
                                 &out, err);
    job.out = out;
    if (!rc && !(rc = gs_work_decode(work, item, 0, item->rows, job.w, err)) &&
        !(rc = gs_part_round(&job, &blob, &result, err)))
        rc = keep_blob(work, index, blob, job.bias, &result, err);
    gs_transform_destroy(&out);
    gs_free(&job.w);
    gs_free(&job.bias);
    gs_free(&blob);
    return rc;
}

/* The diagonal of H before its basis changes: of what was gathered, of the importance matrix,
 * or ones. */
static int read_diagonal(const struct gs_work *work, size_t first, size_t end, const double *h,
                         double *diagonal, struct gs_err *err)
{
    size_t n = work->plan.items[first].cols;

    if (work->imatrix.diagonal)
        return gs_work_diagonal(work, first, end, diagonal, err);
    for (size_t i = 0; i < n; i++)
        diagonal[i] = h ? h[i * n + i] : 1;
    return GS_OK;
}

/* The mean input where the transform takes it. */
static int transform_mean(const struct gs_work *work, const double *mean, struct shared *shared,
                          struct gs_err *err)
{
    size_t n = gs_transform_size(shared->transform);
    float *x = gs_alloc(n, sizeof *x);

    shared->mean = gs_alloc(n, sizeof *shared->mean);
    int rc = x && shared->mean ? GS_OK : gs_fail_nomem(err, "the mean input");
    for (size_t i = 0; !rc && i < n; i++)
        x[i] = (float)mean[i];
    if (!rc)
        rc = gs_transform_rows(shared->transform, GS_TRANSFORM_FORWARD, work->team, x, 1, n, err);
    for (size_t i = 0; !rc && i < n; i++)
        shared->mean[i] = (double)x[i];
    gs_free(&x);
    return rc;
}

int gs_work_round_parts(struct gs_work *work, size_t first, size_t end,
                        const struct gs_moments *in, struct gs_err *err)
{
    double *h = in->h;
    const struct gs_plan_item *item = &work->plan.items[first];
    struct shared shared = {.transform = NULL};
    double *diagonal = gs_alloc(item->cols, sizeof *diagonal);
    int rc = diagonal ? read_diagonal(work, first, end, h, diagonal, err)
                      : gs_fail_nomem(err, "second moments");

    if (!rc)
        rc = gs_work_transform(work, first, end, diagonal, in->most, &shared.transform, err);
    if (!rc && h)
        rc = gs_transform_hessian(shared.transform, work->team, h, err);
    else if (!rc)
        rc = gs_transform_hessian_diagonal(shared.transform, diagonal, err);
    if (!rc)
        rc = gs_part_input_create(gs_plan_spec(&work->plan, item), work->team, item->cols, h,
                                  diagonal, &shared.input, err);
    if (!rc && in->mean)
        rc = transform_mean(work, in->mean, &shared, err);
    shared.input.mean = shared.mean;
    if (rc)
        rc = gs_err_prefix(err, rc, item->source->name);
    else
        rc = gs_work_each(work, first, end, round_item, &shared, err);
    gs_part_input_clear(&shared.input);
    gs_free(&shared.mean);
    gs_transform_destroy(&shared.transform);
    gs_free(&diagonal);
    return rc;
}
