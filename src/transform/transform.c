/* SPDX-License-Identifier: MIT
 * The list of transforms, and what is the same for all: making, folding, and the application
 * to rows, columns and Hessians. Columns are transposed in strips so that every kind only
 * ever sees whole vectors in a row. */
#include "transform/transform.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/half.h"
#include "transform/members.h"

/* Columns that are transposed together: a cache line of floats. */
#define STRIP 16

static const struct gs_transform_kind *const kinds[] = {
    &gs_transform_none,
    &gs_transform_diagonal,
    &gs_transform_hadamard,
    &gs_transform_hadamard128,
    &gs_transform_kronecker,
    &gs_transform_act_order,
};

const struct gs_transform_kind *gs_transform_at(size_t index)
{
    return index < GS_COUNT(kinds) ? kinds[index] : NULL;
}

const struct gs_transform_kind *gs_transform_find(const char *name)
{
    for (size_t i = 0; i < GS_COUNT(kinds); i++)
        if (!strcmp(kinds[i]->name, name))
            return kinds[i];
    return NULL;
}

float gs_transform_round_factor(float v)
{
    float magnitude = GS_MIN(GS_MAX(fabsf(v), 0x1p-14f), 65504.0f);

    return copysignf(gs_f16_to_f32(gs_f32_to_f16(magnitude)), v);
}

/* An instance with factors of one. */
static int allocate(const struct gs_transform_kind *kind, size_t n, struct gs_transform **out,
                    struct gs_err *err)
{
    struct gs_transform *t = gs_alloc(1, sizeof *t);
    int rc = GS_OK;

    *out = t;
    if (!t)
        return gs_fail_nomem(err, "transform");
    t->kind = kind;
    t->n = n;
    if (kind->apply_f32 && !(t->factor = gs_alloc(n, sizeof *t->factor)))
        rc = gs_fail_nomem(err, "transform");
    for (size_t i = 0; t->factor && i < n; i++)
        t->factor[i] = 1;
    if (rc == GS_OK && kind->order)
        rc = gs_hadamard_init(n, kind->order(n), &t->hadamard, err);
    if (rc == GS_OK && kind->prepare)
        rc = kind->prepare(t, err);
    if (rc < 0)
        gs_transform_destroy(out);
    return rc;
}

int gs_transform_create(const struct gs_transform_kind *kind, size_t n,
                        const struct gs_transform_fit *fit, struct gs_transform **out,
                        struct gs_err *err)
{
    int rc = allocate(kind, n, out, err);

    if (rc == GS_OK && kind->needs_fit && !fit->rule && (!fit->h_diagonal || !fit->w_squares))
        rc = gs_fail(err, GS_E_ARG, "transform %s needs calibration statistics", kind->name);
    if (rc == GS_OK && kind->fit)
        rc = kind->fit(*out, fit, err);
    if (rc < 0)
        gs_transform_destroy(out);
    return rc;
}

int gs_transform_load(const struct gs_transform_kind *kind, size_t n, const float *factor,
                      struct gs_transform **out, struct gs_err *err)
{
    int rc = allocate(kind, n, out, err);

    if (rc < 0 || !(*out)->factor || !factor)
        return rc;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(factor[i]) || factor[i] == 0) {
            rc = gs_fail(err, GS_E_FORMAT, "transform %s: factor %zu is %g", kind->name, i,
                         (double)factor[i]);
            gs_transform_destroy(out);
            return rc;
        }
        (*out)->factor[i] = factor[i];
    }
    if (kind->arrange && (rc = kind->arrange(*out, err)))
        gs_transform_destroy(out);
    return rc;
}

void gs_transform_destroy(struct gs_transform **t)
{
    if (!*t)
        return;
    if ((*t)->kind->clear)
        (*t)->kind->clear(*t);
    gs_free(&(*t)->factor);
    gs_free(t);
}

const struct gs_transform_kind *gs_transform_kind_of(const struct gs_transform *t)
{
    return t->kind;
}

size_t gs_transform_size(const struct gs_transform *t)
{
    return t->n;
}

const float *gs_transform_factor(const struct gs_transform *t)
{
    return t->factor;
}

const float *gs_transform_gain(const struct gs_transform *t)
{
    return t->kind->arrange ? NULL : t->factor;
}

int gs_transform_fold(struct gs_transform *t, const struct gs_transform *inner,
                      struct gs_err *err)
{
    if (t->n != inner->n || inner->kind != &gs_transform_diagonal || !t->factor ||
        t->kind->arrange)
        return gs_fail(err, GS_E_ARG, "cannot fold transform %s (%zu) into %s (%zu)",
                       inner->kind->name, inner->n, t->kind->name, t->n);
    for (size_t i = 0; i < t->n; i++)
        t->factor[i] = gs_transform_round_factor(t->factor[i] * inner->factor[i]);
    return GS_OK;
}

size_t gs_transform_work_bytes(const struct gs_transform *t)
{
    size_t bytes = t->kind->work_bytes ? t->kind->work_bytes(t)
                                       : gs_hadamard_work_bytes(&t->hadamard);

    return (bytes + 63) / 64 * 64;
}

