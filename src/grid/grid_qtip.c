/* SPDX-License-Identifier: MIT
 * The codes of QTIP (Tseng et al., arXiv:2406.11235, section 3.2) for comparison with ours:
 * trellises of 2^16 states, k = 1 … 4 bits a weight, tail-biting tiles of 16 × 16 weights.
 *
 *     ring    256 k bits, the first bit of the tile being the highest of its first byte
 *     s(t)    the 16 ring bits from bit t · V · k on, the first being the highest
 *     values  V weights a state: t · V …, which stand row by row in the tile
 *
 *     1MAD    V = 1   x = 34038481 s + 76625530 mod 2^32
 *                     value = (sum of the 4 bytes of x − 510) / 147.800537
 *     3INST   V = 1   x = 89226354 s + 64248484 mod 2^32, y = (x & 8fff8fff) ^ 3b603b60
 *                     value = f16(low half of y) + f16(high half), a sum in f16
 *     HYB     V = 2   h = s² + s; (a, b) = table[(h >> 6) & 511]; values a, and b or, where bit
 *                     15 of h is set, −b; the table: k-means of Gaussian pairs (hyb_table.c)
 *
 * Weights come with unit variance; 3INST's values, of standard deviation 1.2437, are divided by
 * 1.24. Errors were measured on 10^4 to 10^5 Gaussian weights. The search is for reference, not
 * for speed: 10 to 20 ms a tile. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/half.h"
#include "grid/hyb_table.h"
#include "grid/members.h"
#include "grid/table_viterbi.h"

enum { ROWS = 16, COLS = 16, STATES = 1 << GS_TABLE_WINDOW };

/* What a member adds to the list's entry. */
struct code {
    unsigned each;
    float unit;                              /* of gs_codec */
    void (*values)(unsigned state, float *v);
    double mse[4];                           /* k = 1 … 4 */
};

struct qtip_codec {
    struct gs_codec base;
    struct gs_table_trellis trellis;
};

static const struct qtip_codec *codec_of(const struct gs_codec *codec)
{
    return (const struct qtip_codec *)codec;
}

/* ---- the codes ---------------------------------------------------------------------------- */

#define MAD_UNIT (1 / 147.800537f)

static void mad_values(unsigned state, float *v)
{
    uint32_t x = 34038481u * state + 76625530u;
    int sum = (int)((x & 255) + (x >> 8 & 255) + (x >> 16 & 255) + (x >> 24));

    v[0] = (float)(sum - 510) * MAD_UNIT;
}

static void inst_values(unsigned state, float *v)
{
    uint32_t x = 89226354u * state + 64248484u, y = (x & 0x8fff8fffu) ^ 0x3b603b60u;
    float sum = gs_f16_to_f32((uint16_t)y) + gs_f16_to_f32((uint16_t)(y >> 16));

    v[0] = gs_f16_to_f32(gs_f32_to_f16(sum)) / 1.24f;
}

static void hyb_values(unsigned state, float *v)
{
    uint32_t h = state * state + state;
    const int8_t *pair = gs_hyb_table[h >> (15 - GS_HYB_BITS) & ((1 << GS_HYB_BITS) - 1)];

    v[0] = (float)pair[0] * gs_hyb_unit;
    v[1] = (float)(h >> 15 & 1 ? -pair[1] : pair[1]) * gs_hyb_unit;
}

/* ---- the grid ----------------------------------------------------------------------------- */

static void qtip_destroy(struct gs_codec *codec)
{
    gs_free(&((struct qtip_codec *)codec)->trellis.value);
}

static int qtip_create(const struct gs_grid *grid, const struct gs_grid_params *params,
                       struct gs_codec **out, struct gs_err *err)
{
    const struct code *code = grid->data;
    unsigned bits = params->rate / 8;

    if (params->table)
        return gs_fail(err, GS_E_ARG, "grid %s: takes no table of its own", grid->name);
    struct qtip_codec *codec = gs_alloc(1, sizeof *codec);
    float *value = gs_alloc((size_t)code->each * STATES, sizeof *value);
    if (!codec || !value) {
        gs_free(&codec);
        gs_free(&value);
        return gs_fail_nomem(err, "grid codec");
    }
    for (unsigned s = 0; s < STATES; s++) {
        float v[GS_TABLE_EACH_MAX];
        code->values(s, v);
        for (unsigned i = 0; i < code->each; i++)
            value[i * STATES + s] = v[i];
    }
    codec->trellis = (struct gs_table_trellis){.each = code->each, .step = code->each * bits,
                                               .value = value};
    codec->base.grid = grid;
    codec->base.rate = params->rate;
    codec->base.block_bytes = (size_t)GS_TABLE_TILE * bits / 8;
    codec->base.symbols = GS_TABLE_TILE / code->each;
    codec->base.grain_rows = ROWS;
    codec->base.unit = code->unit;
    codec->base.gaussian_mse = code->mse[bits - 1];
    codec->base.work_bytes = gs_table_viterbi_work_bytes(&codec->trellis);
    *out = &codec->base;
    return GS_OK;
}

