/* SPDX-License-Identifier: MIT
 * Products with stored types in integers (kernels/int8.h). Nothing spreads the outliers of
 * their inputs, so these are rounded to 16 bits, in two bytes.
 *
 *   x (T, cols) ─ to bytes ─▶ q, low      once for all matrices that read x
 *   a matrix, rows shared out over the threads:
 *     few vectors   rows are read and multiplied as they are unpacked, for each vector anew
 *     many          32 rows ─ unpack, turn ─▶ panels of codes, in scratch (L2) ─ times all
 *
 * Every output is one fixed computation: the same bits whichever T, thread or level. */
#include "model/layers.h"

#include <string.h>

/* So many vectors and more are multiplied with panels. */
#define PANEL_VECTORS 4u
#define PANEL_ROWS (2 * GS_CODES_ROWS)
#define PIECE 256u /* weights of a row that are unpacked at once */
/* Weights times vectors worth handing to another thread. */
#define TASK_PRODUCTS ((size_t)64 * 1024)

struct codes_products {
    const struct gs_run *run;
    const struct gs_norm *norm; /* of x; or NULL */
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

static void quantize_input(void *ctx, size_t begin, size_t end, int worker)
{
    const struct codes_products *p = ctx;
    float *normed = gs_run_scratch(p->run, worker);

    for (size_t t = begin; t < end; t++) {
        struct gs_int8 q = gs_int8_at(&p->q, t, 0);
        const float *x = p->x + t * p->cols;
        if (p->norm)
            gs_norm_row(p->run->k, p->norm, x, p->cols, normed);
        p->run->k->int8_quantize(p->norm ? normed : x, p->cols, &q);
    }
}

/* Unpacked codes of a piece of 16 rows, and the same turned: steps and groups outside. */
struct pieces {
    float u[GS_CODES_ROWS][PIECE / 4], d[GS_CODES_ROWS][16], m[GS_CODES_ROWS][16];
    float turned_u[PIECE / 4][GS_CODES_ROWS], turned_d[16][GS_CODES_ROWS];
    float turned_m[16][GS_CODES_ROWS];
};

/* Writes the records of weights at … at + n-1 of the rows in `p`. */
static void turn(const struct gs_kernels *k, struct pieces *p, size_t at, size_t n, size_t groups,
                 uint8_t *panel)
{
    size_t count = n / GS_INT8_GROUP, rows = GS_CODES_ROWS;

    k->transpose_f32(p->u[0], PIECE / 4, rows, n / 4, rows, p->turned_u[0]);
    k->transpose_f32(p->d[0], 16, rows, count, rows, p->turned_d[0]);
    k->transpose_f32(p->m[0], 16, rows, count, rows, p->turned_m[0]);
    for (size_t i = 0; i < count; i++) {
        size_t g = at / GS_INT8_GROUP + i;
        uint8_t *record = panel + gs_codes_place(g, groups) * GS_CODES_RECORD;
        memcpy(record, p->turned_u[4 * i], GS_CODES_SCALES);
        memcpy(record + GS_CODES_SCALES, p->turned_d[i], sizeof p->turned_d[i]);
        memcpy(record + GS_CODES_SCALES + sizeof p->turned_d[i], p->turned_m[i],
               sizeof p->turned_m[i]);
    }
}

/* A panel of up to 16 rows; the codes of missing ones are some of the others'. */
static void make_panel(const struct codes_products *p, const struct gs_matrix *w, size_t first,
                       size_t rows, struct pieces *pieces, uint8_t *panel)
{
    const struct gs_type_info *info = gs_type_info(w->type);
    const uint8_t *from = (const uint8_t *)w->data + first * w->row_bytes;

    for (size_t i = 0; i < p->cols; i += PIECE) {
        size_t n = GS_MIN(p->cols - i, (size_t)PIECE);
        for (size_t r = 0; r < GS_CODES_ROWS; r++)
            p->run->k->unpack[w->type](from + GS_MIN(r, rows - 1) * w->row_bytes +
                                           i / info->block * info->bytes,
                                       n, (uint8_t *)pieces->u[r], pieces->d[r], pieces->m[r]);
        turn(p->run->k, pieces, i, n, p->cols / GS_INT8_GROUP, panel);
    }
}

/* Rows begin … end-1. */
static void multiply_codes(const struct codes_products *p, const struct gs_product *product,
                           size_t begin, size_t end, float *scratch)
{
    const struct gs_matrix *w = product->w;
    const struct gs_kernels *k = p->run->k;
    size_t groups = p->cols / GS_INT8_GROUP;
    struct pieces *pieces = (void *)scratch;
    uint8_t *panels = (uint8_t *)(pieces + 1);

    for (size_t t = 0; p->T < PANEL_VECTORS && t < p->T; t++) {
        struct gs_int8 q = gs_int8_at(&p->q, t, 0);
        k->codes_dot[w->type]((const uint8_t *)w->data + begin * w->row_bytes, w->row_bytes,
                              end - begin, p->cols, &q, product->y + t * w->rows + begin);
    }
    for (size_t r = begin; p->T >= PANEL_VECTORS && r < end; r += PANEL_ROWS) {
        size_t rows = GS_MIN(end - r, PANEL_ROWS);
        for (size_t i = 0; i < rows; i += GS_CODES_ROWS)
            make_panel(p, w, r + i, GS_MIN(rows - i, GS_CODES_ROWS), pieces,
                       panels + i / GS_CODES_ROWS * groups * GS_CODES_RECORD);
        k->codes_mul(panels, groups, rows, gs_codes_top(w->type), &p->q, p->T, product->y + r,
                     w->rows);
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

size_t gs_stored_int8_scratch(size_t cols)
{
    size_t panels = PANEL_ROWS / GS_CODES_ROWS * (cols / GS_INT8_GROUP) * GS_CODES_RECORD;

    return (sizeof(struct pieces) + panels) / sizeof(float);
}

void gs_stored_int8_forward(const struct gs_run *run, const struct gs_norm *norm,
                            const struct gs_product *products, size_t count, const float *x,
                            size_t T)
{
    struct codes_products p = {.run = run, .products = products, .count = count, .x = x, .T = T,
                              .norm = norm,
                               .cols = products[0].w->cols, .q = *run->int8};
    size_t workers = (size_t)gs_team_size(run->team), rows = 0, pieces = 0;

    p.q.blocks = gs_int8_blocks(p.cols);
    p.q.stride = p.q.blocks * GS_INT8_BLOCK;
    if (T >= PANEL_VECTORS) /* only rows as they are stored are multiplied with lanes */
        p.q.lanes = NULL;
    for (size_t i = 0; i < count; i++)
        rows += products[i].w->rows;
    size_t least = TASK_PRODUCTS / (p.cols * T), share = rows / (8 * workers);
    p.grain = GS_MAX(GS_MAX(least, share) / PANEL_ROWS, 1u) * PANEL_ROWS;
    for (size_t i = 0; i < count; i++)
        pieces += (products[i].w->rows + p.grain - 1) / p.grain;
    gs_team_run(run->team, T, 8, quantize_input, &p);
    gs_team_run(run->team, pieces, 1, multiply_rows, &p);
}
