/* SPDX-License-Identifier: MIT
 * The uniform grid: 2^b values at equal distances, symmetric about zero (mid-rise).
 *
 *     value = (2·code − 2^b + 1) · step/2,   code = 0 … 2^b − 1,   b = 1 … 8
 *
 * with the step that has the least mean squared error on a unit Gaussian (Max, "Quantizing
 * for minimum distortion", IRE Trans. Inf. Theory 6, 1960). Block: 8 weights of one row in b
 * bytes; code i lies at bits [i·b, (i+1)·b), lowest bit of the lowest byte first. */
#include "grid/members.h"

#include <math.h>

#include "core/alloc.h"

/* Best step and its error for b = 1 … 8, by ternary search over the closed form. */
static const struct { float step; double mse; } uniform_steps[] = {
    {1.59576913f, 0.36338023}, {0.99568669f, 0.11884605}, {0.58601944f, 0.03743966},
    {0.33520061f, 0.01154288}, {0.18813880f, 0.00349521}, {0.10406300f, 0.00104005},
    {0.05686767f, 0.00030433}, {0.03076239f, 0.00008769},
};

static unsigned code_bits(const struct gs_codec *codec)
{
    return codec->rate / 8;
}

static int uniform_create(const struct gs_grid *grid, const struct gs_grid_params *params,
                          struct gs_codec **out, struct gs_err *err)
{
    if (params->table)
        return gs_fail(err, GS_E_ARG, "grid %s: takes no table of its own", grid->name);

    struct gs_codec *codec = gs_alloc(1, sizeof *codec);
    if (!codec)
        return gs_fail_nomem(err, "grid codec");
    codec->grid = grid;
    codec->rate = params->rate;
    codec->block_bytes = params->rate / 8;
    codec->symbols = grid->block_cols;
    codec->grain_rows = 64;
    codec->unit = uniform_steps[params->rate / 8 - 1].step / 2;
    codec->gaussian_mse = uniform_steps[params->rate / 8 - 1].mse;
    *out = codec;
    return GS_OK;
}

static uint32_t nearest(const struct gs_codec *codec, float x)
{
    int n = 1 << code_bits(codec);
    float code = floorf(x / (2 * codec->unit)) + (float)(n / 2);

    return code <= 0 ? 0 : code >= (float)(n - 1) ? (uint32_t)(n - 1) : (uint32_t)code;
}

static float value(const struct gs_codec *codec, uint32_t code)
{
    return (float)(2 * (int)code - (1 << code_bits(codec)) + 1) * codec->unit;
}

static void uniform_pack(const struct gs_codec *codec, const uint32_t *symbols, uint8_t *block)
{
    unsigned b = code_bits(codec);
    uint64_t bits = 0;

    for (unsigned i = 0; i < 8; i++)
        bits |= (symbols[i] & ((UINT64_C(1) << b) - 1)) << (i * b);
    for (unsigned i = 0; i < b; i++)
        block[i] = (uint8_t)(bits >> (8 * i));
}

static void uniform_unpack(const struct gs_codec *codec, const uint8_t *block,
                           uint32_t *symbols)
{
    unsigned b = code_bits(codec);
    uint64_t bits = 0;

    for (unsigned i = 0; i < b; i++)
        bits |= (uint64_t)block[i] << (8 * i);
    for (unsigned i = 0; i < 8; i++)
        symbols[i] = (uint32_t)(bits >> (i * b)) & ((1u << b) - 1);
}

static void uniform_quantize(const struct gs_codec *codec, const float *x, size_t x_stride,
                             size_t rows, size_t cols, uint8_t *codes, size_t codes_stride,
                             float *y, size_t y_stride, void *work)
{
    uint32_t symbols[8];

    (void)work;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c += 8) {
            for (size_t i = 0; i < 8; i++) {
                symbols[i] = nearest(codec, x[r * x_stride + c + i]);
                if (y)
                    y[r * y_stride + c + i] = value(codec, symbols[i]);
            }
            uniform_pack(codec, symbols, codes + r * codes_stride + c / 8 * codec->block_bytes);
        }
}

static void uniform_decode(const struct gs_codec *codec, const uint8_t *codes,
                           size_t codes_stride, size_t rows, size_t cols, float *y,
                           size_t y_stride)
{
    uint32_t symbols[8];

    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c += 8) {
            uniform_unpack(codec, codes + r * codes_stride + c / 8 * codec->block_bytes,
                           symbols);
            for (size_t i = 0; i < 8; i++)
                y[r * y_stride + c + i] = value(codec, symbols[i]);
        }
}

const struct gs_grid gs_grid_uniform = {
    .name = "uniform",
    .paper = "J. Max, Quantizing for minimum distortion, 1960",
    .rate_min = 8, .rate_max = 64, .rate_step = 8,
    .block_rows = 1, .block_cols = 8,
    .create = uniform_create,
    .quantize = uniform_quantize,
    .decode = uniform_decode,
    .pack = uniform_pack,
    .unpack = uniform_unpack,
};
