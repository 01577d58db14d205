/* SPDX-License-Identifier: MIT
 * One matrix from weights to a blob: transform, unit, tables, groups, codes.
 *
 *   W ──T_out · T_in⁻¹──▶ ∕ unit ──outliers out──▶ learn, fit ──▶ groups ──rounder──▶ codes
 *                                                  ▲                                    │
 *                                      steps times └──── W − A B ◀── low rank A B ◀─────┘
 *
 * The unit is a power of two that brings the largest weight near the largest power of two that
 * the scale rule stores, so that short formats such as e4m3 use their whole range. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/half.h"
#include "linalg/mul.h"
#include "part/members.h"

#define CHUNK 64u
#define UNIT_EXPONENT 15

struct rounding {
    struct gs_part_work work;
    const struct gs_part_rounder *rounder;
    struct gs_team *team;
    uint8_t *blob, *scratch;
    size_t worker_bytes, rounder_bytes;
    bool polishes; /* sweeps of descent follow the rounder */
    const struct gs_part_job *job;
    struct gs_part_extras extras;
    float *h_all;  /* (rows, cols) importances, 0 for outliers */
    uint8_t *mask; /* (rows, cols) outliers */
    float *kept;   /* what they were, row by row */
    float *h;
};

/* ---- preparing ---------------------------------------------------------------------------- */

static int change_basis(const struct gs_part_job *job, struct gs_err *err)
{
    int rc = GS_OK;

    if (job->in)
        rc = gs_transform_rows(job->in, GS_TRANSFORM_DUAL, job->team, job->w, job->rows,
                               job->cols, err);
    if (!rc && job->out)
        rc = gs_transform_columns(job->out, GS_TRANSFORM_FORWARD, job->team, job->w, job->cols,
                                  job->cols, err);
    return rc;
}

static float choose_unit(const struct gs_scale_rule *rule, const float *w, size_t n)
{
    int top = UNIT_EXPONENT, exponent;
    float largest = 0;

    for (size_t i = 0; i < n; i++)
        largest = GS_MAX(largest, fabsf(w[i]));
    while (top > 0 && rule->round(ldexpf(1, top)) != ldexpf(1, top))
        top--;
    if (!(largest > 0))
        return 1;
    frexpf(largest, &exponent);
    return ldexpf(1, GS_MAX(exponent - top, -126));
}

/* Importances for fits and learning. */
static int make_importances(struct rounding *r, const struct gs_part_job *job,
                            struct gs_err *err)
{
    if (!strcmp(job->spec->importance, "fisher"))
        r->work.h_all = job->fisher;
    if (strcmp(job->spec->importance, "hessian"))
        return GS_OK;
    r->h = gs_alloc(job->cols, sizeof *r->h);
    if (!r->h)
        return gs_fail_nomem(err, "rounding");
    for (size_t i = 0; i < job->cols; i++)
        r->h[i] = (float)job->input->diagonal[i];
    r->work.h = r->h;
    return GS_OK;
}

/* Outliers become 0 and count for nothing in fits. What is kept apart for one is the rest that
 * its code leaves, so its code may be any (SpQR stores such weights whole). */
static int take_outliers(struct rounding *r, const struct gs_part_job *job, struct gs_err *err)
{
    size_t n = job->rows * job->cols, count = 0;

    r->h_all = gs_alloc(n, sizeof *r->h_all);
    r->mask = gs_alloc(n, 1);
    if (!r->h_all || !r->mask)
        return gs_fail_nomem(err, "outliers");
    int rc = gs_part_mark_outliers(job->spec, r->work.form, job->input, job->w, job->fisher,
                                   job->team, r->mask, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++)
        count += r->mask[i];
    if (!(r->kept = gs_alloc(count, sizeof *r->kept)))
        return gs_fail_nomem(err, "outliers");
    for (size_t i = 0, k = 0; i < n; i++) {
        if (r->mask[i]) {
            r->kept[k++] = job->w[i];
            job->w[i] = 0;
        }
        r->h_all[i] = r->mask[i] ? 0 : r->work.h_all ? r->work.h_all[i]
                                 : r->h ? r->h[i % job->cols] : 1;
    }
    r->work.h_all = r->h_all;
    r->work.mask = r->mask;
    return GS_OK;
}

