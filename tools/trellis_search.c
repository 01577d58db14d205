/* SPDX-License-Identifier: MIT
 * Finds trellis codes: the linear map and the table of src/grid/trellis_table.c.
 *
 *   trellis_search WINDOW RATE [TRIES]          prints one row of the table
 *   trellis_search --check WINDOW RATE WEIGHTS  error of the built-in row on fresh weights
 *
 * The search, for L = WINDOW bits and B = RATE bits per 8 weights: random L × q bit matrices;
 * for each, Lloyd's iterations (Viterbi codes of unit-Gaussian weights, then every magnitude
 * becomes the mean of the weights that chose it, rounded to 8 bits); the best is changed
 * column by column, and changes that help stay; a long Lloyd run ends it. All candidates of a
 * stage see the same weights, so that differences are far less noisy than errors. Seeded by
 * (L, B) only: a row comes out the same on every machine, alone or with all others.
 *
 * Everything goes through the kernels and the tail-biting tiles that also serve the user. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "kernels/kernels.h"
#include "kernels/trellis.h"

enum { TILES_MAX = 1024 };

struct candidate {
    struct gs_trellis t;
    double unit; /* worth of one magnitude step */
    double mse;
};

struct search {
    float *x, *scaled; /* [TILES_MAX · 256] targets, the same over unit */
    uint8_t *codes;
    int8_t *labels;    /* index of each weight as ±(low bits + 1) */
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
        int l = s->labels[i];
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
        int l = s->labels[i];
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

/* A candidate for every try: a random matrix, or (`change`) the best with one or two columns
 * changed. */
static void explore(struct search *s, struct candidate *best, int tries, size_t tiles,
                    bool change, struct gs_rng *rng)
{
    struct candidate c;
    uint64_t values = UINT64_C(1) << s->index_bits;

    draw(s, rng, tiles);
    best->mse = 1e9;
    if (change)
        lloyd(s, best, tiles, 3, 1e9, rng);
    for (int i = 0; i < tries; i++) {
        if (change) {
            c = *best;
            for (uint64_t j = 0, n = 1 + gs_rng_below(rng, 2); j < n; j++)
                c.t.column[gs_rng_below(rng, s->window)] ^=
                    (uint8_t)(1 + gs_rng_below(rng, values - 1));
        } else {
            start(s, &c);
            for (unsigned j = 0; j < s->window; j++)
                c.t.column[j] = (uint8_t)gs_rng_below(rng, values);
        }
        lloyd(s, &c, tiles, change ? 3 : 5, best->mse, rng);
        if (c.mse < best->mse) {
            *best = c;
            report(s, change ? "changed" : "random", i, best);
        }
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

int main(int argc, char **argv)
{
    struct search s = {0};

    if (argc < 3) {
        fputs("usage: trellis_search WINDOW RATE [TRIES]\n", stderr);
        return 2;
    }
    s.window = (unsigned)atoi(argv[1]);
    s.rate = (unsigned)atoi(argv[2]);
    int tries = argc > 3 ? atoi(argv[3]) : s.window <= 8 ? 600 : s.window <= 12 ? 60 : 6;
    if (s.window < 8 || s.window > 16 || s.rate < GS_TRELLIS_RATE_MIN ||
        s.rate > GS_TRELLIS_RATE_MAX || tries < 1) {
        fputs("trellis_search: window 8 to 16, rate 8 to 40 bits per 8 weights\n", stderr);
        return 2;
    }
    s.index_bits = choose_index_bits(s.rate);
    struct candidate best;
    struct gs_rng rng;
    size_t tiles = s.window <= 8 ? 32 : s.window <= 12 ? 16 : 8;

    start(&s, &best);
    gs_trellis_prepare(&best.t);
    s.x = gs_alloc(TILES_MAX * GS_TRELLIS_TILE, sizeof *s.x);
    s.scaled = gs_alloc(TILES_MAX * GS_TRELLIS_TILE, sizeof *s.x);
    s.codes = gs_alloc(TILES_MAX, gs_trellis_tile_bytes(&best.t));
    s.labels = gs_alloc(TILES_MAX, GS_TRELLIS_TILE);
    s.work = gs_alloc(1, gs_viterbi_work_bytes(&best.t));
    if (!s.x || !s.scaled || !s.codes || !s.labels || !s.work) {
        fputs("trellis_search: out of memory\n", stderr);
        return 1;
    }
    gs_rng_init(&rng, s.window, s.rate);
    explore(&s, &best, tries, tiles, false, &rng);
    explore(&s, &best, tries, tiles, true, &rng);
    explore(&s, &best, tries / 4, 4 * tiles, true, &rng);
    /* The table: more weights, and new ones for each round. */
    tiles = s.window <= 8 ? 512 : s.window <= 12 ? 128 : 32;
    for (int i = 0; i < 8; i++) {
        draw(&s, &rng, tiles);
        lloyd(&s, &best, tiles, 1, 1e9, &rng);
    }
    draw(&s, &rng, tiles);
    encode(&s, &best, tiles);
    report(&s, "final", 0, &best);
    print_row(&best);
    gs_free(&s.x);
    gs_free(&s.scaled);
    gs_free(&s.codes);
    gs_free(&s.labels);
    gs_free(&s.work);
    return 0;
}
