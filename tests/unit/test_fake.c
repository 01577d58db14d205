/* SPDX-License-Identifier: MIT
 * Fake quantization: values by the definition, and gradients against finite differences, in
 * double, of the surrogate that straight-through means: remainders of rounding, masks and the
 * places of the extremes frozen at the base point. Differences through round() itself would
 * prove nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "grid/fake.h"

#define ROWS 3u
#define COLS 23u
#define GROUPS_MAX 4u
#define N (ROWS * COLS)
#define P (ROWS * GROUPS_MAX)
#define STEP 1e-5

/* All that the surrogate holds fixed, for one group. */
struct frozen {
    double offset[COLS]; /* y = x + s·offset where it passes */
    double code[COLS];   /* y = s (code − z) where not */
    bool passes[COLS];
    size_t at_hi, at_lo; /* COLS: the bound is 0 */
    double s, z, z_rest, q_max;
    bool from_hi;
};

struct point {
    double x[N], a[P], b[P]; /* scale and zero, or the clips */
};

static double sigma(double x)
{
    return 1 / (1 + exp(-x));
}

/* s and z of a group at a point; `f` tells which elements the extremes are. */
static void range_at(const struct gs_fake *fake, bool fixed, bool clips, const struct point *p,
                     size_t first, size_t g, const struct frozen *f, double *s, double *z)
{
    double hi = f->at_hi < COLS ? p->x[first + f->at_hi] : 0;
    double lo = f->at_lo < COLS ? p->x[first + f->at_lo] : 0;

    if (fixed) {
        *s = p->a[g];
        *z = p->b[g];
        return;
    }
    hi *= clips ? sigma(p->a[g]) : 1;
    lo *= clips ? sigma(p->b[g]) : 1;
    if (fake->symmetric) {
        *s = (f->from_hi ? fabs(hi) : fabs(lo)) / f->q_max;
        *z = 0;
    } else {
        *s = (hi - lo) / f->q_max;
        *z = -lo / *s;
    }
}

static void freeze(const struct gs_fake *fake, bool fixed, bool clips, const struct point *p,
                   size_t first, size_t n, size_t g, struct frozen *f)
{
    double q_min = fake->symmetric ? -ldexp(1, (int)fake->bits - 1) : 0, s, z;

    *f = (struct frozen){.q_max = ldexp(1, (int)fake->bits - fake->symmetric) - 1};
    for (size_t i = 1; i < n; i++) {
        f->at_hi = p->x[first + i] > p->x[first + f->at_hi] ? i : f->at_hi;
        f->at_lo = p->x[first + i] < p->x[first + f->at_lo] ? i : f->at_lo;
    }
    double hi = p->x[first + f->at_hi], lo = p->x[first + f->at_lo];
    f->from_hi = fabs(hi * (clips ? sigma(p->a[g]) : 1)) >=
                 fabs(lo * (clips ? sigma(p->b[g]) : 1));
    if (fake->with_zero && !fake->symmetric) {
        f->at_hi = hi < 0 ? COLS : f->at_hi;
        f->at_lo = lo > 0 ? COLS : f->at_lo;
    }
    range_at(fake, fixed, clips, p, first, g, f, &s, &z);
    f->s = s;
    f->z = rint(z);
    f->z_rest = f->z - z;
    for (size_t i = 0; i < n; i++) {
        double u = p->x[first + i] / s, q = rint(u) + f->z;
        bool inside = q >= q_min && q <= f->q_max;
        f->code[i] = fmin(fmax(q, q_min), f->q_max);
        f->passes[i] = inside || !fake->clip_mask;
        f->offset[i] = f->code[i] - f->z - u;
    }
}

struct setting {
    struct gs_fake fake;
    bool fixed, clips; /* static scales; learned clips */
    const char *name;
};

static size_t group_size(const struct gs_fake *fake)
{
    return fake->group ? fake->group : COLS;
}

