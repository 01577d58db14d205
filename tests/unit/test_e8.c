/* SPDX-License-Identifier: MIT
 * The E8 codes: their points are the published ones, nearest points are nearest by brute force
 * over all of them, codes name points one to one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "codebook/e8.h"
#include "core/alloc.h"
#include "core/rng.h"

static struct gs_e8p e8p;

/* All points of E8P, [65536][8]. */
static float *all_points(void)
{
    float *points = gs_alloc(65536 * 8, sizeof *points);

    assert_non_null(points);
    for (unsigned code = 0; code < 65536; code++)
        gs_e8p_value(&e8p, code, points + 8 * code);
    return points;
}

/* Σ h (x − y)², in double. */
static double distance(const float *x, const float *y, const float *h)
{
    double sum = 0;

    for (unsigned i = 0; i < 8; i++)
        sum += (h ? (double)h[i] : 1) * ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    return sum;
}

static double least_distance(const float *points, size_t n, const float *x, const float *h)
{
    double least = INFINITY;

    for (size_t i = 0; i < n; i++)
        least = fmin(least, distance(x, points + 8 * i, h));
    return least;
}

/* Draws a vector and importances; some lie far out, some on ties. */
static void draw(struct gs_rng *rng, unsigned n, float x[8], float h[8])
{
    static const double sizes[] = {0.3, 1, 1, 1.3, 3, 40};

    for (unsigned i = 0; i < 8; i++) {
        x[i] = (float)(gs_rng_normal(rng) * sizes[n % GS_COUNT(sizes)]);
        h[i] = (float)exp(gs_rng_normal(rng));
        if (n % 7 == 0)
            x[i] = rintf(2 * x[i]) / 2;
        if (n % 11 == 0 && i % 2)
            h[i] = 0;
    }
}

/* Points are D8 + ½ moved by ±¼, all different, 227 patterns of length 10 at most. */
static void e8p_is_the_published_code(void **state)
{
    float *points = all_points();
    double squares = 0;
    unsigned within = 0;
    (void)state;

    for (unsigned code = 0; code < 65536; code++) {
        const float *p = points + 8 * code;
        bool minus = __builtin_parity(code & 255);
        double sum = 0, square = 0;
        for (unsigned i = 0; i < 8; i++) {
            double v = (double)p[i] + (minus ? 0.25 : -0.25);
            assert_true(fabs(v) == 0.5 || fabs(v) == 1.5 || fabs(v) == 2.5);
            sum += v;
            square += v * v;
            squares += (double)p[i] * p[i] / 8 / 65536;
        }
        assert_true(fmod(sum, 2) == 0);
        assert_true(square <= 12);
        within += square <= 10;
    }
    assert_int_equal(within, 227 * 256);
    assert_true(fabs(sqrt(squares) - 1.09375) < 1e-3);
    gs_free(&points);
}

/* A point is the only one at distance 0 of itself, so codes are found again. */
static void every_code_is_found_again(void **state)
{
    float y[8];
    (void)state;

    for (unsigned code = 0; code < 65536; code++) {
        gs_e8p_value(&e8p, code, y);
        assert_int_equal(gs_e8p_nearest(&e8p, y, NULL), code);
    }
    for (unsigned code = 0; code < 256; code++) {
        gs_e8_short_value(code, y);
        assert_int_equal(gs_e8_short_nearest(y, NULL), code);
    }
}

static void e8p_nearest_is_nearest(void **state)
{
    float *points = all_points(), x[8], h[8], y[8];
    struct gs_rng rng;
    (void)state;

    gs_rng_init(&rng, 1, 0);
    for (unsigned n = 0; n < 600; n++) {
        draw(&rng, n, x, h);
        const float *weights = n % 2 ? h : NULL;
        gs_e8p_value(&e8p, gs_e8p_nearest(&e8p, x, weights), y);
        double least = least_distance(points, 65536, x, weights);
        assert_true(distance(x, y, weights) <= least * (1 + 1e-5) + 1e-5);
    }
    gs_free(&points);
}

static void short_nearest_is_nearest(void **state)
{
    float points[256 * 8], x[8], h[8], y[8];
    unsigned lengths[5] = {0};
    struct gs_rng rng;
    (void)state;

    for (unsigned code = 0; code < 256; code++) {
        gs_e8_short_value(code, points + 8 * code);
        lengths[(int)distance(points + 8 * code, (float[8]){0}, NULL)]++;
    }
    assert_int_equal(lengths[0], 1);   /* the kissing number of E8 is 240 */
    assert_int_equal(lengths[2], 240);
    assert_int_equal(lengths[4], 15);
    gs_rng_init(&rng, 2, 0);
    for (unsigned n = 0; n < 20000; n++) {
        draw(&rng, n, x, h);
        const float *weights = n % 2 ? h : NULL;
        gs_e8_short_value(gs_e8_short_nearest(x, weights), y);
        double least = least_distance(points, 256, x, weights);
        assert_true(distance(x, y, weights) <= least * (1 + 1e-5) + 1e-5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(e8p_is_the_published_code),
        cmocka_unit_test(every_code_is_found_again),
        cmocka_unit_test(e8p_nearest_is_nearest),
        cmocka_unit_test(short_nearest_is_nearest),
    };

    gs_e8p_init(&e8p);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
