/* SPDX-License-Identifier: MIT
 * Untrained models: what is drawn, what is refused, and that they run and become files. */
#include "tests/unit/vocab_fixture.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/alloc.h"
#include "file/fresh.h"
#include "model/model.h"
#include "recipe/convert.h"
#include "text/bpe_train.h"

static const struct gs_model_sizes small = {
    .n_embd = 64, .n_layer = 3, .n_ff = 96, .n_ctx = 32, .n_head = 4, .n_head_kv = 2,
    .name = "small",
};

static struct gs_meta *make_tokenizer(void)
{
    struct gs_bpe_options options = {.n_vocab = GS_BPE_TOKENS_MIN};
    struct gs_meta *m = NULL;

    assert_int_equal(gs_meta_create(&m, NULL), 0);
    assert_int_equal(gs_bpe_train(&options, NULL, 0, m, NULL), 0);
    set_str(m, "general.name", "not copied");
    return m;
}

static struct gs_store *create(const struct gs_model_sizes *sizes, uint64_t seed)
{
    struct gs_meta *tokenizer = make_tokenizer();
    struct gs_store *store = NULL;
    struct gs_err err = {0};

    if (gs_model_create(sizes, tokenizer, seed, &store, &err))
        fail_msg("%s", err.msg);
    gs_meta_destroy(&tokenizer); /* the store keeps its own copy */
    return store;
}

static const float *read_tensor(struct gs_store *store, const char *name, size_t *n)
{
    const struct gs_tensor *t = gs_store_find(store, name);
    const void *data = NULL;

    assert_non_null(t);
    assert_int_equal(t->type, GS_TYPE_F32);
    assert_int_equal(gs_store_data(store, t, &data, NULL), 0);
    *n = t->bytes / sizeof(float);
    return data;
}

/* Mean and deviation within five standard errors of what they should be. */
static void check_normal(struct gs_store *store, const char *name, double deviation)
{
    size_t n;
    const float *x = read_tensor(store, name, &n);
    double sum = 0, squares = 0;

    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
    }
    assert_true(fabs(sum / (double)n) < 5 * deviation / sqrt((double)n));
    assert_true(fabs(sqrt(squares / (double)n) / deviation - 1) < 5 / sqrt(2.0 * (double)n));
}

static void test_numbers(void **state)
{
    struct gs_store *store = create(&small, 1);
    double residual = 0.02 / sqrt(2.0 * 3);
    size_t n;

    (void)state;
    check_normal(store, "token_embd.weight", 0.02);
    check_normal(store, "blk.0.attn_q.weight", 0.02);
    check_normal(store, "blk.1.attn_k.weight", 0.02);
    check_normal(store, "blk.2.ffn_gate.weight", 0.02);
    check_normal(store, "blk.0.attn_output.weight", residual);
    check_normal(store, "blk.2.ffn_down.weight", residual);
    const float *norm = read_tensor(store, "blk.1.ffn_norm.weight", &n);
    assert_int_equal(n, 64);
    for (size_t i = 0; i < n; i++)
        assert_true(norm[i] == 1.0f);
    assert_null(gs_store_find(store, "output.weight"));
    assert_int_equal(gs_store_count(store), 2 + 3 * 9);
    gs_store_close(&store);
}

static void test_seed(void **state)
{
    struct gs_store *a = create(&small, 5), *b = create(&small, 5), *c = create(&small, 6);
    const char *name = "blk.1.ffn_up.weight";
    size_t n, m;

    (void)state;
    (void)read_tensor(a, "blk.0.attn_q.weight", &n); /* order of reading does not matter */
    const float *x = read_tensor(a, name, &n), *y = read_tensor(b, name, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n * sizeof *x);
    assert_memory_not_equal(x, read_tensor(c, name, &m), n * sizeof *x);
    assert_memory_not_equal(x, read_tensor(a, "blk.2.ffn_up.weight", &m), n * sizeof *x);
    gs_store_release(a, gs_store_find(a, name)); /* nor does reading again */
    assert_memory_equal(read_tensor(a, name, &m), y, n * sizeof *y);
    gs_store_close(&a);
    gs_store_close(&b);
    gs_store_close(&c);
}

