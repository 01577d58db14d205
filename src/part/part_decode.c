/* SPDX-License-Identifier: MIT
 * From a blob back to weights. What a blob claims is bounded by its own size (form.c): the
 * memory taken here is what its sections and the caller's w account for. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/half.h"
#include "linalg/mul.h"
#include "part/members.h"

/* Codes of one weight are looked up where a group's run of a row is so many times as long as its
 * table. */
#define TABLE_STATES 256u
#define TABLE_GAIN 2u
#define GRAIN 16u

struct decoding {
    const struct gs_part_form *form;
    const uint8_t *blob;
    struct gs_part_groups groups;
    uint64_t *codes; /* a row for each worker */
    float *w;
    bool *wrong;     /* (workers) some weight is not finite */
};

/* The values y (n) of codes that share a group. */
static void decode_group(const struct gs_codebook *codebook, const struct gs_group *group,
                         const uint64_t *codes, size_t n, float *y)
{
    size_t dim = codebook->dim;
    float table[TABLE_STATES];

    if (dim > 1 || !codebook->states || codebook->states > TABLE_STATES ||
        n < TABLE_GAIN * codebook->states) {
        for (size_t i = 0; i < n; i += dim)
            gs_codebook_value(codebook, group, codes[i / dim], y + i);
        return;
    }
    for (uint64_t code = 0; code < codebook->states; code++)
        gs_codebook_value(codebook, group, code, &table[code]);
    for (size_t i = 0; i < n; i++)
        y[i] = table[codes[i]];
}

static void decode_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct decoding *d = ctx;
    const struct gs_part_form *f = d->form;
    size_t dim = f->codebook->dim;
    uint64_t *codes = d->codes + (size_t)worker * (f->cols / dim);

    for (size_t r = begin; r < end; r++) {
        float *y = d->w + r * f->cols;
        gs_codebook_unpack(f->codebook, d->blob + f->codes_at + r * f->row_bytes, f->cols,
                           codes);
        for (size_t c = 0; c < f->cols; c += f->group_cols)
            decode_group(f->codebook, gs_part_group_of(f, &d->groups, r, c), codes + c / dim,
                         GS_MIN(f->group_cols, f->cols - c), y + c);
    }
}

static void scale_run(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct decoding *d = ctx;
    size_t cols = d->form->cols;

    for (size_t i = begin * cols; i < end * cols; i++)
        d->w[i] *= d->form->unit;
}

/* The sum in the unit that it was made in. */
static int add_extras(struct decoding *d, uint64_t bytes, struct gs_team *team,
                      struct gs_err *err)
{
    struct gs_part_extras extras;
    int rc = gs_part_extras_read(d->form, d->blob, bytes, &extras, err);

    if (!rc) {
        gs_part_extras_add(&extras, team, d->w, d->form->cols);
        gs_team_run(team, d->form->rows, GRAIN, scale_run, d);
    }
    gs_part_extras_clear(&extras);
    return rc;
}

static void check_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct decoding *d = ctx;
    size_t cols = d->form->cols;

    for (size_t i = begin * cols; i < end * cols; i++)
        if (!isfinite(d->w[i]))
            d->wrong[worker] = true;
}

/* Names the first weight that is not finite. */
static int check_finite(struct decoding *d, struct gs_team *team, struct gs_err *err)
{
    const struct gs_part_form *f = d->form;
    bool wrong = false;

    gs_team_run(team, f->rows, GRAIN, check_run, d);
    for (int i = 0; i < gs_team_size(team); i++)
        wrong = wrong || d->wrong[i];
    for (size_t i = 0; wrong && i < f->rows * f->cols; i++)
        if (!isfinite(d->w[i]))
            return gs_fail(err, GS_E_FORMAT, "weight (%zu, %zu) is not finite", i / f->cols,
                           i % f->cols);
    return GS_OK;
}

static int load_in(const struct gs_part_form *f, const uint8_t *blob, struct gs_transform **out,
                   struct gs_err *err)
{
    const struct gs_transform_fit fit = {.seed = f->seed, .stream = f->stream_in};

    if (!f->factor)
        return gs_transform_create(f->in, f->cols, &fit, out, err);
    float *factor = gs_alloc(f->cols, sizeof *factor);
    if (!factor)
        return gs_fail_nomem(err, "transform");
    for (size_t i = 0; i < f->cols; i++)
        factor[i] = gs_f16_to_f32(gs_load_u16(blob + f->factor_at + 2 * i));
    int rc = gs_transform_load(f->in, f->cols, factor, out, err);
    gs_free(&factor);
    return rc;
}

static int restore_basis(const struct gs_part_form *f, const uint8_t *blob,
                         struct gs_team *team, float *w, struct gs_err *err)
{
    const struct gs_transform_fit fit = {.seed = f->seed, .stream = f->stream_out};
    struct gs_transform *in = NULL, *out = NULL;
    int rc = load_in(f, blob, &in, err);

    if (!rc)
        rc = gs_transform_create(f->out, f->rows, &fit, &out, err);
    if (!rc)
        rc = gs_transform_columns(out, GS_TRANSFORM_INVERSE, team, w, f->cols, f->cols, err);
    if (!rc)
        rc = gs_transform_rows(in, GS_TRANSFORM_DUAL_INVERSE, team, w, f->rows, f->cols, err);
    gs_transform_destroy(&in);
    gs_transform_destroy(&out);
    return rc;
}

int gs_part_decode(const uint8_t *blob, uint64_t bytes, struct gs_team *team, float *w,
                   struct gs_err *err)
{
    struct gs_part_form form;
    struct decoding d = {.form = &form, .blob = blob, .w = w};
    int rc = gs_part_form_read(blob, bytes, &form, err);

    if (rc)
        return rc;
    d.codes = gs_alloc((size_t)gs_team_size(team) * (form.cols / form.codebook->dim),
                       sizeof *d.codes);
    d.wrong = gs_alloc((size_t)gs_team_size(team), sizeof *d.wrong);
    if (!d.codes || !d.wrong)
        rc = gs_fail_nomem(err, "codes");
    if (rc || (rc = gs_codebook_read(form.codebook, blob + form.shared_at, err)) ||
        (rc = gs_part_groups_create(&form, &d.groups, err)) ||
        (rc = gs_part_groups_read(&form, blob + form.groups_at, &d.groups, err)))
        goto out;
    gs_team_run(team, form.rows, GRAIN, decode_run, &d);
    if (!(rc = add_extras(&d, bytes, team, err)) &&
        !(rc = restore_basis(&form, blob, team, w, err)))
        rc = check_finite(&d, team, err);
out:
    gs_part_groups_clear(&d.groups);
    gs_free(&d.codes);
    gs_free(&d.wrong);
    gs_part_form_clear(&form);
    return rc;
}

int gs_part_read_facts(const uint8_t *blob, uint64_t bytes, struct gs_part_facts *out,
                       struct gs_err *err)
{
    struct gs_part_form form;
    int rc = gs_part_form_read(blob, bytes, &form, err);

    if (rc)
        return rc;
    *out = (struct gs_part_facts){.rows = form.rows, .cols = form.cols,
                                  .bits = 8 * (bytes - form.shared_at)};
    snprintf(out->codebook, sizeof out->codebook, "%s", form.text);
    gs_part_form_clear(&form);
    return GS_OK;
}
