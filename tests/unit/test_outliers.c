/* SPDX-License-Identifier: MIT
 * Which weights are outliers, and how they are stored and multiplied. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compensate/compensate.h"
#include "compensate/sparse.h"
#include "core/alloc.h"
#include "core/half.h"
#include "core/rng.h"

enum { ROWS = 60, COLS = 700, N = ROWS * COLS };

struct matrix {
    float w[N], fisher[N];
    double h[COLS];
    uint8_t mask[N];
};

/* Normal weights, each 150th of them eight times as large. */
static struct matrix *make_matrix(void)
{
    struct matrix *m = gs_alloc(1, sizeof *m);
    struct gs_rng rng;

    assert_non_null(m);
    gs_rng_init(&rng, 5, 0);
    for (size_t i = 0; i < N; i++) {
        m->w[i] = 0.02f * (float)gs_rng_normal(&rng) * (i % 150 == 9 ? 8 : 1);
        m->fisher[i] = gs_rng_f32(&rng);
    }
    for (size_t c = 0; c < COLS; c++)
        m->h[c] = 1 + (double)(c % 7);
    return m;
}

static struct gs_outlier_data data_of(const struct matrix *m)
{
    return (struct gs_outlier_data){.w = m->w, .rows = ROWS, .cols = COLS, .stride = COLS,
                                    .h = m->h};
}

static size_t count(const uint8_t *mask, size_t n)
{
    size_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += mask[i];
    return sum;
}

static void mark(const char *rule, const struct gs_outlier_data *data,
                 const struct gs_outlier_options *options, uint8_t *mask)
{
    struct gs_err err = {0};

    assert_int_equal(gs_outliers_mark(gs_outlier_rule_find(rule), data, options, NULL, mask,
                                      &err), GS_OK);
}

/* Nothing outside the mask has a higher score than something inside. */
static void check_largest(const float *score, const uint8_t *mask, size_t n)
{
    float inside = INFINITY, outside = -INFINITY;

    for (size_t i = 0; i < n; i++)
        if (mask[i])
            inside = fminf(inside, score[i]);
        else
            outside = fmaxf(outside, score[i]);
    assert_true(inside >= outside);
}

static void test_magnitude(void **state)
{
    struct matrix *m = make_matrix();
    struct gs_outlier_data data = data_of(m);
    struct gs_outlier_options options = {.share = 0.01};
    float score[N];
    (void)state;

    for (size_t i = 0; i < N; i++)
        score[i] = fabsf(m->w[i]);
    mark("magnitude", &data, NULL, m->mask);
    assert_int_equal(count(m->mask, N), N * 5 / 1000);
    check_largest(score, m->mask, N);
    mark("magnitude", &data, &options, m->mask);
    assert_int_equal(count(m->mask, N), N / 100);
    check_largest(score, m->mask, N);
    /* all equal: still exactly the share, the first of them */
    for (size_t i = 0; i < N; i++)
        m->w[i] = -3;
    mark("magnitude", &data, &options, m->mask);
    assert_int_equal(count(m->mask, N), N / 100);
    assert_int_equal(count(m->mask, N / 100), N / 100);
    gs_free(&m);
}

static void test_fisher(void **state)
{
    struct matrix *m = make_matrix();
    struct gs_outlier_data data = data_of(m);
    struct gs_outlier_options top = {.share = 0.01, .range = -1};
    float score[N];
    uint8_t *ends = gs_alloc(N, 1);
    (void)state;

    /* without gradients h w² */
    for (size_t i = 0; i < N; i++)
        score[i] = (float)(m->h[i % COLS] * (double)m->w[i] * (double)m->w[i]);
    mark("fisher", &data, &top, m->mask);
    assert_int_equal(count(m->mask, N), N / 100);
    check_largest(score, m->mask, N);
    /* with them, F; a negative one counts as none */
    m->fisher[3] = -5;
    data.fisher = m->fisher;
    mark("fisher", &data, &top, m->mask);
    check_largest(m->fisher, m->mask, N);
    assert_int_equal(m->mask[3], 0);
    /* and what lies far beyond the quartiles: for normal weights 0.6745 + 2 · 1.349 σ = 3.37 σ */
    struct gs_outlier_options range = {.share = 1e-9, .range = 2};
    mark("fisher", &data, &range, ends);
    for (size_t i = 0; i < N; i++) {
        assert_true(!ends[i] || fabsf(m->w[i]) > 0.02f * 3.2f);
        assert_true(ends[i] || fabsf(m->w[i]) < 0.02f * 3.6f);
    }
    assert_true(count(ends, N) > N / 150 / 2);
    gs_free(&ends);
    gs_free(&m);
}

