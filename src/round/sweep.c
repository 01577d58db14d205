/* SPDX-License-Identifier: MIT
 * Block LDLQ and nearest rounding in one sweep (QuIP#, arXiv:2402.04396, algorithm 1; QTIP,
 * arXiv:2406.11235, algorithm 5; for blocks of one column GPTQ from the last column back).
 *
 * With A = L − I and blocks k of b columns, from the last to the first,
 *
 *     c_k = (W − Ŵ)[:, >k] · A[>k, k]        what the later errors want of block k
 *     x_k = W_k + c_k,   Ŵ_k = grid(x_k)     (nearest: grid(W_k))
 *     η_k = (W − Ŵ)_k + c_k                  so that (W − Ŵ) L = η
 *     loss = tr((W − Ŵ)(H + σI)(W − Ŵ)ᵀ) = Σ_k tr(η_k D_k η_kᵀ)
 *
 * The last line makes the exact loss a by-product. The values q = Ŵ/s go through L beside the
 * errors, which gives q H Eᵀ and q H qᵀ, all that a refit of the scales needs.
 *
 * A chunk of 64 to 256 rows does all its columns without a word to other chunks:
 *
 *     done    (2·rows, n)  errors E of the rows, then values q of the same rows, in the
 *                          panels of a left operand (linalg/mul.h)
 *     moved   (2·rows, 128) c of a span of 128 columns, and the same for q
 *
 * A span first pulls from all later columns in one product, then each block in it pushes to
 * the blocks before it. Feedback is f32; each c is off by about √n · 2^-24 of its size, which
 * is nothing beside the grid's step. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "linalg/mul.h"
#include "round/members.h"

#define SPAN GS_MUL_TILE

/* Rows of a chunk; more only for grids that search many rows at once. */
#define CHUNK 64
#define CHUNK_MAX 256

/* Targets beyond this many steps of the grid are cut: only a feedback gone wild gets there,
 * and grids want finite numbers. */
#define TARGET_MAX 1e6f

struct sweep {
    const struct gs_round *job;
    bool feedback;
    size_t chunk;              /* rows, a multiple of the grid's block_rows */
    struct gs_row_sums *sums;  /* (rows) */
    float *step;               /* (rows) what a refit added to the scales */
    size_t codec_bytes, worker_bytes;
    uint8_t *work;
};

/* What one chunk works on; the arrays live in its worker's scratch. */
struct chunk {
    const struct gs_round *job;
    bool feedback;
    size_t row, rows, padded; /* first row, how many, rounded up to whole block rows */
    size_t first_q;           /* row of the first q in done and moved */
    float *done, *moved, *target, *value;
    double *basis, *product; /* one block of η and qL, rows as in done, and times D */
    void *codec_work;
    struct gs_row_sums *sums;
};

static size_t round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* Row `row` of c->basis, its elements GS_PANEL_ROWS apart. */
static double *basis_at(const struct chunk *c, size_t row)
{
    return c->basis + row / GS_PANEL_ROWS * GS_PANEL_ROWS * c->job->ldl->block +
           row % GS_PANEL_ROWS;
}

/* Element (row, column) of panels of 8 rows of n. */
static float *panel_at(float *panels, size_t n, size_t row, size_t column)
{
    return panels + row / GS_PANEL_ROWS * GS_PANEL_ROWS * n + column * GS_PANEL_ROWS +
           row % GS_PANEL_ROWS;
}

/* Adds to the sums of a row what one block gives. e, q: error and value; eta, ql: the same in
 * the basis of L, `GS_PANEL_ROWS` apart; d_eta, d_ql: these times D_k. */
static void add_sums(struct gs_row_sums *s, size_t b, const float *e, const float *q,
                     const double *eta, const double *ql, const double *d_eta,
                     const double *d_ql)
{
    for (size_t j = 0; j < b; j++) {
        s->ehe += eta[j * GS_PANEL_ROWS] * d_eta[j];
        s->qhe += ql[j * GS_PANEL_ROWS] * d_eta[j];
        s->qhq += ql[j * GS_PANEL_ROWS] * d_ql[j];
        s->ee += (double)e[j] * (double)e[j];
        s->qe += (double)q[j] * (double)e[j];
        s->qq += (double)q[j] * (double)q[j];
    }
}

