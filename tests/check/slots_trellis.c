/* SPDX-License-Identifier: MIT
 * The trellis kernels: a code for every size, any bytes as tiles, any floats as targets; and
 * the kernels of 8-bit products. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check/check.h"

/* Sizes of 256 and more are weights; below, tiles come from the remainder. */
static size_t tiles_of(const struct job *job)
{
    return job->n >= 256 ? job->n / 256 : job->n % 7;
}

/* Random maps and tables; the rate runs through all, the window is 8 for n = 2048. */
static const struct gs_trellis *code_of(const struct job *job, unsigned window_max)
{
    static const uint8_t windows[] = {8, 12, 16};
    static struct gs_trellis t;
    struct gs_rng rng;

    gs_rng_init(&rng, job->n, 0);
    memset(&t, 0, sizeof t);
    t.window = windows[(job->n + 1) % 3];
    if (t.window > window_max)
        t.window = 8;
    t.rate = (uint8_t)(GS_TRELLIS_RATE_MIN + 4 * job->n % 33);
    t.index_bits = (uint8_t)(5 + job->n / 2 % 3);
    if (job->variant) { /* whole bits a weight, as kernels have code of their own for */
        t.rate = (uint8_t)(8 * (1 + job->n % 5));
        t.index_bits = t.rate > 24 ? 7 : 6;
    }
    for (unsigned i = 0; i < t.window; i++)
        t.column[i] = (uint8_t)gs_rng_below(&rng, UINT64_C(1) << t.index_bits);
    for (unsigned i = 0; i < 1u << (t.index_bits - 1); i++)
        t.magnitude[i] = (int8_t)((int)gs_rng_below(&rng, 255) - 127);
    for (unsigned i = 0; job->variant && i < GS_COUNT(t.magnitude); i++)
        t.magnitude[i] = (int8_t)abs(t.magnitude[i]);
    gs_trellis_prepare(&t);
    return &t;
}

void shape_trellis_decode(struct job *job)
{
    job->w_bytes = tiles_of(job) * gs_trellis_tile_bytes(code_of(job, 16));
    job->out_bytes = tiles_of(job) * GS_TRELLIS_TILE;
}

void call_trellis_decode(const struct gs_kernels *k, struct job *job)
{
    k->trellis_decode(code_of(job, 16), job->w, tiles_of(job), job->out);
}

/* Activations for a call: bytes from the job's floats, never −128, with the sums that are
 * promised; scales from the floats behind them. */
static struct gs_int8 activations(const struct job *job, size_t n, size_t T)
{
    static int32_t sum[1 << 14];
    static int8_t low[1 << 19], lanes[1 << 20];
    struct gs_int8 x = {.stride = (n + 3) / 4 * 4, .blocks = gs_int8_blocks(n), .sum = sum};

    x.q = gs_unconst(job->x);
    x.low = low;
    x.scale = (float *)gs_unconst(job->x) + T * x.stride / sizeof(float);
    x.group = x.scale + T * x.blocks;
    memset(sum, 0, T * x.blocks * sizeof *sum);
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < n; i++) {
            int8_t *q = &x.q[t * x.stride + i];
            *q = GS_MAX(*q, -127);
            low[t * x.stride + i] = (int8_t)(*q * (i % 2 ? -1 : 1)); /* any, but never −128 */
            sum[t * x.blocks + i / GS_INT8_BLOCK] += *q;
        }
    x.lanes = lanes;
    for (size_t t = 0; t < T; t++) {
        struct gs_int8 v = gs_int8_at(&x, t, 0);
        gs_int8_put_lanes(&v, n);
    }
    return x;
}

static size_t activation_floats(size_t n, size_t T)
{
    return T * ((n + 3) / 4 + (1 + GS_INT8_GROUPS) * gs_int8_blocks(n));
}

void shape_trellis_dot(struct job *job)
{
    shape_trellis_decode(job);
    job->x_count = activation_floats(tiles_of(job) * GS_TRELLIS_COLS, 1);
    job->out_bytes = 16 * sizeof(float);
}

void call_trellis_dot(const struct gs_kernels *k, struct job *job)
{
    struct gs_int8 x = activations(job, tiles_of(job) * GS_TRELLIS_COLS, 1);

    k->trellis_dot(code_of(job, 16), job->w, tiles_of(job), &x, job->out);
}