/* As a model: it opens, and gives each token about the same probability. */
static void check_runs(struct gs_store *store)
{
    const int32_t tokens[] = {0, 100, 200, 7};
    struct gs_decoder_options options = {.ctx = 32, .batch = 8};
    struct gs_decoder *d = NULL;
    struct gs_lm *lm = NULL;
    struct gs_err err = {0};
    static float logits[4][GS_BPE_TOKENS_MIN];

    if (gs_lm_open(store, &lm, &err) || gs_decoder_create(lm, &options, &d, &err) ||
        gs_decoder_forward(d, tokens, 4, &err))
        fail_msg("%s", err.msg);
    gs_decoder_logits(d, 0, 4, logits[0]);
    for (size_t i = 0; i < 4; i++)
        for (size_t v = 0; v < GS_BPE_TOKENS_MIN; v++)
            assert_true(fabsf(logits[i][v]) < 2);
    assert_true(logits[0][1] != logits[1][1]);
    gs_decoder_destroy(&d);
    gs_lm_close(&lm);
}

static void test_runs(void **state)
{
    struct gs_model_sizes untied = small;
    struct gs_store *store = create(&small, 1);
    uint64_t n;

    (void)state;
    check_runs(store);
    assert_int_equal(gs_meta_get_uint(gs_store_meta(store), "llama.vocab_size", &n, NULL), 1);
    assert_int_equal(n, GS_BPE_TOKENS_MIN);
    struct gs_str name;
    assert_int_equal(gs_meta_get_str(gs_store_meta(store), "general.name", &name, NULL), 1);
    assert_true(gs_str_equal(name, "small"));
    gs_store_close(&store);

    untied.untied = true;
    untied.n_head_kv = 0;
    store = create(&untied, 1);
    assert_non_null(gs_store_find(store, "output.weight"));
    check_runs(store);
    gs_store_close(&store);
}

static void test_file(void **state)
{
    char path[] = "/tmp/gosset-fresh-XXXXXX";
    int fd = mkstemp(path);
    struct gs_convert_options options = {.type = "f16", .overwrite = true, .threads = 1};
    struct gs_store *store = create(&small, 1), *file = NULL;
    struct gs_err err = {0};

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    if (gs_convert_store(store, path, &options, NULL, &err) || gs_store_open(path, &file, &err))
        fail_msg("%s", err.msg);
    unlink(path);
    assert_int_equal(gs_store_count(file), gs_store_count(store));
    assert_int_equal(gs_store_find(file, "token_embd.weight")->type, GS_TYPE_F16);
    assert_int_equal(gs_store_find(file, "output_norm.weight")->type, GS_TYPE_F32);
    check_runs(file);
    gs_store_close(&file);
    gs_store_close(&store);
}

static void refuse(const struct gs_model_sizes *sizes, const struct gs_meta *tokenizer,
                   const char *words)
{
    struct gs_store *store = NULL;
    struct gs_err err = {0};

    assert_int_equal(gs_model_create(sizes, tokenizer, 1, &store, &err), GS_E_ARG);
    assert_null(store);
    if (!strstr(err.msg, words) || strncmp(err.msg, "new model: ", 11))
        fail_msg("message \"%s\" lacks \"%s\"", err.msg, words);
}

static void test_refused(void **state)
{
    struct gs_meta *tokenizer = make_tokenizer(), *empty = NULL;
    struct gs_model_sizes s;

    (void)state;
#define REFUSE(change, words) s = small, s.change, refuse(&s, tokenizer, words)
    REFUSE(n_embd = 0, "the width is 0");
    REFUSE(n_embd = 1 << 21, "the width is 2097152, allowed are 1 to 1048576");
    REFUSE(n_layer = 0, "the number of layers is 0");
    REFUSE(n_layer = 5000, "the number of layers is 5000");
    REFUSE(n_ff = 0, "the inner width is 0");
    REFUSE(n_ctx = 0, "the context is 0");
    REFUSE(n_head = 0, "the number of heads is 0");
    REFUSE(n_head = 65, "the number of heads is 65");
    REFUSE(n_head = 5, "a width of 64 does not give 5 heads of an even size");
    REFUSE(n_head = 64, "a width of 64 does not give 64 heads of an even size");
    REFUSE(n_head_kv = 3, "4 heads cannot share 3 key/value heads");
    REFUSE(n_head_kv = 8, "the number of key/value heads is 8");
    REFUSE(rope_base = NAN, "the base of RoPE");
    REFUSE(norm_eps = -1, "the epsilon of the norms");
#undef REFUSE
    assert_int_equal(gs_meta_create(&empty, NULL), 0);
    refuse(&small, empty, "no usable tokenizer.ggml.tokens");
    gs_meta_destroy(&empty);
    gs_meta_destroy(&tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_seed),
        cmocka_unit_test(test_runs),    cmocka_unit_test(test_file),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