/* Σ G y of the surrogate. */
static double surrogate(const struct setting *t, const struct frozen *frozen,
                        const struct point *p, const float *G)
{
    size_t groups = gs_fake_groups(&t->fake, COLS), group = group_size(&t->fake);
    double sum = 0;

    for (size_t g = 0; g < ROWS * groups; g++) {
        size_t first = g / groups * COLS + g % groups * group;
        size_t n = GS_MIN(group, COLS - g % groups * group);
        const struct frozen *f = &frozen[g];
        double s, z;
        range_at(&t->fake, t->fixed, t->clips, p, first, g, f, &s, &z);
        if (!t->fixed && !t->fake.grad_scale) {
            s = f->s;
            z = f->z;
        } else {
            z = t->fake.zero_ste ? z + f->z_rest : f->z;
        }
        for (size_t i = 0; i < n; i++)
            sum += (double)G[first + i] *
                   (f->passes[i] ? p->x[first + i] + s * f->offset[i] : s * (f->code[i] - z));
    }
    return sum;
}

static double slope(const struct setting *t, const struct frozen *frozen, struct point *p,
                    double *at, const float *G)
{
    double base = *at;

    *at = base + STEP;
    double above = surrogate(t, frozen, p, G);
    *at = base - STEP;
    double below = surrogate(t, frozen, p, G);
    *at = base;
    return (above - below) / (2 * STEP);
}

static void compare(const struct setting *t, const char *what, const float *got,
                    const double *want, size_t n)
{
    double error = 0, norm = 0;

    for (size_t i = 0; i < n; i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += want[i] * want[i];
    }
    if (!(sqrt(error) <= 1e-6 * sqrt(norm) + 1e-12))
        fail_msg("%s: %s is off by %.2g of %.3g", t->name, what, sqrt(error), sqrt(norm));
}

static size_t clipped; /* numbers, in all settings */

static void check_setting(const struct setting *t)
{
    static struct frozen frozen[P];
    static struct point p;
    static float x[N], G[N], y[N], dx[N], a[P], b[P], da[P], db[P];
    static double want_x[N], want_a[P], want_b[P];
    size_t groups = gs_fake_groups(&t->fake, COLS), group = group_size(&t->fake);
    struct gs_rng rng;
    struct gs_team *team;

    assert_true(groups <= GROUPS_MAX);
    assert_int_equal(gs_team_create(2, &team, NULL), GS_OK);
    gs_rng_init(&rng, 4, t->fake.bits);
    for (size_t i = 0; i < N; i++) {
        /* The last row lies on one side of 0. */
        p.x[i] = (double)(x[i] = (float)gs_rng_normal(&rng) + (i >= 2 * COLS ? 4.0f : 0));
        G[i] = (float)gs_rng_normal(&rng);
    }
    for (size_t g = 0; g < P; g++) {
        a[g] = t->fixed ? 0.35f : (float)(0.5 + 0.3 * gs_rng_normal(&rng));
        b[g] = t->fixed ? (t->fake.symmetric ? 0 : 3.0f) : (float)(0.7 + gs_rng_normal(&rng));
        p.a[g] = (double)a[g];
        p.b[g] = (double)b[g];
        da[g] = db[g] = 0;
    }
    struct gs_fake_params params = {0}, grads = {0};
    if (t->fixed) {
        params = (struct gs_fake_params){.scale = a, .zero = b};
        grads = (struct gs_fake_params){.scale = da, .zero = db};
    } else if (t->clips) {
        params = (struct gs_fake_params){.high = a, .low = b};
        grads = (struct gs_fake_params){.high = da, .low = db};
    }
    for (size_t g = 0; g < ROWS * groups; g++) {
        size_t first = g / groups * COLS + g % groups * group;
        size_t n = GS_MIN(group, COLS - g % groups * group);
        freeze(&t->fake, t->fixed, t->clips, &p, first, n, g, &frozen[g]);
        gs_fake_forward(&t->fake, team, &params, x, ROWS, COLS, y);
        for (size_t i = 0; i < n; i++) {
            double value = frozen[g].s * (frozen[g].code[i] - frozen[g].z);
            assert_true(fabs((double)y[first + i] - value) < 1e-6 * fmax(1, fabs(value)));
            clipped += !frozen[g].passes[i];
        }
    }
    gs_fake_backward(&t->fake, team, &params, x, G, ROWS, COLS, dx, &grads);
    for (size_t i = 0; i < N; i++)
        want_x[i] = slope(t, frozen, &p, &p.x[i], G);
    for (size_t g = 0; g < ROWS * groups; g++) {
        want_a[g] = slope(t, frozen, &p, &p.a[g], G);
        want_b[g] = t->fixed && !t->fake.zero_ste ? 0 : slope(t, frozen, &p, &p.b[g], G);
    }
    compare(t, "dx", dx, want_x, N);
    if (t->fixed || t->clips) {
        compare(t, "the first parameter's gradient", da, want_a, ROWS * groups);
        compare(t, "the second parameter's gradient", db, want_b, ROWS * groups);
    }
    gs_team_destroy(&team);
}

