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
    const struct gs_part_source *source;
    const uint8_t *blob; /* the base */
    struct gs_part_groups groups;
    uint64_t *codes; /* a row for each worker */
    float *w;
    bool *wrong;     /* (workers) some weight is not finite */
};

/* The value of a code, or of the first layers of one that is cut. */
static void one_value(const struct gs_codebook *codebook, const struct gs_group *group,
                      uint64_t code, unsigned layers, float *y)
{
    if (layers)
        gs_codebook_value_cut(codebook, group, code, layers, y);
    else
        gs_codebook_value(codebook, group, code, y);
}

/* The values y (n) of codes that share a group. */
static void decode_group(const struct gs_codebook *codebook, const struct gs_group *group,
                         const uint64_t *codes, unsigned layers, size_t n, float *y)
{
    size_t dim = codebook->dim;
    uint64_t states = codebook->states;
    float table[TABLE_STATES];

    for (unsigned i = 0; i < layers; i++)
        states = (i ? states : 1) << codebook->layer_bits[i];
    if (dim > 1 || !states || states > TABLE_STATES || n < TABLE_GAIN * states) {
        for (size_t i = 0; i < n; i += dim)
            one_value(codebook, group, codes[i / dim], layers, y + i);
        return;
    }
    for (uint64_t code = 0; code < states; code++)
        one_value(codebook, group, code, layers, &table[code]);
    for (size_t i = 0; i < n; i++)
        y[i] = table[codes[i]];
}

void gs_part_decode_row(const struct gs_part_form *f, const struct gs_part_groups *groups,
                        const struct gs_part_source *source, size_t r, uint64_t *codes, float *y)
{
    size_t dim = f->codebook->dim;

    if (f->cut)
        memset(codes, 0, f->cols * sizeof *codes);
    else
        gs_codebook_unpack(f->codebook, source->piece[0] + f->codes_at + r * f->row_bytes,
                           f->cols, codes);
    for (unsigned k = 0; f->cut && k < source->pieces; k++) {
        const uint8_t *rows = source->piece[k] + (k ? 0 : f->codes_at);
        uint64_t bytes = ((uint64_t)f->cols * f->codebook->layer_bits[k] + 7) / 8;
        gs_codebook_unpack_layer(f->codebook, k, rows + r * bytes, f->cols, codes);
    }
    for (size_t c = 0; c < f->cols; c += f->group_cols)
        decode_group(f->codebook, gs_part_group_of(f, groups, r, c), codes + c / dim,
                     f->cut ? source->pieces : 0, GS_MIN(f->group_cols, f->cols - c), y + c);
}

static void decode_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct decoding *d = ctx;
    const struct gs_part_form *f = d->form;
    uint64_t *codes = d->codes + (size_t)worker * (f->cols / f->codebook->dim);

    for (size_t r = begin; r < end; r++)
        gs_part_decode_row(f, &d->groups, d->source, r, codes, d->w + r * f->cols);
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

static int decode_codes(struct decoding *d, struct gs_team *team, struct gs_err *err)
{
    const struct gs_part_form *f = d->form;
    int rc;

    d->codes = gs_alloc((size_t)gs_team_size(team) * (f->cols / f->codebook->dim),
                        sizeof *d->codes);
    if (!d->codes)
        return gs_fail_nomem(err, "codes");
    if ((rc = gs_codebook_read(f->codebook, d->blob + f->shared_at, err)) ||
        (rc = gs_part_groups_create(f, &d->groups, err)) ||
        (rc = gs_part_groups_read(f, d->blob + f->groups_at, &d->groups, err)))
        return rc;
    gs_team_run(team, f->rows, GRAIN, decode_run, d);
    if ((rc = add_extras(d, d->source->base_bytes, team, err)))
        return rc;
    return restore_basis(f, d->blob, team, d->w, err);
}

struct unstacking {
    struct gs_part_stack stack;
    float *w;
};

static void unstack_run(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct unstacking *u = ctx;

    for (size_t r = begin; r < end; r++)
        gs_part_stack_row(&u->stack, r, u->w + r * u->stack.cols);
}

static int decode_blocks(const struct gs_part_source *source, struct gs_team *team, float *w,
                         struct gs_err *err)
{
    struct unstacking u = {.w = w};
    int rc = gs_part_stack_open(source, &u.stack, err);

    if (!rc)
        gs_team_run(team, u.stack.rows, GRAIN, unstack_run, &u);
    return rc;
}

static int decode(const struct gs_part_form *form, const struct gs_part_source *source,
                  struct gs_team *team, float *w, struct gs_err *err)
{
    struct decoding d = {.form = form, .source = source, .blob = source->piece[0], .w = w};
    int rc;

    d.wrong = gs_alloc((size_t)gs_team_size(team), sizeof *d.wrong);
    if (!d.wrong)
        return gs_fail_nomem(err, "codes");
    rc = form->blocks ? decode_blocks(source, team, w, err) : decode_codes(&d, team, err);
    if (!rc)
        rc = check_finite(&d, team, err);
    gs_part_groups_clear(&d.groups);
    gs_free(&d.codes);
    gs_free(&d.wrong);
    return rc;
}

int gs_part_decode_source(const struct gs_part_source *source, struct gs_team *team, float *w,
                          struct gs_err *err)
{
    struct gs_part_form form;
    int rc = gs_part_form_read(source->piece[0], source->base_bytes, &form, err);

    if (!rc)
        rc = decode(&form, source, team, w, err);
    gs_part_form_clear(&form);
    return rc;
}

int gs_part_decode(const uint8_t *blob, uint64_t bytes, struct gs_team *team, float *w,
                   struct gs_err *err)
{
    struct gs_part_form form;
    int rc = gs_part_form_read(blob, bytes, &form, err);

    if (!rc) {
        struct gs_part_source source = gs_part_source_of(&form, blob, bytes);
        rc = decode(&form, &source, team, w, err);
    }
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
    *out = (struct gs_part_facts){.bits = 8 * (bytes - form.shared_at)};
    gs_part_form_facts(&form, out);
    snprintf(out->codebook, sizeof out->codebook, "%s", form.text);
    gs_part_form_clear(&form);
    return GS_OK;
}
