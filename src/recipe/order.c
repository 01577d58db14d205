/* SPDX-License-Identifier: MIT
 * The order of pieces of a whole model: what each byte saves, the most first.
 *
 *     value(matrix, piece) = sensitivity(matrix) · (ρ without it − ρ with it) / bytes
 *
 * ρ = tr(E H Eᵀ) / tr(W H Wᵀ) was measured while rounding, after each piece. The sensitivity is
 * the divergence of the whole model with the matrix's base alone in its place, over the ρ of that:
 * BitStack measures perplexities so (arXiv:2410.23918, section 3.3). It is measured in some blocks
 * and taken from the nearest one elsewhere; a recipe without calibration weighs all ρ alike.
 *
 * Pieces of one matrix stay in their order: one that is worth more than those before it is counted
 * with them, as the mean of both. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/cursor.h"
#include "recipe/predictions.h"

#define PROBES 8          /* blocks that are measured */
#define POSITIONS 64      /* whose predictions are compared */
#define LOGITS_MAX ((size_t)1 << 23)

struct ordering {
    struct gs_work *work;
    double *sensitivity;  /* (n_items); 0: not measured */
    struct gs_predictions predictions;
};

/* ---- sensitivities ------------------------------------------------------------------------ */

/* The loss with the first pieces … of the item, and its energy. */
static int read_losses(const struct gs_work *work, size_t index, double *losses, double *energy,
                       struct gs_err *err)
{
    const struct gs_plan_item *item = &work->plan.items[index];
    uint8_t bytes[GS_PLAN_LOSS_BYTES * GS_PART_PIECES];
    struct gs_rounded rounded;
    int rc = gs_work_rounded(work, index, &rounded, err);

    if (!rc)
        rc = gs_journal_get(work->journal, index, item->codes_bytes + gs_plan_bias_bytes(item),
                            bytes, gs_plan_losses_bytes(item), err);
    for (unsigned k = 0; !rc && k < item->pieces; k++)
        losses[k] = gs_load_f64(bytes + GS_PLAN_LOSS_BYTES * k);
    *energy = rc ? 0 : rounded.energy;
    return rc;
}

/* The matrix's base alone, as f32. */
static int decode_base(const struct gs_work *work, size_t index, float *w, struct gs_err *err)
{
    const struct gs_plan_item *item = &work->plan.items[index];
    size_t bytes = item->codes_bytes - item->pieces_bytes;
    uint8_t *base = gs_alloc(bytes, 1);
    int rc = base ? gs_journal_get(work->journal, index, 0, base, bytes, err)
                  : gs_fail_nomem(err, item->source->name);

    if (!rc)
        rc = gs_part_decode(base, bytes, work->team, w, err);
    gs_free(&base);
    return rc;
}

/* The model runs with w in the item's place. */
static int run_with(struct ordering *o, size_t index, const float *w, struct gs_err *err)
{
    struct gs_work *work = o->work;
    struct gs_lm *lm = work->lm;
    const struct gs_plan_item *item = &work->plan.items[index];
    struct gs_model_weights model = lm->model;
    const struct gs_matrix matrix = {.data = w, .type = GS_TYPE_F32, .rows = item->rows,
                                     .cols = item->cols, .row_bytes = item->cols * sizeof *w};
    struct gs_block_weights saved;
    int rc;

    if (item->il < lm->config.n_layer) {
        struct gs_block_weights *block = &lm->blocks[item->il];
        saved = *block;
        *gs_work_field(block, item) = matrix;
        gs_block_split(&lm->config, block);
        rc = gs_predictions_take(&o->predictions, err);
        *block = saved;
        return rc;
    }
    bool tied = model.output.data == model.token_embd.data;
    if (item->input == GS_INPUT_EMBD || tied)
        lm->model.token_embd = matrix;
    if (item->input == GS_INPUT_HEAD)
        lm->model.output = matrix;
    rc = gs_predictions_take(&o->predictions, err);
    lm->model = model;
    return rc;
}

static int probe(struct ordering *o, size_t index, struct gs_err *err)
{
    const struct gs_plan_item *item = &o->work->plan.items[index];
    double losses[GS_PART_PIECES], energy;
    float *w = gs_alloc(item->rows * item->cols, sizeof *w);
    int rc = w ? read_losses(o->work, index, losses, &energy, err)
               : gs_fail_nomem(err, item->source->name);

    if (!rc && !(rc = decode_base(o->work, index, w, err)))
        rc = run_with(o, index, w, err);
    if (!rc && losses[0] > 0)
        o->sensitivity[index] = gs_predictions_divergence(&o->predictions) * energy / losses[0];
    gs_free(&w);
    return rc;
}

