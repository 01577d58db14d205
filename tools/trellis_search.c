/* SPDX-License-Identifier: MIT
 * Finds trellis codes: the linear map and the table of src/grid/trellis_table.c.
 *
 *   trellis_search WINDOW RATE [EFFORT]      prints one row of the table
 *
 * For L = WINDOW bits and B = RATE bits per 8 weights:
 *
 *   1. random L × q bit matrices, each with a few of Lloyd's rounds (Viterbi codes of unit-
 *      Gaussian weights, then every magnitude becomes the mean of the weights that chose it,
 *      in 8 bits); the best few stay,
 *   2. and are compared on more weights;
 *   3. one or two columns of the best change at random; changes that help stay;
 *   4. a long Lloyd run, and the error on fresh weights.
 *
 * All candidates of a stage see the same weights, so that differences are far less noisy than
 * errors; more weights in stages 2 and 3, because the best of many is also the luckiest.
 * Seeded by (L, B): a row comes out the same alone or with all others. Everything goes
 * through the kernels and the tail-biting tiles that also serve the user. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "kernels/kernels.h"
#include "kernels/trellis.h"

enum { TILES_MAX = 1024, KEEP_MAX = 16 };

/* How much of everything, by window. */
struct effort {
    unsigned window;
    int random, keep, change;            /* candidates of stages 1, 2, 3 */
    size_t few_tiles, more_tiles, last_tiles; /* of 256 weights: stage 1, 2 and 3, 4 */
};

static const struct effort efforts[] = {
    {8, 300, 12, 400, 32, 256, 1024},
    {12, 60, 6, 120, 16, 64, 512},
    {16, 10, 3, 24, 8, 32, 128},
};

struct candidate {
    struct gs_trellis t;
    double unit; /* worth of one magnitude step */
    double mse;
};

struct search {
    float *x, *scaled; /* [TILES_MAX · 256] targets, the same over unit */
    uint8_t *codes;
    uint8_t *labels;   /* 128 ± (low bits of each weight's index + 1) */
    void *work;
    unsigned window, rate, index_bits;
};

/* 64 values are enough up to 3 bits; above, 128 gain up to a fifth of the error. */
static unsigned choose_index_bits(unsigned rate)
{
    return rate <= 24 ? 6 : 7;
}

