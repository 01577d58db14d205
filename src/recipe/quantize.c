/* SPDX-License-Identifier: MIT
 * The order of steps. Whatever can be refused is refused before the first of them costs time:
 * options, the output's place, the plan, room on disk. */
#include "recipe/quantize.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/log.h"
#include "recipe/budget.h"
#include "recipe/convert.h"
#include "recipe/estimate.h"
#include "recipe/fold.h"
#include "recipe/native_file.h"
#include "recipe/reuse.h"
#include "recipe/tune.h"

int gs_work_progress(const struct gs_work *work, struct gs_err *err)
{
    const struct gs_quantize_options *o = work->options;

    if (o->progress && o->progress(o->progress_ctx, "weights", work->done, work->total))
        return gs_fail(err, GS_E_STOPPED, "%s: stopped; --resume goes on",
                       gs_journal_path(work->journal));
    return GS_OK;
}

int gs_work_codec(struct gs_work *work, unsigned rate, const struct gs_codec **out,
                  struct gs_err *err)
{
    const struct gs_grid_params params = {.rate = rate,
                                          .full = work->plan.recipe->full_search};
    int rc = GS_OK;

    if (!work->codecs[rate])
        rc = gs_codec_create(work->plan.grid, &params, &work->codecs[rate], err);
    *out = work->codecs[rate];
    return rc;
}

/* ---- before the work ---------------------------------------------------------------------- */

/* Types by measurement, under a budget. */
static bool is_auto(const struct gs_quantize_options *o)
{
    return o->type && !strcasecmp(o->type, "auto");
}

/* A dry run that would wait for the model's own samples only to fold by default: it does without
 * both, and the names of what is folded are missing in its bytes. */
static bool is_sketch(const struct gs_quantize_options *o)
{
    return o->dry_run && !o->n_calib && !o->fold && !is_auto(o);
}

/* The transforms to fold; by default those that second moments say help. What was made before
 * (--requantize-changed) has the transforms of its own types, so there nothing is chosen anew. */
static const char *fold_list(const struct gs_work *work)
{
    const struct gs_quantize_options *o = work->options;

    if (o->fold)
        return strcmp(o->fold, "none") ? o->fold : NULL;
    return o->type && work->uses_h && !o->reuse && !is_sketch(o) ? "auto" : NULL;
}

static int check_options(const struct gs_quantize_options *o, const struct gs_recipe *recipe,
                         const char *dst, struct gs_err *err)
{
    bool codebook = gs_recipe_has_codebook(recipe);
    char *folder, *slash;
    struct stat st;
    int rc = GS_OK;

    if (o->bpw > 0 && o->size)
        return gs_fail(err, GS_E_ARG, "bits a weight and a size: give one of them");
    if (o->type && !is_auto(o) && (o->bpw > 0 || o->size))
        return gs_fail(err, GS_E_ARG, "type %s and a budget: give one of them", o->type);
    if (o->type && !is_auto(o) && !gs_mix_find(o->type))
        return gs_fail(err, GS_E_ARG, "type %s: there is no such block type or mix", o->type);
    if (!o->type && o->reuse)
        return gs_fail(err, GS_E_ARG, "only files of block types are requantized in part");
    if (!o->type && (o->pure || o->n_keep))
        return gs_fail(err, GS_E_ARG, "types of single tensors go with a type for the rest");
    if (codebook && (o->type || o->tune))
        return gs_fail(err, GS_E_ARG, "codebook %s: %s", recipe->part.codebook, o->type
                       ? "a stock file has block types" : "only matrices on grids are tuned");
    if (!(codebook && o->bpw == 0) && (!o->type || is_auto(o)) && !o->size &&
        !(o->bpw > 0 && o->bpw <= 64))
        return gs_fail(err, GS_E_ARG, "%g bits a weight: give a number from 1 on", o->bpw);
    bool fold = o->fold && strcmp(o->fold, "none");
    if (!o->type && fold)
        return gs_fail(err, GS_E_ARG, "folding is for block types; a native file has transforms "
                       "of its own");
    if (fold && o->imatrix)
        return gs_fail(err, GS_E_ARG, "an importance matrix is not that of a folded model: give "
                       "a calibration text");
    if (recipe->rescale && o->imatrix && !o->type &&
        gs_diagonal_rule_find(recipe->rescale_by)->needs_most)
        return gs_fail(err, GS_E_ARG, "rescale_by = %s needs the largest inputs, which an "
                       "importance matrix has not: give a calibration text", recipe->rescale_by);
    if (codebook && o->imatrix && gs_part_corrects(&recipe->part))
        return gs_fail(err, GS_E_ARG, "correct = %s needs the means of inputs, which an importance "
                       "matrix has not: give a calibration text", recipe->part.correct);
    struct gs_tune stages;
    if (o->tune && (rc = gs_tune_stages(o->tune, o->type, &stages, err)))
        return rc;
    if (!stat(dst, &st) && !o->overwrite)
        return gs_fail(err, GS_E_IO, "%s: exists already", dst);
    folder = gs_strndup(dst, strlen(dst));
    if (!folder)
        return gs_fail_nomem(err, dst);
    slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = 0;
    const char *where = slash ? folder : ".";
    if (stat(where, &st) || !S_ISDIR(st.st_mode))
        rc = gs_fail(err, GS_E_IO, "%s: there is no folder %s", dst, where);
    gs_free(&folder);
    return rc;
}