/* The sums of all rows of the chunk for block columns [k, k + b). */
static void sum_block(struct chunk *c, size_t k)
{
    const struct gs_round *job = c->job;
    size_t b = job->ldl->block, rows = c->first_q + c->rows;

    memset(c->product, 0, rows * GS_LDL_BLOCK * sizeof *c->product);
    gs_mul_panels_f64(rows, b, b, c->basis, GS_PANEL_ROWS * b, job->ldl->d + k * GS_LDL_BLOCK,
                      0, c->product, GS_LDL_BLOCK);
    for (size_t i = 0; i < c->rows; i++)
        add_sums(&c->sums[c->row + i], b, job->w + (c->row + i) * job->w_stride + k,
                 c->value + i * b, basis_at(c, i), basis_at(c, c->first_q + i),
                 c->product + i * GS_LDL_BLOCK, c->product + (c->first_q + i) * GS_LDL_BLOCK);
}

/* Rounds block columns [k, k + b) of the chunk; `at` is k within the span. */
static void round_block(struct chunk *c, size_t k, size_t at)
{
    const struct gs_round *job = c->job;
    const struct gs_grid *grid = job->codec->grid;
    size_t n = job->cols, b = job->ldl->block;

    for (size_t i = 0; i < c->rows; i++) {
        const float *w = job->w + (c->row + i) * job->w_stride + k;
        float scale = job->scales[c->row + i], inverse = scale > 0 ? 1 / scale : 0;
        for (size_t j = 0; j < b; j++) {
            float x = c->feedback ? w[j] + c->moved[i * SPAN + at + j] : w[j];
            c->target[i * b + j] = GS_MIN(GS_MAX(x * inverse, -TARGET_MAX), TARGET_MAX);
        }
    }
    gs_codec_quantize(job->codec, NULL, c->target, b, c->padded, b,
                      job->codes + c->row / grid->block_rows * job->codes_stride +
                          k / grid->block_cols * job->codec->block_bytes,
                      job->codes_stride, c->value, b, c->codec_work);
    for (size_t i = 0; i < c->rows; i++) {
        float *w = job->w + (c->row + i) * job->w_stride + k, *y = c->value + i * b;
        float scale = job->scales[c->row + i];
        float *e = panel_at(c->done, n, i, k), *q = panel_at(c->done, n, c->first_q + i, k);
        const float *e_moved = c->moved + i * SPAN + at;
        const float *q_moved = c->moved + (c->first_q + i) * SPAN + at;
        double *eta = basis_at(c, i), *ql = basis_at(c, c->first_q + i);
        for (size_t j = 0; j < b; j++) {
            y[j] = scale > 0 ? y[j] : 0;
            w[j] -= scale * y[j];
            q[j * GS_PANEL_ROWS] = y[j];
            e[j * GS_PANEL_ROWS] = w[j];
            eta[j * GS_PANEL_ROWS] = (double)w[j] + (double)e_moved[j];
            ql[j * GS_PANEL_ROWS] = (double)y[j] + (double)q_moved[j];
        }
    }
    sum_block(c, k);
}

/* moved[:, 0 … width) += done[:, from … from + depth) · L[those, to … to + width); `to` is a
 * multiple of 128. */
static void move(struct chunk *c, size_t from, size_t depth, size_t to, size_t width)
{
    const struct gs_ldl *ldl = c->job->ldl;
    size_t n = c->job->cols;

    if (!ldl->diagonal)
        gs_mul_panels_f32(c->first_q + c->rows, width, depth, panel_at(c->done, n, 0, from),
                          GS_PANEL_ROWS * n, ldl->lower + to * n + from * GS_PANEL_F32,
                          GS_PANEL_F32 * n, c->moved, SPAN);
}

static void sweep_chunk(struct chunk *c)
{
    size_t n = c->job->cols, b = c->job->ldl->block;

    for (size_t end = n; end > 0;) {
        size_t begin = (end - 1) / SPAN * SPAN;
        memset(c->moved, 0, (c->first_q + c->rows) * SPAN * sizeof *c->moved);
        move(c, end, n - end, begin, end - begin);
        for (size_t k = end; k > begin;) {
            k -= b;
            round_block(c, k, k - begin);
            move(c, k, b, begin, k - begin);
        }
        end = begin;
    }
}

