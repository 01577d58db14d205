/* SPDX-License-Identifier: MIT
 * Linear feedback: GPTQ (Frantar et al., arXiv:2210.17323), which is LDLQ (Chee et al., QuIP,
 * arXiv:2307.13304), and in blocks for codes of several weights (QuIP#, arXiv:2402.04396).
 *
 * With H + σI = L D Lᵀ and E = W − Ŵ the codes of block k see
 *
 *     target_k = W_k + Σ_{j > k} E_j L_jk          rounded to Ŵ_k,   E_k = W_k − Ŵ_k
 *
 * from the last block to the first. Columns stand in the order of the factor (part_input.c);
 * codes are kept where their columns belong. Dynamic groups are fitted when feedback enters
 * them, to targets as they are then.
 *
 *     done    (chunk rows, n) E so far, in panels of 8 rows (linalg/mul.h)
 *     moved   (chunk rows, 128) what `done` adds to the targets of a span of 128 columns */
#include <string.h>

#include "compensate/rate.h"
#include "linalg/mul.h"
#include "part/members.h"

#define SPAN GS_MUL_TILE
/* Targets of a dynamic group that does not lie within a span; the first columns may begin in
 * the middle of a panel. */
#define AHEAD(form) ((form)->group_cols + 2 * GS_PANEL_F32)

struct chunk {
    const struct gs_part_rows *rows;
    const struct gs_part_work *work;
    const struct gs_part_form *form;
    float *done, *moved, *ahead, *target, *fit;
    int32_t *previous; /* (rows) integer of the code before, where bits are weighed */
    struct gs_rate *rate;
    double cost;       /* mean of D: what an error costs */
};

static size_t round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static size_t layout(const struct gs_part_work *work, uint8_t *scratch, struct chunk *c)
{
    size_t rows = round_up(work->chunk, GS_PANEL_ROWS), n = work->form->cols;
    size_t done = rows * n, moved = rows * SPAN;
    size_t ahead = work->dynamic ? rows * AHEAD(work->form) : 0;
    size_t floats[] = {done, moved, ahead, rows * GS_CODEBOOK_DIM, work->fit_floats};
    float **at[] = {&c->done, &c->moved, &c->ahead, &c->target, &c->fit};
    size_t bytes = 0;

    for (size_t i = 0; i < GS_COUNT(floats); i++) {
        if (scratch)
            *at[i] = (float *)(void *)(scratch + bytes);
        bytes += round_up(floats[i] * sizeof(float), 64);
    }
    if (scratch)
        c->previous = (int32_t *)(void *)(scratch + bytes);
    bytes += round_up(rows * sizeof *c->previous, 64);
    if (scratch) /* room that is there where bits are weighed */
        c->rate = (struct gs_rate *)(void *)(scratch + bytes);
    return bytes;
}

static size_t feedback_scratch(const struct gs_part_work *work)
{
    struct chunk c;

    return layout(work, NULL, &c);
}

/* out (rows, width) += done[:, from … from + depth) · L[those, to … to + width); `to` is a
 * multiple of a panel. */
static void move(struct chunk *c, size_t from, size_t depth, size_t to, size_t width, float *out,
                 size_t stride)
{
    const struct gs_ldl *ldl = &c->work->input->ldl;
    size_t n = c->form->cols;

    if (!ldl->diagonal && depth && width)
        gs_mul_panels_f32(c->rows->rows, width, depth, c->done + from * GS_PANEL_ROWS,
                          GS_PANEL_ROWS * n, ldl->lower + to * n + from * GS_PANEL_F32,
                          GS_PANEL_F32 * n, out, stride);
}

/* Fits the groups of columns [first, end), which feedback enters now: all beyond is done.
 * `begin`: of the span that `moved` is for. */
