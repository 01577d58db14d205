/* SPDX-License-Identifier: MIT
 * Grids: the points that a block of weights may take, and the codes that name them.
 *
 * A kind of grid is one `static const struct gs_grid` in one file and one line in the list
 * of grid.c; tests and benchmarks walk the list. A codec is a grid with its parameters fixed
 * (a rate, perhaps its own table). It works on weights that were scaled to unit variance;
 * scales live outside (one per row, and so on).
 *
 *     target values x            codes (packed bytes)            values y
 *     rows × cols, f32  ──quantize──▶  blocks of           ──decode──▶  rows × cols, f32
 *     (multiples of the              block_bytes                     y = nearest path to x
 *      block's rows × cols)
 *
 * A block covers block_rows × block_cols weights, and blocks are independent. Blocks of one
 * block row lie one after another (ascending columns), which is also the layout in the file:
 *
 *     codes + (r / block_rows) · codes_stride + (c / block_cols) · block_bytes
 *
 * The rounding loop (LDLQ) hands over one block column at a time and so writes one block in
 * every block row. A codec is immutable: any number of threads may use it at once. */
#ifndef GS_GRID_GRID_H
#define GS_GRID_GRID_H

#include "core/team.h"

struct gs_trellis;

/* What a codec is made from. */
struct gs_grid_params {
    unsigned rate;       /* bits per 8 weights: 17 = 2.125 bits a weight */
    const int8_t *table; /* own table of values (the grid says how many), NULL = the grid's */
    float table_unit;    /* what one step of `table` is worth; 0 = as in the grid's own; not read
                            without a table */
    bool full;           /* search in floating point what the grid has a faster search for */
};

struct gs_codec;

struct gs_grid {
    const char *name;     /* "trellis8" */
    const char *paper;    /* whose idea: a citation in one line */
    unsigned rate_min, rate_max, rate_step; /* bits per 8 weights */
    unsigned block_rows, block_cols;
    bool takes_table; /* gs_grid_params.table */
    bool slow;        /* milliseconds a block */

    /* The rest is for grid.c and the member itself; use the gs_codec_ functions. */
    const void *data; /* the member's own constants */
    int (*create)(const struct gs_grid *grid, const struct gs_grid_params *params,
                  struct gs_codec **out, struct gs_err *err);
    void (*destroy)(struct gs_codec *codec);
    void (*quantize)(const struct gs_codec *codec, const float *x, size_t x_stride,
                     size_t rows, size_t cols, uint8_t *codes, size_t codes_stride, float *y,
                     size_t y_stride, void *work);
    void (*decode)(const struct gs_codec *codec, const uint8_t *codes, size_t codes_stride,
                   size_t rows, size_t cols, float *y, size_t y_stride);
    void (*pack)(const struct gs_codec *codec, const uint32_t *symbols, uint8_t *block);
    void (*unpack)(const struct gs_codec *codec, const uint8_t *block, uint32_t *symbols);
};

/* Facts of a codec, fixed when it was made. Members embed it first in their own struct. */
struct gs_codec {
    const struct gs_grid *grid;
    unsigned rate;       /* bits per 8 weights, blocks only */
    size_t block_bytes;  /* rate · block_rows · block_cols / 64, exactly */
    size_t symbols;      /* symbols in a block: what pack and unpack count */
    size_t table_bytes;  /* what a file must carry once per tensor: an own table, else 0 */
    size_t work_bytes;   /* scratch that quantize needs for each worker */
    size_t grain_rows;   /* rows that quantize handles most efficiently at once */
    float unit;          /* values are integers times this, or 0 where they are not */
    double gaussian_mse; /* expected (y − x)² for x unit Gaussian; 0 = not known */
    const struct gs_trellis *trellis; /* for the kernels that read tiles; else NULL */
};

/* Kinds compiled in; NULL past the end. */
const struct gs_grid *gs_grid_at(size_t index);

/* NULL if there is none of this name. */
const struct gs_grid *gs_grid_find(const char *name);

/* Fails with GS_E_ARG on a rate that the grid has not; the message lists what it has. */
int gs_codec_create(const struct gs_grid *grid, const struct gs_grid_params *params,
                    struct gs_codec **out, struct gs_err *err) GS_MUST_USE;
void gs_codec_destroy(struct gs_codec **codec);

/* Bytes of scratch for gs_codec_quantize with this team. */
size_t gs_codec_work_bytes(const struct gs_codec *codec, const struct gs_team *team);

/* Finds the codes of x[rows][cols] and the values that they stand for; rows and cols are
 * multiples of the block's. Strides count floats (x, y) and bytes (codes). y may be x or
 * NULL, codes may not be NULL. x must be finite. `work` holds gs_codec_work_bytes bytes,
 * aligned to 64 (gs_alloc). Block rows are shared out over the team (NULL: this thread);
 * the result does not depend on it. */
void gs_codec_quantize(const struct gs_codec *codec, struct gs_team *team, const float *x,
                       size_t x_stride, size_t rows, size_t cols, uint8_t *codes,
                       size_t codes_stride, float *y, size_t y_stride, void *work);

/* The values y[rows][cols] of codes: the same bits as gs_codec_quantize gave. Any bytes are
 * valid codes. */
void gs_codec_decode(const struct gs_codec *codec, const uint8_t *codes, size_t codes_stride,
                     size_t rows, size_t cols, float *y, size_t y_stride);

/* One block as integers (codec->symbols of them) and back: for inspection, statistics and
 * rounders that change single codes. Symbols above their range are cut to it. */
void gs_codec_pack(const struct gs_codec *codec, const uint32_t *symbols, uint8_t *block);
void gs_codec_unpack(const struct gs_codec *codec, const uint8_t *block, uint32_t *symbols);

/* Bits that a file spends on rows × cols weights (rounded up to whole blocks) with this
 * codec, tables included, scales not. */
uint64_t gs_codec_bits(const struct gs_codec *codec, uint64_t rows, uint64_t cols);

#endif