/* Every dialect, symmetric or not, static, dynamic, with learned clips, groups and rows. */
static void test_gradients(void **state)
{
    const struct gs_fake_dialect *d;
    int dialects = 0;

    (void)state;
    for (size_t i = 0; (d = gs_fake_dialect_at(i)); i++, dialects++)
        for (unsigned bits = 2; bits <= 4; bits++)
            for (unsigned k = 0; k < 12; k++) {
                struct setting t = {
                    .fake = {.bits = bits, .group = k % 2 ? 8 : 0, .symmetric = k / 2 % 2,
                             .grad_scale = d->grad_scale, .clip_mask = d->clip_mask,
                             .zero_ste = d->zero_ste, .with_zero = d->with_zero},
                    .fixed = k / 4 == 0, .clips = k / 4 == 1, .name = d->name};
                check_setting(&t);
            }
    assert_int_equal(dialects, 4);
    assert_true(clipped > 1000);
}

static void test_values(void **state)
{
    struct gs_fake f = {.bits = 2, .clip_mask = true};
    const float x[] = {0, 0.5f, 1.5f, 2.5f, 3, 0, 0, 0, 0, 0};
    const float want[] = {0, 0, 2, 2, 3, 0, 0, 0, 0, 0}; /* halves to even; zeros stay */
    struct gs_fake_params none = {0};
    float y[10], zero[10], ones[10], dx[10];

    (void)state;
    gs_fake_forward(&f, NULL, &none, x, 2, 5, y);
    for (size_t i = 0; i < 10; i++)
        assert_true(y[i] == want[i]);
    for (size_t i = 0; i < 10; i++) {
        zero[i] = 0;
        ones[i] = 1;
    }
    f.grad_scale = true;
    gs_fake_backward(&f, NULL, &none, zero, ones, 2, 5, dx, &none);
    for (size_t i = 0; i < 10; i++)
        assert_true(dx[i] == 1);
}

static void test_soft_rounding(void **state)
{
    float x[40], v[40], y[40], dv[40] = {0}, G[40], hard[40];
    struct gs_rng rng;
    size_t inner = 0;

    (void)state;
    gs_rng_init(&rng, 1, 1);
    for (size_t i = 0; i < 40; i++) {
        x[i] = (float)gs_rng_normal(&rng);
        v[i] = (float)(2 * gs_rng_normal(&rng));
        G[i] = (float)gs_rng_normal(&rng);
        hard[i] = i % 2 ? 20.0f : -20.0f;
    }
    gs_soft_round_backward(3, true, 0.4f, 0, x, v, G, 40, dv);
    for (size_t i = 0; i < 40; i++) {
        /* In double: the surrogate has no rounding but ⌊x/s⌋. */
        double values[2];
        for (int k = 0; k < 2; k++) {
            double h = -0.1 + 1.2 * sigma((double)v[i] + (k ? -STEP : STEP));
            double q = floor((double)x[i] / (double)0.4f) + fmin(fmax(h, 0), 1);
            values[k] = (double)0.4f * fmin(fmax(q, -4), 3);
        }
        double want = (double)G[i] * (values[0] - values[1]) / (2 * STEP);
        assert_true(fabs((double)dv[i] - want) < 1e-6 * fmax(1, fabs(want)));
        inner += want != 0;
    }
    assert_true(inner > 20);
    /* Far out it is rounding up or down. */
    gs_soft_round_forward(3, true, 0.4f, 0, x, hard, 40, y);
    for (size_t i = 0; i < 40; i++) {
        double q = floor((double)x[i] / (double)0.4f) + (double)(i % 2);
        assert_true(fabs((double)y[i] - (double)0.4f * fmin(fmax(q, -4), 3)) < 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_values),
        cmocka_unit_test(test_soft_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
