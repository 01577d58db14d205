/* SPDX-License-Identifier: MIT
 * Keys beside those of model/native.h say how the file came about:
 *
 * A stock file has these, and general.file_type, but none of the keys of model/native.h.
 *
 *   gosset.recipe                 text of the recipe, every field
 *   gosset.source.hash            of the source's tensors, in the order of the source
 *   gosset.fold, gosset.fold.hash  what was folded into the weights before (fold.h)
 *   gosset.calibration.{name,hash,tokens}, or gosset.imatrix.hash
 *   gosset.tune                   stages of tuning, if there were any
 *   gosset.eval.{tokens,ppl,ref_ppl,kld_mean,kld_p999,top1}   measured against the source
 *
 * Nothing in the file depends on time, machine or threads. */
#include "recipe/native_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "kernels/trellis.h"
#include "model/part_file.h"
#include "recipe/fold.h"
#include "recipe/recode.h"

#define QUANTIZATION_VERSION 2
#define PIECE_BYTES ((size_t)1 << 20)

/* ---- metadata ----------------------------------------------------------------------------- */

/* One array a field, an element a native item. */
struct lists {
    struct gs_str *names, *grids, *in, *in_factors, *out;
    uint32_t *rates, *rows, *cols, *in_streams, *out_streams;
    float *units;
};

static struct gs_str str(const char *s)
{
    return (struct gs_str){s, strlen(s)};
}

static int fill_lists(const struct gs_work *work, bool units, struct lists *l,
                      struct gs_err *err)
{
    const struct gs_plan *plan = &work->plan;
    size_t n = 0;
    int rc = GS_OK;

    for (size_t i = 0; !rc && i < plan->n_items; i++) {
        const struct gs_plan_item *item = &plan->items[i];
        struct gs_rounded rounded = {.unit = 1};
        if (!item->native)
            continue;
        if (units)
            rc = gs_work_rounded(work, i, &rounded, err);
        l->names[n] = str(item->source->name);
        l->grids[n] = str(plan->grid->name);
        l->in[n] = str(work->recipe.transform_in);
        l->in_factors[n] = str(item->factor ? item->factor : "");
        l->out[n] = str(item->mixes_rows ? work->recipe.transform_out : "none");
        l->rates[n] = item->rate;
        l->rows[n] = (uint32_t)item->rows;
        l->cols[n] = (uint32_t)item->cols;
        l->in_streams[n] = item->in_stream;
        l->out_streams[n] = item->out_stream;
        l->units[n++] = rounded.unit;
    }
    return rc;
}

static int set_lists(const struct gs_work *work, bool units, struct gs_meta *meta,
                     struct gs_err *err)
{
    struct gs_arena arena = {NULL, 0};
    struct lists l;
    size_t n = work->plan.n_native;
    int rc = GS_OK;
    const struct {
        const char *key;
        enum gs_value_type type;
        void *at; /* the pointer in l */
        size_t size;
    } columns[] = {
#define LIST(field, type) {GS_KEY_NATIVE #field, type, &l.field, sizeof *l.field}
        LIST(names, GS_VALUE_STRING),   LIST(grids, GS_VALUE_STRING),
        LIST(rates, GS_VALUE_U32),      LIST(rows, GS_VALUE_U32),
        LIST(cols, GS_VALUE_U32),       LIST(units, GS_VALUE_F32),
        LIST(in, GS_VALUE_STRING),      LIST(in_factors, GS_VALUE_STRING),
        LIST(in_streams, GS_VALUE_U32), LIST(out, GS_VALUE_STRING),
        LIST(out_streams, GS_VALUE_U32),
#undef LIST
    };

    for (size_t i = 0; !rc && i < GS_COUNT(columns); i++) {
        void *data = gs_arena_alloc(&arena, n, columns[i].size);
        memcpy(columns[i].at, &data, sizeof data);
        if (!data)
            rc = gs_fail_nomem(err, "metadata");
    }
    if (!rc)
        rc = fill_lists(work, units, &l, err);
    for (size_t i = 0; !rc && i < GS_COUNT(columns); i++) {
        void *data;
        memcpy(&data, columns[i].at, sizeof data);
        rc = gs_meta_set_array(meta, columns[i].key, columns[i].type, data, n, err);
    }
    gs_arena_clear(&arena);
    return rc;
}

