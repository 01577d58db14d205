/* SPDX-License-Identifier: MIT
 * The states moved through a half of a block whose matrices are rounded. The weights are read
 * back from the journal, as running the file will, so a resumed run sees the same numbers. */
#include <inttypes.h>
#include <string.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/cursor.h"
#include "core/half.h"
#include "recipe/work.h"

/* Matrices of one block that are rounded. */
#define BLOCK_ITEMS_MAX 8

/* A matrix as the finished file will hold it. */
struct built {
    struct gs_native native;
    uint8_t *payload;
    float *sides; /* scales (rows), factor (cols); of a blob the weights (rows, cols) */
    struct gs_transform *in, *out;
    float *bias;  /* (rows) of a blob whose outputs are corrected */
};

static void built_clear(struct built *b)
{
    gs_transform_destroy(&b->in);
    gs_transform_destroy(&b->out);
    gs_free(&b->payload);
    gs_free(&b->sides);
    gs_free(&b->bias);
}

static int build_part(struct gs_work *work, size_t index, struct built *b, struct gs_err *err)
{
    const struct gs_plan_item *item = &work->plan.items[index];

    b->payload = gs_alloc(item->codes_bytes, 1);
    b->sides = gs_alloc(item->rows * item->cols, sizeof *b->sides);
    if (!b->payload || !b->sides)
        return gs_fail_nomem(err, item->source->name);
    int rc = gs_journal_get(work->journal, index, 0, b->payload, item->codes_bytes, err);
    if (!rc)
        rc = gs_part_decode(b->payload, item->codes_bytes, work->team, b->sides, err);
    if (rc || !item->bias)
        return rc;
    if (!(b->bias = gs_alloc(item->rows, sizeof *b->bias)))
        return gs_fail_nomem(err, item->bias);
    rc = gs_journal_get(work->journal, index, item->codes_bytes, b->bias,
                        gs_plan_bias_bytes(item), err);
    for (size_t r = 0; !rc && r < item->rows; r++)
        b->bias[r] = gs_load_f32((const uint8_t *)&b->bias[r]);
    return rc;
}

static int build(struct gs_work *work, size_t index, struct built *b, struct gs_err *err)
{
    const struct gs_plan_item *item = &work->plan.items[index];
    const struct gs_transform_kind *in = gs_transform_find(work->recipe.transform_in);
    const struct gs_transform_kind *out =
        gs_transform_find(item->mixes_rows ? work->recipe.transform_out : "none");
    struct gs_transform_fit fit = {.seed = work->recipe.seed, .stream = item->in_stream};
    uint64_t bytes = gs_work_payload_bytes(item);
    struct gs_rounded rounded;
    int rc = gs_work_rounded(work, index, &rounded, err);

    if (rc)
        return rc;
    if (item->part)
        return build_part(work, index, b, err);
    if (item->stock) {
        b->payload = gs_alloc(item->codes_bytes, 1);
        return b->payload ? gs_journal_get(work->journal, index, 0, b->payload,
                                           item->codes_bytes, err)
                          : gs_fail_nomem(err, item->source->name);
    }
    b->payload = gs_alloc(bytes, 1);
    b->sides = gs_alloc(item->rows + item->cols, sizeof *b->sides);
    if (!b->payload || !b->sides)
        rc = gs_fail_nomem(err, item->source->name);
    if (rc || (rc = gs_journal_get(work->journal, index, 0, b->payload, bytes, err)))
        return rc;
    const uint8_t *p = b->payload + item->codes_bytes;
    for (size_t i = 0; i < item->rows; i++, p += 2)
        b->sides[i] = rounded.unit * gs_f16_to_f32(gs_load_u16(p));
    for (size_t i = 0; item->factor && i < item->cols; i++, p += 2)
        b->sides[item->rows + i] = gs_f16_to_f32(gs_load_u16(p));
    rc = item->factor ? gs_transform_load(in, item->cols, b->sides + item->rows, &b->in, err)
                      : gs_transform_create(in, item->cols, &fit, &b->in, err);
    fit.stream = item->out_stream;
    if (!rc)
        rc = gs_transform_create(out, item->rows, &fit, &b->out, err);
    b->native = (struct gs_native){.in = b->in, .out = b->out, .codes = b->payload,
                                   .codes_stride = item->codes_stride, .rows = item->rows,
                                   .cols = item->cols, .scales = b->sides};
    return rc ? rc : gs_work_codec(work, item->rate, &b->native.codec, err);
}

/* A fused up projection has a field of its own. */
struct gs_matrix *gs_work_field(struct gs_block_weights *w, const struct gs_plan_item *item)
{
    if (item->fused && item->field == offsetof(struct gs_block_weights, ffn_up))
        return &w->ffn_gate_up;
    return (struct gs_matrix *)(void *)((char *)w + item->field);
}

int gs_work_advance(struct gs_work *work, uint32_t il, enum gs_block_part part, size_t first,
                    size_t end, struct gs_err *err)
{
    struct gs_block_weights w = work->lm->blocks[il];
    struct built built[BLOCK_ITEMS_MAX] = {{.payload = NULL}};
    size_t ctx = work->calib.ctx, floats = ctx * work->lm->config.n_embd, n = 0;
    int rc = GS_OK;

    for (size_t i = first; !rc && i < end; i++) {
        const struct gs_plan_item *item = &work->plan.items[i];
        if (!gs_plan_is_rounded(item) || !gs_input_in_part(item->input, part))
            continue;
        rc = build(work, i, &built[n], err);
        *gs_work_field(&w, item) = (struct gs_matrix){
            .data = item->part ? (const void *)built[n].sides : built[n].payload,
            .type = item->native ? GS_TYPE_I8 : item->type,
            .rows = item->rows, .cols = item->cols,
            .row_bytes = item->native ? 0 : item->part ? item->cols * sizeof(float)
                                                       : item->codes_stride,
            .native = item->native ? &built[n].native : NULL};
        if (item->bias)
            *gs_plan_bias_field(&w, item) = built[n].bias;
        n++;
    }
    gs_block_split(&work->lm->config, &w);
    double start = gs_cpu_seconds();
    for (size_t s = 0; !rc && s < work->calib.sequences; s++) {
        gs_decoder_block(work->decoder, il, &w, part, work->states.data + s * floats, ctx);
        rc = gs_work_progress(work, err);
    }
    work->seconds.forward += gs_cpu_seconds() - start;
    for (size_t i = 0; i < n; i++)
        built_clear(&built[i]);
    return rc;
}