void gs_transform_apply(const struct gs_transform *t, enum gs_transform_op op, float *x,
                        size_t count, size_t stride, void *work)
{
    if (t->kind->apply_f32)
        for (size_t i = 0; i < count; i++)
            t->kind->apply_f32(t, op, x + i * stride, work);
}

struct transform_job {
    const struct gs_transform *t;
    enum gs_transform_op op;
    float *x;
    double *h;
    size_t cols, stride, work_bytes;
    uint8_t *work;
};

static void rows_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct transform_job *job = ctx;

    gs_transform_apply(job->t, job->op, job->x + begin * job->stride, end - begin, job->stride,
                       job->work + (size_t)worker * job->work_bytes);
}

/* Strips [begin, end): each is copied out as rows, transformed and copied back. */
static void columns_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct transform_job *job = ctx;
    uint8_t *work = job->work + (size_t)worker * job->work_bytes;
    float *strip = (float *)(void *)(work + gs_transform_work_bytes(job->t));
    size_t n = job->t->n;

    for (size_t s = begin; s < end; s++) {
        size_t width = GS_MIN(STRIP, job->cols - s * STRIP);
        float *x = job->x + s * STRIP;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < width; j++)
                strip[j * n + i] = x[i * job->stride + j];
        gs_transform_apply(job->t, job->op, strip, width, n, work);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < width; j++)
                x[i * job->stride + j] = strip[j * n + i];
    }
}

static void hessian_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct transform_job *job = ctx;
    void *work = job->work + (size_t)worker * job->work_bytes;

    for (size_t i = begin; i < end; i++)
        job->t->kind->apply_f64(job->t, GS_TRANSFORM_FORWARD, job->h + i * job->t->n, work);
}

/* Scratch for each worker and one loop over `n` items. */
static int run(struct transform_job *job, struct gs_team *team, size_t n, size_t grain,
               size_t strip_bytes, gs_team_fn fn, struct gs_err *err)
{
    job->work_bytes = gs_transform_work_bytes(job->t) + (strip_bytes + 63) / 64 * 64;
    job->work = gs_alloc((size_t)gs_team_size(team), job->work_bytes);
    if (!job->work)
        return gs_fail_nomem(err, "transform");
    gs_team_run(team, n, grain, fn, job);
    gs_free(&job->work);
    return GS_OK;
}

int gs_transform_rows(const struct gs_transform *t, enum gs_transform_op op,
                      struct gs_team *team, float *x, size_t rows, size_t stride,
                      struct gs_err *err)
{
    struct transform_job job = {.t = t, .op = op, .x = x, .stride = stride};

    return t->kind->apply_f32 ? run(&job, team, rows, 8, 0, rows_run, err) : GS_OK;
}

int gs_transform_columns(const struct gs_transform *t, enum gs_transform_op op,
                         struct gs_team *team, float *x, size_t cols, size_t stride,
                         struct gs_err *err)
{
    struct transform_job job = {.t = t, .op = op, .x = x, .cols = cols, .stride = stride};

    if (!t->kind->apply_f32)
        return GS_OK;
    return run(&job, team, (cols + STRIP - 1) / STRIP, 1, t->n * STRIP * sizeof *x,
               columns_run, err);
}

static void transpose(double *h, size_t n)
{
    for (size_t i0 = 0; i0 < n; i0 += STRIP)
        for (size_t j0 = 0; j0 <= i0; j0 += STRIP)
            for (size_t i = i0; i < GS_MIN(i0 + STRIP, n); i++)
                for (size_t j = j0; j < GS_MIN(j0 + STRIP, i); j++) {
                    double swap = h[i * n + j];
                    h[i * n + j] = h[j * n + i];
                    h[j * n + i] = swap;
                }
}

int gs_transform_hessian(const struct gs_transform *t, struct gs_team *team, double *h,
                         struct gs_err *err)
{
    struct transform_job job = {.t = t, .h = h};
    size_t n = t->n;

    if (!t->kind->apply_f64)
        return GS_OK;
    /* Rows of H become H Tᵀ; its transpose T H has the rows that the second pass needs. */
    for (int pass = 0; pass < 2; pass++) {
        int rc = run(&job, team, n, 8, 0, hessian_run, err);
        if (rc < 0)
            return rc;
        if (pass == 0)
            transpose(h, n);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            h[i * n + j] = h[j * n + i] = 0.5 * (h[i * n + j] + h[j * n + i]);
    return GS_OK;
}

int gs_transform_hessian_diagonal(const struct gs_transform *t, double *diagonal,
                                  struct gs_err *err)
{
    size_t order = GS_MAX(t->hadamard.order, 1);

    if (t->kind->hessian_diagonal) {
        double *work = gs_alloc(1, gs_transform_work_bytes(t));
        if (!work)
            return gs_fail_nomem(err, "transform");
        t->kind->hessian_diagonal(t, diagonal, work);
        gs_free(&work);
        return GS_OK;
    }

    /* Every element of a Hadamard block is ±1/√order. */
    for (size_t b = 0; b < t->n; b += order) {
        double sum = 0;
        for (size_t i = b; i < b + order; i++) {
            double f = t->factor ? (double)t->factor[i] : 1;
            sum += f * f * diagonal[i] / (double)order;
        }
        for (size_t i = b; i < b + order; i++)
            diagonal[i] = sum;
    }
    return GS_OK;
}
