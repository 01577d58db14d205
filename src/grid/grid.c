/* SPDX-License-Identifier: MIT
 * The list of grids, and what is the same for all of them: checks at the border, the split
 * over threads, and the count of bits. */
#include "grid/grid.h"

#include <assert.h>
#include <string.h>

#include "core/alloc.h"
#include "grid/members.h"

static const struct gs_grid *const grids[] = {
    &gs_grid_trellis8,
    &gs_grid_trellis12,
    &gs_grid_trellis16,
    &gs_grid_uniform,
    &gs_grid_qtip_1mad,
    &gs_grid_qtip_3inst,
    &gs_grid_qtip_hyb,
};

const struct gs_grid *gs_grid_at(size_t index)
{
    return index < GS_COUNT(grids) ? grids[index] : NULL;
}

const struct gs_grid *gs_grid_find(const char *name)
{
    for (size_t i = 0; i < GS_COUNT(grids); i++)
        if (!strcmp(grids[i]->name, name))
            return grids[i];
    return NULL;
}

int gs_codec_create(const struct gs_grid *grid, const struct gs_grid_params *params,
                    struct gs_codec **out, struct gs_err *err)
{
    *out = NULL;
    if (params->rate < grid->rate_min || params->rate > grid->rate_max ||
        (params->rate - grid->rate_min) % grid->rate_step)
        return gs_fail(err, GS_E_ARG,
                       "grid %s: no rate of %.3f bits a weight (it has %.3f to %.3f in steps "
                       "of %.3f)", grid->name, params->rate / 8.0, grid->rate_min / 8.0,
                       grid->rate_max / 8.0, grid->rate_step / 8.0);
    return grid->create(grid, params, out, err);
}

void gs_codec_destroy(struct gs_codec **codec)
{
    if (!*codec)
        return;
    if ((*codec)->grid->destroy)
        (*codec)->grid->destroy(*codec);
    gs_free(codec);
}

/* Workers write their scratch at once: no two share a cache line. */
static size_t work_stride(const struct gs_codec *codec)
{
    return (codec->work_bytes + 63) & ~(size_t)63;
}

size_t gs_codec_work_bytes(const struct gs_codec *codec, const struct gs_team *team)
{
    return work_stride(codec) * (size_t)gs_team_size(team);
}

struct quantize_call {
    const struct gs_codec *codec;
    const float *x;
    uint8_t *codes;
    float *y;
    char *work;
    size_t x_stride, codes_stride, y_stride, cols;
};

/* Block rows [begin, end). */
static void quantize_rows(void *ctx, size_t begin, size_t end, int worker)
{
    const struct quantize_call *call = ctx;
    const struct gs_codec *codec = call->codec;
    size_t row = begin * codec->grid->block_rows;

    codec->grid->quantize(codec, call->x + row * call->x_stride, call->x_stride,
                          (end - begin) * codec->grid->block_rows, call->cols,
                          call->codes + begin * call->codes_stride, call->codes_stride,
                          call->y ? call->y + row * call->y_stride : NULL, call->y_stride,
                          call->work + (size_t)worker * work_stride(codec));
}

void gs_codec_quantize(const struct gs_codec *codec, struct gs_team *team, const float *x,
                       size_t x_stride, size_t rows, size_t cols, uint8_t *codes,
                       size_t codes_stride, float *y, size_t y_stride, void *work)
{
    const struct gs_grid *grid = codec->grid;
    struct quantize_call call = {
        .codec = codec, .x = x, .codes = codes, .y = y, .work = work, .x_stride = x_stride,
        .codes_stride = codes_stride, .y_stride = y_stride, .cols = cols};
    size_t block_rows = rows / grid->block_rows;
    size_t workers = (size_t)gs_team_size(team);
    size_t grain = GS_MAX(codec->grain_rows / grid->block_rows, 1);

    assert(rows % grid->block_rows == 0 && cols % grid->block_cols == 0);
    assert(codec->work_bytes == 0 || work);
    /* Full grains where there is enough work for everybody, equal shares where there is not. */
    if (block_rows < grain * workers)
        grain = GS_MAX((block_rows + workers - 1) / workers, 1);
    gs_team_run(team, block_rows, grain, quantize_rows, &call);
}

void gs_codec_decode(const struct gs_codec *codec, const uint8_t *codes, size_t codes_stride,
                     size_t rows, size_t cols, float *y, size_t y_stride)
{
    assert(rows % codec->grid->block_rows == 0 && cols % codec->grid->block_cols == 0);
    codec->grid->decode(codec, codes, codes_stride, rows, cols, y, y_stride);
}

void gs_codec_pack(const struct gs_codec *codec, const uint32_t *symbols, uint8_t *block)
{
    codec->grid->pack(codec, symbols, block);
}

void gs_codec_unpack(const struct gs_codec *codec, const uint8_t *block, uint32_t *symbols)
{
    codec->grid->unpack(codec, block, symbols);
}

uint64_t gs_codec_bits(const struct gs_codec *codec, uint64_t rows, uint64_t cols)
{
    uint64_t r = (rows + codec->grid->block_rows - 1) / codec->grid->block_rows;
    uint64_t c = (cols + codec->grid->block_cols - 1) / codec->grid->block_cols;

    return 8 * (r * c * codec->block_bytes + codec->table_bytes);
}
