/* SPDX-License-Identifier: MIT
 * Products with native weights in 8-bit arithmetic: the fast path of native_linear.c.
 *
 *   x (T, cols) ─T_in─▶ ─ to int8 ─▶ q (T, cols)      once for all matrices of one input
 *   each matrix, rows shared out over the threads:
 *     T = 1    16 rows at a time are read and multiplied as they are decoded
 *     T > 1    64 rows × 512 columns are decoded to a panel of bytes (32 KiB, in L1 or L2),
 *              the panel is multiplied with all T vectors, then the next 512 columns
 *   y (T, rows) ─ · scales ─ T_out⁻¹ ─ + bias ─▶
 *
 * Every output is the chain of kernels/int8.h over all columns, times its row's scale: the
 * same bits whichever T, thread or processor level computes it. */
#include "model/layers.h"

#include <assert.h>
#include <string.h>

#define PANEL_ROWS 64u
#define PANEL_COLS 512u /* whole blocks of activations */
/* Weights worth handing to another thread. */
#define TASK_WEIGHTS ((size_t)64 * 1024)

struct int8_products {
    const struct gs_run *run;
    const struct gs_product *products;
    size_t count;
    const float *x;
    size_t T, cols, grain; /* rows of a task */
    struct gs_int8 q;      /* the transformed input */
};

/* Floats in front of a transform's work space, which is aligned. */
static size_t aligned(size_t floats)
{
    return (floats + 15) / 16 * 16;
}

static void quantize_input(void *ctx, size_t begin, size_t end, int worker)
{
    const struct int8_products *p = ctx;
    float *mixed = gs_run_scratch(p->run, worker);

    for (size_t t = begin; t < end; t++) {
        struct gs_int8 q = gs_int8_at(&p->q, t, 0);
        memcpy(mixed, p->x + t * p->cols, p->cols * sizeof *mixed);
        gs_transform_apply(p->products[0].w->native->in, GS_TRANSFORM_FORWARD, mixed, 1,
                           p->cols, mixed + aligned(p->cols));
        p->run->k->int8_quantize(mixed, p->cols, &q);
    }
}

static const uint8_t *codes_at(const struct gs_matrix *w, size_t row)
{
    return w->native->codes + (w->first + row) / GS_TRELLIS_ROWS * w->native->codes_stride;
}

/* y[r] ← scale · unit · y[r] for rows first … first+n-1 of the view, at each vector. */
static void apply_scales(const struct int8_products *p, const struct gs_product *product,
                         size_t first, size_t n)
{
    const float *scales = product->w->native->scales + product->w->first + first;
    float unit = product->w->native->codec->unit;

    for (size_t t = 0; t < p->T; t++) {
        float *y = product->y + t * product->w->rows + first;
        for (size_t r = 0; r < n; r++)
            y[r] *= unit * scales[r];
    }
}

/* Rows begin … end-1 times one vector. */
static void multiply_one(const struct int8_products *p, const struct gs_product *product,
                         size_t begin, size_t end)
{
    const struct gs_matrix *w = product->w;
    const struct gs_trellis *trellis = w->native->codec->trellis;
    float y[GS_TRELLIS_ROWS];

    for (size_t r = begin; r < end; r += GS_TRELLIS_ROWS) {
        p->run->k->trellis_dot(trellis, codes_at(w, r), p->cols / GS_TRELLIS_COLS, &p->q, y);
        memcpy(product->y + r, y, GS_MIN(end - r, (size_t)GS_TRELLIS_ROWS) * sizeof *y);
    }
}

