/* SPDX-License-Identifier: MIT
 * What the sweep and the polish of block types share. Private to src/round.
 *
 * Tables of one matrix, the same for all rows (struct gs_block_tables), and the state of a
 * chunk of rows (struct gs_block_chunk); `P` marks arrays in the panels of a product's operand
 * (linalg/mul.h). */
#ifndef GS_ROUND_BLOCK_CHUNK_H
#define GS_ROUND_BLOCK_CHUNK_H

#include "linalg/mul.h"
#include "round/block.h"

#define GS_BLOCK_CHUNK 32              /* rows */
#define GS_BLOCK_SPAN GS_FORMAT_BLOCK  /* columns between products with L */

struct gs_block_tables {
    float *importance; /* (n) diagonal of D */
    float *d;          /* (n, dim) D by rows of its blocks */
    float *near;       /* (n, SPAN): row j holds L_ji for the columns i of j's span */
    /* For polish only: */
    float *h;          /* (n, n) H, damped, P */
    float *local_l;    /* (n, run): row j holds L_ji of the factor of j's run */
    float *local_d;    /* (n, dim) its D */
    float *inverse;    /* (n, dim) D⁻¹ */
};

struct gs_block_chunk {
    const struct gs_block_round *job;
    const struct gs_block_tables *tables;
    size_t row, rows;
    float *values;                  /* (CHUNK, n) Ŵ */
    float *g;                       /* (CHUNK, n) E H, damped */
    float *panels;                  /* (CHUNK, n) P: left operand of products */
    float *moved;                   /* (CHUNK, SPAN) feedback from later spans */
    float *u, *t, *hu, *ht;         /* (CHUNK, SPAN) of a block: directions of d and dmin */
    uint32_t *codes;                /* (CHUNK, n / dim) */
    struct gs_block_scales *scales; /* (CHUNK, n / block) */
    double sweep, loss, squares, energy; /* sums over the rows */
};

/* Rows [row, row + rows) of the chunk from W to E, values, codes and scales. */
void gs_block_sweep(struct gs_block_chunk *c);

/* Tables of polish, into arrays that are allocated. */
int gs_block_polish_tables(const struct gs_block_round *job, struct gs_team *team,
                           struct gs_block_tables *tables, struct gs_err *err) GS_MUST_USE;

/* One pass over all runs; c->g is up to date before and after. Returns how much the loss
 * fell. */
double gs_block_polish(struct gs_block_chunk *c);

/* What damping added to H_ii. */
static inline double gs_block_damping(const struct gs_block_round *job, size_t i)
{
    return job->ldl->damping + (job->damping && !job->ldl->diagonal ? job->damping[i] : 0);
}

/* Row i of the chunk. */
static inline float *gs_chunk_w(const struct gs_block_chunk *c, size_t i)
{
    return c->job->w + (c->row + i) * c->job->w_stride;
}

static inline uint32_t *gs_chunk_codes(const struct gs_block_chunk *c, size_t i, size_t column)
{
    size_t dim = c->job->format->points->dim;

    return c->codes + (i * c->job->cols + column) / dim;
}

static inline struct gs_block_scales *gs_chunk_scales(const struct gs_block_chunk *c, size_t i,
                                                      size_t column)
{
    size_t block = c->job->format->block;

    return c->scales + i * (c->job->cols / block) + column / block;
}

/* Element (row, column) of left panels of n columns. */
static inline float *gs_chunk_panel(float *panels, size_t n, size_t row, size_t column)
{
    return panels + row / GS_PANEL_ROWS * GS_PANEL_ROWS * n + column * GS_PANEL_ROWS +
           row % GS_PANEL_ROWS;
}

#endif