/* Rows of any number; large matrices are cut to fit the fences. */
static size_t mul_tiles(const struct job *job)
{
    return GS_MIN(job->n / GS_TRELLIS_COLS, 1800 / job->rows);
}

static size_t mul_rows(const struct job *job)
{
    return job->rows * 16 - job->n % 16;
}

void shape_tile_mul(struct job *job)
{
    size_t tiles = mul_tiles(job);

    job->w_bytes = job->rows * tiles * GS_TRELLIS_TILE;
    job->x_count = activation_floats(tiles * GS_TRELLIS_COLS, job->cols);
    job->y_stride = mul_rows(job) + (job->variant ? 5 : 0);
    job->out_bytes = ((job->cols - 1) * job->y_stride + mul_rows(job)) * sizeof(float);
}

void call_tile_mul(const struct gs_kernels *k, struct job *job)
{
    size_t tiles = mul_tiles(job);
    struct gs_int8 x = activations(job, tiles * GS_TRELLIS_COLS, job->cols);
    uint8_t *w = gs_unconst(job->w);

    for (size_t i = 0; i < job->w_bytes; i++)
        w[i] = GS_MAX(w[i], 1); /* 0 would stand for −128 */
    k->tile_mul(w, tiles, mul_rows(job), &x, job->cols, job->out, job->y_stride);
}

/* A vector, its scales, groups, sums and lanes as one array. */
void shape_int8_quantize(struct job *job)
{
    job->x_count = job->n;
    job->out_bytes =
        (2 * ((job->n + 3) / 4) + (2 + GS_INT8_GROUPS) * gs_int8_blocks(job->n)) *
            sizeof(float) +
        gs_int8_lanes(gs_int8_blocks(job->n));
}

void call_int8_quantize(const struct gs_kernels *k, struct job *job)
{
    float *low = (float *)job->out + (job->n + 3) / 4, *scale = low + (job->n + 3) / 4;
    size_t blocks = gs_int8_blocks(job->n);
    struct gs_int8 out = {.q = job->out, .low = job->variant ? (int8_t *)low : NULL,
                          .scale = scale, .group = scale + blocks,
                          .sum = (int32_t *)(void *)(scale + (1 + GS_INT8_GROUPS) * blocks),
                          .lanes = (int8_t *)(scale + (2 + GS_INT8_GROUPS) * blocks)};

    k->int8_quantize(job->x, job->n, &out);
}

/* ---- codes --------------------------------------------------------------------------- */

/* d, m, u as one array. */
void shape_unpack(struct job *job)
{
    const struct gs_type_info *info = gs_type_info(job->type);

    job->w_bytes = job->n / info->block * info->bytes;
    job->out_bytes = job->n / GS_INT8_GROUP * 2 * sizeof(float) + job->n;
}

void call_unpack(const struct gs_kernels *k, struct job *job)
{
    float *d = job->out, *m = d + job->n / GS_INT8_GROUP;

    k->unpack[job->type](job->w, job->n, (uint8_t *)(m + job->n / GS_INT8_GROUP), d, m);
}

/* Five rows, or one. */
static size_t dot_rows(const struct job *job)
{
    return job->n % 512 ? 5 : 1;
}

void shape_codes_dot(struct job *job)
{
    shape_unpack(job);
    job->w_bytes *= dot_rows(job);
    job->x_count = activation_floats(job->n, 1);
    job->out_bytes = dot_rows(job) * sizeof(float);
}

void call_codes_dot(const struct gs_kernels *k, struct job *job)
{
    struct gs_int8 x = activations(job, job->n, 1);
    size_t rows = dot_rows(job);

    k->codes_dot[job->type](job->w, job->w_bytes / rows, rows, job->n, &x, job->out);
}

static size_t codes_rows(const struct job *job)
{
    return job->rows * GS_CODES_ROWS - job->n % 16;
}

static size_t codes_groups(const struct job *job)
{
    return GS_MIN(job->n / GS_INT8_GROUP, 1200 / job->rows);
}

void shape_codes_mul(struct job *job)
{
    job->w_bytes = job->rows * codes_groups(job) * GS_CODES_RECORD;
    job->x_count = activation_floats(codes_groups(job) * GS_INT8_GROUP, job->cols);
    job->y_stride = codes_rows(job) + (job->variant ? 3 : 0);
    job->out_bytes = ((job->cols - 1) * job->y_stride + codes_rows(job)) * sizeof(float);
}

