/* SPDX-License-Identifier: MIT
 * Rows of the embedding matrices, decoded one at a time. */
#include <string.h>

#include "model/layers.h"

struct lookup {
    const struct gs_run *run;
    const struct gs_matrix *w;
    const int32_t *tokens;
    size_t first;
    float scale, *y;
};

/* Row r of W = Ŵ T_in: the block row that holds it is decoded as a whole. */
static void native_row(const struct lookup *l, size_t r, int worker, float *y)
{
    const struct gs_native *w = l->w->native;
    float *scratch = gs_run_scratch(l->run, worker);
    size_t block = w->codec->grid->block_rows, first = r / block * block;

    gs_native_decode(w, first, GS_MIN(block, w->rows - first), scratch);
    memcpy(y, scratch + (r - first) * w->cols, w->cols * sizeof *y);
    gs_transform_apply(w->in, GS_TRANSFORM_DUAL_INVERSE, y, 1, w->cols, scratch);
}

static void embed_tokens(void *ctx, size_t begin, size_t end, int worker)
{
    const struct lookup *l = ctx;
    size_t C = l->w->cols;

    for (size_t t = begin; t < end; t++) {
        const char *row = (const char *)l->w->data + (size_t)l->tokens[t] * l->w->row_bytes;
        float *y = l->y + t * C;
        if (l->w->native)
            native_row(l, (size_t)l->tokens[t], worker, y);
        else if (l->w->stack)
            gs_part_stack_row(l->w->stack, (size_t)l->tokens[t], y);
        else
            l->run->k->decode[l->w->type](row, y, C);
        for (size_t i = 0; l->scale != 1 && i < C; i++)
            y[i] *= l->scale;
    }
}

void gs_embedding_forward(const struct gs_run *run, const struct gs_matrix *w,
                          const int32_t *tokens, size_t T, float scale, float *y)
{
    struct lookup l = {.run = run, .w = w, .tokens = tokens, .scale = scale, .y = y};

    gs_team_run(run->team, T, 16, embed_tokens, &l);
}

static void add_positions(void *ctx, size_t begin, size_t end, int worker)
{
    const struct lookup *l = ctx;
    size_t C = l->w->cols;
    float *position = gs_run_scratch(l->run, worker);

    for (size_t t = begin; t < end; t++) {
        const char *row = (const char *)l->w->data + (l->first + t) * l->w->row_bytes;
        l->run->k->decode[l->w->type](row, position, C);
        for (size_t i = 0; i < C; i++)
            l->y[t * C + i] += position[i];
    }
}

void gs_position_forward(const struct gs_run *run, const struct gs_matrix *w, size_t first,
                         size_t T, float *y)
{
    struct lookup l = {.run = run, .w = w, .first = first, .y = y};

    gs_team_run(run->team, T, 16, add_positions, &l);
}
