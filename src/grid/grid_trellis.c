/* SPDX-License-Identifier: MIT
 * The trellis grids: trellis8, trellis12, trellis16 (the number is the window in bits).
 *
 * kernels/trellis.h defines the code and its layout; here it becomes a grid: 1.000 to 5.000
 * bits a weight in steps of 1/8, blocks of 16 × 16 weights, maps and tables from the generated
 * trellis_table.c. One step more of window costs twice the search and nothing (8) or a
 * quarter more (12, 16) of decoding. A tensor may bring its own table: one magnitude for each
 * index without its sign bit, 32 up to 3 bits a weight, 64 above. */
#include <string.h>

#include "core/alloc.h"
#include "grid/members.h"
#include "grid/trellis_table.h"
#include "kernels/kernels.h"

struct trellis_codec {
    struct gs_codec base;
    size_t batch; /* tiles that one call of the search gets */
    struct gs_trellis trellis;
};

static const struct trellis_codec *codec_of(const struct gs_codec *codec)
{
    return (const struct trellis_codec *)codec;
}

static const struct gs_trellis_code *find_code(unsigned window, unsigned rate)
{
    for (size_t i = 0; i < gs_trellis_codes_count; i++)
        if (gs_trellis_codes[i].window == window && gs_trellis_codes[i].rate == rate)
            return &gs_trellis_codes[i];
    return NULL;
}

static size_t work_bytes(const struct trellis_codec *codec)
{
    return codec->batch * (GS_TRELLIS_TILE * (sizeof(float) + sizeof(uint8_t)) +
                           codec->base.block_bytes) +
           64 + gs_viterbi_work_bytes(&codec->trellis);
}

static int trellis_create(const struct gs_grid *grid, const struct gs_grid_params *params,
                          struct gs_codec **out, struct gs_err *err)
{
    const uint8_t *window = grid->data;
    const struct gs_trellis_code *code = find_code(*window, params->rate);

    if (!code)
        return gs_fail(err, GS_E_UNSUPPORTED, "grid %s: no code of %.3f bits a weight",
                       grid->name, params->rate / 8.0);
    struct trellis_codec *codec = gs_alloc(1, sizeof *codec);
    if (!codec)
        return gs_fail_nomem(err, "grid codec");

    struct gs_trellis *t = &codec->trellis;
    t->window = code->window;
    t->rate = code->rate;
    t->index_bits = code->index_bits;
    memcpy(t->column, code->column, sizeof t->column);
    memcpy(t->magnitude, code->magnitude, sizeof t->magnitude);
    codec->base.unit = code->unit;
    codec->base.gaussian_mse = code->mse;
    if (params->table) {
        codec->base.table_bytes = ((size_t)1 << (code->index_bits - 1)) + sizeof(float);
        if (params->table_unit != 0)
            codec->base.unit = params->table_unit;
        codec->base.gaussian_mse = 0;
        memcpy(t->magnitude, params->table, (size_t)1 << (code->index_bits - 1));
        for (size_t i = 0; i < GS_COUNT(t->magnitude); i++)
            t->magnitude[i] = GS_MAX(t->magnitude[i], -127);
    }
    gs_trellis_prepare(t);
    codec->batch = 2 * gs_viterbi_batch(t);
    codec->base.grid = grid;
    codec->base.rate = code->rate;
    codec->base.block_bytes = gs_trellis_tile_bytes(t);
    codec->base.symbols = GS_TRELLIS_TILE;
    codec->base.grain_rows = codec->batch * GS_TRELLIS_ROWS;
    codec->base.trellis = t;
    codec->base.work_bytes = work_bytes(codec);
    *out = &codec->base;
    return GS_OK;
}

/* Place of weight i of a tile in a matrix of that stride. */
static size_t place(unsigned i, size_t stride)
{
    return i / 4 % 16 * stride + i / 64 * 4 + i % 4;
}

/* The n-th tile of a matrix that is `across` tiles wide. */
static size_t tile_at(size_t n, size_t across, size_t row_step, size_t col_step)
{
    return n / across * row_step + n % across * col_step;
}

