/* SPDX-License-Identifier: MIT
 * Matrix products with native weights: y = T_out⁻¹(scale ∘ Ŵ (T_in x)) + bias.
 *
 *   x (T, cols) ──T_in──▶ mixed (T, cols) ──┬─ Ŵ, a block row at a time ─▶ y (T, rows) ──T_out⁻¹──▶
 *                                           decoded to f32, in scratch
 *
 * This is the exact path: f32 throughout, every output one dot product in the fixed order of
 * kernels.h, so threads and processor levels do not matter. */
#include "model/layers.h"

#include <assert.h>
#include <string.h>

struct product {
    const struct gs_run *run;
    const struct gs_matrix *w;
    const float *bias, *x;
    float *y;
    size_t T;
};

static void mix_input(void *ctx, size_t begin, size_t end, int worker)
{
    const struct product *p = ctx;
    size_t cols = p->w->cols;
    float *mixed = p->run->mixed + begin * cols;

    memcpy(mixed, p->x + begin * cols, (end - begin) * cols * sizeof *mixed);
    gs_transform_apply(p->w->native->in, GS_TRANSFORM_FORWARD, mixed, end - begin, cols,
                       gs_run_scratch(p->run, worker));
}

/* Block rows [begin, end) of the view. */
static void multiply(void *ctx, size_t begin, size_t end, int worker)
{
    const struct product *p = ctx;
    const struct gs_native *native = p->w->native;
    size_t block = GS_NATIVE_ROWS, rows = p->w->rows, cols = p->w->cols;
    float *panel = gs_run_scratch(p->run, worker);

    for (size_t b = begin; b < end; b++) {
        size_t r = b * block, n = GS_MIN(block, rows - r);
        gs_native_decode(native, p->w->first + r, n, panel);
        p->run->k->mul_f32(panel, cols, n, p->run->mixed, cols, p->T, cols, p->y + r, rows);
    }
}

static void unmix_output(void *ctx, size_t begin, size_t end, int worker)
{
    const struct product *p = ctx;
    size_t rows = p->w->rows;
    float *y = p->y + begin * rows;

    gs_transform_apply(p->w->native->out, GS_TRANSFORM_INVERSE, y, end - begin, rows,
                       gs_run_scratch(p->run, worker));
    for (size_t t = begin; p->bias && t < end; t++)
        for (size_t r = 0; r < rows; r++)
            p->y[t * rows + r] += p->bias[r];
}

void gs_native_forward(const struct gs_run *run, const struct gs_matrix *w, const float *bias,
                       const float *x, size_t T, float *y)
{
    struct product p = {.run = run, .w = w, .bias = bias, .x = x, .y = y, .T = T};
    size_t blocks = (w->rows + GS_NATIVE_ROWS - 1) / GS_NATIVE_ROWS;
    size_t workers = (size_t)gs_team_size(run->team);

    assert(run->mixed);
    gs_team_run(run->team, T, 4, mix_input, &p);
    gs_team_run(run->team, blocks, GS_MAX(blocks / (4 * workers), 1u), multiply, &p);
    gs_team_run(run->team, T, 4, unmix_output, &p);
}