static int learn(struct rounding *r, const struct gs_part_job *job, struct gs_err *err)
{
    const struct gs_part_form *f = r->work.form;
    const struct gs_codebook_data data = {.w = job->w, .rows = job->rows, .cols = job->cols,
                                          .stride = job->cols, .h = r->work.h,
                                          .h_all = r->work.h_all, .seed = job->seed,
                                          .group_rows = f->group_rows,
                                          .group_cols = f->group_cols, .rule = f->rule,
                                          .team = job->team};

    return gs_codebook_learn(f->codebook, &data, err);
}

/* Rows that are rounded together: whole groups where these are fitted on the way, and few
 * enough that every worker gets several. */
static void choose_chunk(struct rounding *r)
{
    const struct gs_part_form *f = r->work.form;
    size_t unit = r->work.dynamic ? f->group_rows * f->scale_group : 1;
    size_t share = f->rows / (4 * (size_t)gs_team_size(r->team)) + 1;

    share = GS_MIN(GS_MAX(share, 16), CHUNK);
    if (r->work.lambda > 0) /* what a chunk teaches must not depend on the team */
        share = CHUNK;
    r->work.chunk = GS_MIN(GS_MAX(share / unit, 1) * unit, f->rows);
}

/* ---- groups and codes --------------------------------------------------------------------- */

/* Group rows that share ranges, [begin, end) of them. */
static void fit_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct rounding *r = ctx;
    const struct gs_part_form *f = r->work.form;
    float *scratch = (float *)(void *)(r->scratch + (size_t)worker * r->worker_bytes);

    for (size_t s = begin; s < end; s++) {
        size_t first = s * f->scale_group, last = GS_MIN(first + f->scale_group, f->n_group_rows);
        for (size_t col = 0; col < f->n_group_cols; col++) {
            for (size_t g = first; g < last; g++)
                gs_part_fit(&r->work, g, col, r->work.w + g * f->group_rows * f->cols +
                            col * f->group_cols, f->cols, scratch);
            gs_part_settle(&r->work, first, last, col);
        }
    }
}

/* A row's codes, in layers or whole. */
static void put_codes(const struct rounding *r, size_t row, const uint64_t *codes)
{
    const struct gs_part_form *f = r->work.form;
    uint64_t at = f->bytes;

    if (!f->cut)
        gs_codebook_pack(f->codebook, codes, f->cols,
                         r->blob + f->codes_at + row * f->row_bytes);
    for (unsigned k = 0; f->cut && k < f->pieces; k++) {
        uint64_t bytes = k ? gs_part_piece_bytes(f, k) : 0;
        uint8_t *rows = r->blob + (k ? at : f->codes_at);
        gs_codebook_pack_layer(f->codebook, k, codes, f->cols,
                               rows + row * (k ? bytes / f->rows : f->row_bytes));
        at += bytes;
    }
}

static void round_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct rounding *r = ctx;
    const struct gs_part_form *f = r->work.form;
    uint8_t *scratch = r->scratch + (size_t)worker * r->worker_bytes;

    for (size_t c = begin; c < end; c++) {
        size_t row = c * r->work.chunk;
        struct gs_part_rows rows = {.work = &r->work, .row = row, .scratch = scratch,
                                    .rows = GS_MIN(r->work.chunk, f->rows - row),
                                    .codes = (uint64_t *)(void *)(scratch + r->rounder_bytes)};
        r->rounder->run(&rows);
        if (r->polishes)
            gs_part_descend(&rows, r->work.sweeps, false);
        for (size_t i = 0; i < rows.rows; i++)
            put_codes(r, row + i, rows.codes + i * f->cols / f->codebook->dim);
    }
}

static int make_scratch(struct rounding *r, struct gs_err *err)
{
    const struct gs_part_form *f = r->work.form;
    bool weighs = r->work.h || r->work.h_all;

    r->work.fit_floats = f->group_rows * f->group_cols * (weighs ? 2 : 1);
    choose_chunk(r);
    r->rounder_bytes = r->rounder->scratch(&r->work);
    r->rounder_bytes += gs_part_rate_scratch(&r->work);
    if (r->polishes)
        r->rounder_bytes = GS_MAX(r->rounder_bytes, gs_part_descent_scratch(&r->work));
    r->worker_bytes = r->rounder_bytes + (r->work.chunk * f->cols / f->codebook->dim + 8) / 8 * 64;
    r->worker_bytes = GS_MAX(r->worker_bytes, (r->work.fit_floats * sizeof(float) + 63) / 64 * 64);
    r->scratch = gs_work_create(r->team, r->worker_bytes);
    return r->scratch ? GS_OK : gs_fail_nomem(err, "rounding");
}

