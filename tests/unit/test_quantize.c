/* SPDX-License-Identifier: MIT
 * The pipeline on a tiny model, and the native file that it makes: the plan's bytes, the
 * product against a dense one, weights that are not finite, stopping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "tests/unit/quantize_fixture.h"

#include "core/alloc.h"
#include "core/rng.h"
#include "model/layers.h"
#include "recipe/plan.h"

/* ---- plan ---- */

static void test_plan_counts_every_byte(void **state)
{
    struct gs_plan_options options = {0};
    struct gs_store *store;
    struct gs_recipe recipe;
    struct gs_plan plan;
    struct gs_lm *lm;

    (void)state;
    assert_int_equal(gs_store_open(source, &store, &err), 0);
    assert_int_equal(gs_lm_open(store, &lm, &err), 0);
    gs_recipe_default(&recipe);
    for (options.bpw = 2; options.bpw < 6; options.bpw += 0.37) {
        assert_int_equal(gs_plan_create(lm, &recipe, &options, &plan, &err), 0);
        uint64_t bytes = 0, codes = 0;
        for (size_t i = 0; i < plan.n_tensors; i++)
            bytes += plan.tensors[i].bytes;
        for (size_t i = 0; i < plan.n_items; i++) {
            const struct gs_plan_item *item = &plan.items[i];
            if (!item->native)
                continue;
            uint64_t blocks = (item->rows + 15) / 16 * (item->cols / 16);
            assert_int_equal(item->codes_bytes, blocks * item->rate * 4);
            assert_in_range(item->rate, 8, 40);
            codes += item->codes_bytes;
        }
        assert_true(bytes == plan.bytes && codes < bytes);
        assert_true(plan.bpw <= options.bpw);
        /* Nothing is left that would have paid for one more step of the smallest matrix,
         * unless every matrix of the blocks is at the top. */
        bool top = true;
        uint64_t least = UINT64_MAX;
        for (size_t i = 0; i < plan.n_items; i++)
            if (plan.items[i].native && plan.items[i].input < GS_INPUT_HEAD) {
                top = top && plan.items[i].rate == 40;
                uint64_t step = plan.items[i].codes_bytes / plan.items[i].rate;
                if (plan.items[i].rate < 40 && step < least)
                    least = step;
            }
        double left = options.bpw * (double)plan.parameters / 8 - (double)plan.bytes;
        if (!top)
            assert_true(left < (double)least);
        gs_plan_clear(&plan);
    }
    options.bpw = 0.5;
    err = (struct gs_err){0};
    assert_int_equal(gs_plan_create(lm, &recipe, &options, &plan, &err), GS_E_ARG);
    assert_non_null(strstr(err.msg, "the least"));
    gs_lm_close(&lm);
    gs_store_close(&store);
}

/* ---- product ---- */

/* W (rows, cols) as a dense matrix, from the definition in native.h. */
static float *dense(const struct gs_native *n)
{
    float *w = gs_alloc((n->rows + 16) * n->cols, sizeof *w);

    assert_non_null(w);
    for (size_t r = 0; r < n->rows; r += 16)
        gs_native_decode(n, r, GS_MIN(n->rows - r, 16u), w + r * n->cols);
    assert_int_equal(gs_transform_rows(n->in, GS_TRANSFORM_DUAL_INVERSE, NULL, w, n->rows,
                                       n->cols, &err), 0);
    assert_int_equal(gs_transform_columns(n->out, GS_TRANSFORM_INVERSE, NULL, w, n->cols,
                                          n->cols, &err), 0);
    return w;
}

static void check_product(const struct gs_run *run, const struct gs_matrix *m)
{
    enum { T = 3 };
    float *w = dense(m->native), *x = gs_alloc(T * m->cols, sizeof *x);
    float *y = gs_alloc(T * m->rows, sizeof *y), *bias = gs_alloc(m->rows, sizeof *bias);
    struct gs_rng rng;

    assert_true(x && y && bias);
    gs_rng_init(&rng, 3, 1);
    for (size_t i = 0; i < T * m->cols; i++)
        x[i] = (float)gs_rng_normal(&rng);
    for (size_t r = 0; r < m->rows; r++)
        bias[r] = (float)r;
    gs_linear_forward(run, m, bias, x, T, y);
    for (size_t t = 0; t < T; t++)
        for (size_t r = 0; r < m->rows; r++) {
            double sum = 0, size = 1;
            for (size_t c = 0; c < m->cols; c++) {
                double term = (double)w[(m->first + r) * m->cols + c] * (double)x[t * m->cols + c];
                sum += term;
                size += fabs(term);
            }
            assert_true(fabs((double)y[t * m->rows + r] - sum - (double)bias[r]) <
                        1e-5 * (size + (double)bias[r]));
        }
    gs_free(&w);
    gs_free(&x);
    gs_free(&y);
    gs_free(&bias);
}

