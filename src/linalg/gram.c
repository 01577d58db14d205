/* SPDX-License-Identifier: MIT */
#include "linalg/gram.h"

#include <string.h>

#include "core/alloc.h"
#include "linalg/mul.h"

#define TILE GS_MUL_TILE

/* Tokens that are packed together; a tile of H stays in cache for so many. */
#define BATCH 1024

struct gram_job {
    const float *x;
    double *h;
    size_t tokens, n, stride; /* tokens of this batch */
    float *a, *b;             /* X as left and as right operand: (n rounded up to 32, tokens) */
    float *sums;              /* (TILE, TILE) for each worker */
};

/* Columns [32·begin, 32·end) of the batch into panels of 8 and of 32. */
static void pack_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct gram_job *job = ctx;

    (void)worker;
    for (size_t t = begin; t < end; t++) {
        size_t j = t * GS_PANEL_F32, cols = GS_MIN(GS_PANEL_F32, job->n - j);
        struct gs_operand_f32 x = {job->x + j, job->stride, 1}, xt = {job->x + j, 1, job->stride};
        gs_pack_a_f32(job->a + j * job->tokens, xt, cols, job->tokens, 1);
        gs_pack_b_f32(job->b + j * job->tokens, x, job->tokens, cols);
    }
}

/* Tile t of the lower triangle, counted row by row: (0,0), (1,0), (1,1), (2,0), … */
static void tile_position(size_t t, size_t *row, size_t *col)
{
    size_t r = 0;

    while ((r + 1) * (r + 2) / 2 <= t)
        r++;
    *row = r;
    *col = t - r * (r + 1) / 2;
}

static void add_tile(const struct gram_job *job, size_t i, size_t j, float *sum)
{
    size_t rows = GS_MIN(TILE, job->n - i), cols = GS_MIN(TILE, job->n - j);

    for (size_t t = 0; t < job->tokens; t += GS_GRAM_DEPTH) {
        size_t depth = GS_MIN(GS_GRAM_DEPTH, job->tokens - t);
        memset(sum, 0, TILE * TILE * sizeof *sum);
        gs_mul_panels_f32(rows, cols, depth, job->a + i * job->tokens + t * GS_PANEL_ROWS,
                          GS_PANEL_ROWS * job->tokens,
                          job->b + j * job->tokens + t * GS_PANEL_F32,
                          GS_PANEL_F32 * job->tokens, sum, TILE);
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < cols && j + c <= i + r; c++)
                job->h[(i + r) * job->n + j + c] += (double)sum[r * TILE + c];
    }
}

static void gram_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct gram_job *job = ctx;

    for (size_t t = begin; t < end; t++) {
        size_t row, col;
        tile_position(t, &row, &col);
        add_tile(job, row * TILE, col * TILE, job->sums + (size_t)worker * TILE * TILE);
    }
}

int gs_gram_add(struct gs_team *team, const float *x, size_t tokens, size_t n, size_t stride,
                double *h, struct gs_err *err)
{
    struct gram_job job = {.h = h, .n = n, .stride = stride};
    size_t panels = (n + GS_PANEL_F32 - 1) / GS_PANEL_F32, tiles = (n + TILE - 1) / TILE;
    size_t packed = panels * GS_PANEL_F32 * GS_MIN(tokens, BATCH);
    int rc = GS_OK;

    job.a = gs_alloc(packed, sizeof *job.a);
    job.b = gs_alloc(packed, sizeof *job.b);
    job.sums = gs_work_create(team, TILE * TILE * sizeof *job.sums);
    if (!job.a || !job.b || !job.sums) {
        rc = gs_fail_nomem(err, "second moments");
        goto out;
    }
    for (size_t t = 0; t < tokens; t += BATCH) {
        job.x = x + t * stride;
        job.tokens = GS_MIN(BATCH, tokens - t);
        gs_team_run(team, panels, 1, pack_run, &job);
        gs_team_run(team, tiles * (tiles + 1) / 2, 1, gram_run, &job);
    }
out:
    gs_free(&job.a);
    gs_free(&job.b);
    gs_free(&job.sums);
    return rc;
}

void gs_gram_add_diagonal(const float *x, size_t tokens, size_t n, size_t stride,
                          double *diagonal)
{
    for (size_t t = 0; t < tokens; t++)
        for (size_t i = 0; i < n; i++)
            diagonal[i] += (double)x[t * stride + i] * (double)x[t * stride + i];
}

void gs_gram_finish(double *h, size_t n, double factor)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++)
            h[j * n + i] = h[i * n + j] *= factor;
}
