/* SPDX-License-Identifier: MIT */
#include "codebook/sample.h"

#include <assert.h>

void gs_sample_init(struct gs_sample *sample, const struct gs_codebook_data *data, size_t group,
                    size_t most)
{
    assert(data->rows > 0 && data->cols > 0);
    if (group == 0 || group > data->cols)
        group = data->cols;
    size_t per_row = (data->cols + group - 1) / group;
    *sample = (struct gs_sample){.data = data, .group = group, .per_row = per_row};
    sample->count = GS_MIN(per_row * data->rows, GS_MAX(most / group, 1));
}

struct gs_piece gs_sample_at(const struct gs_sample *sample, size_t index)
{
    const struct gs_codebook_data *data = sample->data;
    size_t pieces = sample->per_row * data->rows;

    /* Evenly spread, a little past each share's beginning, so that with a power of two of them
     * not every piece begins its row. */
    size_t at = (size_t)((double)pieces * ((double)index + 0.382) / (double)sample->count);
    at = sample->count == pieces ? index : GS_MIN(at, pieces - 1);
    size_t row = at / sample->per_row, col = at % sample->per_row * sample->group;
    return (struct gs_piece){
        .x = data->w + row * data->stride + col,
        .h = data->h_all ? data->h_all + row * data->cols + col : data->h ? data->h + col : NULL,
        .n = GS_MIN(sample->group, data->cols - col)};
}