static int hash_source(struct gs_work *work, struct gs_err *err)
{
    int rc = GS_OK;

    for (size_t i = 0; !rc && i < gs_store_count(work->store); i++) {
        const struct gs_tensor *t = gs_store_tensor(work->store, i);
        const void *data;
        if ((rc = gs_store_data(work->store, t, &data, err)))
            return rc;
        work->source_hash = gs_fingerprint(work->source_hash, t->name, strlen(t->name));
        work->source_hash = gs_fingerprint(work->source_hash, data, t->bytes);
        gs_store_release(work->store, t);
    }
    return rc;
}

static int open_source(struct gs_work *work, const char *src, const char *dst,
                       struct gs_err *err)
{
    const struct gs_quantize_options *o = work->options;
    int rc;

    gs_recipe_default(&work->recipe);
    if ((rc = gs_recipe_read(&work->recipe, o->recipe, err)) ||
        (rc = gs_recipe_check(&work->recipe, err)))
        return rc;
    if (o->tokens)
        work->recipe.tokens = o->tokens;
    work->rounder = gs_rounder_find(work->recipe.rounder);
    work->uses_h = o->type && work->rounder ? work->rounder->uses_h
                                            : gs_recipe_needs_h(&work->recipe);
    work->uses_fisher = !o->type && gs_recipe_needs_fisher(&work->recipe);
    if ((rc = check_options(o, &work->recipe, dst, err)) || (rc = gs_store_open(src, &work->store, err)) ||
        (rc = gs_convert_check_output(work->store, dst, o->overwrite, err)) ||
        (rc = gs_team_create(o->threads, &work->team, err)) || (rc = hash_source(work, err)))
        return rc;
    if (o->imatrix && (work->uses_h || o->type)) {
        if ((rc = gs_imatrix_open(o->imatrix, work->store, &work->imatrix, err)))
            return rc;
        work->uses_h = false;
    }
    if (o->reuse && (rc = gs_reuse_hash(o->reuse, &work->reuse_hash, err)))
        return rc;
    return gs_lm_open(work->store, &work->lm, err);
}

int gs_work_decoder(struct gs_work *work, struct gs_err *err)
{
    const struct gs_decoder_options options = {.ctx = (uint32_t)work->calib.ctx,
                                               .batch = (uint32_t)work->calib.ctx,
                                               .native = true, .exact = true,
                                               .team = work->team};

    return gs_decoder_create(work->lm, &options, &work->decoder, err);
}

/* Reads or samples the calibration set, and what forwards over it need. */
static int calibrate(struct gs_work *work, struct gs_err *err)
{
    const struct gs_quantize_options *o = work->options;
    const struct gs_calib_source source = {.paths = o->calib, .n_paths = o->n_calib,
                                           .eval = !o->no_eval,
                                           .count_only = is_sketch(o),
                                           .progress = o->progress,
                                           .progress_ctx = o->progress_ctx};
    int rc;

    if (!work->uses_h && !work->uses_fisher && o->no_eval && !o->tune)
        return GS_OK;
    rc = gs_tokenizer_create(gs_store_meta(work->store), gs_store_path(work->store),
                             &work->tokenizer, err);
    if (!rc)
        rc = gs_calib_create(&source, &work->recipe, work->lm, work->tokenizer, work->team,
                             &work->calib, err);
    return rc || !work->uses_h ? rc : gs_work_decoder(work, err);
}