static void test_product_and_lookup(void **state)
{
    struct gs_store *store = open_target();
    struct gs_run run = {.k = gs_kernels(), .scratch_size = gs_linear_scratch(1024)};
    struct gs_lm *lm;

    (void)state;
    if (gs_lm_open(store, &lm, &err))
        fail_msg("%s", err.msg);
    run.scratch = gs_alloc(run.scratch_size, sizeof(float));
    run.mixed = gs_alloc(3 * 1024, sizeof(float));
    assert_non_null(lm->blocks[0].attn_q.native);
    check_product(&run, &lm->blocks[0].attn_q);
    check_product(&run, &lm->blocks[1].attn_v);
    check_product(&run, &lm->blocks[0].ffn_up);
    check_product(&run, &lm->blocks[1].ffn_down);
    check_product(&run, &lm->model.output);

    const struct gs_matrix *embd = &lm->model.token_embd;
    const int32_t tokens[] = {0, 17, (int32_t)embd->rows - 1};
    float *w = dense(embd->native), *y = gs_alloc(3 * embd->cols, sizeof *y);
    assert_non_null(embd->native);
    gs_embedding_forward(&run, embd, tokens, 3, 2, y);
    for (size_t t = 0; t < 3; t++)
        for (size_t c = 0; c < embd->cols; c++)
            assert_true(y[t * embd->cols + c] == 2 * w[(size_t)tokens[t] * embd->cols + c]);
    gs_free(&w);
    gs_free(&y);
    gs_free(&run.scratch);
    gs_free(&run.mixed);
    gs_lm_close(&lm);
    gs_store_close(&store);
}

/* ---- product in 8-bit integers ---- */

enum { INT8_T = 9 };

/* Products of every way to compute them: y (T, rows) each. */
struct int8_case {
    const struct gs_matrix *m[2];
    float *x, *exact[2], *want[2], *got[2];
};

static void take_products(const struct gs_run *run, const struct int8_case *c, float *const *y,
                          size_t count, size_t batch)
{
    for (size_t t = 0; t < INT8_T; t += batch) {
        struct gs_product p[2];
        for (size_t i = 0; i < count; i++)
            p[i] = (struct gs_product){.w = c->m[i], .y = y[i] + t * c->m[i]->rows};
        gs_linears_forward(run, p, count, c->x + t * c->m[0]->cols,
                           GS_MIN(batch, INT8_T - t));
    }
}

static void assert_case_equal(const struct int8_case *c, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_memory_equal(c->got[i], c->want[i], INT8_T * c->m[i]->rows * sizeof(float));
}

/* ‖y − exact‖ ≤ 1.5 % of ‖exact‖ a vector: rounding to 8 bits costs about 0.7 %. */
static void assert_near(const float *y, const float *exact, size_t rows)
{
    for (size_t t = 0; t < INT8_T; t++) {
        double error = 0, size = 0;
        for (size_t r = t * rows; r < (t + 1) * rows; r++) {
            error += pow((double)y[r] - (double)exact[r], 2);
            size += pow((double)exact[r], 2);
        }
        assert_true(error > 0 && error < 0.015 * 0.015 * size);
    }
}

