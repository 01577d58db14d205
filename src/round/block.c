/* SPDX-License-Identifier: MIT
 * Tables, chunks and sums of rounding to block types. */
#include "round/block.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "round/block_chunk.h"

static int check(const struct gs_block_round *job, struct gs_err *err)
{
    const struct gs_format *f = job->format;

    if (!job->rows || !job->cols || job->ldl->n != job->cols || job->cols % f->block)
        return gs_fail(err, GS_E_ARG, "%zu × %zu weights with a Hessian of %zu: %s needs rows "
                       "of a multiple of %u", job->rows, job->cols, job->ldl->n,
                       gs_type_info(f->type)->name, f->block);
    if (job->ldl->block != f->points->dim)
        return gs_fail(err, GS_E_ARG, "%s takes a Hessian factored in blocks of %u, not %zu",
                       gs_type_info(f->type)->name, f->points->dim, job->ldl->block);
    for (size_t r = 0; r < job->rows; r++)
        for (size_t c = 0; c < job->cols; c++)
            if (!isfinite(job->w[r * job->w_stride + c]))
                return gs_fail(err, GS_E_FORMAT, "weight (%zu, %zu) is %s", r, c,
                               isnan(job->w[r * job->w_stride + c]) ? "NaN" : "infinite");
    return GS_OK;
}

/* ---- tables ------------------------------------------------------------------------------- */

static void tables_clear(struct gs_block_tables *t)
{
    gs_free(&t->importance);
    gs_free(&t->d);
    gs_free(&t->near);
    gs_free(&t->h);
    gs_free(&t->local_l);
    gs_free(&t->local_d);
    gs_free(&t->inverse);
}

static void fill_tables(const struct gs_block_round *job, struct gs_block_tables *t)
{
    size_t n = job->cols, dim = job->format->points->dim;

    for (size_t j = 0; j < n; j++) {
        size_t span = j / GS_BLOCK_SPAN * GS_BLOCK_SPAN;
        for (size_t i = 0; i < dim; i++)
            t->d[j * dim + i] = (float)job->ldl->d[j * GS_LDL_BLOCK + i];
        t->importance[j] = t->d[j * dim + j % dim];
        for (size_t i = span; i < j && t->near; i++)
            t->near[j * GS_BLOCK_SPAN + i - span] = gs_ldl_lower(job->ldl, j, i);
    }
}

static int make_tables(const struct gs_block_round *job, struct gs_team *team,
                       struct gs_block_tables *t, struct gs_err *err)
{
    size_t n = job->cols, dim = job->format->points->dim;
    bool polish = job->sweeps && !job->ldl->diagonal;
    size_t padded = (n + GS_PANEL_F32 - 1) / GS_PANEL_F32 * GS_PANEL_F32;

    t->importance = gs_alloc(n, sizeof *t->importance);
    t->d = gs_alloc(n * dim, sizeof *t->d);
    if (!job->ldl->diagonal) {
        t->near = gs_alloc(n * GS_BLOCK_SPAN, sizeof *t->near);
        t->h = gs_alloc(padded * n, sizeof *t->h);
    }
    if (polish) {
        t->local_l = gs_alloc(n * job->format->run, sizeof *t->local_l);
        t->local_d = gs_alloc(n * dim, sizeof *t->local_d);
        t->inverse = gs_alloc(n * dim, sizeof *t->inverse);
    }
    if (!t->importance || !t->d || (!job->ldl->diagonal && (!t->near || !t->h)) ||
        (polish && (!t->local_l || !t->local_d || !t->inverse)))
        return gs_fail_nomem(err, "rounding");
    fill_tables(job, t);
    for (size_t j = 0; j < n && t->h; j++)
        for (size_t i = 0; i < n; i++)
            t->h[i / GS_PANEL_F32 * GS_PANEL_F32 * n + j * GS_PANEL_F32 + i % GS_PANEL_F32] =
                (float)(job->h[j * n + i] + (i == j ? gs_block_damping(job, i) : 0));
    return polish ? gs_block_polish_tables(job, team, t, err) : GS_OK;
}

/* ---- chunks ------------------------------------------------------------------------------- */

/* Carves the arrays of a chunk out of `work`, or counts their bytes if that is NULL. */
static size_t layout(struct gs_block_chunk *c, uint8_t *work)
{
    size_t n = c->job->cols, rows = GS_BLOCK_CHUNK, span = rows * GS_BLOCK_SPAN;
    const struct gs_format *f = c->job->format;
    float **floats[] = {&c->values, &c->g, &c->panels, &c->moved, &c->u, &c->t, &c->hu, &c->ht};
    const size_t counts[] = {rows * n, rows * n, rows * n, span, span, span, span, span};
    size_t at = 0;

    for (size_t i = 0; i < GS_COUNT(floats); i++) {
        *floats[i] = work ? (float *)(void *)(work + at) : NULL;
        at += (counts[i] * sizeof(float) + 63) & ~(size_t)63;
    }
    c->codes = work ? (uint32_t *)(void *)(work + at) : NULL;
    at += (rows * n / f->points->dim * sizeof *c->codes + 63) & ~(size_t)63;
    c->scales = work ? (struct gs_block_scales *)(void *)(work + at) : NULL;
    at += rows * (n / f->block) * sizeof *c->scales;
    return (at + 63) & ~(size_t)63;
}

