/* SPDX-License-Identifier: MIT
 * gosset.h: how fast memory is read, and weights are read and multiplied.
 *
 * In cache: one thread multiplies a matrix that fits the second-level cache with one vector,
 * again and again; the best pass counts, so that other programs' work is not measured. From
 * memory: all threads walk through a buffer far larger than any cache, sharing its block rows;
 * the median pass counts, to be compared with plain reading of the same buffer.
 *
 * Weights are random bytes: any bytes are valid codes, and no kernel's time depends on them. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/err.h"
#include "core/rng.h"
#include "core/team.h"
#include "grid/grid.h"
#include "kernels/kernels.h"

enum { COLS = 2048, CACHE_ROWS = 256, PASSES_MAX = 4096, PASSES_MEMORY = 9 };

#define MEMORY_DEFAULT ((uint64_t)256 << 20)
#define SECONDS_DEFAULT 0.1

struct bench {
    const struct gs_bench_options *options;
    struct gs_team *team;
    uint8_t *memory;
    uint64_t bytes;
    double seconds;
    struct gs_kernels level;
    struct gs_int8 x;
    const struct gs_codec *codec; /* of a grid, or */
    enum gs_type type;            /* a stored type, or F32 for plain bytes */
    size_t row_bytes;             /* of 16 rows of COLS weights */
    const uint8_t *rows;          /* what a pass reads */
    uint64_t sink;                /* so that nothing is optimised away */
};

static void bench_destroy(struct bench *b)
{
    gs_free(&b->memory);
    gs_free(&b->x.q);
    gs_free(&b->x.low);
    gs_free(&b->x.lanes);
    gs_free(&b->x.scale);
    gs_free(&b->x.group);
    gs_free(&b->x.sum);
    gs_team_destroy(&b->team);
}

static void fill(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    struct bench *b = ctx;
    struct gs_rng rng;

    for (size_t i = begin; i < end; i++) {
        gs_rng_init(&rng, 1, i);
        for (size_t j = 0; j < 4096; j += 8) {
            uint64_t v = gs_rng_u64(&rng);
            for (size_t k = 0; k < 8; k++)
                b->memory[i * 4096 + j + k] = (uint8_t)GS_MAX(v >> 8 * k & 255, 1u);
        }
    }
}

static int bench_create(struct bench *b, const struct gs_bench_options *o, struct gs_err *err)
{
    float x[COLS];
    struct gs_rng rng;
    int rc;

    b->options = o;
    b->bytes = (o->bytes ? GS_MIN(o->bytes, UINT64_C(1) << 40) : MEMORY_DEFAULT) / 4096 * 4096;
    b->bytes = GS_MAX(b->bytes, UINT64_C(1) << 20);
    b->seconds = o->seconds > 0 ? o->seconds : SECONDS_DEFAULT;
    b->x.blocks = COLS / GS_INT8_BLOCK;
    b->x.stride = COLS;
    if ((rc = gs_team_create(o->threads, &b->team, err)))
        return rc;
    b->memory = gs_alloc(b->bytes, 1);
    b->x.q = gs_alloc(COLS, 1);
    b->x.low = gs_alloc(COLS, 1);
    b->x.lanes = gs_alloc(2 * COLS, 1);
    b->x.scale = gs_alloc(b->x.blocks, sizeof *b->x.scale);
    b->x.group = gs_alloc(b->x.blocks, GS_INT8_GROUPS * sizeof *b->x.group);
    b->x.sum = gs_alloc(b->x.blocks, sizeof *b->x.sum);
    if (!b->memory || !b->x.q || !b->x.low || !b->x.lanes || !b->x.scale || !b->x.group ||
        !b->x.sum)
        return gs_fail_nomem(err, "a measurement");
    gs_team_run(b->team, b->bytes / 4096, 64, fill, b);
    gs_rng_init(&rng, 2, 0);
    for (size_t i = 0; i < COLS; i++)
        x[i] = (float)gs_rng_normal(&rng);
    gs_kernels()->int8_quantize(x, COLS, &b->x);
    return GS_OK;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The median time of a pass over `n` items by the whole team. */
static double median_pass(struct bench *b, size_t n, size_t grain, gs_team_fn fn)
{
    double times[PASSES_MEMORY];

    for (size_t i = 0; i < PASSES_MEMORY; i++) {
        double start = gs_seconds();
        gs_team_run(b->team, n, grain, fn, b);
        times[i] = gs_seconds() - start;
    }
    qsort(times, PASSES_MEMORY, sizeof *times, ascending);
    return times[PASSES_MEMORY / 2];
}

/* ---- reading ------------------------------------------------------------------------------- */

static void read_pages(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    struct bench *b = ctx;
    const uint64_t *p = (const void *)(b->memory + begin * 4096);
    uint64_t lane[16] = {0};

    for (size_t n = (end - begin) * 512; n > 0; n -= 16, p += 16)
        for (size_t j = 0; j < 16; j++)
            lane[j] |= p[j];
    for (size_t j = 0; j < 16; j++)
        if (!lane[j]) /* never: every byte is at least 1 */
            b->sink++;
}

static double stream(struct bench *b)
{
    return (double)b->bytes / median_pass(b, b->bytes / 4096, 256, read_pages);
}

int gs_bench_stream(const struct gs_bench_options *options, double *bytes_per_second,
                    struct gs_err *err)
{
    struct bench b = {0};
    int rc = bench_create(&b, options, err);

    if (!rc)
        *bytes_per_second = stream(&b);
    bench_destroy(&b);
    return rc;
}

/* ---- multiplying --------------------------------------------------------------------------- */

static void multiply_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    struct bench *b = ctx;
    float y[16];

    for (size_t i = begin; i < end; i++) {
        const uint8_t *w = b->rows + i * b->row_bytes;
        if (b->codec) {
            b->level.trellis_dot(b->codec->trellis, w, COLS / GS_TRELLIS_COLS, &b->x, y);
        } else if (b->type != GS_TYPE_F32) {
            b->level.codes_dot[b->type](w, b->row_bytes / 16, 16, COLS, &b->x, y);
        } else {
            for (size_t r = 0; r < 16; r++)
                y[r] = 0;
            b->level.tile_mul(w, COLS / GS_TRELLIS_COLS, 16, &b->x, 1, y, 16);
        }
        if (y[0] == 1e-30f) /* never */
            b->sink++;
    }
}