/* The same bits alone and together, for each batch, number of threads and level. */
static void check_int8(struct gs_run *run, struct int8_case *c, size_t count)
{
    static const size_t batches[] = {INT8_T, 1, 2, 5};
    const struct gs_int8 *int8 = run->int8;
    struct gs_kernels level;

    for (size_t i = 0; i < count; i++) {
        size_t bytes = INT8_T * c->m[i]->rows * sizeof(float);
        c->exact[i] = gs_alloc(bytes, 1);
        c->want[i] = gs_alloc(bytes, 1);
        c->got[i] = gs_alloc(bytes, 1);
        assert_true(c->exact[i] && c->want[i] && c->got[i]);
    }
    run->int8 = NULL;
    take_products(run, c, c->exact, count, INT8_T);
    run->int8 = int8;
    take_products(run, c, c->want, count, INT8_T);
    for (size_t i = 0; i < count; i++)
        assert_near(c->want[i], c->exact[i], c->m[i]->rows);
    for (size_t b = 0; b < GS_COUNT(batches); b++)
        for (size_t l = 0; gs_kernels_level(l); l++) {
            if (!gs_kernels_resolve(l, &level))
                continue;
            run->k = &level;
            take_products(run, c, c->got, count, batches[b]);
            assert_case_equal(c, count);
        }
    run->k = gs_kernels();
    for (size_t i = 0; i < count; i++) {
        gs_linear_forward(run, c->m[i], NULL, c->x, INT8_T, c->got[i]);
        gs_free(&c->exact[i]);
    }
    assert_case_equal(c, count);
    for (size_t i = 0; i < count; i++) {
        gs_free(&c->want[i]);
        gs_free(&c->got[i]);
    }
}

static void test_int8_products(void **state)
{
    enum { COLS_MAX = 1024 };
    struct gs_store *store = open_target();
    struct gs_run run = {.k = gs_kernels(), .scratch_size = gs_linear_scratch(COLS_MAX)};
    struct gs_int8 int8 = {0};
    struct gs_lm *lm;
    struct gs_rng rng;

    (void)state;
    if (gs_lm_open(store, &lm, &err))
        fail_msg("%s", err.msg);
    float *x = gs_alloc(INT8_T * COLS_MAX, sizeof *x);
    run.scratch = gs_alloc(3 * run.scratch_size, sizeof(float));
    run.mixed = gs_alloc(INT8_T * COLS_MAX, sizeof(float));
    int8.q = gs_alloc(INT8_T, COLS_MAX);
    int8.scale = gs_alloc(INT8_T * COLS_MAX / GS_INT8_BLOCK, sizeof *int8.scale);
    int8.group = gs_alloc(INT8_T * COLS_MAX / GS_INT8_GROUP, sizeof *int8.group);
    int8.sum = gs_alloc(INT8_T * COLS_MAX / GS_INT8_BLOCK, sizeof *int8.sum);
    assert_true(x && run.scratch && run.mixed && int8.q && int8.scale && int8.group && int8.sum);
    run.int8 = &int8;
    gs_rng_init(&rng, 4, 1);
    for (size_t i = 0; i < INT8_T * COLS_MAX; i++)
        x[i] = (float)gs_rng_normal(&rng);
    for (int threads = 1; threads <= 3; threads++) {
        const struct gs_block_weights *b = &lm->blocks[1];
        struct int8_case both = {.m = {&b->ffn_gate, &b->ffn_up}, .x = x};
        struct int8_case down = {.m = {&b->ffn_down}, .x = x};
        struct int8_case output = {.m = {&lm->model.output}, .x = x};
        assert_int_equal(gs_team_create(threads, &run.team, &err), 0);
        check_int8(&run, &both, 2);
        check_int8(&run, &down, 1);
        check_int8(&run, &output, 1);
        gs_team_destroy(&run.team);
    }
    gs_free(&x);
    gs_free(&run.scratch);
    gs_free(&run.mixed);
    gs_free(&int8.q);
    gs_free(&int8.scale);
    gs_free(&int8.group);
    gs_free(&int8.sum);
    gs_lm_close(&lm);
    gs_store_close(&store);
}

/* ---- sources that are refused, stopping ---- */

static bool poison(void *ctx, struct gs_tensor *t, const void **data)
{
    if (strcmp(t->name, "blk.1.ffn_up.weight"))
        return true;
    float *copy = malloc(t->bytes);
    assert_non_null(copy);
    memcpy(copy, *data, t->bytes);
    copy[t->dim[0] * 2 + 5] = *(const float *)ctx;
    *data = copy;
    return true;
}

