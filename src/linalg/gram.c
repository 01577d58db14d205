/* SPDX-License-Identifier: MIT */
#include "linalg/gram.h"

#include <string.h>

#include "core/alloc.h"
#include "linalg/mul.h"

#define TILE GS_MUL_TILE

struct gram_job {
    const float *x;
    double *h;
    size_t tokens, n, stride;
    uint8_t *work;
};

/* Scratch of a worker: a tile of partial sums, then that of the block product. */
#define GRAM_WORK (TILE * TILE * sizeof(float) + GS_MUL_WORK_F32)

/* Tile t of the lower triangle, counted row by row: (0,0), (1,0), (1,1), (2,0), … */
static void tile_position(size_t t, size_t *row, size_t *col)
{
    size_t r = 0;

    while ((r + 1) * (r + 2) / 2 <= t)
        r++;
    *row = r;
    *col = t - r * (r + 1) / 2;
}

static void add_tile(const struct gram_job *job, size_t i, size_t j, void *work)
{
    float *sum = work;
    size_t rows = GS_MIN(TILE, job->n - i), cols = GS_MIN(TILE, job->n - j);

    for (size_t t = 0; t < job->tokens; t += GS_GRAM_DEPTH) {
        const float *x = job->x + t * job->stride;
        size_t depth = GS_MIN(GS_GRAM_DEPTH, job->tokens - t);
        memset(sum, 0, TILE * TILE * sizeof *sum);
        gs_mul_block_f32(rows, cols, depth, 1, (struct gs_operand_f32){x + i, 1, job->stride},
                         (struct gs_operand_f32){x + j, job->stride, 1}, sum, TILE,
                         sum + TILE * TILE);
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
        add_tile(job, row * TILE, col * TILE, job->work + (size_t)worker * GRAM_WORK);
    }
}

int gs_gram_add(struct gs_team *team, const float *x, size_t tokens, size_t n, size_t stride,
                double *h, struct gs_err *err)
{
    struct gram_job job = {.x = x, .h = h, .tokens = tokens, .n = n, .stride = stride};
    size_t tiles = (n + TILE - 1) / TILE;

    job.work = gs_work_create(team, GRAM_WORK);
    if (!job.work)
        return gs_fail_nomem(err, "second moments");
    gs_team_run(team, tiles * (tiles + 1) / 2, 1, gram_run, &job);
    gs_free(&job.work);
    return GS_OK;
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
