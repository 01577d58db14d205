/* SPDX-License-Identifier: MIT
 * Coordinate descent on codes: each code in turn is set to the point nearest to where the loss
 * of its row, all other codes as they are, is least (COMQ, arXiv:2403.07134; the greedy passes
 * of QuIP, arXiv:2307.13304, section 4.3). With E = W − Ŵ and G = E H:
 *
 *     target_k = Ŵ_k + G_k H_kk⁻¹       the point y nearest to it is taken if, with d = y − Ŵ_k,
 *     −2 d·G_k + d H_kk dᵀ < 0,          which is what the loss changes by
 *
 * so a sweep never raises the loss. COMQ itself begins with Ŵ = W, and its first sweep takes
 * every point. G is computed anew for each span of columns, from E as it is then.
 *
 *     e   (rows, n)       E                     g   (rows, span)   G of this span          */
#include <string.h>

#include "linalg/mul.h"
#include "part/members.h"

#define SPAN GS_MUL_TILE
#define STRIP 64u /* rows at a time */

struct descent {
    const struct gs_part_work *work;
    size_t row, rows;
    uint64_t *codes;
    float *e, *g;
    void *mul;
    bool take_all;
    float target[GS_CODEBOOK_DIM]; /* of the code in work */
};

static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

size_t gs_part_descent_scratch(const struct gs_part_work *work)
{
    return aligned(STRIP * work->form->cols * sizeof(float)) +
           aligned(STRIP * SPAN * sizeof(float)) + GS_MUL_WORK_F32;
}

/* y_k + G_k H_kk⁻¹ of one code. */
static void find_target(struct descent *d, size_t k, const float *y, const float *g)
{
    const struct gs_part_input *in = d->work->input;
    size_t dim = in->block;
    const float *inverse = in->inverses + k * dim;

    for (size_t i = 0; i < dim; i++) {
        float sum = 0;
        for (size_t j = 0; j < dim; j++)
            sum += inverse[i * dim + j] * g[j];
        d->target[i] = y[i] + sum;
    }
}

/* What the loss changes by with y_k + step. */
static double change(const struct gs_part_input *in, size_t k, const float *step,
                     const float *g)
{
    double sum = 0;

    for (size_t i = 0; i < in->block; i++) {
        double row = 0;
        for (size_t j = 0; j < in->block; j++)
            row += (double)in->h32[(k + i) * in->n + k + j] * (double)step[j];
        sum += (double)step[i] * (row - 2 * (double)g[i]);
    }
    return sum;
}

static bool is_outlier(const struct descent *d, size_t at)
{
    return d->work->mask && d->work->mask[at];
}

/* Code k of row r of the strip; the span is [begin, end). */
static void descend_code(struct descent *d, size_t r, size_t k, size_t begin, size_t end)
{
    const struct gs_part_form *f = d->work->form;
    const struct gs_part_input *in = d->work->input;
    size_t dim = in->block, at = (d->row + r) * f->cols + k;
    float next[GS_CODEBOOK_DIM], step[GS_CODEBOOK_DIM];
    float *y = d->work->y + at, *g = d->g + r * SPAN, *e = d->e + r * f->cols + k;
    bool moves = false;

    find_target(d, k, y, g + (k - begin));
    uint64_t code = gs_codebook_nearest(
        f->codebook, gs_part_group_of(f, &d->work->groups, d->row + r, k), d->target, NULL, next);
    for (size_t i = 0; i < dim; i++) {
        step[i] = is_outlier(d, at + i) ? 0 : next[i] - y[i];
        moves = moves || step[i] != 0;
    }
    if (!d->take_all && (!moves || !(change(in, k, step, g + (k - begin)) < 0)))
        return;
    d->codes[(r * f->cols + k) / dim] = code;
    for (size_t i = 0; i < dim; i++) {
        const float *h = in->h32 + (k + i) * in->n;
        for (size_t j = begin; j < end; j++)
            g[j - begin] -= step[i] * h[j];
        y[i] = next[i];
        e[i] = is_outlier(d, at + i) ? 0 : d->work->w[at + i] - next[i];
    }
}

static void sweep(struct descent *d)
{
    const struct gs_part_form *f = d->work->form;
    const struct gs_part_input *in = d->work->input;
    size_t n = f->cols, span = SPAN / in->block * in->block;

    for (size_t begin = 0; begin < n; begin += span) {
        size_t end = GS_MIN(begin + span, n);
        memset(d->g, 0, d->rows * SPAN * sizeof *d->g);
        gs_mul_block_f32(d->rows, end - begin, n, 1, (struct gs_operand_f32){d->e, n, 1},
                         (struct gs_operand_f32){in->h32 + begin, n, 1}, d->g, SPAN, d->mul);
        for (size_t r = 0; r < d->rows; r++)
            for (size_t k = begin; k < end; k += in->block)
                descend_code(d, r, k, begin, end);
    }
}

void gs_part_descend(const struct gs_part_rows *rows, uint64_t sweeps, bool from_weights)
{
    const struct gs_part_work *work = rows->work;
    size_t n = work->form->cols, dim = work->form->codebook->dim;
    uint8_t *scratch = rows->scratch;
    struct descent d = {.work = work, .e = (float *)(void *)scratch};

    scratch += aligned(STRIP * n * sizeof(float));
    d.g = (float *)(void *)scratch;
    d.mul = scratch + aligned(STRIP * SPAN * sizeof(float));
    for (size_t r = 0; r < rows->rows; r += STRIP) {
        d.row = rows->row + r;
        d.rows = GS_MIN(STRIP, rows->rows - r);
        d.codes = rows->codes + r * n / dim;
        if (from_weights)
            memcpy(work->y + d.row * n, work->w + d.row * n, d.rows * n * sizeof *work->y);
        for (size_t i = 0; i < d.rows * n; i++)
            d.e[i] = is_outlier(&d, d.row * n + i)
                         ? 0 : work->w[d.row * n + i] - work->y[d.row * n + i];
        for (uint64_t s = 0; s < sweeps; s++) {
            d.take_all = from_weights && s == 0;
            sweep(&d);
        }
    }
}

static void coordinate_run(const struct gs_part_rows *rows)
{
    gs_part_descend(rows, rows->work->sweeps, true);
}

const struct gs_part_rounder gs_part_rounder_coordinate = {
    .name = "coordinate",
    .paper = "Zhang et al., COMQ, arXiv:2403.07134",
    .uses_h = true,
    .descends = true,
    .sweeps = 3,
    .scratch = gs_part_descent_scratch,
    .run = coordinate_run,
};