/* The n ≤ 16 ring bits from `first` on, the first being the highest. */
static unsigned ring_read(const uint8_t *tile, size_t bytes, unsigned first, unsigned n)
{
    unsigned bits = 0;

    for (size_t i = 0, at = first / 8; i < 3; i++, at = at + 1 < bytes ? at + 1 : 0)
        bits = bits << 8 | tile[at];
    return (bits >> (8 - first % 8) & 0xffff) >> (16 - n);
}

/* A symbol is the new bits of a step: the lowest of its state. */
static unsigned symbol_at(const struct qtip_codec *c, unsigned t)
{
    return (t * c->trellis.step + GS_TABLE_WINDOW - c->trellis.step) %
           (8 * (unsigned)c->base.block_bytes);
}

static void qtip_pack(const struct gs_codec *codec, const uint32_t *symbols, uint8_t *block)
{
    const struct qtip_codec *c = codec_of(codec);
    unsigned step = c->trellis.step, ring = 8 * (unsigned)codec->block_bytes;

    memset(block, 0, codec->block_bytes);
    for (unsigned t = 0; t < codec->symbols; t++)
        for (unsigned i = 0; i < step; i++) {
            unsigned at = (symbol_at(c, t) + i) % ring;
            block[at / 8] |= (uint8_t)((symbols[t] >> (step - 1 - i) & 1) << (7 - at % 8));
        }
}

static void qtip_unpack(const struct gs_codec *codec, const uint8_t *block, uint32_t *symbols)
{
    const struct qtip_codec *c = codec_of(codec);

    for (unsigned t = 0; t < codec->symbols; t++)
        symbols[t] = ring_read(block, codec->block_bytes, symbol_at(c, t), c->trellis.step);
}

static void decode_tile(const struct qtip_codec *c, const uint8_t *tile, float *y,
                        size_t y_stride)
{
    unsigned each = c->trellis.each;

    for (unsigned t = 0; t < c->base.symbols; t++) {
        unsigned state = ring_read(tile, c->base.block_bytes, t * c->trellis.step,
                                   GS_TABLE_WINDOW);
        for (unsigned v = 0; v < each; v++) {
            unsigned i = t * each + v;
            y[i / COLS * y_stride + i % COLS] = c->trellis.value[v * STATES + state];
        }
    }
}

static void qtip_quantize(const struct gs_codec *codec, const float *x, size_t x_stride,
                          size_t rows, size_t cols, uint8_t *codes, size_t codes_stride,
                          float *y, size_t y_stride, void *work)
{
    const struct qtip_codec *c = codec_of(codec);
    float target[GS_TABLE_TILE];
    uint16_t states[GS_TABLE_TILE];
    uint32_t symbols[GS_TABLE_TILE];

    for (size_t r = 0; r < rows / ROWS; r++)
        for (size_t k = 0; k < cols / COLS; k++) {
            const float *from = x + r * ROWS * x_stride + k * COLS;
            uint8_t *tile = codes + r * codes_stride + k * codec->block_bytes;
            for (unsigned i = 0; i < GS_TABLE_TILE; i++) {
                float v = from[i / COLS * x_stride + i % COLS];
                /* Squares of more would drown the differences that choose. */
                target[i] = GS_MIN(GS_MAX(v, -16.0f), 16.0f);
            }
            gs_table_viterbi(&c->trellis, target, states, work);
            for (unsigned t = 0; t < codec->symbols; t++)
                symbols[t] = states[t] & ((1u << c->trellis.step) - 1);
            qtip_pack(codec, symbols, tile);
            if (y)
                decode_tile(c, tile, y + r * ROWS * y_stride + k * COLS, y_stride);
        }
}

static void qtip_decode(const struct gs_codec *codec, const uint8_t *codes,
                        size_t codes_stride, size_t rows, size_t cols, float *y,
                        size_t y_stride)
{
    for (size_t r = 0; r < rows / ROWS; r++)
        for (size_t k = 0; k < cols / COLS; k++)
            decode_tile(codec_of(codec), codes + r * codes_stride + k * codec->block_bytes,
                        y + r * ROWS * y_stride + k * COLS, y_stride);
}

#define QTIP(name_, text, ...)                                                                 \
    static const struct code code_##name_ = {__VA_ARGS__};                                     \
    const struct gs_grid gs_grid_qtip_##name_ = {                                              \
        .name = text,                                                                          \
        .paper = "Tseng et al., QTIP, arXiv:2406.11235",                                       \
        .rate_min = 8, .rate_max = 32, .rate_step = 8,                                         \
        .block_rows = ROWS, .block_cols = COLS,                                                \
        .slow = true,                                                                          \
        .data = &code_##name_,                                                                 \
        .create = qtip_create,                                                                 \
        .destroy = qtip_destroy,                                                               \
        .quantize = qtip_quantize,                                                             \
        .decode = qtip_decode,                                                                 \
        .pack = qtip_pack,                                                                     \
        .unpack = qtip_unpack,                                                                 \
    };

QTIP(1mad, "qtip-1mad", 1, MAD_UNIT, mad_values, {0.2720, 0.0690, 0.0178, 0.0048})
QTIP(3inst, "qtip-3inst", 1, 0, inst_values, {0.272, 0.0688, 0.0178, 0.0048})
QTIP(hyb, "qtip-hyb", 2, 0, hyb_values, {0.2700, 0.0711, 0.0207, 0.0080})
