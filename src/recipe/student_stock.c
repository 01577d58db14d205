/* SPDX-License-Identifier: MIT
 * Blocks are decoded in pieces of up to 256 weights: one block of a K or IQ type, eight of a
 * plain one. */
#include "recipe/student_stock.h"

#include <assert.h>
#include <string.h>

#include "kernels/kernels.h"

#define PIECE GS_FORMAT_BLOCK     /* weights */
#define PIECE_BYTES 512           /* no type has more than 9 bits a weight */
#define ROWS_A_TASK 16

bool gs_stock_learns(const struct gs_tensor *t)
{
    const struct gs_format *f = gs_format_find(t->type);

    return f && gs_format_has_d(f);
}

static size_t blocks_of_row(const struct gs_stock_matrix *m)
{
    return m->cols / m->format->block;
}

size_t gs_stock_blocks(const struct gs_stock_matrix *m)
{
    return m->rows * blocks_of_row(m);
}

void gs_stock_read(const struct gs_stock_matrix *m, float *d, float *dmin)
{
    size_t bytes = gs_type_info(m->format->type)->bytes, n = blocks_of_row(m);

    for (size_t r = 0; r < m->rows; r++)
        for (size_t b = 0; b < n; b++)
            gs_format_get_d(m->format, m->data + r * m->row_bytes + b * bytes, &d[r * n + b],
                            &dmin[r * n + b]);
}

static float number(struct gs_stock_numbers x, size_t i)
{
    return x.base ? x.base[i] * (1 + GS_STOCK_PACE * x.theta[i]) : 0;
}

/* ∂number/∂θ. */
static float step(struct gs_stock_numbers x, size_t i)
{
    return GS_STOCK_PACE * x.base[i];
}

/* Some blocks of a row, n weights, with (d, dmin) in place of their own. */
static void decode(const struct gs_stock_matrix *m, const uint8_t *blocks, size_t n, float d,
                   float dmin, float *out)
{
    uint8_t copy[PIECE_BYTES];
    size_t count = n / m->format->block, bytes = gs_type_info(m->format->type)->bytes;

    assert(count * bytes <= sizeof copy);
    memcpy(copy, blocks, count * bytes);
    for (size_t b = 0; b < count; b++)
        gs_format_put_d(m->format, d, dmin, copy + b * bytes);
    gs_kernels()->decode[m->format->type](copy, out, n);
}

struct job {
    const struct gs_stock_matrix *m;
    struct gs_stock_numbers d, dmin;
    float *w;        /* build: out */
    const float *dw; /* project */
    float *dd, *ddmin;
};

/* Weights `at` … of row r, n of them, their U and T. */
static void build_piece(const struct job *job, size_t r, size_t at, size_t n, const float *u,
                        const float *t)
{
    size_t block = job->m->format->block, first = r * blocks_of_row(job->m) + at / block;
    float *w = job->w + r * job->m->cols + at;

    for (size_t b = 0; b < n / block; b++) {
        float d = number(job->d, first + b), dmin = number(job->dmin, first + b);
        for (size_t i = b * block; i < (b + 1) * block; i++)
            w[i] = d * u[i] - dmin * t[i];
    }
}

static float dot(const float *a, const float *b, size_t n)
{
    float lanes[8] = {0};

    for (size_t i = 0; i < n; i += 8) /* blocks are multiples of 32 */
        for (size_t k = 0; k < 8; k++)
            lanes[k] += a[i + k] * b[i + k];
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

static void project_piece(const struct job *job, size_t r, size_t at, size_t n, const float *u,
                          const float *t)
{
    size_t block = job->m->format->block, first = r * blocks_of_row(job->m) + at / block;
    const float *dw = job->dw + r * job->m->cols + at;

    for (size_t b = 0; b < n / block; b++) {
        size_t i = first + b;
        job->dd[i] = dot(dw + b * block, u + b * block, block) * step(job->d, i);
        if (job->ddmin)
            job->ddmin[i] = -dot(dw + b * block, t + b * block, block) * step(job->dmin, i);
    }
}

static void each_piece(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct job *job = ctx;
    const struct gs_stock_matrix *m = job->m;
    size_t block = m->format->block, bytes = gs_type_info(m->format->type)->bytes;
    float u[PIECE], t[PIECE] = {0};

    for (size_t r = begin; r < end; r++)
        for (size_t at = 0, n; at < m->cols; at += n) {
            const uint8_t *blocks = m->data + r * m->row_bytes + at / block * bytes;
            n = GS_MIN(PIECE, m->cols - at);
            decode(m, blocks, n, 1, 0, u);
            if (m->format->mins)
                decode(m, blocks, n, 0, -1, t);
            (job->w ? build_piece : project_piece)(job, r, at, n, u, t);
        }
}

void gs_stock_build(const struct gs_stock_matrix *m, struct gs_team *team,
                    struct gs_stock_numbers d, struct gs_stock_numbers dmin, float *w)
{
    struct job job = {.m = m, .d = d, .dmin = dmin, .w = w};

    gs_team_run(team, m->rows, ROWS_A_TASK, each_piece, &job);
}

void gs_stock_project(const struct gs_stock_matrix *m, struct gs_team *team, const float *dw,
                      struct gs_stock_numbers d, struct gs_stock_numbers dmin, float *dd,
                      float *ddmin)
{
    struct job job = {.m = m, .d = d, .dmin = dmin, .dw = dw, .dd = dd, .ddmin = ddmin};

    gs_team_run(team, m->rows, ROWS_A_TASK, each_piece, &job);
}

void gs_stock_write(const struct gs_stock_matrix *m, struct gs_stock_numbers d,
                    struct gs_stock_numbers dmin, uint8_t *dst)
{
    size_t bytes = gs_type_info(m->format->type)->bytes, n = blocks_of_row(m);

    memcpy(dst, m->data, m->rows * m->row_bytes);
    for (size_t i = 0; i < m->rows * n; i++)
        gs_format_put_d(m->format, number(d, i), number(dmin, i),
                        dst + i / n * m->row_bytes + i % n * bytes);
}