/* Carves a chunk's arrays out of its worker's scratch; returns the bytes that they take. */
static size_t chunk_layout(struct chunk *c, const struct sweep *sweep, uint8_t *work)
{
    size_t n = sweep->job->cols, rows = round_up(sweep->chunk, CHUNK);
    size_t block = rows * GS_LDL_BLOCK * sizeof(float);
    size_t moved_at = round_up(2 * rows * n * sizeof(float), 64);
    size_t target_at = moved_at + 2 * rows * SPAN * sizeof(float);
    size_t basis_byte = target_at + 2 * block, codec_at = basis_byte + 8 * block;

    if (work) {
        c->done = (float *)(void *)work;
        c->moved = (float *)(void *)(work + moved_at);
        c->target = (float *)(void *)(work + target_at);
        c->value = (float *)(void *)(work + target_at + block);
        c->basis = (double *)(void *)(work + basis_byte);
        c->product = (double *)(void *)(work + basis_byte + 4 * block);
        c->codec_work = work + codec_at;
    }
    return codec_at + round_up(sweep->codec_bytes, 64);
}

static void sweep_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct sweep *sweep = ctx;
    const struct gs_round *job = sweep->job;
    struct chunk c = {.job = job, .feedback = sweep->feedback, .sums = sweep->sums};

    chunk_layout(&c, sweep, sweep->work + (size_t)worker * sweep->worker_bytes);
    for (size_t t = begin; t < end; t++) {
        c.row = t * sweep->chunk;
        c.rows = GS_MIN(sweep->chunk, job->rows - c.row);
        c.padded = round_up(c.rows, job->codec->grid->block_rows);
        c.first_q = round_up(c.rows, GS_PANEL_ROWS);
        memset(c.target, 0, c.padded * job->ldl->block * sizeof *c.target);
        sweep_chunk(&c);
    }
}

/* Takes what the refit added to the scales out of the residual: E −= step · q. */
static void residual_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct sweep *sweep = ctx;
    const struct gs_round *job = sweep->job;
    const struct gs_grid *grid = job->codec->grid;
    float *q = (float *)(void *)(sweep->work + (size_t)worker * sweep->worker_bytes);

    for (size_t t = begin; t < end; t++) {
        size_t row = t * sweep->chunk, rows = GS_MIN(sweep->chunk, job->rows - row);
        gs_codec_decode(job->codec, job->codes + row / grid->block_rows * job->codes_stride,
                        job->codes_stride, round_up(rows, grid->block_rows), job->cols, q,
                        job->cols);
        for (size_t i = 0; i < rows; i++) {
            float *w = job->w + (row + i) * job->w_stride, step = sweep->step[row + i];
            for (size_t j = 0; j < job->cols; j++)
                w[j] -= step * q[i * job->cols + j];
        }
    }
}

/* Rows a chunk: small enough that every worker gets several, but as many as the grid is made
 * for where that leaves no worker without any. */
static size_t chunk_rows(const struct gs_round *job, const struct gs_team *team)
{
    size_t unit = job->codec->grid->block_rows, grain = job->codec->grain_rows;
    size_t workers = (size_t)gs_team_size(team);
    size_t share = job->rows / (4 * workers) + 1;
    size_t most = GS_MIN(GS_MAX(grain, CHUNK), CHUNK_MAX);

    share = GS_MAX(share, GS_MIN(grain, GS_MAX(job->rows / workers, CHUNK)));
    return GS_MAX(GS_MIN(share, most) / unit * unit, unit);
}

int gs_round_sweep(const struct gs_round *job, bool feedback, struct gs_team *team,
                   struct gs_round_result *out, struct gs_err *err)
{
    struct sweep sweep = {.job = job, .feedback = feedback, .chunk = chunk_rows(job, team),
                          .codec_bytes = gs_codec_work_bytes(job->codec, NULL)};
    size_t chunks = (job->rows + sweep.chunk - 1) / sweep.chunk;
    int rc = GS_OK;

    sweep.worker_bytes = chunk_layout(NULL, &sweep, NULL);
    sweep.sums = gs_alloc(job->rows, sizeof *sweep.sums);
    sweep.step = gs_alloc(job->rows, sizeof *sweep.step);
    sweep.work = gs_work_create(team, sweep.worker_bytes);
    if (!sweep.sums || !sweep.step || !sweep.work) {
        rc = gs_fail_nomem(err, "rounding");
        goto out;
    }
    gs_scales_first(job, out);
    gs_team_run(team, chunks, 1, sweep_run, &sweep);
    gs_scales_refit(job, sweep.sums, sweep.step, out);
    if (job->refit)
        gs_team_run(team, chunks, 1, residual_run, &sweep);
out:
    gs_free(&sweep.sums);
    gs_free(&sweep.step);
    gs_free(&sweep.work);
    return rc;
}