/* Groups, codes and y of work.w. */
static int round_once(struct rounding *r, struct gs_err *err)
{
    const struct gs_part_form *f = r->work.form;
    size_t groups = (f->n_group_rows + f->scale_group - 1) / f->scale_group;
    int rc;

    if (!r->work.dynamic)
        gs_team_run(r->team, groups, 1, fit_run, r);
    if ((rc = gs_part_search_scales(&r->work, r->team, err)))
        return rc;
    gs_team_run(r->team, (f->rows + r->work.chunk - 1) / r->work.chunk, 1, round_run, r);
    return GS_OK;
}

/* What gs_low_rank_alternate calls for each target. */
static int round_target(void *ctx, const float *target, float *rounded, double *loss,
                        struct gs_err *err)
{
    struct rounding *r = ctx;
    size_t n = r->work.form->rows * r->work.form->cols;

    r->work.w = target;
    int rc = round_once(r, err);
    for (size_t i = 0; i < n; i++) /* E, for the loss */
        rounded[i] = target[i] - r->work.y[i];
    for (size_t i = 0; r->mask && i < n; i++)
        rounded[i] = r->mask[i] ? 0 : rounded[i];
    if (!rc)
        rc = gs_part_loss(r->job->input, r->team, rounded, r->work.form->rows, loss, err);
    for (size_t i = 0; i < n; i++)
        rounded[i] = r->mask && r->mask[i] ? target[i] : r->work.y[i];
    return rc;
}

/* Codes, and what is added to them. */
static int round_all(struct rounding *r, struct gs_err *err)
{
    const struct gs_part_form *f = r->work.form;
    const struct gs_part_spec *spec = r->job->spec;
    const struct gs_moments moments = {.full = r->job->input->h,
                                       .diagonal = r->job->input->diagonal};
    const struct gs_moments *whiten = spec->whiten ? &moments : NULL;
    int steps = spec->low_rank_steps ? (int)spec->low_rank_steps : 1;
    float *rounded;
    int rc;

    if (spec->rate > 0)
        gs_part_set_rate(&r->work);
    rc = make_scratch(r, err);
    if (rc || !f->rank)
        return rc ? rc : round_once(r, err);
    if (!(rounded = gs_alloc(f->rows * f->cols, sizeof *rounded)))
        return gs_fail_nomem(err, "rounding");
    rc = gs_low_rank_alternate(r->job->w, f->rows, f->cols, f->rank, steps, false, whiten,
                               f->factors, round_target, r, r->team, rounded,
                               &r->extras.low_rank, NULL, err);
    gs_free(&rounded);
    return rc;
}

/* ---- the whole ---------------------------------------------------------------------------- */

static void put_factor(const struct gs_part_form *f, const struct gs_transform *in,
                       uint8_t *blob)
{
    uint8_t *p = blob + f->factor_at;

    for (size_t i = 0; f->factor && i < f->cols; i++)
        gs_put_f16(gs_transform_factor(in)[i], p + 2 * i);
}

/* w becomes W − Ŵ; outliers take what is left of them. */
static int measure_loss(struct rounding *r, const struct gs_part_job *job,
                        struct gs_part_result *out, struct gs_err *err)
{
    const struct gs_part_form *f = r->work.form;
    double unit2 = (double)f->unit * (double)f->unit;
    size_t n = job->rows * job->cols;
    int rc = GS_OK;

    for (size_t i = 0, k = 0; i < n; i++)
        job->w[i] = (r->mask && r->mask[i] ? r->kept[k++] : job->w[i]) - r->work.y[i];
    if (r->extras.low_rank)
        gs_low_rank_add(r->extras.low_rank, -1, job->team, job->w, job->cols);
    if (r->mask)
        rc = gs_sparse_create(job->w, f->cols, r->mask, f->rows, f->cols, &r->extras.sparse,
                              err);
    if (!rc && r->mask)
        gs_sparse_add(r->extras.sparse, -1, job->w, f->cols);
    if (!rc)
        rc = gs_part_loss(job->input, job->team, job->w, job->rows, &out->loss, err);
    out->loss *= unit2;
    return rc;
}

/* Everything but the codes, which are there; room for the outliers, whose number is known. */
static int put_sections(struct rounding *r, const struct gs_transform *in,
                        struct gs_part_result *out, struct gs_err *err)
{
    const struct gs_part_form *f = r->work.form;
    uint64_t sparse = r->extras.sparse ? gs_sparse_bytes(r->extras.sparse) : 0;
    uint64_t bytes = f->bytes + f->pieces_bytes;
    uint8_t *blob = gs_realloc(r->blob, bytes, bytes + sparse);