/* Seconds of the best pass over a matrix in cache. */
static double best_pass(struct bench *b)
{
    double best = 1e9, end = gs_seconds() + b->seconds;

    for (int i = 0; i < PASSES_MAX && (i < 16 || gs_seconds() < end); i++) {
        double start = gs_seconds();
        multiply_rows(b, 0, CACHE_ROWS / 16, 0);
        best = GS_MIN(best, gs_seconds() - start);
    }
    return best;
}

static void measure(struct bench *b, struct gs_kernel_speed *out)
{
    size_t blocks = (size_t)(b->bytes / b->row_bytes);

    b->rows = b->memory;
    out->bits = (double)b->row_bytes * 8 / (16 * COLS);
    out->cache_weights = CACHE_ROWS * (double)COLS / best_pass(b);
    out->memory_bytes = (double)(blocks * b->row_bytes) /
                        median_pass(b, blocks, GS_MAX((256 << 10) / b->row_bytes, 1u),
                                    multiply_rows);
    out->stream_bytes = stream(b);
}

/* Has level `index` another function in that slot than the level below? */
static bool is_new(size_t index, size_t slot)
{
    struct gs_kernels at, below;

    return index > 0 && gs_kernels_resolve(index, &at) && gs_kernels_resolve(index - 1, &below) &&
           memcmp((char *)&at + slot, (char *)&below + slot, sizeof at.trellis_dot);
}

/* One format at each level that has a kernel of its own for it, up to the selected one. */
static int bench_levels(struct bench *b, const char *format, size_t slot, gs_kernel_speed_fn fn,
                        void *ctx, struct gs_err *err)
{
    for (size_t i = 0; gs_kernels_level(i); i++) {
        struct gs_kernel_speed speed = {.format = format, .level = gs_kernels_level(i)->name};
        if (is_new(i, slot)) {
            gs_kernels_resolve(i, &b->level);
            measure(b, &speed);
            if (fn(ctx, &speed))
                return gs_fail(err, GS_E_STOPPED, "stopped");
        }
        if (gs_kernels_level(i)->name == gs_kernels()->name)
            break;
    }
    return GS_OK;
}

static bool wanted(const struct gs_bench_options *o, const char *format)
{
    return !o->format || !strcmp(o->format, format);
}

static int bench_grid(struct bench *b, const struct gs_grid *grid, gs_kernel_speed_fn fn,
                      void *ctx, struct gs_err *err)
{
    const struct gs_bench_options *o = b->options;
    unsigned step = o->all_rates ? grid->rate_step : 8;
    int rc = GS_OK;

    for (unsigned rate = grid->rate_min; !rc && rate <= grid->rate_max; rate += step) {
        struct gs_grid_params params = {.rate = rate};
        struct gs_codec *codec;
        if ((rc = gs_codec_create(grid, &params, &codec, err)))
            break;
        b->codec = codec;
        b->row_bytes = COLS / GS_TRELLIS_COLS * codec->block_bytes;
        if (codec->trellis)
            rc = bench_levels(b, grid->name, offsetof(struct gs_kernels, trellis_dot), fn, ctx,
                              err);
        gs_codec_destroy(&codec);
        b->codec = NULL;
    }
    return rc;
}

/* Every stored type with a product in integers. */
static int bench_stored(struct bench *b, size_t *found, gs_kernel_speed_fn fn, void *ctx,
                        struct gs_err *err)
{
    int rc = GS_OK;

    for (int t = 0; !rc && t < GS_TYPE_COUNT; t++) {
        const struct gs_type_info *info = gs_type_info((uint32_t)t);
        if (!info || !gs_kernels()->unpack[t] || !wanted(b->options, info->name))
            continue;
        ++*found;
        b->type = (enum gs_type)t;
        b->row_bytes = 16 * COLS / info->block * info->bytes;
        rc = bench_levels(b, info->name, offsetof(struct gs_kernels, codes_dot) +
                          (size_t)t * sizeof(gs_codes_dot_fn), fn, ctx, err);
    }
    b->type = GS_TYPE_F32;
    return rc;
}

int gs_bench_kernels(const struct gs_bench_options *options, gs_kernel_speed_fn fn, void *ctx,
                     struct gs_err *err)
{
    struct bench b = {0};
    const struct gs_grid *grid;
    size_t found = 0;
    int rc = bench_create(&b, options, err);

    if (!rc && wanted(options, "int8")) {
        found++;
        b.row_bytes = 16 * COLS;
        rc = bench_levels(&b, "int8", offsetof(struct gs_kernels, tile_mul), fn, ctx, err);
    }
    for (size_t i = 0; !rc && (grid = gs_grid_at(i)); i++)
        if (!strncmp(grid->name, "trellis", 7) && wanted(options, grid->name)) {
            found++;
            rc = bench_grid(&b, grid, fn, ctx, err);
        }
    if (!rc)
        rc = bench_stored(&b, &found, fn, ctx, err);
    if (!rc && !found)
        rc = gs_fail(err, GS_E_ARG, "format %s: no kernels of their own", options->format);
    bench_destroy(&b);
    return rc;
}