/* The plan for options, without the overhead of the file, which is returned: bytes of the file
 * that are in no tensor. */
static int draft_plan(struct gs_work *work, const struct gs_plan_options *options,
                      uint64_t *overhead, struct gs_err *err)
{
    uint64_t bytes = 0;
    int rc;

    gs_plan_clear(&work->plan);
    if ((rc = gs_plan_create(work->lm, &work->recipe, options, &work->plan, err)) ||
        (rc = gs_native_file_size(work, &bytes, err)))
        return rc;
    *overhead = bytes - work->plan.bytes;
    return GS_OK;
}

/* Padding may grow as sizes change: at most so much a tensor. */
#define PADDING 32u

/* Bytes of all tensors that the budget allows. */
static int budget_bytes(const struct gs_work *work, uint64_t overhead, uint64_t *out,
                        struct gs_err *err)
{
    const struct gs_quantize_options *o = work->options;
    uint64_t margin = overhead + PADDING * work->plan.n_tensors;

    *out = (uint64_t)(o->bpw * (double)work->plan.parameters / 8);
    if (!o->size)
        return GS_OK;
    if (o->size <= margin)
        return gs_fail(err, GS_E_ARG, "a file of %" PRIu64 " bytes: metadata takes %" PRIu64
                       " already", o->size, margin);
    *out = o->size - margin;
    return GS_OK;
}

/* The mix whose base type most weights have: what the file calls itself. */
static const struct gs_mix *main_mix(const struct gs_plan *plan)
{
    uint64_t weights[GS_TYPE_COUNT] = {0};
    const struct gs_mix *best = NULL;

    for (size_t i = 0; i < plan->n_items; i++)
        if (plan->items[i].stock)
            weights[plan->items[i].type] += (uint64_t)plan->items[i].rows * plan->items[i].cols;
    for (size_t i = 0; gs_mix_at(i); i++)
        if (!best || weights[gs_mix_base(gs_mix_at(i))] > weights[gs_mix_base(best)])
            best = gs_mix_at(i);
    return best;
}

/* Types by measurement; the recipe's calibration set and the decoder are there. */
static int plan_types(struct gs_work *work, struct gs_plan_options *options, struct gs_err *err)
{
    uint64_t overhead = 0, bytes = 0;
    int *types = gs_alloc(gs_store_count(work->store), sizeof *types);
    int rc = types ? GS_OK : gs_fail_nomem(err, "the plan");

    options->mix = gs_mix_find("Q8_0");
    if (!rc && !work->uses_h)
        rc = gs_fail(err, GS_E_ARG, "types are chosen by second moments: give a calibration text, "
                     "no importance matrix, and the rounder ldlq");
    if (!rc && !(rc = draft_plan(work, options, &overhead, err)) &&
        !(rc = budget_bytes(work, overhead, &bytes, err)) &&
        !(rc = gs_budget_types(work, bytes, types, err))) {
        options->types = types;
        gs_plan_clear(&work->plan);
        rc = gs_plan_create(work->lm, &work->recipe, options, &work->plan, err);
        work->plan.mix = main_mix(&work->plan);
        options->types = NULL;
    }
    gs_free(&types);
    return rc;
}

static uint64_t count_weights(const struct gs_store *store)
{
    uint64_t n = 0;

    for (size_t i = 0; i < gs_store_count(store); i++) {
        const uint64_t *dim = gs_store_tensor(store, i)->dim;
        n += dim[0] * dim[1] * dim[2] * dim[3];
    }
    return n;
}

static int make_plan(struct gs_work *work, struct gs_err *err)
{
    const struct gs_quantize_options *o = work->options;
    struct gs_plan_options options = {.bpw = o->bpw, .allow_requantize = o->allow_requantize,
                                      .pure = o->pure, .tables = o->tune != NULL,
                                      .quiet = work->plan.items != NULL};
    uint64_t overhead = 0, bytes = 0;
    int rc = gs_keeps_create(o->keep, o->n_keep, &options.keeps, err);

    gs_plan_clear(&work->plan);
    work->total = 0;
    if (work->source) { /* what was refused, was refused of it; its weights are what counts */
        options.allow_requantize = true;
        options.parameters = count_weights(work->source);
    }
    if (!rc && is_auto(o)) {
        rc = plan_types(work, &options, err);
    } else if (!rc) {
        options.mix = o->type ? gs_mix_find(o->type) : NULL;
        if (o->size) { /* any budget tells what is no tensor */
            options.bpw = 64;
            if (!(rc = draft_plan(work, &options, &overhead, err)) &&
                !(rc = budget_bytes(work, overhead, &bytes, err)))
                options.bpw = 8 * (double)bytes / (double)work->plan.parameters;
            gs_plan_clear(&work->plan);
        }
        if (!rc)
            rc = gs_plan_create(work->lm, &work->recipe, &options, &work->plan, err);
    }
    gs_keeps_destroy(&options.keeps);
    for (size_t i = 0; !rc && i < work->plan.n_items; i++)
        if (gs_plan_is_rounded(&work->plan.items[i]))
            work->total += (uint64_t)work->plan.items[i].rows * work->plan.items[i].cols;
    return rc;
}

