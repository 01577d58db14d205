/* SPDX-License-Identifier: MIT
 * Matrix products with weights in their stored type.
 *
 *          x (T, cols)                  a task: some rows of W, all columns of xᵀ
 *   W  ┌──────────────┐ rows  ──►  decode a panel of rows to f32 (stays in L2, or L1 when T
 *      ├──────────────┤            is small), multiply it with x, block by block of tokens
 *      └──────────────┘
 *
 * One token and a type with a dot kernel: no panel. Every y[t][r] is the dot product of a
 * decoded row and x[t] in the fixed order of kernels.h, so all paths give the same bits. */
#include "model/layers.h"

/* Panels and blocks of x in floats: together they leave room in an L2 of 512 KiB. Blocks are
 * whole numbers of the columns that kernels take at a time (3, 4, 6 or 12). */
#define PANEL_FLOATS ((size_t)64 * 1024)
#define BLOCK_FLOATS ((size_t)32 * 1024)
#define BLOCK_STEP 12u
#define PANEL_ROWS 64u
/* For few tokens a panel is read about once: keep it in L1. */
#define FEW_TOKENS 4u
#define SMALL_PANEL_FLOATS ((size_t)4 * 1024)

struct linear {
    const struct gs_run *run;
    const struct gs_matrix *w;
    const float *bias, *x;
    float *y;
    size_t T, panel; /* rows of a panel */
};

/* Files may place a tensor anywhere; decode reads bytes, the others read elements. */
static bool is_aligned(const struct gs_matrix *w)
{
    return (uintptr_t)w->data % (w->type == GS_TYPE_F32 ? 4 : 2) == 0;
}

/* Rows of decoded floats times x; y points at the first of these rows' outputs. */
static void multiply_panel(const struct linear *l, const float *panel, size_t n, float *y)
{
    size_t cols = l->w->cols, rows = l->w->rows;
    size_t block = GS_MAX(BLOCK_FLOATS / cols / BLOCK_STEP, 1u) * BLOCK_STEP;

    for (size_t t = 0; t < l->T; t += block)
        l->run->k->mul_f32(panel, cols, n, l->x + t * cols, cols, GS_MIN(block, l->T - t),
                           cols, y + t * rows, rows);
}

/* Rows first … first + n - 1 of W to floats. */
static void decode_rows(const struct linear *l, size_t first, size_t n, float *panel)
{
    const struct gs_matrix *w = l->w;

    for (size_t r = first; r < first + n; r++, panel += w->cols)
        if (w->stack)
            gs_part_stack_row(w->stack, w->first + r, panel);
        else
            l->run->k->decode[w->type]((const char *)w->data + r * w->row_bytes, panel, w->cols);
}

static void linear_rows(void *ctx, size_t begin, size_t end, int worker)
{
    const struct linear *l = ctx;
    const struct gs_matrix *w = l->w;
    const char *row = (const char *)w->data + begin * w->row_bytes;

    if (w->type == GS_TYPE_F32 && l->T > 1 && is_aligned(w)) {
        const float *panel = (const void *)row;
        for (size_t r = begin; r < end; r += l->panel, panel += l->panel * w->cols)
            multiply_panel(l, panel, GS_MIN(l->panel, end - r), l->y + r);
    } else if (l->T == 1 && !w->stack && l->run->k->dot[w->type] && is_aligned(w)) {
        gs_dot_fn dot = l->run->k->dot[w->type];
        for (size_t r = begin; r < end; r++, row += w->row_bytes)
            l->y[r] = dot(row, l->x, w->cols);
    } else {
        float *panel = gs_run_scratch(l->run, worker);
        for (size_t r = begin; r < end; r += l->panel) {
            size_t n = GS_MIN(l->panel, end - r);
            decode_rows(l, r, n, panel);
            multiply_panel(l, panel, n, l->y + r);
        }
    }
    for (size_t t = 0; l->bias && t < l->T; t++)
        for (size_t r = begin; r < end; r++)
            l->y[t * w->rows + r] += l->bias[r];
}

size_t gs_linear_scratch(size_t cols)
{
    size_t exact = GS_MAX(PANEL_FLOATS, GS_NATIVE_ROWS * cols);

    return GS_MAX(exact, GS_MAX(gs_native_int8_scratch(), gs_stored_int8_scratch(cols)));
}

static void multiply_stored(const struct gs_run *run, const struct gs_product *p,
                            const float *x, size_t T)
{
    const struct gs_matrix *w = p->w;
    struct linear l = {.run = run, .w = w, .bias = p->bias, .x = x, .y = p->y, .T = T};
    size_t floats = T <= FEW_TOKENS ? SMALL_PANEL_FLOATS : PANEL_FLOATS;
    size_t workers = (size_t)gs_team_size(run->team);

    l.panel = GS_MAX(GS_MIN(floats / w->cols, PANEL_ROWS), 1u);
    /* Several tasks a worker even out their speeds; whole panels but for narrow matrices. */
    size_t grain = T <= FEW_TOKENS ? GS_MAX(w->rows / (4 * workers), l.panel) : l.panel;
    if (w->rows < 4 * workers * grain)
        grain = GS_MAX(w->rows / (4 * workers), 1u);
    grain = GS_MAX(grain, GS_TASK_PRODUCTS / (w->cols * T));
    gs_team_run(run->team, w->rows, grain, linear_rows, &l);
}

/* Can the 8-bit paths take both together? */
static bool goes_with(const struct gs_run *run, const struct gs_matrix *a,
                      const struct gs_matrix *b)
{
    if (!a->native || !b->native)
        return !a->native && !b->native && gs_stored_has_int8(run, b);
    return a->native->in == b->native->in && gs_native_has_int8(b->native);
}

/* Of the products from the first on, how many they take together. */
static size_t count_int8(const struct gs_run *run, const struct gs_product *p, size_t count)
{
    size_t n = 0;

    while (run->int8 && n < count && goes_with(run, p[n].w, p->w) && goes_with(run, p->w, p[n].w))
        n++;
    return n;
}

void gs_normed_linears_forward(const struct gs_run *run, const struct gs_norm *norm,
                               const struct gs_product *products, size_t count, const float *x,
                               size_t T)
{
    /* What others than the 8-bit paths read has to be there as a whole. */
    for (size_t i = 0; norm && i < count; i++)
        if (run->tap || !count_int8(run, products + i, 1)) {
            gs_norm_forward(run, norm->kind, x, T, products->w->cols, norm->weight, norm->bias,
                            norm->eps, norm->room);
            x = norm->room;
            norm = NULL;
        }
    for (size_t i = 0; run->tap && i < count; i++)
        run->tap(run->tap_ctx, products[i].w, x, T);
    for (size_t i = 0, n; i < count; i += n) {
        const struct gs_product *p = &products[i];
        n = count_int8(run, p, count - i);
        if (n) {
            (p->w->native ? gs_native_int8_forward : gs_stored_int8_forward)(run, norm, p, n, x,
                                                                             T);
            continue;
        }
        n = 1;
        if (p->w->native)
            gs_native_forward(run, p->w, p->bias, x, T, p->y);
        else
            multiply_stored(run, p, x, T);
    }
}

void gs_linears_forward(const struct gs_run *run, const struct gs_product *products,
                        size_t count, const float *x, size_t T)
{
    gs_normed_linears_forward(run, NULL, products, count, x, T);
}

void gs_linear_forward(const struct gs_run *run, const struct gs_matrix *w, const float *bias,
                       const float *x, size_t T, float *y)
{
    const struct gs_product product = {.w = w, .bias = bias, .y = y};

    gs_linears_forward(run, &product, 1, x, T);
}
