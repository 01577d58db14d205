/* SPDX-License-Identifier: MIT */
#include "compensate/sign_block.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"

static size_t row_bytes(const struct gs_sign_block *block)
{
    return block->cols / 8 + (block->cols % 8 != 0);
}

struct sign_job {
    struct gs_sign_block *block;
    const float *w;
    size_t stride;
    float *magnitudes; /* (rows, cols) */
};

static void sign_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct sign_job *job = ctx;
    struct gs_sign_block *b = job->block;
    (void)worker;

    for (size_t r = begin; r < end; r++)
        for (size_t c = 0; c < b->cols; c++) {
            float w = job->w[r * job->stride + c];
            uint8_t *byte = &b->signs[r * row_bytes(b) + c / 8];
            *byte = (uint8_t)(*byte | (w >= 0) << c % 8);
            job->magnitudes[r * b->cols + c] = fabsf(w);
        }
}

static int create(size_t rows, size_t cols, struct gs_sign_block **out, struct gs_err *err)
{
    struct gs_sign_block *b = *out = gs_alloc(1, sizeof *b);

    if (b) {
        b->rows = rows;
        b->cols = cols;
        b->signs = gs_alloc(rows, row_bytes(b));
    }
    if (b && b->signs)
        return GS_OK;
    gs_sign_block_destroy(out);
    return gs_fail_nomem(err, "a sign block");
}

int gs_sign_block_create(float *w, size_t stride, size_t rows, size_t cols, size_t rank,
                         const double *weights, const struct gs_factor_format *format,
                         struct gs_team *team, struct gs_sign_block **out, struct gs_err *err)
{
    struct gs_moments moments = {.diagonal = weights};
    struct sign_job job = {.w = w, .stride = stride,
                           .magnitudes = gs_alloc(rows * cols, sizeof *job.magnitudes)};
    int rc = create(rows, cols, out, err);

    if (!rc && !job.magnitudes)
        rc = gs_fail_nomem(err, "a sign block");
    if (rc)
        goto out;
    job.block = *out;
    gs_team_run(team, rows, 16, sign_run, &job);
    rc = gs_low_rank_create(job.magnitudes, cols, rows, cols, rank, &moments, format, team,
                            &(*out)->low, err);
    if (!rc)
        gs_sign_block_add(*out, -1, team, w, stride);
out:
    gs_free(&job.magnitudes);
    if (rc)
        gs_sign_block_destroy(out);
    return rc;
}

void gs_sign_block_destroy(struct gs_sign_block **block)
{
    if (!*block)
        return;
    gs_low_rank_destroy(&(*block)->low);
    gs_free(&(*block)->signs);
    gs_free(block);
}

struct add_job {
    const struct gs_sign_block *block;
    float factor, *y;
    size_t stride;
};

#define STRIP 256 /* columns whose magnitudes are formed at once */

/* Each element is one chain over the components. */
static void add_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct add_job *job = ctx;
    const struct gs_sign_block *block = job->block;
    const struct gs_low_rank *low = block->low;
    (void)worker;

    for (size_t r = begin; r < end; r++)
        for (size_t c0 = 0; c0 < block->cols; c0 += STRIP) {
            size_t n = GS_MIN(STRIP, block->cols - c0);
            const uint8_t *signs = block->signs + r * row_bytes(block) + c0 / 8;
            float sum[STRIP] = {0}, *y = job->y + r * job->stride + c0;
            for (size_t k = 0; k < low->rank; k++)
                for (size_t c = 0; c < n; c++)
                    sum[c] += low->a[k * low->rows + r] * low->b[k * low->cols + c0 + c];
            for (size_t c = 0; c < n; c++)
                y[c] += job->factor * (signs[c / 8] >> c % 8 & 1 ? sum[c] : -sum[c]);
        }
}

void gs_sign_block_add(const struct gs_sign_block *block, float factor, struct gs_team *team,
                       float *y, size_t stride)
{
    struct add_job job = {.block = block, .factor = factor, .y = y, .stride = stride};

    gs_team_run(team, block->rows, 16, add_run, &job);
}

uint64_t gs_sign_block_bytes(const struct gs_sign_block *block)
{
    return (uint64_t)block->rows * row_bytes(block) + gs_low_rank_bytes(block->low);
}

void gs_sign_block_write(const struct gs_sign_block *block, uint8_t *dst)
{
    memcpy(dst, block->signs, block->rows * row_bytes(block));
    gs_low_rank_write(block->low, dst + block->rows * row_bytes(block));
}

int gs_sign_block_read(struct gs_cursor *cursor, size_t rows, size_t cols, size_t rank,
                       const struct gs_factor_format *format, struct gs_sign_block **out,
                       struct gs_err *err)
{
    struct gs_sign_block shape = {.rows = rows, .cols = cols};
    uint64_t bytes;

    *out = NULL;
    if (!gs_mul_ok(rows, row_bytes(&shape), &bytes) || bytes > gs_cursor_left(cursor))
        return gs_fail_at(err, GS_E_FORMAT, cursor->pos,
                          "sign block: the signs of %zu × %zu weights do not fit into the %llu "
                          "bytes that follow", rows, cols,
                          (unsigned long long)gs_cursor_left(cursor));
    int rc = create(rows, cols, out, err);
    if (!rc) {
        memcpy((*out)->signs, gs_cursor_bytes(cursor, bytes), bytes);
        rc = gs_low_rank_read(cursor, rows, cols, rank, format, &(*out)->low, err);
    }
    if (rc)
        gs_sign_block_destroy(out);
    return rc;
}