    if (!blob)
        return gs_fail_nomem(err, "rounding");
    r->blob = blob;
    out->bytes = bytes + sparse;
    out->bits = 8 * (out->bytes - f->shared_at);
    gs_part_form_write(f, blob);
    gs_codebook_write(f->codebook, blob + f->shared_at);
    gs_part_groups_write(f, &r->work.groups, blob + f->groups_at);
    put_factor(f, in, blob);
    if (r->extras.low_rank)
        gs_low_rank_write(r->extras.low_rank, blob + f->low_rank_at);
    if (r->extras.sparse)
        gs_sparse_write(r->extras.sparse, blob + f->bytes);
    return GS_OK;
}

/* tr(E H Eᵀ) with the first pieces only; w is W − Ŵ of all of them. */
static int measure_layers(struct rounding *r, const struct gs_part_job *job,
                          struct gs_part_result *out, struct gs_err *err)
{
    const struct gs_part_form *f = r->work.form;
    struct gs_part_source source = gs_part_source_of(f, r->blob, f->bytes + f->pieces_bytes);
    double unit2 = (double)f->unit * (double)f->unit;
    float *e = gs_alloc(f->rows * f->cols, sizeof *e);
    uint64_t *codes = gs_alloc(f->cols, sizeof *codes);
    int rc = e && codes ? GS_OK : gs_fail_nomem(err, "rounding");

    for (source.pieces = 1; !rc && source.pieces < f->pieces; source.pieces++) {
        double *loss = &out->losses[source.pieces - 1];
        for (size_t row = 0; row < f->rows; row++)
            gs_part_decode_row(f, &r->work.groups, &source, row, codes, e + row * f->cols);
        for (size_t i = 0; i < f->rows * f->cols; i++)
            e[i] = job->w[i] + r->work.y[i] - e[i];
        rc = gs_part_loss(job->input, job->team, e, f->rows, loss, err);
        *loss *= unit2;
    }
    gs_free(&codes);
    gs_free(&e);
    return rc;
}

/* Where only H's diagonal is known, descent and alternation come to rest at the nearest points
 * and at feedback with nothing to feed back. */
static const struct gs_part_rounder *choose_rounder(const struct gs_part_job *job)
{
    const struct gs_part_rounder *rounder = gs_part_rounder_find(job->spec->rounder);

    if (rounder->descends && !job->input->h32)
        return &gs_part_rounder_nearest;
    return rounder;
}

static const char *kind_name(const struct gs_transform *t)
{
    return t ? gs_transform_kind_of(t)->name : "none";
}

/* The form's unit, the weights over it, and their energy. */
static int set_unit(const struct gs_part_job *job, struct gs_part_form *form,
                    struct gs_part_result *out, struct gs_err *err)
{
    size_t n = job->rows * job->cols;

    form->seed = job->seed;
    form->stream_in = job->stream_in;
    form->stream_out = job->stream_out;
    form->unit = choose_unit(form->rule, job->w, n);
    int rc = gs_part_loss(job->input, job->team, job->w, job->rows, &out->energy, err);
    for (size_t i = 0; i < n; i++)
        job->w[i] /= form->unit;
    return rc;
}

static void rounding_init(struct rounding *r, const struct gs_part_job *job,
                          const struct gs_part_form *form)
{
    const struct gs_part_rounder *rounder = choose_rounder(job);

    *r = (struct rounding){.work = {.spec = job->spec, .form = form, .input = job->input,
                                    .w = job->w},
                           .rounder = rounder, .team = job->team, .job = job};
    r->work.sweeps = job->spec->sweeps ? job->spec->sweeps : rounder->sweeps;
    r->polishes = r->work.sweeps && job->input->h32 && !rounder->alternates &&
                  !rounder->learns && rounder != &gs_part_rounder_coordinate;
    r->work.dynamic = rounder->feeds && !rounder->alternates && !job->spec->static_groups &&
                      form->group_cols < form->cols;
}

static void rounding_clear(struct rounding *r)
{
    gs_free(&r->work.y);
    gs_free(&r->h);
    gs_free(&r->h_all);
    gs_free(&r->mask);
    gs_free(&r->kept);
    gs_free(&r->scratch);
    gs_part_groups_clear(&r->work.groups);
    gs_part_extras_clear(&r->extras);
}