/* Names and shapes of matrices that are blobs (model/part_file.h). */
static int set_parts(const struct gs_work *work, struct gs_meta *meta, struct gs_err *err)
{
    const struct gs_plan *plan = &work->plan;
    struct gs_arena arena = {NULL, 0};
    struct gs_str *names = gs_arena_alloc(&arena, plan->n_part, sizeof *names);
    uint32_t *rows = gs_arena_alloc(&arena, plan->n_part, sizeof *rows);
    uint32_t *cols = gs_arena_alloc(&arena, plan->n_part, sizeof *cols);
    int rc = names && rows && cols ? GS_OK : gs_fail_nomem(err, "metadata");
    size_t n = 0;

    for (size_t i = 0; !rc && i < plan->n_items; i++) {
        const struct gs_plan_item *item = &plan->items[i];
        if (!item->part)
            continue;
        names[n] = str(item->source->name);
        rows[n] = (uint32_t)item->rows;
        cols[n++] = (uint32_t)item->cols;
    }
    if (!rc)
        rc = gs_meta_set_array(meta, GS_KEY_PART "names", GS_VALUE_STRING, names, n, err);
    if (!rc)
        rc = gs_meta_set_array(meta, GS_KEY_PART "rows", GS_VALUE_U32, rows, n, err);
    if (!rc)
        rc = gs_meta_set_array(meta, GS_KEY_PART "cols", GS_VALUE_U32, cols, n, err);
    gs_arena_clear(&arena);
    return rc;
}

/* Of each piece, which of the matrices above it refines; zeros where only sizes matter yet. */
static int set_pieces(const struct gs_work *work, struct gs_meta *meta, struct gs_err *err)
{
    const struct gs_plan *plan = &work->plan;
    size_t n = 0, parts = 0;

    for (size_t i = 0; i < plan->n_items; i++)
        n += plan->items[i].part ? plan->items[i].pieces - 1 : 0;
    if (!n)
        return GS_OK;
    uint32_t *of = gs_alloc(n, sizeof *of), *place = gs_alloc(plan->n_items, sizeof *place);
    int rc = of && place ? GS_OK : gs_fail_nomem(err, "metadata");
    for (size_t i = 0; !rc && i < plan->n_items; i++)
        place[i] = (uint32_t)(plan->items[i].part ? parts++ : 0);
    for (size_t i = 0; !rc && work->pieces && i < n; i++)
        of[i] = place[work->pieces[i].item];
    if (!rc)
        rc = gs_meta_set_array(meta, GS_KEY_PART "pieces", GS_VALUE_U32, of, n, err);
    gs_free(&of);
    gs_free(&place);
    return rc;
}

/* What rounding cost each matrix, tr(E H Eᵀ) / tr(W H Wᵀ): where to look when a file is worse
 * than hoped. */
static int set_errors(const struct gs_work *work, bool known, struct gs_meta *meta,
                      struct gs_err *err)
{
    struct gs_arena arena = {NULL, 0};
    size_t n = 0, max = work->plan.n_items;
    struct gs_str *names = gs_arena_alloc(&arena, max, sizeof *names);
    float *errors = gs_arena_alloc(&arena, max, sizeof *errors);
    int rc = names && errors ? GS_OK : gs_fail_nomem(err, "metadata");