static void describe(const struct gs_work *work, struct gs_plan_tensor *rows)
{
    for (size_t i = 0; i < work->plan.n_items; i++) {
        const struct gs_plan_item *item = &work->plan.items[i];
        struct gs_plan_tensor *t = &rows[i];
        const uint64_t *dim = item->source->dim;
        uint64_t row = 0;
        t->name = item->source->name;
        t->type = item->native ? work->plan.grid->name
                  : item->part ? gs_plan_spec(&work->plan, item)->codebook
                               : gs_type_info(item->type)->name;
        t->parameters = dim[0] * dim[1] * dim[2] * dim[3];
        if (item->native)
            t->bytes = item->codes_bytes + gs_plan_side_bytes(item);
        else if (item->part)
            t->bytes = item->codes_bytes;
        else if (!gs_type_row_bytes(item->type, dim[0], &row, NULL))
            t->bytes = row * dim[1] * dim[2] * dim[3];
        t->bits = 8 * (double)t->bytes / (double)t->parameters;
    }
}

/* Tells the plan; the caller may stop here. */
static int report(struct gs_work *work, struct gs_quantize_result *out, uint64_t *scratch,
                  struct gs_err *err)
{
    const struct gs_quantize_options *o = work->options;
    struct gs_plan_info info = {.parameters = work->plan.parameters, .bytes = work->plan.bytes,
                                .bpw = work->plan.bpw, .n_tensors = work->plan.n_items};
    struct gs_plan_tensor *rows = gs_alloc(work->plan.n_items, sizeof *rows);
    int rc = rows ? gs_native_file_size(work, &info.file_bytes, err)
                  : gs_fail_nomem(err, "the plan");

    if (!rc)
        rc = gs_estimate(work, &info, err);
    if (!rc) {
        describe(work, rows);
        info.tensors = rows;
        info.calib_tokens = work->uses_h ? work->calib.sequences * work->calib.ctx : 0;
        *scratch = info.scratch_bytes; /* the folded model has its room already */
        info.scratch_bytes += work->fold_bytes;
        if (work->fold) {
            info.fold = work->fold->text;
            info.memory_bytes = GS_MAX(info.memory_bytes, work->fold->memory);
        }
        *out = (struct gs_quantize_result){.parameters = info.parameters, .bytes = info.bytes,
                                           .file_bytes = info.file_bytes, .bpw = info.bpw};
        if (o->plan && o->plan(o->plan_ctx, &info))
            rc = gs_fail(err, GS_E_STOPPED, "stopped after the plan");
    }
    gs_free(&rows);
    return rc;
}

/* Everything that decides a payload's bytes. */
static uint64_t work_key(const struct gs_work *work)
{
    char *recipe = gs_recipe_text(&work->recipe);
    uint64_t facts[] = {work->source_hash, work->uses_h || work->uses_fisher
                         ? work->calib.hash : 0,
                        work->imatrix.hash, work->reuse_hash,
                        work->fold ? work->fold->hash : 0};
    uint64_t key = gs_fingerprint(GS_NATIVE_VERSION, facts, sizeof facts);

    if (recipe)
        key = gs_fingerprint(key, recipe, strlen(recipe));
    gs_free(&recipe);
    for (size_t i = 0; i < work->plan.n_items; i++) {
        const struct gs_plan_item *item = &work->plan.items[i];
        const uint64_t rate = item->native ? item->rate : item->stock ? 1000u + item->type
                              : item->part ? 2000u + item->codes_bytes : 0;
        key = gs_fingerprint(key, &rate, sizeof rate);
    }
    return key;
}