static int make_room(struct rounding *r, struct gs_err *err)
{
    const struct gs_part_form *f = r->work.form;

    r->blob = gs_alloc(f->bytes + f->pieces_bytes, 1);
    r->work.y = gs_alloc(f->rows * f->cols, sizeof *r->work.y);
    return r->blob && r->work.y ? GS_OK : gs_fail_nomem(err, "rounding");
}

/* Blocks of signs: a blob of its own kind. */
static int round_blocks(const struct gs_part_job *job, const struct gs_part_form *form,
                        uint8_t **blob, struct gs_part_result *out, struct gs_err *err)
{
    uint8_t *bytes = gs_alloc(form->bytes + form->pieces_bytes, 1);
    int rc = bytes ? gs_part_loss(job->input, job->team, job->w, job->rows, &out->energy, err)
                   : gs_fail_nomem(err, "rounding");

    if (!rc) {
        gs_part_form_write(form, bytes);
        out->bytes = form->bytes + form->pieces_bytes;
        out->bits = 8 * (out->bytes - form->shared_at);
        rc = gs_part_round_blocks(job, form, bytes, out, err);
    }
    if (rc)
        gs_free(&bytes);
    *blob = bytes;
    return rc;
}

static int round_matrix(const struct gs_part_job *job, uint8_t **blob,
                        struct gs_part_result *out, struct gs_err *err)
{
    struct gs_part_form form;
    struct rounding r;
    int rc = gs_part_form_create(job->spec, job->rows, job->cols, kind_name(job->in),
                                 kind_name(job->out), job->factor, &form, err);

    *blob = NULL;
    *out = (struct gs_part_result){.pieces = form.pieces};
    if (rc || form.blocks) {
        rc = rc ? rc : round_blocks(job, &form, blob, out, err);
        gs_part_form_clear(&form);
        return rc;
    }
    rounding_init(&r, job, &form);
    if ((rc = change_basis(job, err)) || (rc = set_unit(job, &form, out, err)) ||
        (rc = make_importances(&r, job, err)) ||
        (form.sparse && (rc = take_outliers(&r, job, err))) ||
        (rc = gs_part_groups_create(&form, &r.work.groups, err)) ||
        (rc = learn(&r, job, err)) || (rc = make_room(&r, err)) ||
        (rc = round_all(&r, err)) ||
        (!strcmp(job->spec->correct, "affine") &&
         (rc = gs_part_fit_gains(&r.work, r.blob, job->team, err))) ||
        (rc = measure_loss(&r, job, out, err)) ||
        (job->bias && job->input->mean && (rc = gs_part_find_bias(job, &form, job->w, err))) ||
        (rc = put_sections(&r, job->in, out, err)) ||
        (form.cut && (rc = measure_layers(&r, job, out, err))))
        goto out;
    out->losses[form.pieces - 1] = out->loss;
    *blob = r.blob;
    r.blob = NULL;
out:
    gs_free(&r.blob);
    rounding_clear(&r);
    gs_part_form_clear(&form);
    return rc;
}

/* Both axes, and the better one is kept (Heo et al., AdaDim, arXiv:2309.15531, which compares
 * the outputs of rounding to nearest). */
static int round_adaptive(const struct gs_part_job *job, uint8_t **blob,
                          struct gs_part_result *out, struct gs_err *err)
{
    static const char *const axes[] = {"group", "column"};
    size_t n = job->rows * job->cols;
    float *w = gs_alloc(n, sizeof *w);
    int rc = w ? GS_OK : gs_fail_nomem(err, "rounding");

    *blob = NULL;
    if (w)
        memcpy(w, job->w, n * sizeof *w);
    for (size_t i = 0; !rc && i < GS_COUNT(axes); i++) {
        struct gs_part_spec spec = *job->spec;
        struct gs_part_job one = *job;
        struct gs_part_result result;
        uint8_t *candidate = NULL;
        strcpy(spec.scale, axes[i]);
        one.spec = &spec;
        memcpy(one.w, w, n * sizeof *w);
        rc = round_matrix(&one, &candidate, &result, err);
        if (!rc && (!*blob || result.loss < out->loss)) {
            gs_free(blob);
            *blob = candidate;
            *out = result;
            candidate = NULL;
        }
        gs_free(&candidate);
    }
    if (rc)
        gs_free(blob);
    gs_free(&w);
    return rc;
}

int gs_part_round(const struct gs_part_job *job, uint8_t **blob, struct gs_part_result *out,
                  struct gs_err *err)
{
    return (strcmp(job->spec->scale, GS_PART_ADAPTIVE) ? round_matrix : round_adaptive)(job, blob,
                                                                                        out, err);
}