static void test_cherry(void **state)
{
    struct matrix *m = make_matrix();
    struct gs_outlier_data data = data_of(m);
    struct gs_outlier_options options = {.share = 0.02}; /* 14 a row: nearest 16 */
    (void)state;

    data.fisher = m->fisher;
    mark("cherry", &data, NULL, m->mask); /* 700 / 256 = 2.7 */
    for (size_t r = 0; r < ROWS; r++) {
        assert_int_equal(count(m->mask + r * COLS, COLS), 3);
        check_largest(m->fisher + r * COLS, m->mask + r * COLS, COLS);
    }
    mark("cherry", &data, &options, m->mask);
    for (size_t r = 0; r < ROWS; r++)
        assert_int_equal(count(m->mask + r * COLS, COLS), 16);
    gs_free(&m);
}

/* Error of a group's others with the grid of their range. */
static double group_error(const float *w, size_t n, size_t skip, float steps)
{
    float low = INFINITY, high = -INFINITY;
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        if (i != skip) {
            low = fminf(low, w[i]);
            high = fmaxf(high, w[i]);
        }
    for (size_t i = 0; i < n; i++)
        if (i != skip) {
            float step = (high - low) / steps;
            double e = (double)w[i] - (double)(low + step * roundf((w[i] - low) / step));
            sum += e * e;
        }
    return sum;
}

/* Against the definition, every weight left out in turn; pivots weigh whole columns. */
static void test_leave_one_out(void **state)
{
    struct matrix *m = make_matrix();
    struct gs_outlier_data data = data_of(m);
    struct gs_outlier_options options = {.share = 0.5, .threshold = 0.3, .bits = 3, .group = 20};
    double mean = 0;
    size_t marked = 0;
    (void)state;

    data.h = NULL;
    mark("leave-one-out", &data, &options, m->mask);
    for (size_t c = 0; c < COLS; c++) {
        double sum = 0, squares = 0;
        for (size_t r = 0; r < ROWS; r++) {
            sum += (double)m->w[r * COLS + c] / ROWS;
            squares += (double)m->w[r * COLS + c] * (double)m->w[r * COLS + c] / ROWS;
        }
        mean += (squares - sum * sum) / COLS;
    }
    for (size_t i = 0; i < N; i++) {
        const float *group = m->w + i / 20 * 20;
        double gain = group_error(group, 20, 20, 7) - group_error(group, 20, i % 20, 7);
        if (fabs(gain - 0.3 * mean) > 1e-4 * mean)
            assert_int_equal(m->mask[i], gain > 0.3 * mean);
        assert_true(m->mask[i] || fabsf(m->w[i]) < 0.02f * 8);
        marked += m->mask[i];
    }
    assert_in_range(marked, N / 300, N / 10);
    /* a column that costs nothing has no outliers */
    double pivots[COLS];
    for (size_t c = 0; c < COLS; c++)
        pivots[c] = c < 100 ? 0 : 1;
    data.pivots = pivots;
    mark("leave-one-out", &data, &options, m->mask);
    for (size_t i = 0; i < N; i++)
        assert_true(i % COLS >= 100 || !m->mask[i]);
    gs_free(&m);
}

/* With one bit nearly every weight exceeds the threshold; the share bounds them, and those taken
 * gain no less than any other of their kind. */
static void test_leave_one_out_is_bounded(void **state)
{
    struct matrix *m = make_matrix();
    struct gs_outlier_data data = data_of(m);
    struct gs_outlier_options options = {.share = 0.5, .bits = 1, .group = 20};
    double least = INFINITY, most_left = 0;
    (void)state;

    data.h = NULL;
    mark("leave-one-out", &data, &options, m->mask);
    assert_in_range(count(m->mask, N), N / 10, N / 2);
    options.share = 0.02;
    mark("leave-one-out", &data, &options, m->mask);
    assert_int_equal(count(m->mask, N), (size_t)(0.02 * N));
    for (size_t i = 0; i < N; i++) {
        const float *group = m->w + i / 20 * 20;
        double gain = group_error(group, 20, 20, 1) - group_error(group, 20, i % 20, 1);
        if (m->mask[i])
            least = fmin(least, gain);
        else
            most_left = fmax(most_left, gain);
    }
    assert_true(least > 0 && least >= most_left * (1 - 1e-4));
    gs_free(&m);
}