/* The same for T vectors, n ≤ PANEL_ROWS rows from `first` on. */
static void multiply_panel(const struct int8_products *p, const struct gs_product *product,
                           size_t first, size_t n, uint8_t *panel)
{
    const struct gs_matrix *w = product->w;
    const struct gs_codec *codec = w->native->codec;

    for (size_t t = 0; t < p->T; t++)
        memset(product->y + t * w->rows + first, 0, n * sizeof *product->y);
    for (size_t c = 0; c < p->cols; c += PANEL_COLS) {
        size_t tiles = GS_MIN(PANEL_COLS, p->cols - c) / GS_TRELLIS_COLS;
        struct gs_int8 q = gs_int8_at(&p->q, 0, c / GS_INT8_BLOCK);
        for (size_t r = 0; r < n; r += GS_TRELLIS_ROWS)
            p->run->k->trellis_decode(
                codec->trellis,
                codes_at(w, first + r) + c / GS_TRELLIS_COLS * codec->block_bytes, tiles,
                panel + r * tiles * GS_TRELLIS_COLS);
        p->run->k->tile_mul(panel, tiles, n, &q, p->T, product->y + first, w->rows);
    }
}

/* Tasks count pieces of `grain` rows through all products. */
static void multiply_rows(void *ctx, size_t begin, size_t end, int worker)
{
    const struct int8_products *p = ctx;
    uint8_t *panel = (uint8_t *)gs_run_scratch(p->run, worker);

    for (size_t i = 0, piece = 0; i < p->count && piece < end; i++) {
        const struct gs_product *product = &p->products[i];
        size_t rows = product->w->rows;
        for (size_t r = 0; r < rows && piece < end; r += p->grain, piece++) {
            size_t n = GS_MIN(p->grain, rows - r);
            if (piece < begin)
                continue;
            if (p->T == 1)
                multiply_one(p, product, r, r + n);
            for (size_t s = 0; p->T > 1 && s < n; s += PANEL_ROWS)
                multiply_panel(p, product, r + s, GS_MIN(PANEL_ROWS, n - s), panel);
            apply_scales(p, product, r, n);
        }
    }
}

static size_t count_pieces(const struct int8_products *p)
{
    size_t n = 0;

    for (size_t i = 0; i < p->count; i++)
        n += (p->products[i].w->rows + p->grain - 1) / p->grain;
    return n;
}

/* Rows of a task: several tasks a worker, so that none waits long for the last; whole panels
 * where there are many vectors. */
static size_t task_rows(const struct int8_products *p)
{
    size_t step = p->T > 1 ? PANEL_ROWS : (size_t)GS_TRELLIS_ROWS, rows = 0;
    size_t workers = (size_t)gs_team_size(p->run->team);

    for (size_t i = 0; i < p->count; i++)
        rows += p->products[i].w->rows;
    size_t least = TASK_WEIGHTS / (p->cols * p->T), share = rows / (8 * workers);
    return GS_MAX(GS_MAX(least, share) / step, 1u) * step;
}

/* Vectors begin … end-1 of count · T. */
static void finish_output(void *ctx, size_t begin, size_t end, int worker)
{
    const struct int8_products *p = ctx;

    for (size_t i = begin; i < end; i++) {
        const struct gs_product *product = &p->products[i / p->T];
        const struct gs_matrix *w = product->w;
        float *y = product->y + i % p->T * w->rows;
        gs_transform_apply(w->native->out, GS_TRANSFORM_INVERSE, y, 1, w->rows,
                           gs_run_scratch(p->run, worker));
        for (size_t r = 0; product->bias && r < w->rows; r++)
            y[r] += product->bias[r];
    }
}

bool gs_native_has_int8(const struct gs_native *w)
{
    return w->codec->trellis != NULL;
}

void gs_native_int8_forward(const struct gs_run *run, const struct gs_product *products,
                            size_t count, const float *x, size_t T)
{
    struct int8_products p = {.run = run, .products = products, .count = count, .x = x, .T = T,
                              .cols = products[0].w->cols, .q = *run->int8};

    p.q.low = NULL;
    p.q.blocks = gs_int8_blocks(p.cols);
    p.q.stride = p.q.blocks * GS_INT8_BLOCK;
    p.grain = task_rows(&p);
    gs_team_run(run->team, T, 4, quantize_input, &p);
    gs_team_run(run->team, count_pieces(&p), 1, multiply_rows, &p);
    gs_team_run(run->team, count * T, T > 1 ? 4 : 1, finish_output, &p);
}
