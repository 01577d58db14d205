/* SPDX-License-Identifier: MIT
 * Products with stored types in integers: what codes stand for, and that one vector or many,
 * with any number of threads and at every level, give the same bits near the f32 products. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "core/type.h"
#include "model/layers.h"

enum { COLS = 1024, NARROW = 544, ROWS = 71, T = 9 };

static struct gs_err err;

/* Random blocks whose f16 scales are small and finite: random bytes as they decode to numbers
 * below 100, else a byte is drawn again. */
static void random_row(const struct gs_type_info *info, enum gs_type type, size_t n,
                       struct gs_rng *rng, uint8_t *row)
{
    float w[256];

    for (size_t i = 0; i < n / info->block; i++, row += info->bytes)
        for (bool fine = false; !fine;) {
            for (size_t j = 0; j < info->bytes; j++)
                row[j] = (uint8_t)gs_rng_below(rng, 256);
            if (type == GS_TYPE_MXFP4)
                row[0] = (uint8_t)(120 + row[0] % 8);
            gs_kernels()->decode[type](row, w, info->block);
            fine = true;
            for (size_t j = 0; j < info->block; j++)
                fine = fine && fabsf(w[j]) < 100;
        }
}

static void test_codes_are_weights(void **state)
{
    uint8_t row[COLS * 2], u[COLS];
    float w[COLS], d[COLS / GS_INT8_GROUP], m[COLS / GS_INT8_GROUP];
    struct gs_rng rng;
    int types = 0;

    (void)state;
    for (int t = 0; t < GS_TYPE_COUNT; t++) {
        gs_unpack_fn unpack = gs_kernels()->unpack[t];
        const struct gs_type_info *info = gs_type_info((uint32_t)t);
        unsigned top = 0;
        if (!unpack)
            continue;
        gs_rng_init(&rng, 1, (uint64_t)t);
        random_row(info, (enum gs_type)t, COLS, &rng, row);
        gs_kernels()->decode[t](row, w, COLS);
        unpack(row, COLS, u, d, m);
        for (size_t i = 0; i < COLS; i++) {
            double scale = (double)d[i / GS_INT8_GROUP], min = (double)m[i / GS_INT8_GROUP];
            double value = scale * u[i] - min;
            assert_true(fabs(value - (double)w[i]) <= 0x1p-22 * (fabs(scale) * u[i] + fabs(min)));
            top = GS_MAX(top, u[i]);
        }
        assert_in_range(top, gs_codes_top((enum gs_type)t) / 2, gs_codes_top((enum gs_type)t));
        types++;
    }
    assert_int_equal(types, 25);
}

/* y (count, ROWS) = w · x for vectors first … first+count-1. */
static void multiply(const struct gs_run *run, const struct gs_matrix *w, const float *x,
                     size_t first, size_t count, float *y)
{
    gs_linear_forward(run, w, NULL, x + first * w->cols, count, y + first * w->rows);
}

static void check_products(struct gs_run *run, struct gs_int8 *int8, enum gs_type type,
                           size_t cols)
{
    const struct gs_type_info *info = gs_type_info(type);
    struct gs_matrix w = {.type = type, .rows = ROWS, .cols = cols,
                          .row_bytes = cols / info->block * info->bytes};
    uint8_t *data = gs_alloc(ROWS, w.row_bytes);
    float *x = gs_alloc(T * cols, sizeof *x), *exact = gs_alloc(T * ROWS, sizeof *exact);
    float *many = gs_alloc(T * ROWS, sizeof *many), *one = gs_alloc(T * ROWS, sizeof *one);
    struct gs_rng rng;

    assert_true(data && x && exact && many && one);
    gs_rng_init(&rng, 2, (uint64_t)type);
    for (size_t r = 0; r < ROWS; r++)
        random_row(info, type, cols, &rng, data + r * w.row_bytes);
    for (size_t i = 0; i < T * cols; i++)
        x[i] = (float)gs_rng_normal(&rng);
    w.data = data;
    run->int8 = NULL;
    multiply(run, &w, x, 0, T, exact);
    run->int8 = int8;
    multiply(run, &w, x, 0, T, many);
    for (size_t t = 0; t < T; t++)
        multiply(run, &w, x, t, 1, one);
    assert_memory_equal(many, one, T * ROWS * sizeof *one);
    for (size_t t = 0; t < T; t++) {
        double off = 0, size = 0;
        for (size_t r = t * ROWS; r < (t + 1) * ROWS; r++) {
            off += pow((double)many[r] - (double)exact[r], 2);
            size += pow((double)exact[r], 2);
        }
        assert_true(off <= size * 1e-7);
    }
    gs_free(&data);
    gs_free(&x);
    gs_free(&exact);
    gs_free(&many);
    gs_free(&one);
}

static void test_products(void **state)
{
    const size_t blocks = gs_int8_blocks(COLS);
    struct gs_run run = {.scratch_size = gs_linear_scratch(COLS)};
    struct gs_int8 int8 = {.q = gs_alloc(T, COLS), .low = gs_alloc(T, COLS),
                           .lanes = gs_alloc(T, gs_int8_lanes(blocks)),
                           .scale = gs_alloc(T * blocks, sizeof(float)),
                           .group = gs_alloc(T * blocks * GS_INT8_GROUPS, sizeof(float)),
                           .sum = gs_alloc(T * blocks, sizeof(int32_t))};

    (void)state;
    run.scratch = gs_alloc(3 * run.scratch_size, sizeof(float));
    assert_true(int8.q && int8.low && int8.lanes && int8.scale && int8.group && int8.sum &&
                run.scratch);
    run.k = gs_kernels();
    for (int threads = 1; threads <= 3; threads += 2) {
        assert_int_equal(gs_team_create(threads, &run.team, &err), 0);
        for (int t = 0; t < GS_TYPE_COUNT; t++)
            if (run.k->unpack[t]) {
                check_products(&run, &int8, (enum gs_type)t, COLS);
                if (gs_type_info((uint32_t)t)->block == 32)
                    check_products(&run, &int8, (enum gs_type)t, NARROW);
            }
        gs_team_destroy(&run.team);
    }
    gs_free(&int8.q);
    gs_free(&int8.low);
    gs_free(&int8.lanes);
    gs_free(&int8.scale);
    gs_free(&int8.group);
    gs_free(&int8.sum);
    gs_free(&run.scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codes_are_weights),
        cmocka_unit_test(test_products),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