/* Codes up to 31, 127 or 255, by the number of columns. */
void call_codes_mul(const struct gs_kernels *k, struct job *job)
{
    static const unsigned tops[] = {31, 127, 255};
    struct gs_int8 x = activations(job, codes_groups(job) * GS_INT8_GROUP, job->cols);
    unsigned top = tops[job->cols % 3];
    uint8_t *w = gs_unconst(job->w);

    for (size_t i = 0; i < job->w_bytes; i++)
        if (i % GS_CODES_RECORD < GS_CODES_SCALES)
            w[i] &= (uint8_t)top;
    k->codes_mul(w, codes_groups(job), codes_rows(job), top, &x, job->cols, job->out,
                 job->y_stride);
}

/* The definition takes a tenth of a second for a tile of the longest window: one size only. */
static unsigned viterbi_window(const struct job *job)
{
    return job->n == 1000 ? 16 : 12;
}

static size_t viterbi_tiles(const struct job *job)
{
    unsigned window = code_of(job, viterbi_window(job))->window;

    return window == 8 ? tiles_of(job) : GS_MIN(tiles_of(job), window == 12 ? 2 : 1);
}

void shape_viterbi(struct job *job)
{
    job->x_count = viterbi_tiles(job) * GS_TRELLIS_TILE;
    job->out_bytes =
        viterbi_tiles(job) * gs_trellis_tile_bytes(code_of(job, viterbi_window(job)));
}

void call_viterbi(const struct gs_kernels *k, struct job *job)
{
    static GS_ALIGNED(64) uint8_t work[36 << 20];
    const struct gs_trellis *t = code_of(job, viterbi_window(job));

    k->viterbi(t, job->x, viterbi_tiles(job), job->out, gs_trellis_tile_bytes(t), work);
}

/* Tables of random levels and values: every step, with and without halves, windows of 8 to 12
 * bits, and one of 14. */
static const struct gs_table_trellis *table_of(const struct job *job)
{
    static uint16_t level[1 << GS_TABLE_WINDOW_MAX], visit[4 << GS_TABLE_WINDOW_MAX];
    static int16_t value[GS_TABLE_EACH_MAX * GS_TABLE_LEVELS_MAX];
    static struct gs_table_trellis t;
    struct gs_rng rng;

    gs_rng_init(&rng, job->n, 1);
    t = (struct gs_table_trellis){
        .window = (uint8_t)(job->n == 1000 ? 14 : 8 + job->n % 5),
        .step = (uint8_t)(1 + job->n / 2 % 4),
        .halves = (uint8_t)(job->n == 1000 ? 1 : 1 + job->n / 3 % 2),
        .each = (uint8_t)(1 + job->n / 5 % 2),
        .gain = (uint8_t)(job->n % 5),
        .levels = (uint16_t)(job->n == 1000 ? GS_TABLE_LEVELS_MAX : 1 + 7 * job->n % 300),
        .level = level, .value = value, .visit = visit,
    };
    for (unsigned s = 0; s < 1u << t.window; s++)
        level[s] = (uint16_t)gs_rng_below(&rng, t.levels);
    for (unsigned i = 0; i < (unsigned)t.each * t.levels; i++)
        value[i] = (int16_t)((int)gs_rng_below(&rng, 30000) - 15000);
    gs_table_trellis_prepare(&t);
    return &t;
}

static size_t table_tiles(const struct job *job)
{
    return job->n == 1000 ? 1 : GS_MIN(job->n % 21, 19);
}

void shape_table_viterbi(struct job *job)
{
    const struct gs_table_trellis *t = table_of(job);

    job->x_count = table_tiles(job) * GS_TABLE_TILE;
    job->out_bytes = table_tiles(job) * (GS_TABLE_TILE / t->each) * sizeof(uint16_t);
}

/* States go by way of an array that is aligned for them. */
void call_table_viterbi(const struct gs_kernels *k, struct job *job)
{
    static GS_ALIGNED(64) uint8_t work[24 << 20];
    static uint16_t states[20 * GS_TABLE_TILE];

    assert(gs_table_viterbi_work_bytes(table_of(job)) <= sizeof work);
    memset(states, 0xa5, sizeof states);
    k->table_viterbi(table_of(job), job->x, table_tiles(job), states, work);
    memcpy(job->out, states, job->out_bytes);
}
