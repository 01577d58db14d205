/* SPDX-License-Identifier: MIT
 * Pieces of a matrix for learning: runs of columns as groups will have them, and where there
 * are many, some from everywhere. */
#ifndef GS_CODEBOOK_SAMPLE_H
#define GS_CODEBOOK_SAMPLE_H

#include "codebook/codebook.h"

struct gs_sample {
    const struct gs_codebook_data *data;
    size_t group;   /* columns of a piece */
    size_t per_row; /* pieces of a row, the last one perhaps shorter */
    size_t count;   /* pieces of the sample */
};

struct gs_piece {
    const float *x, *h; /* (n) weights and importances (or NULL) */
    size_t n;
};

/* group 0 stands for whole rows. About `most` weights, at least one piece. */
void gs_sample_init(struct gs_sample *sample, const struct gs_codebook_data *data, size_t group,
                    size_t most);

struct gs_piece gs_sample_at(const struct gs_sample *sample, size_t index);

#endif
