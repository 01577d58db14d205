/* SPDX-License-Identifier: MIT
 * Products with stored types in integers (kernels/int8.h). Nothing spreads the outliers of
 * their inputs, so these are rounded to 16 bits, in two bytes.
 *
 *   x (T, cols) ─ to bytes ─▶ q, low      once for all matrices that read x
 *   four rows of a matrix ─ unpack ─▶ codes, in scratch (L1) ─ times all T vectors ─▶ y
 *
 * Every output is one fixed computation: the same bits whichever T, thread or level. */
#include "model/layers.h"

#include <string.h>

#define ROWS 4u
/* Weights times vectors worth handing to another thread. */
#define TASK_PRODUCTS ((size_t)64 * 1024)

struct codes_products {
    const struct gs_run *run;
    const struct gs_product *products;
    size_t count;
    const float *x;
    size_t T, cols, grain; /* rows of a task */
    struct gs_int8 q;
};

bool gs_stored_has_int8(const struct gs_run *run, const struct gs_matrix *w)
{
    return run->k->unpack[w->type] != NULL;
}

static void quantize_input(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct codes_products *p = ctx;

    for (size_t t = begin; t < end; t++) {
        struct gs_int8 q = gs_int8_at(&p->q, t, 0);
        p->run->k->int8_quantize(p->x + t * p->cols, p->cols, &q);
    }
}

/* Rows begin … end-1. */
static void multiply_codes(const struct codes_products *p, const struct gs_product *product,
                           size_t begin, size_t end, float *scratch)
{
    const struct gs_matrix *w = product->w;
    size_t blocks = p->q.blocks, n = p->cols;
    struct gs_codes codes = {.d = scratch, .blocks = blocks, .high = gs_codes_high(w->type)};

    codes.m = codes.d + ROWS * blocks * GS_INT8_GROUPS;
    codes.u = (uint8_t *)(codes.m + ROWS * blocks * GS_INT8_GROUPS);
    if (n % GS_INT8_BLOCK) /* the padding of rows stays zero from here on */
        memset(scratch, 0, ROWS * blocks * (GS_INT8_BLOCK + 2 * GS_INT8_GROUPS * sizeof(float)));
    for (size_t r = begin; r < end; r += ROWS) {
        size_t rows = GS_MIN(end - r, ROWS);
        if (p->T == 1 && r + 2 * ROWS <= end)
            gs_run_prefetch((const char *)w->data + (r + ROWS) * w->row_bytes,
                            ROWS * w->row_bytes);
        for (size_t i = 0; i < rows; i++)
            p->run->k->unpack[w->type]((const char *)w->data + (r + i) * w->row_bytes, n,
                                       codes.u + i * blocks * GS_INT8_BLOCK,
                                       codes.d + i * blocks * GS_INT8_GROUPS,
                                       codes.m + i * blocks * GS_INT8_GROUPS);
        p->run->k->codes_mul(&codes, rows, &p->q, p->T, product->y + r, w->rows);
    }
    for (size_t t = 0; product->bias && t < p->T; t++)
        for (size_t r = begin; r < end; r++)
            product->y[t * w->rows + r] += product->bias[r];
}

/* Tasks count pieces of `grain` rows through all products. */
static void multiply_rows(void *ctx, size_t begin, size_t end, int worker)
{
    const struct codes_products *p = ctx;

    for (size_t i = 0, piece = 0; i < p->count && piece < end; i++) {
        size_t rows = p->products[i].w->rows;
        for (size_t r = 0; r < rows && piece < end; r += p->grain, piece++)
            if (piece >= begin)
                multiply_codes(p, &p->products[i], r, r + GS_MIN(p->grain, rows - r),
                               gs_run_scratch(p->run, worker));
    }
}

void gs_stored_int8_forward(const struct gs_run *run, const struct gs_product *products,
                            size_t count, const float *x, size_t T)
{
    struct codes_products p = {.run = run, .products = products, .count = count, .x = x, .T = T,
                               .cols = products[0].w->cols, .q = *run->int8};
    size_t workers = (size_t)gs_team_size(run->team), rows = 0, pieces = 0;

    p.q.blocks = gs_int8_blocks(p.cols);
    p.q.stride = p.q.blocks * GS_INT8_BLOCK;
    for (size_t i = 0; i < count; i++)
        rows += products[i].w->rows;
    p.grain = GS_MAX(GS_MAX(TASK_PRODUCTS / (p.cols * T), rows / (8 * workers)) / ROWS, 1u) * ROWS;
    for (size_t i = 0; i < count; i++)
        pieces += (products[i].w->rows + p.grain - 1) / p.grain;
    gs_team_run(run->team, T, 8, quantize_input, &p);
    gs_team_run(run->team, pieces, 1, multiply_rows, &p);
}
