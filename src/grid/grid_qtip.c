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
 * 1.24. Errors were measured on 2^18 Gaussian weights.
 *
 * The search is the kernels' (table_viterbi.h), which takes at most 1024 different values: those
 * of 1MAD and 3INST in 512 steps of equal width, each standing for the mean of its values; HYB's
 * 512 pairs with both signs. This, 16 bits and a shorter first pass cost 0.1 to 0.3 % of error
 * against Viterbi's algorithm in floating point (full_viterbi.c), which is there to ask for. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/half.h"
#include "grid/full_viterbi.h"
#include "grid/hyb_table.h"
#include "grid/members.h"
#include "kernels/kernels.h"

enum {
    ROWS = 16, COLS = 16, WINDOW = GS_FULL_WINDOW, STATES = 1 << WINDOW,
    TILE = GS_TABLE_TILE,
    INTERVALS = 512 /* of one value */
};

/* What a member adds to the list's entry. */
struct code {
    unsigned each;
    float unit;                              /* of gs_codec */
    void (*values)(unsigned state, float *v);
    unsigned (*level)(unsigned state);       /* NULL: by the value */
    double mse[4];                           /* k = 1 … 4 */
};

struct qtip_codec {
    struct gs_codec base;
    bool full;
    struct gs_full_trellis trellis;          /* exact values */
    uint16_t *level;                         /* of `table`: (2^16) */
    int16_t *level_value;                    /* and (each, levels) */
    struct gs_table_trellis table;           /* what the kernels search */
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

static unsigned hyb_level(unsigned state)
{
    uint32_t h = state * state + state;

    return h >> (15 - GS_HYB_BITS) & ((2 << GS_HYB_BITS) - 1);
}

/* ---- the grid ----------------------------------------------------------------------------- */

static void qtip_destroy(struct gs_codec *codec)
{
    struct qtip_codec *c = (struct qtip_codec *)codec;

    gs_free(&c->trellis.value);
    gs_free(&c->level);
    gs_free(&c->level_value);
    gs_free(&c->table.visit);
}

/* The levels of states; returns their number. */
static unsigned find_levels(const struct code *code, const float *value, uint16_t *level)
{
    float low = value[0], high = value[0];

    if (code->level) {
        for (unsigned s = 0; s < STATES; s++)
            level[s] = (uint16_t)code->level(s);
        return 2 << GS_HYB_BITS;
    }
    for (unsigned s = 1; s < STATES; s++) {
        low = GS_MIN(low, value[s]);
        high = GS_MAX(high, value[s]);
    }
    float scale = (float)(INTERVALS - 1) / (high - low);
    for (unsigned s = 0; s < STATES; s++)
        level[s] = (uint16_t)((value[s] - low) * scale + 0.5f);
    return INTERVALS;
}

/* What levels stand for (each, levels): the means of the values of their states. */
static void find_level_values(const struct qtip_codec *c, unsigned levels, int16_t *out)
{
    for (unsigned v = 0; v < c->trellis.each; v++) {
        double sum[GS_TABLE_LEVELS_MAX] = {0};
        unsigned count[GS_TABLE_LEVELS_MAX] = {0};
        for (unsigned s = 0; s < STATES; s++) {
            sum[c->level[s]] += (double)c->trellis.value[v * STATES + s];
            count[c->level[s]]++;
        }
        for (unsigned u = 0; u < levels; u++)
            out[v * levels + u] =
                (int16_t)lrint(GS_TABLE_UNIT * sum[u] / GS_MAX(count[u], 1u));
    }
}

/* The kernels' view of the code. Steps of more than 4 bits are taken in two. */
static int make_table(struct qtip_codec *c, const struct code *code, unsigned bits,
                      struct gs_err *err)
{
    unsigned step = code->each * bits, halves = step > GS_TABLE_STEP_MAX ? 2 : 1;
    struct gs_table_trellis *t = &c->table;

