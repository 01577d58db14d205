/* SPDX-License-Identifier: MIT
 * Linear layers in training: y = xWᵀ, dX = GW, dW = GᵀX, db = ΣG. Weights are F32. */
#include "model/backward.h"

#include <assert.h>

#define SUM_COLUMNS 64u

static const float *floats_of(const struct gs_matrix *w)
{
    assert(w->type == GS_TYPE_F32 && !w->native);
    return w->data;
}

struct bias {
    const float *bias;
    float *y;
    size_t rows;
};

static void add_bias(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct bias *b = ctx;

    for (size_t t = begin; t < end; t++)
        for (size_t r = 0; r < b->rows; r++)
            b->y[t * b->rows + r] += b->bias[r];
}

void gs_linear_train(const struct gs_pass *pass, const struct gs_matrix *w, const float *bias,
                     const float *x, size_t N, float *y)
{
    struct bias b = {.bias = bias, .y = y, .rows = w->rows};

    gs_mul_in_space(pass->space, N, w->rows, w->cols,
                    (struct gs_operand_f32){x, w->cols, 1},
                    (struct gs_operand_f32){floats_of(w), 1, w->cols}, false, y, w->rows);
    if (bias)
        gs_team_run(pass->run.team, N, 16, add_bias, &b);
}

void gs_linear_backward(const struct gs_pass *pass, const struct gs_matrix *w, const float *x,
                        const float *G, size_t N, bool add, float *dx, float *dw, float *db)
{
    if (dx)
        gs_mul_in_space(pass->space, N, w->cols, w->rows,
                        (struct gs_operand_f32){G, w->rows, 1},
                        (struct gs_operand_f32){floats_of(w), w->cols, 1}, add, dx, w->cols);
    if (dw)
        gs_mul_in_space(pass->space, w->rows, w->cols, N,
                        (struct gs_operand_f32){G, 1, w->rows},
                        (struct gs_operand_f32){x, w->cols, 1}, true, dw, w->cols);
    if (db)
        gs_sum_rows(pass, G, N, w->rows, db);
}

struct sum {
    const float *x;
    size_t rows, n;
    float *out;
};

static void sum_columns(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct sum *s = ctx;
    double sum[SUM_COLUMNS] = {0};

    for (size_t r = 0; r < s->rows; r++)
        for (size_t i = begin; i < end; i++)
            sum[i - begin] += (double)s->x[r * s->n + i];
    for (size_t i = begin; i < end; i++)
        s->out[i] += (float)sum[i - begin];
}

void gs_sum_rows(const struct gs_pass *pass, const float *x, size_t rows, size_t n, float *out)
{
    struct sum s = {.x = x, .rows = rows, .n = n, .out = out};

    gs_team_run(pass->run.team, n, SUM_COLUMNS, sum_columns, &s);
}
