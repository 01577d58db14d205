/* SPDX-License-Identifier: MIT
 * The search over tables: rings that close, next to the best of all rings where the trellis is
 * small enough to try every seam; targets of any kind. Levels against the definition: make check. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "kernels/kernels.h"

enum { WINDOW = 8, STATES = 1 << WINDOW, LEVELS = 100, TILES = 20 };

struct small {
    struct gs_table_trellis t;
    uint16_t level[STATES], visit[4 * STATES];
    int16_t value[GS_TABLE_EACH_MAX * LEVELS];
    unsigned bits;       /* of a state: what two halves take together */
    unsigned count;      /* states of a tile */
};

/* Levels at random, Gaussian values. */
static void make_small(struct small *s, unsigned step, unsigned halves, unsigned each)
{
    struct gs_rng rng;

    gs_rng_init(&rng, 100 * step + 10 * halves + each, 0);
    for (unsigned i = 0; i < STATES; i++)
        s->level[i] = (uint16_t)gs_rng_below(&rng, LEVELS);
    for (unsigned i = 0; i < GS_TABLE_EACH_MAX * LEVELS; i++)
        s->value[i] = (int16_t)(GS_TABLE_UNIT * gs_rng_normal(&rng));
    s->bits = step * halves;
    s->count = GS_TABLE_TILE / each;
    s->t = (struct gs_table_trellis){
        .window = WINDOW, .step = (uint8_t)step, .halves = (uint8_t)halves,
        .each = (uint8_t)each, .gain = (uint8_t)((s->bits - 1) / each), .levels = LEVELS,
        .level = s->level, .value = s->value, .visit = s->visit};
    gs_table_trellis_prepare(&s->t);
}

static double cost_of(const struct small *s, unsigned n, unsigned state, const float *x)
{
    double sum = 0;

    for (unsigned v = 0; v < s->t.each; v++)
        sum += pow((double)x[n * s->t.each + v] -
                   s->value[v * LEVELS + s->level[state]] / (double)GS_TABLE_UNIT, 2);
    return sum;
}

/* The least cost of a ring through every seam: Viterbi's algorithm from each node to itself. */
static double best_ring(const struct small *s, const float *x)
{
    unsigned nodes = STATES >> s->bits;
    double best = INFINITY, cost[STATES], next[STATES];

    for (unsigned seam = 0; seam < nodes; seam++) {
        for (unsigned e = 0; e < nodes; e++)
            cost[e] = e == seam ? 0 : INFINITY;
        for (unsigned n = 0; n < s->count; n++) {
            for (unsigned e = 0; e < nodes; e++)
                next[e] = INFINITY;
            for (unsigned state = 0; state < STATES; state++)
                if (cost[state >> s->bits] < INFINITY)
                    next[state % nodes] = fmin(next[state % nodes], cost[state >> s->bits] +
                                               cost_of(s, n, state, x));
            memcpy(cost, next, sizeof cost);
        }
        best = fmin(best, cost[seam]);
    }
    return best;
}

static void search(const struct small *s, const float *x, size_t tiles, uint16_t *states)
{
    void *work = gs_alloc(1, gs_table_viterbi_work_bytes(&s->t));

    assert_non_null(work);
    gs_kernels()->table_viterbi(&s->t, x, tiles, states, work);
    gs_free(&work);
}

static void assert_closed(const struct small *s, const uint16_t *states)
{
    unsigned nodes = STATES >> s->bits, before = states[s->count - 1];

    for (unsigned n = 0; n < s->count; n++) {
        assert_true(states[n] < STATES);
        assert_int_equal(states[n] >> s->bits, before % nodes);
        before = states[n];
    }
}

static const struct { unsigned step, halves, each; double excess; } shapes[] = {
    {1, 1, 1, 0.02}, {2, 1, 1, 0.02}, {3, 1, 1, 0.02}, {4, 1, 1, 0.02},
    {2, 1, 2, 0.02}, {4, 1, 2, 0.02}, {3, 2, 2, 0.02},
};

static void rings_are_near_the_best(void **state)
{
    static float x[TILES * GS_TABLE_TILE];
    static uint16_t states[TILES * GS_TABLE_TILE];
    struct small s;
    struct gs_rng rng;
    (void)state;

    gs_rng_init(&rng, 5, 0);
    for (size_t i = 0; i < GS_COUNT(x); i++)
        x[i] = (float)gs_rng_normal(&rng);
    for (size_t i = 0; i < GS_COUNT(shapes); i++) {
        double found = 0, best = 0;
        make_small(&s, shapes[i].step, shapes[i].halves, shapes[i].each);
        search(&s, x, TILES, states);
        for (unsigned k = 0; k < TILES; k++) {
            const uint16_t *tile = states + k * s.count;
            double cost = 0;
            assert_closed(&s, tile);
            for (unsigned n = 0; n < s.count; n++)
                cost += cost_of(&s, n, tile[n], x + k * GS_TABLE_TILE);
            if (k < 3) {
                double least = best_ring(&s, x + k * GS_TABLE_TILE);
                assert_true(cost > least * (1 - 1e-9));
                found += cost;
                best += least;
            }
        }
        if (found > (1 + shapes[i].excess) * best)
            fail_msg("step %u, halves %u, each %u: %.4f, the best rings cost %.4f",
                     shapes[i].step, shapes[i].halves, shapes[i].each, found, best);
    }
}

/* A tile's states do not depend on the tiles beside it. */
static void tiles_are_alone(void **state)
{
    static float x[TILES * GS_TABLE_TILE];
    static uint16_t all[TILES * GS_TABLE_TILE], one[GS_TABLE_TILE];
    struct small s;
    struct gs_rng rng;
    (void)state;

    gs_rng_init(&rng, 6, 0);
    for (size_t i = 0; i < GS_COUNT(x); i++)
        x[i] = (float)gs_rng_normal(&rng);
    make_small(&s, 2, 1, 1);
    search(&s, x, TILES, all);
    for (unsigned k = 0; k < TILES; k++) {
        search(&s, x + k * GS_TABLE_TILE, 1, one);
        assert_memory_equal(one, all + k * GS_TABLE_TILE, sizeof one);
    }
}

/* Far outliers, infinities and what is no number: rings still close, and where all weights are
 * beyond the values, the largest are taken where they can be. */
static void any_targets_will_do(void **state)
{
    static const float strange[] = {INFINITY, -INFINITY, NAN, 1e30f, -40.0f};
    float x[GS_TABLE_TILE];
    uint16_t states[GS_TABLE_TILE];
    struct small s;
    double mean = 0;
    (void)state;

    make_small(&s, 2, 1, 1);
    for (size_t i = 0; i < GS_TABLE_TILE; i++)
        x[i] = strange[i % GS_COUNT(strange)];
    search(&s, x, 1, states);
    assert_closed(&s, states);
    for (size_t i = 0; i < GS_TABLE_TILE; i++)
        x[i] = 50;
    search(&s, x, 1, states);
    assert_closed(&s, states);
    for (size_t i = 0; i < GS_TABLE_TILE; i++)
        mean += s.value[s.level[states[i]]] / (double)GS_TABLE_UNIT / GS_TABLE_TILE;
    assert_true(mean > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rings_are_near_the_best),
        cmocka_unit_test(tiles_are_alone),
        cmocka_unit_test(any_targets_will_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