    *t = (struct gs_table_trellis){.window = WINDOW, .each = (uint8_t)code->each,
                                   .step = (uint8_t)(step / halves), .halves = (uint8_t)halves,
                                   .gain = (uint8_t)(bits - 1)};
    c->level = gs_alloc(STATES, sizeof *c->level);
    c->level_value = gs_alloc((size_t)code->each * GS_TABLE_LEVELS_MAX, sizeof *c->level_value);
    t->visit = gs_alloc((size_t)STATES * gs_table_fused(t), sizeof *t->visit);
    if (!c->level || !c->level_value || !t->visit)
        return gs_fail_nomem(err, "grid codec");
    t->levels = (uint16_t)find_levels(code, c->trellis.value, c->level);
    find_level_values(c, t->levels, c->level_value);
    t->level = c->level;
    t->value = c->level_value;
    gs_table_trellis_prepare(t);
    return GS_OK;
}

/* Scratch of quantize: targets, states, then the search's. */
struct scratch {
    float target[GS_TABLE_BATCH][TILE];
    uint16_t states[GS_TABLE_BATCH * TILE]; /* (tiles, symbols) */
    GS_ALIGNED(64) uint8_t search[];
};

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
        float v[GS_FULL_EACH_MAX];
        code->values(s, v);
        for (unsigned i = 0; i < code->each; i++)
            value[i * STATES + s] = v[i];
    }
    codec->full = params->full;
    codec->trellis = (struct gs_full_trellis){.each = code->each, .step = code->each * bits,
                                              .value = value};
    codec->base.grid = grid;
    codec->base.rate = params->rate;
    codec->base.block_bytes = (size_t)TILE * bits / 8;
    codec->base.symbols = TILE / code->each;
    codec->base.grain_rows = codec->full ? ROWS : ROWS * GS_TABLE_BATCH;
    codec->base.unit = code->unit;
    codec->base.gaussian_mse = code->mse[bits - 1];
    struct gs_codec *made = &codec->base;
    int rc = make_table(codec, code, bits, err);
    if (rc) {
        gs_codec_destroy(&made);
        return rc;
    }
    made->work_bytes = sizeof(struct scratch) +
                       (codec->full ? gs_full_viterbi_work_bytes(&codec->trellis)
                                    : gs_table_viterbi_work_bytes(&codec->table));
    *out = made;
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
    return (t * c->trellis.step + WINDOW - c->trellis.step) %
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
                                   WINDOW);
        for (unsigned v = 0; v < each; v++) {
            unsigned i = t * each + v;
            y[i / COLS * y_stride + i % COLS] = c->trellis.value[v * STATES + state];
        }
    }
}

/* The states of n tiles. */
static void find_states(const struct qtip_codec *c, struct scratch *s, size_t n)
{
    if (!c->full) {
        gs_kernels()->table_viterbi(&c->table, s->target[0], n, s->states, s->search);
        return;
    }
    for (size_t k = 0; k < n; k++)
        gs_full_viterbi(&c->trellis, s->target[k], s->states + k * c->base.symbols,
                        s->search);
}

static void qtip_quantize(const struct gs_codec *codec, const float *x, size_t x_stride,
                          size_t rows, size_t cols, uint8_t *codes, size_t codes_stride,
                          float *y, size_t y_stride, void *work)
{
    const struct qtip_codec *c = codec_of(codec);
    size_t across = cols / COLS, tiles = rows / ROWS * across;
    struct scratch *s = work;
    uint32_t symbols[TILE];

    for (size_t first = 0; first < tiles; first += GS_TABLE_BATCH) {
        size_t n = GS_MIN((size_t)GS_TABLE_BATCH, tiles - first);
        for (size_t k = 0; k < n; k++) {
            size_t row = (first + k) / across * ROWS, col = (first + k) % across * COLS;
            for (unsigned i = 0; i < TILE; i++) {
                float v = x[(row + i / COLS) * x_stride + col + i % COLS];
                /* Squares of more would drown the differences that choose. */
                s->target[k][i] = GS_MIN(GS_MAX(v, -16.0f), 16.0f);
            }
        }
        find_states(c, s, n);
        for (size_t k = 0; k < n; k++) {
            size_t r = (first + k) / across, col = (first + k) % across;
            uint8_t *tile = codes + r * codes_stride + col * codec->block_bytes;
            for (unsigned t = 0; t < codec->symbols; t++)
                symbols[t] = s->states[k * codec->symbols + t] &
                             ((1u << c->trellis.step) - 1);
            qtip_pack(codec, symbols, tile);
            if (y)
                decode_tile(c, tile, y + r * ROWS * y_stride + col * COLS, y_stride);
        }
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

QTIP(1mad, "qtip-1mad", 1, MAD_UNIT, mad_values, NULL, {0.2740, 0.0689, 0.0178, 0.0048})
QTIP(3inst, "qtip-3inst", 1, 0, inst_values, NULL, {0.274, 0.0688, 0.0178, 0.0048})
QTIP(hyb, "qtip-hyb", 2, 0, hyb_values, hyb_level, {0.2720, 0.0710, 0.0204, 0.0080})