/* Room for the output and for what lies beside it. */
static int check_room(const struct gs_work *work, uint64_t bytes, struct gs_err *err)
{
    struct statvfs fs;

    if (statvfs(gs_journal_path(work->journal), &fs))
        return GS_OK; /* then writing will tell */
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (room >= bytes)
        return GS_OK;
    return gs_fail(err, GS_E_IO, "%s: output and work need %" PRIu64 " bytes, the disk has room "
                   "for %" PRIu64, gs_journal_path(work->journal), bytes, room);
}

/* ---- the work ----------------------------------------------------------------------------- */

static int embed(struct gs_work *work, const char *dst, struct gs_err *err)
{
    const struct gs_calib *c = &work->calib;
    size_t C = work->lm->config.n_embd;
    int rc = gs_states_create(dst, c->sequences * c->ctx * C, &work->states, err);

    work->x = gs_alloc(c->ctx * C, sizeof *work->x);
    if (!rc && !work->x)
        rc = gs_fail_nomem(err, "hidden states");
    for (size_t s = 0; !rc && s < c->sequences; s++)
        rc = gs_decoder_embed(work->decoder, c->tokens + s * c->ctx, c->ctx,
                              work->states.data + s * c->ctx * C, err);
    return rc;
}

static int round_all(struct gs_work *work, const char *dst, struct gs_err *err)
{
    const struct gs_plan *plan = &work->plan;
    size_t reused = 0;
    int rc = work->uses_h ? embed(work, dst, err) : GS_OK;

    if (!rc && work->uses_fisher)
        rc = gs_fisher_create(work->lm, &work->calib, work->team, work->options->progress,
                              work->options->progress_ctx, &work->fisher, err);

    if (!rc && work->options->reuse) {
        rc = gs_reuse(work, work->options->reuse, &reused, err);
        gs_log(GS_LOG_INFO, "%zu of %zu matrices are those of %s", reused, plan->n_stock,
               work->options->reuse);
    }

    for (size_t i = 0; i < plan->n_items; i++)
        gs_work_know_part(work, i);
    for (size_t i = 0; i < plan->n_items; i++)
        if (gs_plan_is_rounded(&plan->items[i]) && gs_journal_bytes(work->journal, i))
            work->done += (uint64_t)plan->items[i].rows * plan->items[i].cols;
    for (size_t first = 0, end; !rc && first < plan->n_items; first = end) {
        for (end = first; end < plan->n_items && plan->items[end].il == plan->items[first].il;)
            end++;
        rc = gs_work_layer(work, plan->items[first].il, first, end, err);
    }
    /* Blobs with outliers have their sizes only now. */
    if (!rc && plan->n_part)
        rc = gs_plan_relist(&work->plan, err);
    return rc || !plan->n_part ? rc : gs_work_order(work, err);
}

/* Tunes the draft in place, on the calibration text. */
static int tune_draft(struct gs_work *work, const char *draft, struct gs_err *err)
{
    const struct gs_quantize_options *o = work->options;
    const struct gs_store *source = work->source ? work->source : work->store;
    struct gs_tune tune = {.teacher = gs_store_path(source), .team = work->team,
                           .tokens = work->calib.tokens, .sequences = work->calib.sequences,
                           .ctx = work->calib.ctx, .progress = o->progress,
                           .progress_ctx = o->progress_ctx};
    size_t n = strlen(draft) + 16;
    char *tuned = gs_alloc(n, 1);
    int rc = tuned ? gs_tune_stages(o->tune, o->type, &tune, err) : gs_fail_nomem(err, draft);

    if (!rc) {
        if (o->type)
            tune.held = GS_MIN(GS_MAX(tune.sequences / 8, 1u), tune.sequences - 1);
        snprintf(tuned, n, "%s.tuned", draft);
        rc = gs_tune_file(&tune, draft, tuned, NULL, err);
        if (!rc && rename(tuned, draft))
            rc = gs_fail(err, GS_E_IO, "%s: cannot be renamed", tuned);
        unlink(tuned);
    }
    gs_free(&tuned);
    return rc;
}

/* A first copy of the file is tuned, if that is wanted, and measured; the second one holds
 * the figures. */