    for (size_t i = 0; !rc && i < max; i++) {
        struct gs_rounded rounded = {.loss = 0};
        if (!gs_plan_is_rounded(&work->plan.items[i]))
            continue;
        if (known)
            rc = gs_work_rounded(work, i, &rounded, err);
        names[n] = str(work->plan.items[i].source->name);
        errors[n++] = rounded.energy > 0 ? (float)(rounded.loss / rounded.energy) : 0;
    }
    if (!rc)
        rc = gs_meta_set_array(meta, "gosset.round.tensors", GS_VALUE_STRING, names, n, err);
    if (!rc)
        rc = gs_meta_set_array(meta, "gosset.round.errors", GS_VALUE_F32, errors, n, err);
    gs_arena_clear(&arena);
    return rc;
}

static int set_hash(struct gs_meta *meta, const char *key, uint64_t hash, struct gs_err *err)
{
    char text[20];

    snprintf(text, sizeof text, "%016" PRIx64, hash);
    return gs_meta_set_str(meta, key, str(text), err);
}

/* Figures of a file that was not measured yet are NaN: the header's size is then the same. */
static int set_eval(struct gs_meta *meta, const struct gs_eval_result *e, struct gs_err *err)
{
    const struct {
        const char *key;
        double value;
    } figures[] = {
        {"gosset.eval.ppl", e ? e->ppl : NAN},
        {"gosset.eval.ref_ppl", e ? e->ref_ppl : NAN},
        {"gosset.eval.kld_mean", e ? e->kld_mean : NAN},
        {"gosset.eval.kld_p999", e ? e->kld_p999 : NAN},
        {"gosset.eval.top1", e ? e->top1 : NAN},
    };
    int rc = gs_meta_set_uint(meta, "gosset.eval.tokens", e ? e->tokens : 0, err);

    for (size_t i = 0; !rc && i < GS_COUNT(figures); i++)
        rc = gs_meta_set_f32(meta, figures[i].key, figures[i].value, err);
    return rc;
}

static bool has_tables(const struct gs_plan *plan)
{
    for (size_t i = 0; i < plan->n_items; i++)
        if (plan->items[i].table)
            return true;
    return false;
}

static uint64_t file_version(const struct gs_plan *plan)
{
    for (size_t i = 0; i < plan->n_items; i++)
        if (plan->items[i].part && plan->items[i].pieces > 1)
            return GS_NATIVE_VERSION_PIECES;
    return has_tables(plan) ? GS_NATIVE_VERSION_TABLES : GS_NATIVE_VERSION;
}

static int set_story(const struct gs_work *work, struct gs_meta *meta, struct gs_err *err)
{
    char *recipe = gs_recipe_text(&work->recipe);
    const struct gs_calib *c = &work->calib;
    int rc = recipe ? gs_meta_set_str(meta, "gosset.recipe", str(recipe), err)
                    : gs_fail_nomem(err, "metadata");

    gs_free(&recipe);
    if (!rc && (work->plan.n_native || work->plan.n_part) &&
        !(rc = gs_meta_set_uint(meta, GS_KEY_VERSION, file_version(&work->plan), err)))
        rc = gs_meta_set_uint(meta, GS_KEY_SEED, work->recipe.seed, err);
    if (!rc && work->plan.mix)
        rc = gs_meta_set_uint(meta, "general.file_type", gs_mix_file_type(work->plan.mix), err);
    if (rc || (rc = set_hash(meta, "gosset.source.hash", work->source_hash, err)))
        return rc;
    if (work->fold && work->fold->on &&
        ((rc = gs_meta_set_str(meta, "gosset.fold", str(work->fold->names), err)) ||
         (rc = set_hash(meta, "gosset.fold.hash", work->fold->hash, err))))
        return rc;
    if (work->imatrix.diagonal)
        return set_hash(meta, "gosset.imatrix.hash", work->imatrix.hash, err);
    if (!work->uses_h)
        return GS_OK;
    if ((rc = gs_meta_set_str(meta, "gosset.calibration.name", str(c->name), err)) ||
        (rc = set_hash(meta, "gosset.calibration.hash", c->hash, err)))
        return rc;
    return gs_meta_set_uint(meta, "gosset.calibration.tokens", c->sequences * c->ctx, err);
}

