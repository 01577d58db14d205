/* SPDX-License-Identifier: MIT
 * The sweep: spans of 256 columns from the last to the first. A span first pulls the feedback
 * of all later columns in one product with L; inside, a code pushes to the columns before it. */
#include <string.h>

#include "round/block_chunk.h"

/* Feedback from columns ≥ end for the `width` columns from `begin` on. */
static void pull(struct gs_block_chunk *c, size_t begin, size_t end)
{
    const struct gs_ldl *ldl = c->job->ldl;
    size_t n = c->job->cols;

    memset(c->moved, 0, GS_BLOCK_CHUNK * GS_BLOCK_SPAN * sizeof *c->moved);
    if (!ldl->diagonal && end < n)
        gs_mul_panels_f32(c->rows, end - begin, n - end, c->panels + end * GS_PANEL_ROWS,
                          GS_PANEL_ROWS * n, ldl->lower + begin * n + end * GS_PANEL_F32,
                          GS_PANEL_F32 * n, c->moved, GS_BLOCK_SPAN);
}

/* Block [at, at + block) of row i, in the span from `begin`. */
static void round_block(struct gs_block_chunk *c, size_t i, size_t begin, size_t at)
{
    const struct gs_format *f = c->job->format;
    size_t n = c->job->cols, dim = f->points->dim;
    struct gs_block_scales *scales = gs_chunk_scales(c, i, at);
    float *w = gs_chunk_w(c, i), *y = c->values + i * n, x[GS_FORMAT_BLOCK];
    const float *moved = c->moved + i * GS_BLOCK_SPAN + (at - begin);

    for (size_t j = 0; j < f->block; j++)
        x[j] = w[at + j] + moved[j];
    gs_format_fit(f, x, c->tables->importance + at, scales);
    if (c->job->ldl->diagonal) {
        gs_format_nearest(f, scales, x, c->tables->importance + at, gs_chunk_codes(c, i, at),
                          y + at);
        for (size_t j = 0; j < f->block; j++)
            w[at + j] -= y[at + j];
        return;
    }
    const struct gs_feedback feedback = {
        .w = w + begin, .c = c->moved + i * GS_BLOCK_SPAN,
        .l = c->tables->near + begin * GS_BLOCK_SPAN, .l_stride = GS_BLOCK_SPAN,
        .d = c->tables->d + begin * dim};
    for (unsigned r = f->block / f->run; r-- > 0;) {
        size_t first = at + (size_t)r * f->run;
        f->points->feedback(f->points, gs_format_run(f, scales, r), first - begin, f->run,
                            &feedback, y + first, gs_chunk_codes(c, i, first));
    }
}

void gs_block_sweep(struct gs_block_chunk *c)
{
    size_t n = c->job->cols, block = c->job->format->block;

    for (size_t end = n; end > 0;) {
        size_t begin = (end - 1) / GS_BLOCK_SPAN * GS_BLOCK_SPAN;
        pull(c, begin, end);
        for (size_t i = 0; i < c->rows; i++) {
            const float *w = gs_chunk_w(c, i);
            for (size_t at = end; at > begin;) {
                at -= block;
                round_block(c, i, begin, at);
            }
            for (size_t j = begin; j < end; j++)
                *gs_chunk_panel(c->panels, n, i, j) = w[j];
        }
        end = begin;
    }
}
