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
 * A chunk of up to 64 rows does all its columns without a word to other chunks:
 *
 *     done    (2·64, n)    errors E of the rows, then values q of the same rows
 *     moved   (2·64, 128)  c of a span of 128 columns, and the same for q
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
#define CHUNK (GS_MUL_TILE / 2)
#define BLOCK_MAX 64

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
    size_t limit;             /* row of the first q in done and moved */
    float *done, *moved, *target, *value;
    void *mul_work, *codec_work;
    struct gs_row_sums *sums;
};

static size_t round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* Adds y·D·y and its relatives of one block to the sums of a row. e, q: error and value;
 * eta, ql: the same in the basis of L; d: (b, b). */
static void add_sums(struct gs_row_sums *s, const double *d, size_t b, const float *e,
                     const float *q, const double *eta, const double *ql)
{
    for (size_t i = 0; i < b; i++) {
        double d_eta = 0, d_ql = 0;
        for (size_t j = 0; j < b; j++) {
            d_eta += d[i * b + j] * eta[j];
            d_ql += d[i * b + j] * ql[j];
        }
        s->ehe += eta[i] * d_eta;
        s->qhe += ql[i] * d_eta;
        s->qhq += ql[i] * d_ql;
        s->ee += (double)e[i] * (double)e[i];
        s->qe += (double)q[i] * (double)e[i];
        s->qq += (double)q[i] * (double)q[i];
    }
}

/* Rounds block columns [k, k + b) of the chunk; `at` is k within the span. */
static void round_block(struct chunk *c, size_t k, size_t at)
{
    const struct gs_round *job = c->job;
    const struct gs_grid *grid = job->codec->grid;
    size_t n = job->cols, b = job->ldl->block;
    double eta[BLOCK_MAX], ql[BLOCK_MAX];

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
        float *e = c->done + i * n + k, *q = c->done + (c->limit + i) * n + k;
        const float *moved = c->moved + i * SPAN + at;
        const float *q_moved = c->moved + (c->limit + i) * SPAN + at;
        for (size_t j = 0; j < b; j++) {
            q[j] = scale > 0 ? y[j] : 0;
            e[j] = w[j] = w[j] - scale * q[j];
            eta[j] = (double)e[j] + (double)moved[j];
            ql[j] = (double)q[j] + (double)q_moved[j];
        }
        add_sums(&c->sums[c->row + i], job->ldl->d + k * b, b, e, q, eta, ql);
    }
}

/* moved[:, columns of `to`] += done[:, from … from + depth) · L[those, to …]. */
static void move(struct chunk *c, size_t from, size_t depth, size_t to, size_t width,
                 float *moved)
{
    size_t n = c->job->cols;

    if (c->job->ldl->diagonal || depth == 0 || width == 0)
        return;
    gs_mul_block_f32(c->limit + c->rows, width, depth, 1,
                     (struct gs_operand_f32){c->done + from, n, 1},
                     (struct gs_operand_f32){c->job->ldl->lower + from * n + to, n, 1}, moved,
                     SPAN, c->mul_work);
}

static void sweep_chunk(struct chunk *c)
{
    size_t n = c->job->cols, b = c->job->ldl->block;

    for (size_t end = n; end > 0;) {
        size_t begin = (end - 1) / SPAN * SPAN;
        memset(c->moved, 0, 2 * CHUNK * SPAN * sizeof *c->moved);
        move(c, end, n - end, begin, end - begin, c->moved);
        for (size_t k = end; k > begin;) {
            k -= b;
            round_block(c, k, k - begin);
            move(c, k, b, begin, k - begin, c->moved);
        }
        end = begin;
    }
}

/* Carves a chunk's arrays out of its worker's scratch, which it may not outgrow. */
static size_t chunk_layout(struct chunk *c, const struct sweep *sweep, uint8_t *work)
{
    size_t n = sweep->job->cols, b = sweep->job->ldl->block;
    size_t done = round_up(2 * CHUNK * n * sizeof(float), 64);
    size_t moved = 2 * CHUNK * SPAN * sizeof(float);
    size_t block = round_up(CHUNK * b * sizeof(float), 64);

    if (work) {
        c->done = (float *)(void *)work;
        c->moved = (float *)(void *)(work + done);
        c->target = (float *)(void *)(work + done + moved);
        c->value = (float *)(void *)(work + done + moved + block);
        c->mul_work = work + done + moved + 2 * block;
        c->codec_work = work + done + moved + 2 * block + GS_MUL_WORK_F32;
    }
    return done + moved + 2 * block + GS_MUL_WORK_F32 + round_up(sweep->codec_bytes, 64);
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
        c.limit = c.rows;
        memset(c.target, 0, CHUNK * job->ldl->block * sizeof *c.target);
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

/* Rows a chunk: small enough that every worker gets several, CHUNK at most. */
static size_t chunk_rows(const struct gs_round *job, const struct gs_team *team)
{
    size_t unit = job->codec->grid->block_rows;
    size_t share = job->rows / (4 * (size_t)gs_team_size(team)) + 1;

    share = GS_MAX(share, GS_MIN(job->codec->grain_rows, CHUNK));
    return GS_MAX(GS_MIN(share, CHUNK) / unit * unit, unit);
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