static void test_rules(void **state)
{
    struct matrix *m = make_matrix();
    struct gs_outlier_data data = data_of(m);
    struct gs_team *team;
    uint8_t *other = gs_alloc(N, 1);
    (void)state;

    assert_int_equal(gs_team_create(3, &team, NULL), GS_OK);
    for (size_t i = 0; gs_outlier_rule_at(i); i++) {
        const struct gs_outlier_rule *rule = gs_outlier_rule_at(i);
        assert_ptr_equal(gs_outlier_rule_find(rule->name), rule);
        assert_int_equal(gs_outliers_mark(rule, &data, NULL, NULL, m->mask, NULL), GS_OK);
        assert_int_equal(gs_outliers_mark(rule, &data, NULL, team, other, NULL), GS_OK);
        assert_memory_equal(m->mask, other, N);
        assert_in_range(count(m->mask, N), 1, N / 20);
    }
    assert_null(gs_outlier_rule_find("none of these"));
    static const struct gs_outlier_options bad[] = {
        {.share = 0.6}, {.share = -1}, {.share = NAN}, {.range = INFINITY}, {.threshold = -1},
        {.bits = 9}, {.group = 1}, {.group = 5000}};
    for (size_t i = 0; i < GS_COUNT(bad); i++) {
        struct gs_err err = {0};
        assert_int_equal(gs_outliers_mark(gs_outlier_rule_at(0), &data, &bad[i], NULL, m->mask,
                                          &err), GS_E_ARG);
        assert_non_null(strstr(err.msg, "outliers"));
    }
    gs_team_destroy(&team);
    gs_free(&other);
    gs_free(&m);
}

static struct gs_sparse *make_sparse(struct matrix *m, float factor)
{
    struct gs_outlier_data data = data_of(m);
    struct gs_sparse *s;

    mark("magnitude", &data, NULL, m->mask);
    memset(m->mask, 0, 3 * COLS);     /* rows without */
    memset(m->mask + 5 * COLS, 1, COLS); /* a full row */
    for (size_t i = 0; i < N; i++)
        m->w[i] *= factor;
    assert_int_equal(gs_sparse_create(m->w, COLS, m->mask, ROWS, COLS, &s, NULL), GS_OK);
    return s;
}

static void test_sparse_values(void **state)
{
    static const float factors[] = {1, 1e-30f, 1e30f, 0};
    (void)state;

    for (size_t f = 0; f < GS_COUNT(factors); f++) {
        struct matrix *m = make_matrix();
        struct gs_sparse *s = make_sparse(m, factors[f]);
        float *y = gs_alloc(N, sizeof *y);
        assert_int_equal(s->entries, count(m->mask, N));
        gs_sparse_add(s, 1, y, COLS);
        for (size_t i = 0; i < N; i++) /* f16 has 11 bits, less where it runs out of exponents */
            assert_true(fabsf(y[i] - (m->mask[i] ? m->w[i] : 0)) <=
                        fabsf(m->w[i]) * 0x1p-11f + factors[f] * 0x1p-25f);
        gs_sparse_add(s, -1, y, COLS);
        for (size_t i = 0; i < N; i++)
            assert_true(y[i] == 0);
        gs_free(&y);
        gs_sparse_destroy(&s);
        gs_free(&m);
    }
}

static uint8_t *written(const struct gs_sparse *s, size_t *bytes)
{
    *bytes = gs_sparse_bytes(s);
    uint8_t *buffer = gs_alloc(*bytes, 1);
    assert_non_null(buffer);
    gs_sparse_write(s, buffer);
    return buffer;
}

static void test_sparse_file(void **state)
{
    struct matrix *m = make_matrix();
    struct gs_sparse *s = make_sparse(m, 1), *back;
    size_t bytes;
    uint8_t *buffer = written(s, &bytes);
    struct gs_cursor c = gs_cursor_make(buffer, bytes);
    (void)state;

    /* one byte a row but for the full one; one a column, some more for wide gaps; two a value */
    assert_in_range(bytes, 1 + ROWS + 1 + 3 * s->entries, ROWS + 3 * s->entries + 120);
    assert_int_equal(gs_sparse_read(&c, ROWS, COLS, &back, NULL), GS_OK);
    assert_int_equal(gs_cursor_left(&c), 0);
    assert_int_equal(back->entries, s->entries);
    assert_memory_equal(back->start, s->start, (ROWS + 1) * sizeof *s->start);
    assert_memory_equal(back->column, s->column, s->entries * sizeof *s->column);
    assert_memory_equal(back->value, s->value, s->entries * sizeof *s->value);
    gs_free(&buffer);
    gs_sparse_destroy(&s);
    gs_sparse_destroy(&back);
    gs_free(&m);
}

static int read_bytes(const void *bytes, size_t n, size_t rows, size_t cols, struct gs_err *err)
{
    struct gs_cursor c = gs_cursor_make(bytes, n);
    struct gs_sparse *s = NULL;
    int rc = gs_sparse_read(&c, rows, cols, &s, err);

    assert_true((rc == GS_OK) == (s != NULL));
    gs_sparse_destroy(&s);
    return rc;
}