static int make_meta(const struct gs_work *work, bool units, const struct gs_eval_result *eval,
                     struct gs_meta **out, struct gs_err *err)
{
    const struct gs_meta *source = gs_store_meta(work->store);
    int rc = gs_meta_create(out, err);

    for (size_t i = 0; !rc && i < gs_meta_count(source); i++) {
        const char *key = gs_meta_key(source, i);
        if (strncmp(key, "gosset.", 7) && strcmp(key, "general.file_type"))
            rc = gs_meta_set(*out, str(key), gs_meta_value(source, i), err);
    }
    if (!rc)
        rc = gs_meta_set_uint(*out, "general.quantization_version", QUANTIZATION_VERSION, err);
    if (!rc)
        rc = set_story(work, *out, err);
    if (!rc && work->options->tune)
        rc = gs_meta_set_str(*out, "gosset.tune", str(work->options->tune), err);
    if (!rc && work->calib.text)
        rc = set_eval(*out, eval, err);
    if (!rc)
        rc = set_errors(work, units, *out, err);
    if (!rc && work->plan.n_part)
        rc = set_parts(work, *out, err);
    if (!rc && work->plan.n_part)
        rc = set_pieces(work, *out, err);
    return rc || !work->plan.n_native ? rc : set_lists(work, units, *out, err);
}

int gs_native_file_size(const struct gs_work *work, uint64_t *bytes, struct gs_err *err)
{
    struct gs_meta *meta = NULL;
    int rc = make_meta(work, false, NULL, &meta, err);

    if (!rc)
        rc = gs_gguf_size(meta, work->plan.tensors, work->plan.n_tensors, bytes, err);
    gs_meta_destroy(&meta);
    return rc;
}

/* ---- tensors ------------------------------------------------------------------------------ */

struct writing {
    struct gs_work *work;
    struct gs_gguf_writer *writer;
    struct gs_recoder *recoder;
    uint8_t *piece;
    size_t index; /* of the tensor in the output */
};

static int write_piece(void *ctx, const void *data, uint64_t n, uint64_t read GS_UNUSED,
                       struct gs_err *err)
{
    struct writing *w = ctx;

    return gs_gguf_write(w->writer, w->index, data, n, err);
}

/* `bytes` of the item's payload to the tensor in work. */
static int write_bytes(struct writing *w, size_t item, uint64_t *offset, uint64_t bytes,
                       struct gs_err *err)
{
    int rc = GS_OK;

    for (uint64_t done = 0, n; !rc && done < bytes; done += n) {
        n = GS_MIN(bytes - done, PIECE_BYTES);
        rc = gs_journal_get(w->work->journal, item, *offset + done, w->piece, n, err);
        if (!rc)
            rc = gs_gguf_write(w->writer, w->index, w->piece, n, err);
    }
    *offset += bytes;
    return rc;
}

/* … as the next tensor. */
static int write_part(struct writing *w, size_t item, uint64_t *offset, uint64_t bytes,
                      struct gs_err *err)
{
    int rc = write_bytes(w, item, offset, bytes, err);

    w->index++;
    return rc;
}

/* All pieces, in their order. */
static int write_pieces(struct writing *w, struct gs_err *err)
{
    int rc = GS_OK;

    for (size_t i = 0; !rc && i < w->work->n_pieces; i++) {
        const struct gs_piece *piece = &w->work->pieces[i];
        uint64_t offset = piece->offset;
        rc = write_bytes(w, piece->item, &offset, piece->bytes, err);
    }
    return rc;
}

/* The grid's own table, which tuning begins with, as the next tensor. */
static int write_table(struct writing *w, const struct gs_plan_item *item, struct gs_err *err)
{
    const struct gs_codec *codec;
    int rc = gs_work_codec(w->work, item->rate, &codec, err);

    if (!rc)
        rc = gs_gguf_write(w->writer, w->index++, codec->trellis->magnitude,
                           GS_NATIVE_TABLE_BYTES, err);
    return rc;
}

