/* SPDX-License-Identifier: MIT
 * The trellis kernels: a code for every size, any bytes as tiles, any floats as targets. */
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
    for (unsigned i = 0; i < t.window; i++)
        t.column[i] = (uint8_t)gs_rng_below(&rng, UINT64_C(1) << t.index_bits);
    for (unsigned i = 0; i < 1u << (t.index_bits - 1); i++)
        t.magnitude[i] = (int8_t)((int)gs_rng_below(&rng, 255) - 127);
    gs_trellis_prepare(&t);
    return &t;
}

/* Values and activations never are −128. */
static const int8_t *signed_bytes(const void *p, size_t n)
{
    int8_t *v = gs_unconst(p);

    for (size_t i = 0; i < n; i++)
        v[i] = GS_MAX(v[i], -127);
    return v;
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

void shape_trellis_dot(struct job *job)
{
    shape_trellis_decode(job);
    job->x_count = tiles_of(job) * GS_TRELLIS_COLS / sizeof(float);
    job->out_bytes = 16 * sizeof(int32_t);
}

void call_trellis_dot(const struct gs_kernels *k, struct job *job)
{
    k->trellis_dot(code_of(job, 16), job->w, tiles_of(job),
                   signed_bytes(job->x, tiles_of(job) * GS_TRELLIS_COLS), job->out);
}

void shape_tile_dot(struct job *job)
{
    shape_trellis_dot(job);
    job->w_bytes = tiles_of(job) * GS_TRELLIS_TILE;
}

void call_tile_dot(const struct gs_kernels *k, struct job *job)
{
    k->tile_dot(signed_bytes(job->w, job->w_bytes), tiles_of(job),
                signed_bytes(job->x, tiles_of(job) * GS_TRELLIS_COLS), job->out);
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