static void test_sparse_hostile(void **state)
{
    static const struct {
        const char *bytes;
        size_t n, rows, cols;
        const char *says;
    } cases[] = {
        {"", 0, 1, 1, "outliers"},                                       /* nothing */
        {"\x70\0", 2, 1, 1, "exponent"},                                 /* 2^112 */
        {"\0\0", 2, 3, 5, "counts"},                                     /* fewer than rows */
        {"\0\2\0\0\0\0", 6, 1, 1, "more entries"},                       /* 2 of 1 column */
        {"\0\xff\xff\xff\xff\xff\xff\xff", 8, 1, 9, "more entries"},     /* an endless count */
        {"\0\xff\xff\xff\x7f", 5, 1, 1u << 31, "do not fit"},            /* 2^28 entries, 0 bytes */
        {"\0\2\0\0\0\0\0\0", 8, 1, 9, NULL},                             /* valid: columns 0, 1 */
        {"\0\2\0\0\0\0\0", 7, 1, 9, "do not fit"},                       /* a byte short */
        {"\0\2\4\4\0\0\0\0", 8, 1, 9, "beyond"},                         /* columns 4, 9 */
        {"\0\1\xff\xff\0\0", 6, 1, 9, "beyond"},                         /* skips past the end */
        {"\0\1\0\0\x7c", 5, 1, 9, "not finite"},                         /* infinity */
        {"\0\1\0\1\xfc", 5, 1, 9, "not finite"},                         /* NaN */
    };
    (void)state;

    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct gs_err err = {0};
        int rc = read_bytes(cases[i].bytes, cases[i].n, cases[i].rows, cases[i].cols, &err);
        assert_int_equal(rc, cases[i].says ? GS_E_FORMAT : GS_OK);
        assert_true(!cases[i].says || strstr(err.msg, cases[i].says));
    }
}

/* Every truncation is refused; every changed byte is refused or gives a sound matrix. */
static void test_sparse_damaged(void **state)
{
    struct matrix *m = make_matrix();
    struct gs_sparse *s = make_sparse(m, 1);
    size_t bytes;
    uint8_t *buffer = written(s, &bytes);
    (void)state;

    for (size_t n = 0; n < bytes; n++)
        assert_int_equal(read_bytes(buffer, n, ROWS, COLS, NULL), GS_E_FORMAT);
    for (size_t i = 0; i < bytes; i++) {
        buffer[i] ^= 0x91;
        (void)read_bytes(buffer, bytes, ROWS, COLS, NULL);
        buffer[i] ^= 0x91;
    }
    gs_free(&buffer);
    gs_sparse_destroy(&s);
    gs_free(&m);
}

static void test_sparse_product(void **state)
{
    enum { T = 3 };
    struct matrix *m = make_matrix();
    struct gs_sparse *s = make_sparse(m, 1);
    float *dense = gs_alloc(N, sizeof *dense), *x = gs_alloc(T * COLS, sizeof *x);
    float y[2][T * ROWS];
    struct gs_rng rng;
    (void)state;

    gs_rng_init(&rng, 1, 0);
    for (size_t i = 0; i < T * COLS; i++)
        x[i] = (float)gs_rng_normal(&rng);
    gs_sparse_add(s, 1, dense, COLS);
    for (int threads = 1; threads <= 4; threads += 3) {
        float *out = y[threads / 4];
        struct gs_team *team;
        assert_int_equal(gs_team_create(threads, &team, NULL), GS_OK);
        for (size_t i = 0; i < T * ROWS; i++)
            out[i] = 1;
        gs_sparse_mul(s, x, T, team, out);
        gs_team_destroy(&team);
    }
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    for (size_t t = 0; t < T; t++)
        for (size_t r = 0; r < ROWS; r++) {
            double sum = 1, size = 1;
            for (size_t c = 0; c < COLS; c++) {
                double v = (double)dense[r * COLS + c] * (double)x[t * COLS + c];
                sum += v;
                size += fabs(v);
            }
            assert_true(fabs((double)y[0][t * ROWS + r] - sum) <= size * COLS * 0x1p-24);
        }
    gs_free(&dense);
    gs_free(&x);
    gs_sparse_destroy(&s);
    gs_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_magnitude),
        cmocka_unit_test(test_fisher),
        cmocka_unit_test(test_cherry),
        cmocka_unit_test(test_leave_one_out),
        cmocka_unit_test(test_leave_one_out_is_bounded),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_sparse_values),
        cmocka_unit_test(test_sparse_file),
        cmocka_unit_test(test_sparse_hostile),
        cmocka_unit_test(test_sparse_damaged),
        cmocka_unit_test(test_sparse_product),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