static int measure(struct ordering *o, struct gs_err *err)
{
    struct gs_work *work = o->work;
    uint32_t n_layer = work->lm->config.n_layer, step = GS_MAX(n_layer / PROBES, 1u);
    int rc = gs_predictions_create(work, POSITIONS, LOGITS_MAX, &o->predictions, err);

    for (size_t i = 0; !rc && i < work->plan.n_items; i++) {
        const struct gs_plan_item *item = &work->plan.items[i];
        if (item->part && item->pieces > 1 &&
            (item->il >= n_layer || item->il % step == step / 2) && !(rc = probe(o, i, err)))
            rc = gs_work_progress(work, err);
    }
    return rc;
}

/* That of the nearest block where the same matrix was measured. */
static double sensitivity(const struct ordering *o, size_t index)
{
    const struct gs_plan_item *items = o->work->plan.items;
    uint32_t best = UINT32_MAX;
    double found = 1;

    for (size_t i = 0; i < o->work->plan.n_items; i++) {
        uint32_t a = items[i].il, b = items[index].il, far = a > b ? a - b : b - a;
        bool alike = items[i].field == items[index].field &&
                     (items[i].input >= GS_INPUT_HEAD) == (items[index].input >= GS_INPUT_HEAD);
        if (o->sensitivity[i] > 0 && alike && far < best) {
            best = far;
            found = o->sensitivity[i];
        }
    }
    return found;
}

/* ---- the order ---------------------------------------------------------------------------- */

/* The pieces of an item with values that do not rise. */
static int add_item(struct ordering *o, size_t index, struct gs_err *err)
{
    struct gs_work *work = o->work;
    unsigned n = work->plan.items[index].pieces - 1;
    struct gs_piece *list = work->pieces + work->n_pieces;
    double losses[GS_PART_PIECES], energy, saved[GS_PART_PIECES], bytes[GS_PART_PIECES];
    double weight = sensitivity(o, index);
    const struct gs_plan_item *item = &work->plan.items[index];
    uint64_t offset = item->codes_bytes - item->pieces_bytes;
    struct gs_part_facts facts;
    int rc = read_losses(work, index, losses, &energy, err);

    if (!rc)
        rc = gs_part_spec_facts(gs_plan_spec(&work->plan, item), item->rows, item->cols, &facts,
                                err);
    for (unsigned k = 0; !rc && k < n; k++) {
        uint64_t size = facts.piece[k + 1].bytes;
        list[k] = (struct gs_piece){.item = (uint32_t)index, .number = k + 1, .offset = offset,
                                    .bytes = size};
        saved[k] = energy > 0 ? weight * (losses[k] - losses[k + 1]) / energy : 0;
        bytes[k] = (double)size;
        offset += size;
    }
    for (unsigned k = 0, end; !rc && k < n; k = end) {
        double most = -INFINITY, sum = 0, size = 0;
        end = k + 1;
        for (unsigned j = k; j < n; j++) { /* the run of pieces that is worth most together */
            sum += saved[j];
            size += bytes[j];
            if (sum / size > most) {
                most = sum / size;
                end = j + 1;
            }
        }
        for (unsigned j = k; j < end; j++)
            list[j].value = most;
    }
    work->n_pieces += n;
    return rc;
}

static int compare_pieces(const void *a, const void *b)
{
    const struct gs_piece *x = a, *y = b;

    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    if (x->item != y->item)
        return x->item < y->item ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

int gs_work_order(struct gs_work *work, struct gs_err *err)
{
    struct ordering o = {.work = work};
    size_t n = 0;
    int rc = GS_OK;

    for (size_t i = 0; i < work->plan.n_items; i++)
        n += work->plan.items[i].part ? work->plan.items[i].pieces - 1 : 0;
    if (!n)
        return GS_OK;
    work->n_pieces = 0;
    work->pieces = gs_alloc(n, sizeof *work->pieces);
    o.sensitivity = gs_alloc(work->plan.n_items, sizeof *o.sensitivity);
    if (!work->pieces || !o.sensitivity)
        rc = gs_fail_nomem(err, "the order of pieces");
    if (!rc && work->decoder)
        rc = measure(&o, err);
    for (size_t i = 0; !rc && i < work->plan.n_items; i++)
        if (work->plan.items[i].part && work->plan.items[i].pieces > 1)
            rc = add_item(&o, i, err);
    if (!rc)
        qsort(work->pieces, n, sizeof *work->pieces, compare_pieces);
    gs_free(&o.sensitivity);
    gs_predictions_clear(&o.predictions);
    return rc;
}
