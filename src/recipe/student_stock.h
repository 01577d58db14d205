/* SPDX-License-Identifier: MIT
 * A matrix of a block type (grid/format.h) as a part of a student: its codes and the integers of
 * its runs stay, d and dmin of every block learn.
 *
 *     W = d U − dmin T        U, T: what the decoder reads with (d, dmin) = (1, 0) and (0, −1)
 *     ∂d = Σ ∂W ∘ U           ∂dmin = −Σ ∂W ∘ T, over the weights of the block
 *
 * U and T are decoded whenever they are needed, so nothing but the numbers is held. They are
 * f16 in the file and f32 while they learn, each relative to its first value. Private to recipe. */
#ifndef GS_RECIPE_STUDENT_STOCK_H
#define GS_RECIPE_STUDENT_STOCK_H

#include "core/team.h"
#include "grid/format.h"
#include "model/weights.h"

struct gs_stock_matrix {
    const struct gs_format *format; /* NULL: no such matrix */
    const uint8_t *data;            /* rows of whole blocks, one after another */
    size_t rows, cols, row_bytes;
};

/* How far θ moves a block's number, over what it moves a norm's: each block sees few weights, and
 * at the rate of norms its number follows the noise of the calibration text. */
#define GS_STOCK_PACE 0.15f

/* One number a block, (rows, cols / format->block): base ∘ (1 + PACE · θ). */
struct gs_stock_numbers {
    const float *base, *theta; /* NULL: zeros */
};

/* Whether t is of a type whose blocks' numbers can learn. */
bool gs_stock_learns(const struct gs_tensor *t);

size_t gs_stock_blocks(const struct gs_stock_matrix *m);

/* d and dmin (gs_stock_blocks each) as the file has them. */
void gs_stock_read(const struct gs_stock_matrix *m, float *d, float *dmin);

/* W (rows, cols). */
void gs_stock_build(const struct gs_stock_matrix *m, struct gs_team *team,
                    struct gs_stock_numbers d, struct gs_stock_numbers dmin, float *w);

/* From ∂W (rows, cols) to the gradients of θ of d and, where there is dmin, of its θ. */
void gs_stock_project(const struct gs_stock_matrix *m, struct gs_team *team, const float *dw,
                      struct gs_stock_numbers d, struct gs_stock_numbers dmin, float *dd,
                      float *ddmin);

/* Rows of blocks with new numbers; dst (rows · row_bytes). */
void gs_stock_write(const struct gs_stock_matrix *m, struct gs_stock_numbers d,
                    struct gs_stock_numbers dmin, uint8_t *dst);

#endif
