/* SPDX-License-Identifier: MIT
 * Products with native weights in 8-bit arithmetic: the fast path of native_linear.c.
 *
 *   x (T, cols) ─ (norm) ─T_in─▶ ─ to int8 ─▶ q (T, cols)   once for all matrices of one input
 *   each matrix, rows shared out over the threads:
 *     T = 1    16 rows at a time are read and multiplied as they are decoded
 *     T > 1    64 rows × 512 columns are decoded to a panel of bytes (32 KiB, in L1 or L2),
 *              the panel is multiplied with up to 512 vectors, then the next 512 columns
 *   y (T, rows) ─ · scales ─ T_out⁻¹ ─ + bias ─▶
 *
 * Every output is the chain of kernels/int8.h over all columns, times its row's scale: the
 * same bits whichever T, thread or processor level computes it. */
#include "model/layers.h"

#include <assert.h>
#include <string.h>

#define PANEL_ROWS 64u
#define PANEL_COLS 512u /* whole blocks of activations */
/* Vectors at a time: their sums with a panel's rows are kept beside it in scratch, since those of
 * y, a whole output apart, would fall on few lines of the caches. */
#define PANEL_VECTORS 512u
#define PANEL_FLOATS (PANEL_ROWS * PANEL_COLS / sizeof(float))
/* Weights worth handing to another thread. */
#define TASK_WEIGHTS ((size_t)64 * 1024)

struct int8_products {
    const struct gs_run *run;
    const struct gs_norm *norm; /* of x; or NULL */
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
        if (p->norm)
            gs_norm_row(p->run->k, p->norm, p->x + t * p->cols, p->cols, mixed);
        else
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

/* y[r] = scale · unit · sum[r] for n rows from `first` on of the view. */
static void put_scaled(const struct gs_matrix *w, size_t first, size_t n, const float *sum,
                       float *y)
{
    const float *scales = w->native->scales + w->first + first;
    float unit = w->native->codec->unit;

    for (size_t r = 0; r < n; r++)
        y[r] = sum[r] * (unit * scales[r]);
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
        put_scaled(w, r, GS_MIN(end - r, (size_t)GS_TRELLIS_ROWS), y, product->y + r);
    }
}

/* The same for T vectors from `t` on, n ≤ PANEL_ROWS rows from `first` on. */
static void multiply_panel(const struct int8_products *p, const struct gs_product *product,
                           size_t first, size_t n, size_t t, size_t T, float *scratch)
{
    const struct gs_matrix *w = product->w;
    const struct gs_codec *codec = w->native->codec;
    uint8_t *panel = (uint8_t *)scratch;
    float *sums = scratch + PANEL_FLOATS; /* (T, PANEL_ROWS) */

    memset(sums, 0, T * PANEL_ROWS * sizeof *sums);
    for (size_t c = 0; c < p->cols; c += PANEL_COLS) {
        size_t tiles = GS_MIN(PANEL_COLS, p->cols - c) / GS_TRELLIS_COLS;
        struct gs_int8 q = gs_int8_at(&p->q, t, c / GS_INT8_BLOCK);
        for (size_t r = 0; r < n; r += GS_TRELLIS_ROWS)
            p->run->k->trellis_decode(
                codec->trellis,
                codes_at(w, first + r) + c / GS_TRELLIS_COLS * codec->block_bytes, tiles,
                panel + r * tiles * GS_TRELLIS_COLS);
        p->run->k->tile_mul(panel, tiles, n, &q, T, sums, PANEL_ROWS);
    }
    for (size_t i = 0; i < T; i++)
        put_scaled(w, first, n, sums + i * PANEL_ROWS, product->y + (t + i) * w->rows + first);
}

/* Tasks count pieces of `grain` rows through all products. */
static void multiply_rows(void *ctx, size_t begin, size_t end, int worker)
{
    const struct int8_products *p = ctx;
    float *scratch = gs_run_scratch(p->run, worker);

    for (size_t i = 0, piece = 0; i < p->count && piece < end; i++) {
        const struct gs_product *product = &p->products[i];
        size_t rows = product->w->rows;
        for (size_t r = 0; r < rows && piece < end; r += p->grain, piece++) {
            size_t n = GS_MIN(p->grain, rows - r);
            if (piece < begin)
                continue;
            if (p->T == 1)
                multiply_one(p, product, r, r + n);
            for (size_t t = 0; p->T > 1 && t < p->T; t += PANEL_VECTORS)
                for (size_t s = 0; s < n; s += PANEL_ROWS)
                    multiply_panel(p, product, r + s, GS_MIN(PANEL_ROWS, n - s), t,
                                   GS_MIN(PANEL_VECTORS, p->T - t), scratch);
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

size_t gs_native_int8_scratch(void)
{
    return PANEL_FLOATS + PANEL_VECTORS * PANEL_ROWS;
}

bool gs_native_has_int8(const struct gs_native *w)
{
    return w->codec->trellis != NULL;
}

void gs_native_int8_forward(const struct gs_run *run, const struct gs_norm *norm,
                            const struct gs_product *products, size_t count, const float *x,
                            size_t T)
{
    struct int8_products p = {.run = run, .products = products, .count = count, .x = x, .T = T,
                              .norm = norm,
                              .cols = products[0].w->cols, .q = *run->int8};

    p.q.low = NULL;
    p.q.blocks = gs_int8_blocks(p.cols);
    p.q.stride = p.q.blocks * GS_INT8_BLOCK;
    p.grain = task_rows(&p);
    gs_team_run(run->team, T, 4, quantize_input, &p);
    gs_team_run(run->team, count_pieces(&p), 1, multiply_rows, &p);
    gs_team_run(run->team, count * T, T > 1 ? 4 : 1, finish_output, &p);
}