static int write_item(struct writing *w, size_t index, struct gs_err *err)
{
    const struct gs_plan_item *item = &w->work->plan.items[index];
    uint64_t offset = 0;
    const void *data;
    int rc;

    if (item->replaced)
        return GS_OK;
    if (item->stock || item->part) {
        rc = write_part(w, index, &offset, item->codes_bytes - item->pieces_bytes, err);
        offset = item->codes_bytes;
        return rc || !item->bias ? rc : write_part(w, index, &offset, gs_plan_bias_bytes(item),
                                                   err);
    }
    if (item->native) {
        if ((rc = write_part(w, index, &offset, item->codes_bytes, err)) ||
            (rc = write_part(w, index, &offset, gs_plan_scale_bytes(item), err)))
            return rc;
        if (item->owns_factor &&
            (rc = write_part(w, index, &offset, gs_plan_factor_bytes(item), err)))
            return rc;
        return item->table ? write_table(w, item, err) : GS_OK;
    }
    if ((rc = gs_store_data(w->work->store, item->source, &data, err)))
        return rc;
    rc = gs_recode(w->recoder, item->source, data, item->type, write_piece, w, err);
    w->index++;
    return rc;
}

int gs_native_file_write(struct gs_work *work, const char *path, bool overwrite,
                         const struct gs_eval_result *eval, uint64_t *bytes,
                         struct gs_err *err)
{
    struct writing w = {.work = work};
    struct gs_meta *meta = NULL;
    int rc;

    if ((rc = make_meta(work, true, eval, &meta, err)) ||
        (rc = gs_recoder_create(work->team, &w.recoder, err)))
        goto out;
    w.piece = gs_alloc(PIECE_BYTES, 1);
    rc = w.piece ? gs_gguf_create(path, overwrite, meta, work->plan.tensors,
                                  work->plan.n_tensors, &w.writer, err)
                 : gs_fail_nomem(err, path);
    for (size_t i = 0; !rc && i < work->plan.n_items; i++)
        rc = write_item(&w, i, err);
    if (!rc)
        rc = write_pieces(&w, err);
    if (!rc)
        rc = gs_gguf_commit(&w.writer, bytes, err);
out:
    gs_gguf_abort(&w.writer);
    gs_recoder_destroy(&w.recoder);
    gs_free(&w.piece);
    gs_meta_destroy(&meta);
    return rc;
}

int gs_native_file_stamp(const char *draft, const char *path, bool overwrite,
                         const struct gs_eval_result *eval, uint64_t *bytes,
                         struct gs_err *err)
{
    struct gs_store *store = NULL;
    struct gs_gguf_writer *w = NULL;
    struct gs_tensor *tensors = NULL;
    struct gs_meta *meta = NULL;
    size_t n = 0;
    int rc = gs_store_open(draft, &store, err);

    if (rc || (rc = gs_meta_create(&meta, err)))
        goto out;
    const struct gs_meta *source = gs_store_meta(store);
    for (size_t i = 0; !rc && i < gs_meta_count(source); i++)
        rc = gs_meta_set(meta, str(gs_meta_key(source, i)), gs_meta_value(source, i), err);
    if (!rc && eval)
        rc = set_eval(meta, eval, err);
    n = gs_store_count(store);
    if (!rc && !(tensors = gs_alloc(n, sizeof *tensors)))
        rc = gs_fail_nomem(err, path);
    for (size_t i = 0; !rc && i < n; i++)
        tensors[i] = *gs_store_tensor(store, i);
    if (!rc)
        rc = gs_gguf_create(path, overwrite, meta, tensors, n, &w, err);
    for (size_t i = 0; !rc && i < n; i++) {
        const void *data;
        if (!(rc = gs_store_data(store, gs_store_tensor(store, i), &data, err)))
            rc = gs_gguf_write(w, i, data, tensors[i].bytes, err);
    }
    if (!rc)
        rc = gs_gguf_commit(&w, bytes, err);
out:
    gs_gguf_abort(&w);
    gs_free(&tensors);
    gs_meta_destroy(&meta);
    gs_store_close(&store);
    return rc;
}