static void test_weights_that_are_not_finite(void **state)
{
    float values[] = {NAN, INFINITY};
    char kept[512];

    (void)state;
    snprintf(kept, sizeof kept, "%s", source);
    for (size_t i = 0; i < 2; i++) {
        struct gs_quantize_options o = {.bpw = 3, .recipe = "rounder=nearest,rescale=no"};
        struct gs_store *store, *bad;
        assert_int_equal(gs_store_open(kept, &store, &err), 0);
        bad = tiny_copy(store, NULL, poison, &values[i]);
        gs_store_close(&store);
        /* tiny_copy has unlinked its file: written again, under a name. */
        snprintf(source, sizeof source, "%s/poisoned.gguf", tiny_folder);
        struct gs_gguf_writer *w;
        size_t n = gs_store_count(bad);
        assert_int_equal(gs_gguf_create(source, true, gs_store_meta(bad),
                                        gs_store_tensor(bad, 0), n, &w, &err), 0);
        for (size_t j = 0; j < n; j++) {
            const struct gs_tensor *t = gs_store_tensor(bad, j);
            const void *data;
            assert_int_equal(gs_store_data(bad, t, &data, &err), 0);
            assert_int_equal(gs_gguf_write(w, j, data, t->bytes, &err), 0);
        }
        assert_int_equal(gs_gguf_commit(&w, NULL, &err), 0);
        gs_store_close(&bad);
        char keep_target[512];
        snprintf(keep_target, sizeof keep_target, "%s", target);
        snprintf(target, sizeof target, "%s/poisoned-small.gguf", tiny_folder);
        assert_int_equal(quantize(&o, NULL), GS_E_FORMAT);
        assert_non_null(strstr(err.msg, "blk.1.ffn_up.weight"));
        assert_non_null(strstr(err.msg, "row 2, column 5"));
        /* With calibration the second moments may be the first to notice. */
        o.recipe = NULL;
        assert_int_equal(quantize(&o, NULL), GS_E_FORMAT);
        assert_non_null(strstr(err.msg, "blk.1."));
        char work[560];
        snprintf(work, sizeof work, "%s.work", target);
        unlink(work);
        unlink(source);
        snprintf(target, sizeof target, "%s", keep_target);
    }
    snprintf(source, sizeof source, "%s", kept);
}

struct stopper {
    uint64_t at;
    int plans;
};

static int stop_at(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    const struct stopper *s = ctx;

    assert_true(done <= total);
    return !strcmp(what, "weights") && done >= s->at;
}

static int count_plan(void *ctx, const struct gs_plan_info *plan)
{
    struct stopper *s = ctx;

    s->plans++;
    return plan->n_tensors == 0 || plan->file_bytes <= plan->bytes;
}

static void read_file(const char *path, char **data, size_t *n)
{
    FILE *f = fopen(path, "rb");

    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    *data = malloc(*n);
    assert_int_equal(fread(*data, 1, *n, f), *n);
    fclose(f);
}

/* Stopped after ever more weights and resumed: always the same bytes. */
static void test_stop_and_resume(void **state)
{
    struct stopper s = {0};
    char *want, *got, kept[512];
    size_t n, m, stops = 0;

    (void)state;
    read_file(target, &want, &n);
    snprintf(kept, sizeof kept, "%s", target);
    snprintf(target, sizeof target, "%s/resumed.gguf", tiny_folder);
    for (s.at = 1; s.at < 200000; s.at += 20000) {
        struct gs_quantize_options o = {.bpw = 3, .resume = s.at > 1, .progress = stop_at,
                                        .progress_ctx = &s, .plan = count_plan,
                                        .plan_ctx = &s};
        int rc = quantize(&o, NULL);
        if (rc == GS_OK)
            break;
        assert_int_equal(rc, GS_E_STOPPED);
        stops++;
    }
    assert_true(stops > 2);
    assert_int_equal(s.plans, (int)stops + 1);
    read_file(target, &got, &m);
    assert_int_equal(n, m);
    assert_memory_equal(got, want, n);
    free(want);
    free(got);
    unlink(target);
    snprintf(target, sizeof target, "%s", kept);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_counts_every_byte),
        cmocka_unit_test(test_product_and_lookup),
        cmocka_unit_test(test_int8_products),
        cmocka_unit_test(test_weights_that_are_not_finite),
        cmocka_unit_test(test_stop_and_resume),
    };

    (void)argc;
    tiny_init(argv[0]);
    int failed = cmocka_run_group_tests(tests, make_files, remove_files);
    tiny_exit();
    return failed;
}