/* g = X H for the rows `x` of the chunk. */
static void multiply(struct gs_block_chunk *c, const float *x, size_t stride, float *g)
{
    size_t n = c->job->cols;

    gs_pack_a_f32(c->panels, (struct gs_operand_f32){x, stride, 1}, c->rows, n, 1);
    memset(g, 0, GS_BLOCK_CHUNK * n * sizeof *g);
    gs_mul_panels_f32(c->rows, n, n, c->panels, GS_PANEL_ROWS * n, c->tables->h,
                      GS_PANEL_F32 * n, g, n);
}

/* tr(X H Xᵀ) of the rows of w, H damped; what damping adds to it goes to *added, the sum of
 * squares to *squares. */
static double measure(struct gs_block_chunk *c, double *added, double *squares)
{
    size_t n = c->job->cols;
    double sum = 0;

    *added = *squares = 0;
    if (c->tables->h)
        multiply(c, gs_chunk_w(c, 0), c->job->w_stride, c->g);
    for (size_t i = 0; i < c->rows; i++) {
        const float *w = gs_chunk_w(c, i), *g = c->g + i * n;
        for (size_t j = 0; j < n; j++) {
            double x = (double)w[j];
            sum += x * (c->tables->h ? (double)g[j] : x * (double)c->tables->importance[j]);
            *squares += x * x;
            *added += x * x * gs_block_damping(c->job, j);
        }
    }
    return sum;
}

static void pack(struct gs_block_chunk *c)
{
    const struct gs_format *f = c->job->format;
    size_t blocks = c->job->cols / f->block, bytes = gs_type_info(f->type)->bytes;

    for (size_t i = 0; i < c->rows; i++)
        for (size_t b = 0; b < blocks; b++)
            f->pack(gs_chunk_scales(c, i, b * f->block), gs_chunk_codes(c, i, b * f->block),
                    c->job->dst + ((c->row + i) * blocks + b) * bytes);
}

struct rounding {
    const struct gs_block_round *job;
    struct gs_block_tables tables;
    uint8_t *work;
    size_t worker_bytes;
    struct gs_block_result *sums; /* by chunk */
};

static void round_chunks(void *ctx, size_t begin, size_t end, int worker)
{
    const struct rounding *r = ctx;
    const struct gs_block_round *job = r->job;
    struct gs_block_chunk c = {.job = job, .tables = &r->tables};

    layout(&c, r->work + (size_t)worker * r->worker_bytes);
    for (size_t t = begin; t < end; t++) {
        struct gs_block_result *out = &r->sums[t];
        double added, squares;
        c.row = t * GS_BLOCK_CHUNK;
        c.rows = GS_MIN(GS_BLOCK_CHUNK, job->rows - c.row);
        out->energy = measure(&c, &added, &squares) - added;
        gs_block_sweep(&c);
        out->sweep = out->polished = measure(&c, &added, &out->squares);
        for (unsigned s = 0; s < job->sweeps && !job->ldl->diagonal; s++) {
            double fell = gs_block_polish(&c);
            if (fell < 1e-4 * out->polished)
                s = job->sweeps;
            else
                out->polished -= fell;
        }
        if (job->sweeps && !job->ldl->diagonal)
            out->polished = measure(&c, &added, &out->squares);
        out->loss = out->polished - added;
        pack(&c);
    }
}

int gs_block_round(const struct gs_block_round *job, struct gs_team *team,
                   struct gs_block_result *out, struct gs_err *err)
{
    struct rounding r = {.job = job};
    struct gs_block_chunk c = {.job = job};
    size_t chunks = (job->rows + GS_BLOCK_CHUNK - 1) / GS_BLOCK_CHUNK;
    int rc = check(job, err);

    memset(out, 0, sizeof *out);
    if (rc || (rc = make_tables(job, team, &r.tables, err)))
        goto out;
    r.worker_bytes = layout(&c, NULL);
    r.work = gs_work_create(team, r.worker_bytes);
    r.sums = gs_alloc(chunks, sizeof *r.sums);
    if (!r.work || !r.sums) {
        rc = gs_fail_nomem(err, "rounding");
        goto out;
    }
    gs_team_run(team, chunks, 1, round_chunks, &r);
    for (size_t i = 0; i < chunks; i++) {
        out->loss += r.sums[i].loss;
        out->energy += r.sums[i].energy;
        out->squares += r.sums[i].squares;
        out->sweep += r.sums[i].sweep;
        out->polished += r.sums[i].polished;
    }
out:
    tables_clear(&r.tables);
    gs_free(&r.work);
    gs_free(&r.sums);
    return rc;
}
