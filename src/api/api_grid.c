/* SPDX-License-Identifier: MIT
 * gosset.h: what a grid loses on Gaussian weights. */
#include <math.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/err.h"
#include "core/rng.h"
#include "grid/grid.h"
#include "kernels/trellis.h"

/* Weights come as matrices of this size: whole blocks of every grid, and enough block rows
 * for many threads. */
enum { ROWS = 1024, COLS = 64 };

struct bench {
    struct gs_codec *codec;
    struct gs_team *team;
    float *x, *y; /* [ROWS][COLS] */
    uint8_t *codes;
    void *work;
};

static int bench_create(struct bench *b, const char *name, double bpw, int threads,
                        struct gs_err *err)
{
    const struct gs_grid *grid = gs_grid_find(name);
    double rate = bpw * 8;
    int rc;

    if (!grid)
        return gs_fail(err, GS_E_ARG, "grid %s: no such grid", name);
    if (!(rate >= 1 && rate <= 128 && rate == floor(rate)))
        return gs_fail(err, GS_E_ARG, "grid %s: %g bits a weight: not a multiple of 1/8 in "
                       "0.125 to 16", name, bpw);
    struct gs_grid_params params = {.rate = (unsigned)rate};
    if ((rc = gs_codec_create(grid, &params, &b->codec, err)) ||
        (rc = gs_team_create(threads, &b->team, err)))
        return rc;
    b->x = gs_alloc(ROWS * COLS, sizeof *b->x);
    b->y = gs_alloc(ROWS * COLS, sizeof *b->y);
    b->codes = gs_alloc(ROWS * COLS / 8, params.rate);
    b->work = gs_alloc(1, gs_codec_work_bytes(b->codec, b->team));
    return b->x && b->y && b->codes && b->work ? GS_OK : gs_fail_nomem(err, "grid measurement");
}

static void bench_destroy(struct bench *b)
{
    gs_free(&b->x);
    gs_free(&b->y);
    gs_free(&b->codes);
    gs_free(&b->work);
    gs_codec_destroy(&b->codec);
    gs_team_destroy(&b->team);
}

/* One matrix: its squared error and the processor time of rounding it. */
static double round_matrix(const struct bench *b, uint64_t seed, uint64_t number,
                           double *seconds)
{
    const struct gs_grid *grid = b->codec->grid;
    size_t stride = COLS / grid->block_cols * b->codec->block_bytes;
    struct gs_rng rng;
    double sum = 0;

    gs_rng_init(&rng, seed, number);
    for (size_t i = 0; i < ROWS * COLS; i++)
        b->x[i] = (float)gs_rng_normal(&rng);
    double start = gs_cpu_seconds();
    gs_codec_quantize(b->codec, b->team, b->x, COLS, ROWS, COLS, b->codes, stride, NULL, COLS,
                      b->work);
    *seconds += gs_cpu_seconds() - start;
    /* What counts is what the codes say, not what the search believes. */
    gs_codec_decode(b->codec, b->codes, stride, ROWS, COLS, b->y, COLS);
    for (size_t i = 0; i < ROWS * COLS; i++) {
        double d = (double)b->x[i] - (double)b->y[i];
        sum += d * d;
    }
    return sum;
}

const char *gs_grid_name(size_t index)
{
    const struct gs_grid *grid = gs_grid_at(index);

    return grid ? grid->name : NULL;
}

int gs_grid_measure(const char *grid, double bpw, const struct gs_grid_options *options,
                    struct gs_grid_result *out, struct gs_err *err)
{
    uint64_t weights = options->weights ? options->weights : UINT64_C(1) << 20;
    uint64_t n = weights / (ROWS * COLS) + (weights % (ROWS * COLS) != 0);
    struct bench b = {0};
    double sum = 0;
    int rc;

    *out = (struct gs_grid_result){.grid = grid};
    if ((rc = bench_create(&b, grid, bpw, options->threads, err)))
        goto out;
    for (uint64_t i = 0; i < n; i++) {
        if (options->progress &&
            options->progress(options->progress_ctx, "matrices", i, n)) {
            rc = gs_fail(err, GS_E_STOPPED, "grid %s: stopped", grid);
            goto out;
        }
        sum += round_matrix(&b, options->seed, i, &out->cpu_seconds);
    }
    out->grid = b.codec->grid->name;
    out->window = b.codec->trellis ? b.codec->trellis->window : 0;
    out->weights = n * ROWS * COLS;
    out->bpw = (double)gs_codec_bits(b.codec, ROWS, COLS) / (ROWS * COLS);
    out->mse = sum / (double)out->weights;
    out->bound = pow(4, -out->bpw);
out:
    bench_destroy(&b);
    return rc;
}