static void enter_groups(struct chunk *c, size_t first, size_t end, size_t begin)
{
    const struct gs_part_form *f = c->form;
    size_t row = c->rows->row, rows = c->rows->rows, width = end - first, at = first;
    const float *moved = c->moved + (first - begin);
    size_t stride = SPAN;

    if (first < begin) {
        at = first / GS_PANEL_F32 * GS_PANEL_F32;
        stride = AHEAD(f);
        memset(c->ahead, 0, rows * stride * sizeof *c->ahead);
        move(c, end, f->cols - end, at, end - at, c->ahead, stride);
        moved = c->ahead + (first - at);
    }
    float *x = c->ahead; /* in place: a row of targets ends before the next row of `moved` */
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < width; j++)
            x[r * width + j] = c->work->w[(row + r) * f->cols + first + j] +
                               moved[r * stride + j];
    size_t g0 = row / f->group_rows;
    size_t g1 = (row + rows + f->group_rows - 1) / f->group_rows;
    for (size_t g = g0; g < g1; g++)
        gs_part_fit(c->work, g, first / f->group_cols, x + (g - g0) * f->group_rows * width,
                    width, c->fit);
    gs_part_settle(c->work, g0, g1, first / f->group_cols);
}

/* Rounds the block at positions [k, k + b); `at` is k within the span. */
static void round_block(struct chunk *c, size_t k, size_t at)
{
    const struct gs_part_form *f = c->form;
    const uint32_t *order = c->work->input->order;
    size_t b = f->codebook->dim, n = f->cols, col = order ? order[k] : k;
    float cost = c->cost > 0 ? (float)(c->work->input->ldl.d[k * GS_LDL_BLOCK] / c->cost) : 1;

    for (size_t r = 0; r < c->rows->rows; r++) {
        size_t row = c->rows->row + r;
        const float *w = c->work->w + row * n + col;
        float *y = c->work->y + row * n + col, *x = c->target;
        float *e = c->done + r / GS_PANEL_ROWS * GS_PANEL_ROWS * n + k * GS_PANEL_ROWS +
                   r % GS_PANEL_ROWS;
        for (size_t j = 0; j < b; j++)
            x[j] = w[j] + c->moved[r * SPAN + at + j];
        c->rows->codes[(r * n + col) / b] =
            gs_part_choose(c->work, c->rate, &c->previous[r],
                           gs_part_group_of(f, &c->work->groups, row, col), x, cost, y);
        const uint8_t *mask = c->work->mask ? c->work->mask + row * n + col : NULL;
        for (size_t j = 0; j < b; j++)
            e[j * GS_PANEL_ROWS] = mask && mask[j] ? 0 : w[j] - y[j];
    }
}

static void feedback_run(const struct gs_part_rows *rows)
{
    struct chunk c = {.rows = rows, .work = rows->work, .form = rows->work->form};
    size_t n = c.form->cols, b = c.form->codebook->dim, width = c.form->group_cols;

    layout(rows->work, rows->scratch, &c);
    gs_part_rate_start(rows->work, c.rate);
    memset(c.previous, 0, rows->rows * sizeof *c.previous);
    for (size_t k = 0; rows->work->lambda > 0 && k < n; k++)
        c.cost += rows->work->input->ldl.d[k * GS_LDL_BLOCK] / (double)n;
    memset(c.done, 0, round_up(rows->rows, GS_PANEL_ROWS) * n * sizeof *c.done);
    for (size_t end = n; end > 0;) {
        size_t begin = (end - 1) / SPAN * SPAN;
        memset(c.moved, 0, rows->rows * SPAN * sizeof *c.moved);
        move(&c, end, n - end, begin, end - begin, c.moved, SPAN);
        for (size_t k = end; k > begin;) {
            k -= b;
            if (rows->work->dynamic && (k + b == n || (k + b) % width == 0))
                enter_groups(&c, k / width * width, k + b, begin);
            round_block(&c, k, k - begin);
            move(&c, k, b, begin, k - begin, c.moved, SPAN);
        }
        end = begin;
    }
}

const struct gs_part_rounder gs_part_rounder_gptq = {
    .name = "gptq",
    .paper = "Frantar et al., arXiv:2210.17323",
    .uses_h = true,
    .feeds = true,
    .scratch = feedback_scratch,
    .run = feedback_run,
};

const struct gs_part_rounder gs_part_rounder_ldlq = {
    .name = "ldlq",
    .paper = "Chee et al., QuIP, arXiv:2307.13304; in blocks: Tseng et al., arXiv:2402.04396",
    .uses_h = true,
    .feeds = true,
    .scratch = feedback_scratch,
    .run = feedback_run,
};