static double inverse_normal(double p)
{
    double lo = -8, hi = 8;

    for (int i = 0; i < 60; i++) {
        double mid = (lo + hi) / 2;
        if (erfc(-mid / sqrt(2)) / 2 < p)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static void draw(struct search *s, struct gs_rng *rng, size_t tiles)
{
    for (size_t i = 0; i < tiles * GS_TRELLIS_TILE; i++)
        s->x[i] = (float)gs_rng_normal(rng);
}

/* Magnitudes at the quantiles of a Gaussian, a little wider. */
static void start_table(const struct search *s, struct candidate *c)
{
    unsigned n = 1u << (s->index_bits - 1);
    double top = 1.1 * inverse_normal(0.5 + (n - 0.5) / (2.0 * n));

    c->unit = top / 127;
    for (unsigned i = 0; i < n; i++)
        c->t.magnitude[i] =
            (int8_t)lrint(1.1 * inverse_normal(0.5 + (i + 0.5) / (2.0 * n)) / c->unit);
}

static void start(const struct search *s, struct candidate *c)
{
    memset(c, 0, sizeof *c);
    c->t.window = (uint8_t)s->window;
    c->t.rate = (uint8_t)s->rate;
    c->t.index_bits = (uint8_t)s->index_bits;
    start_table(s, c);
}

/* Codes of the first `tiles` tiles: s->labels; the error goes to c->mse. */
static void encode(struct search *s, struct candidate *c, size_t tiles)
{
    size_t n = tiles * GS_TRELLIS_TILE;
    float inverse = (float)(1 / c->unit);
    struct gs_trellis label = c->t;
    double sum = 0;

    gs_trellis_prepare(&c->t);
    for (unsigned i = 0; i < GS_COUNT(label.magnitude); i++)
        label.magnitude[i] = (int8_t)(i + 1);
    gs_trellis_prepare(&label);
    for (size_t i = 0; i < n; i++)
        s->scaled[i] = s->x[i] * inverse;
    gs_kernels()->viterbi(&c->t, s->scaled, tiles, s->codes, gs_trellis_tile_bytes(&c->t),
                          s->work);
    gs_kernels()->trellis_decode(&label, s->codes, tiles, s->labels);
    for (size_t i = 0; i < n; i++) {
        int l = s->labels[i] - GS_TRELLIS_BIAS;
        double m = c->unit * c->t.magnitude[abs(l) - 1], d = s->x[i] - (l < 0 ? -m : m);
        sum += d * d;
    }
    c->mse = sum / (double)n;
}

/* Every magnitude becomes the mean of its weights; one that none chose goes to a random
 * place. */
static void recentre(struct search *s, struct candidate *c, size_t tiles, struct gs_rng *rng)
{
    unsigned n = 1u << (s->index_bits - 1);
    double sum[64] = {0}, count[64] = {0}, mean[64], top = 0;

    for (size_t i = 0; i < tiles * GS_TRELLIS_TILE; i++) {
        int l = s->labels[i] - GS_TRELLIS_BIAS;
        sum[abs(l) - 1] += l < 0 ? -s->x[i] : s->x[i];
        count[abs(l) - 1]++;
    }
    for (unsigned i = 0; i < n; i++) {
        mean[i] = count[i] > 3 ? sum[i] / count[i] : 2 * gs_rng_normal(rng);
        top = fmax(top, fabs(mean[i]));
    }
    c->unit = top / 127;
    for (unsigned i = 0; i < n; i++)
        c->t.magnitude[i] = (int8_t)lrint(mean[i] / c->unit);
}

/* Lloyd's rounds; gives up early on what is far behind `rival`. */
static void lloyd(struct search *s, struct candidate *c, size_t tiles, int rounds,
                  double rival, struct gs_rng *rng)
{
    for (int i = 0; i < rounds; i++) {
        encode(s, c, tiles);
        if (i > 0 && c->mse > rival * (i > 1 ? 1.02 : 1.05))
            return;
        recentre(s, c, tiles, rng);
    }
    encode(s, c, tiles);
}

static void report(const struct search *s, const char *stage, int i, const struct candidate *c)
{
    fprintf(stderr, "window %u rate %u: %s %d: %.5f\n", s->window, s->rate, stage, i, c->mse);
}

/* Stage 1: the best `keep` of random matrices, best first. */
static void explore(struct search *s, const struct effort *e, struct candidate *best,
                    struct gs_rng *rng)
{
    struct candidate c;

    draw(s, rng, e->few_tiles);
    for (int i = 0; i < e->keep; i++)
        best[i].mse = 1e9;
    for (int i = 0; i < e->random; i++) {
        start(s, &c);
        for (unsigned j = 0; j < s->window; j++)
            c.t.column[j] = (uint8_t)gs_rng_below(rng, UINT64_C(1) << s->index_bits);
        lloyd(s, &c, e->few_tiles, 5, best[e->keep - 1].mse, rng);
        int at = e->keep;
        while (at > 0 && c.mse < best[at - 1].mse)
            at--;
        if (at == e->keep)
            continue;
        memmove(best + at + 1, best + at, (size_t)(e->keep - at - 1) * sizeof *best);
        best[at] = c;
    }
    report(s, "random", e->random, &best[0]);
}

/* Stage 2: the best one to best[0]. */
static void choose(struct search *s, const struct effort *e, struct candidate *best,
                   struct gs_rng *rng)
{
    int winner = 0;

    draw(s, rng, e->more_tiles);
    for (int i = 0; i < e->keep; i++) {
        lloyd(s, &best[i], e->more_tiles, 3, 1e9, rng);
        if (best[i].mse < best[winner].mse)
            winner = i;
    }
    best[0] = best[winner];
    report(s, "chosen", winner, &best[0]);
}

/* Stage 3. A quarter of the weights is enough to refuse most changes. */
static void climb(struct search *s, const struct effort *e, struct candidate *best,
                  struct gs_rng *rng)
{
    size_t part = e->more_tiles / 4;
    struct candidate c = *best;

    encode(s, &c, part);
    double part_mse = c.mse;
    for (int i = 0; i < e->change; i++) {
        c = *best;
        for (uint64_t j = 0, n = 1 + gs_rng_below(rng, 2); j < n; j++)
            c.t.column[gs_rng_below(rng, s->window)] ^=
                (uint8_t)(1 + gs_rng_below(rng, (UINT64_C(1) << s->index_bits) - 1));
        lloyd(s, &c, part, 1, 1e9, rng);
        if (c.mse > 1.01 * part_mse)
            continue;
        lloyd(s, &c, e->more_tiles, 1, 1e9, rng);
        if (c.mse >= best->mse)
            continue;
        *best = c;
        encode(s, &c, part);
        part_mse = c.mse;
        report(s, "changed", i, best);
    }
}

static void print_row(const struct candidate *c)
{
    unsigned n = 1u << (c->t.index_bits - 1);

    printf("    {%u, %u, %u, %.8ef, %.4e,\n     {", c->t.window, c->t.rate, c->t.index_bits,
           c->unit, c->mse);
    for (unsigned i = 0; i < c->t.window; i++)
        printf("%s%u", i ? ", " : "", c->t.column[i]);
    printf("},\n     {");
    for (unsigned i = 0; i < n; i++)
        printf("%s%d", i == 0 ? "" : i % 16 ? ", " : ",\n      ", c->t.magnitude[i]);
    printf("}},\n");
}

static bool search_create(struct search *s)
{
    struct candidate c;

    s->index_bits = choose_index_bits(s->rate);
    start(s, &c);
    gs_trellis_prepare(&c.t);
    s->x = gs_alloc(TILES_MAX * GS_TRELLIS_TILE, sizeof *s->x);
    s->scaled = gs_alloc(TILES_MAX * GS_TRELLIS_TILE, sizeof *s->x);
    s->codes = gs_alloc(TILES_MAX, gs_trellis_tile_bytes(&c.t));
    s->labels = gs_alloc(TILES_MAX, GS_TRELLIS_TILE);
    s->work = gs_alloc(1, gs_viterbi_work_bytes(&c.t));
    return s->x && s->scaled && s->codes && s->labels && s->work;
}

static void search_destroy(struct search *s)
{
    gs_free(&s->x);
    gs_free(&s->scaled);
    gs_free(&s->codes);
    gs_free(&s->labels);
    gs_free(&s->work);
}

int main(int argc, char **argv)
{
    struct search s = {0};
    struct candidate best[KEEP_MAX];
    struct effort e = {0};
    struct gs_rng rng;

    s.window = argc > 2 ? (unsigned)atoi(argv[1]) : 0;
    s.rate = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
    for (size_t i = 0; i < GS_COUNT(efforts); i++)
        if (efforts[i].window == s.window)
            e = efforts[i];
    double factor = argc > 3 ? atof(argv[3]) : 1;
    if (!e.window || s.rate < GS_TRELLIS_RATE_MIN || s.rate > GS_TRELLIS_RATE_MAX ||
        !(factor > 0 && factor <= 1000)) {
        fputs("usage: trellis_search WINDOW RATE [EFFORT]\n"
              "window 8, 12 or 16; rate 8 to 40 bits per 8 weights; effort 1 by default\n",
              stderr);
        return 2;
    }
    e.random = (int)ceil(e.random * factor);
    e.change = (int)ceil(e.change * factor);
    if (!search_create(&s)) {
        fputs("trellis_search: out of memory\n", stderr);
        search_destroy(&s);
        return 1;
    }
    gs_rng_init(&rng, s.window, s.rate);
    explore(&s, &e, best, &rng);
    choose(&s, &e, best, &rng);
    climb(&s, &e, best, &rng);
    for (int i = 0; i < 8; i++) { /* stage 4; new weights for each round */
        draw(&s, &rng, e.last_tiles / 4);
        lloyd(&s, best, e.last_tiles / 4, 1, 1e9, &rng);
    }
    draw(&s, &rng, e.last_tiles);
    encode(&s, best, e.last_tiles);
    report(&s, "final", 0, best);
    print_row(best);
    search_destroy(&s);
    return 0;
}