static void trellis_quantize(const struct gs_codec *codec, const float *x, size_t x_stride,
                             size_t rows, size_t cols, uint8_t *codes, size_t codes_stride,
                             float *y, size_t y_stride, void *work)
{
    const struct trellis_codec *c = codec_of(codec);
    size_t across = cols / GS_TRELLIS_COLS, tiles = rows / GS_TRELLIS_ROWS * across;
    float inverse = 1.0f / codec->unit, *targets = work;
    uint8_t *values = (uint8_t *)(targets + c->batch * GS_TRELLIS_TILE);
    uint8_t *found = values + c->batch * GS_TRELLIS_TILE;
    size_t used = c->batch * (GS_TRELLIS_TILE * 5 + codec->block_bytes);
    void *search = (char *)work + ((used + 63) & ~(size_t)63);

    for (size_t first = 0; first < tiles; first += c->batch) {
        size_t n = GS_MIN(c->batch, tiles - first);

        for (size_t k = 0; k < n; k++) {
            const float *from = x + tile_at(first + k, across, 16 * x_stride, 16);
            for (unsigned i = 0; i < GS_TRELLIS_TILE; i++)
                targets[k * GS_TRELLIS_TILE + i] = from[place(i, x_stride)] * inverse;
        }
        gs_kernels()->viterbi(&c->trellis, targets, n, found, codec->block_bytes, search);
        for (size_t k = 0; k < n; k++)
            memcpy(codes + tile_at(first + k, across, codes_stride, codec->block_bytes),
                   found + k * codec->block_bytes, codec->block_bytes);
        if (!y)
            continue;
        gs_kernels()->trellis_decode(&c->trellis, found, n, values);
        for (size_t k = 0; k < n; k++) {
            float *to = y + tile_at(first + k, across, 16 * y_stride, 16);
            for (unsigned i = 0; i < GS_TRELLIS_TILE; i++)
                to[place(i, y_stride)] =
                    (float)(values[k * GS_TRELLIS_TILE + i] - GS_TRELLIS_BIAS) * codec->unit;
        }
    }
}

static void trellis_decode(const struct gs_codec *codec, const uint8_t *codes,
                           size_t codes_stride, size_t rows, size_t cols, float *y,
                           size_t y_stride)
{
    uint8_t values[GS_TRELLIS_TILE];

    for (size_t r = 0; r < rows / GS_TRELLIS_ROWS; r++)
        for (size_t c = 0; c < cols / GS_TRELLIS_COLS; c++) {
            float *to = y + 16 * (r * y_stride + c);
            gs_kernels()->trellis_decode(&codec_of(codec)->trellis,
                                         codes + r * codes_stride + c * codec->block_bytes, 1,
                                         values);
            for (unsigned i = 0; i < GS_TRELLIS_TILE; i++)
                to[place(i, y_stride)] = (float)(values[i] - GS_TRELLIS_BIAS) * codec->unit;
        }
}

/* A symbol is the new bits of a weight; together they are all bits of the ring. */
static void trellis_pack(const struct gs_codec *codec, const uint32_t *symbols, uint8_t *block)
{
    const struct gs_trellis *t = codec->trellis;
    unsigned ring = 32u * t->rate;

    memset(block, 0, codec->block_bytes);
    for (unsigned i = 0; i < GS_TRELLIS_TILE; i++)
        for (unsigned j = 0; j < t->step[i % 8]; j++) {
            unsigned bit = (gs_trellis_new_bits(t, i) + j) % ring;
            block[bit / 8] |= (uint8_t)((symbols[i] >> j & 1) << bit % 8);
        }
}

static void trellis_unpack(const struct gs_codec *codec, const uint8_t *block,
                           uint32_t *symbols)
{
    const struct gs_trellis *t = codec->trellis;
    unsigned ring = 32u * t->rate;

    for (unsigned i = 0; i < GS_TRELLIS_TILE; i++) {
        symbols[i] = 0;
        for (unsigned j = 0; j < t->step[i % 8]; j++) {
            unsigned bit = (gs_trellis_new_bits(t, i) + j) % ring;
            symbols[i] |= (block[bit / 8] >> bit % 8 & 1u) << j;
        }
    }
}

#define TRELLIS(bits)                                                                          \
    static const uint8_t window_##bits = bits;                                                 \
    const struct gs_grid gs_grid_trellis##bits = {                                             \
        .name = "trellis" #bits,                                                               \
        .paper = "trellis-coded quantization, after QTIP (arXiv:2406.11235)",                  \
        .rate_min = GS_TRELLIS_RATE_MIN, .rate_max = GS_TRELLIS_RATE_MAX, .rate_step = 1,      \
        .block_rows = GS_TRELLIS_ROWS, .block_cols = GS_TRELLIS_COLS, .takes_table = true,     \
        .data = &window_##bits,                                                                \
        .create = trellis_create,                                                              \
        .quantize = trellis_quantize,                                                          \
        .decode = trellis_decode,                                                              \
        .pack = trellis_pack,                                                                  \
        .unpack = trellis_unpack,                                                              \
    };

TRELLIS(8)
TRELLIS(12)
TRELLIS(16)