static int measure_and_write(struct gs_work *work, const char *dst, gs_measure_fn measure,
                             void *ctx, struct gs_quantize_result *out, struct gs_err *err)
{
    const struct gs_calib *c = &work->calib;
    const char *tune = work->options->tune;
    bool overwrite = work->options->overwrite;
    size_t n = strlen(dst) + 16;
    char *draft = gs_alloc(n, 1);
    double start;
    int rc = draft ? GS_OK : gs_fail_nomem(err, dst);

    if (!rc && (c->text || tune)) {
        snprintf(draft, n, "%s.draft", dst);
        rc = gs_native_file_write(work, draft, true, NULL, NULL, err);
        if (!rc && tune) {
            start = gs_cpu_seconds();
            rc = tune_draft(work, draft, err);
            work->seconds.tuning = gs_cpu_seconds() - start;
        }
        start = gs_cpu_seconds();
        if (!rc && c->text) {
            rc = measure(ctx, draft, c->text, c->text_bytes, &out->eval, err);
            work->seconds.measuring = gs_cpu_seconds() - start;
            out->has_eval = !rc;
        }
    }
    const struct gs_eval_result *eval = out->has_eval ? &out->eval : NULL;
    if (!rc && tune)
        rc = gs_native_file_stamp(draft, dst, overwrite, eval, &out->file_bytes, err);
    else if (!rc)
        rc = gs_native_file_write(work, dst, overwrite, eval, &out->file_bytes, err);
    if (draft && *draft)
        unlink(draft);
    gs_free(&draft);
    return rc;
}

static void work_clear(struct gs_work *work, bool done)
{
    for (size_t i = 0; i < GS_COUNT(work->codecs); i++)
        gs_codec_destroy(&work->codecs[i]);
    gs_journal_close(&work->journal, done);
    gs_states_clear(&work->states);
    gs_free(&work->x);
    gs_free(&work->pieces);
    gs_fisher_destroy(&work->fisher);
    gs_decoder_destroy(&work->decoder);
    gs_calib_clear(&work->calib);
    gs_imatrix_clear(&work->imatrix);
    gs_plan_clear(&work->plan);
    gs_tokenizer_destroy(&work->tokenizer);
    gs_fold_destroy(&work->fold);
    gs_lm_close(&work->lm);
    gs_lm_close(&work->source_lm);
    gs_team_destroy(&work->team);
    gs_store_close(&work->store);
    gs_store_close(&work->source);
}

/* All that comes before work, in the order of its costs. Types by measurement come after folding,
 * others before it, because folding is measured with them; a folded model is planned anew. */
static int prepare(struct gs_work *work, const char *src, const char *dst, struct gs_err *err)
{
    const struct gs_quantize_options *o = work->options;
    bool later = is_auto(o);
    int rc = open_source(work, src, dst, err);

    if (rc)
        return rc;
    const char *fold = fold_list(work);
    if ((fold && (rc = gs_fold_check(work->lm, fold, work->uses_h, err))) ||
        (!later && (rc = make_plan(work, err))) || (rc = calibrate(work, err)))
        return rc;
    if (fold && (rc = gs_work_fold(work, fold, dst, later || !o->dry_run, err)))
        return rc;
    return later || work->source ? make_plan(work, err) : GS_OK;
}

int gs_quantize_model(const char *src, const char *dst,
                      const struct gs_quantize_options *options, gs_measure_fn measure,
                      void *measure_ctx, struct gs_quantize_result *out, struct gs_err *err)
{
    struct gs_quantize_result result = {0};
    struct gs_work *work = gs_alloc(1, sizeof *work);
    uint64_t scratch = 0;
    int rc;

    if (!work)
        return gs_fail_nomem(err, "quantizing");
    work->options = options;
    if ((rc = prepare(work, src, dst, err)) || (rc = report(work, &result, &scratch, err)) ||
        options->dry_run)
        goto out;
    if ((rc = gs_journal_open(dst, work_key(work), work->plan.n_items, options->resume,
                              options->overwrite, &work->journal, err)))
        goto out;
    if ((rc = check_room(work, result.file_bytes + scratch, err)) ||
        (rc = round_all(work, dst, err)) ||
        (rc = measure_and_write(work, dst, measure, measure_ctx, &result, err)))
        goto out;
    result.bytes = work->plan.bytes;
    result.bpw = work->plan.bpw;
    result.cpu_seconds = work->seconds;
    result.loss = work->energy > 0 ? work->loss / work->energy : 0;
out:
    if (!rc && out)
        *out = result;
    work_clear(work, rc == GS_OK);
    gs_free(&work);
    return rc;
}
