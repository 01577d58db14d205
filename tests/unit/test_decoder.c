/* SPDX-License-Identifier: MIT
 * Whole models: the numbers of a stock runtime, the same bits however the work is cut, and
 * files that do not fit their architecture. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <inttypes.h>
#include <math.h>

#include "tests/unit/tiny.h"

#include "core/alloc.h"
#include "kernels/kernels.h"

#define VOCAB 320
#define TOKENS 64

static struct gs_err err;
static int32_t tokens[TOKENS];
static size_t n_tokens = TOKENS; /* that feed feeds */

struct model {
    struct gs_store *store;
    struct gs_lm *lm;
};

static struct model open_store(struct gs_store *store)
{
    struct model m = {.store = store};

    err = (struct gs_err){0};
    if (gs_lm_open(m.store, &m.lm, &err))
        fail_msg("%s", err.msg);
    return m;
}

static void close_model(struct model *m)
{
    gs_lm_close(&m->lm);
    gs_store_close(&m->store);
}

static bool exact; /* of decoders made next */

static struct gs_decoder *make_decoder(struct model *m, uint32_t ctx, uint32_t batch,
                                       bool kv_f32, struct gs_team *team)
{
    const struct gs_decoder_options o = {.ctx = ctx, .batch = batch, .kv_f32 = kv_f32,
                                         .exact = exact, .team = team};
    struct gs_decoder *d;

    err = (struct gs_err){0};
    if (gs_decoder_create(m->lm, &o, &d, &err))
        fail_msg("%s", err.msg);
    return d;
}

/* Appends tokens from `first` to n_tokens, `batch` at a time; logits (n_tokens, VOCAB) of all.
 * Nothing may be allocated meanwhile. */
static void feed(struct gs_decoder *d, size_t first, size_t batch, float *logits)
{
    gs_alloc_guard(true);
    for (size_t t = first; t < n_tokens; t += batch) {
        size_t n = GS_MIN(batch, n_tokens - t);
        if (gs_decoder_forward(d, tokens + t, n, &err))
            fail_msg("%s", err.msg);
        gs_decoder_logits(d, 0, n, logits + t * VOCAB);
    }
    gs_alloc_guard(false);
    assert_int_equal(gs_decoder_pos(d), n_tokens);
}

static void run(struct model *m, size_t batch, int threads, bool kv_f32, float *logits)
{
    struct gs_team *team;

    assert_int_equal(gs_team_create(threads, &team, &err), 0);
    struct gs_decoder *d = make_decoder(m, 256, (uint32_t)batch, kv_f32, team);
    feed(d, 0, batch, logits);
    gs_decoder_destroy(&d);
    gs_team_destroy(&team);
}

/* ---- the stock runtime's numbers ---- */

static void check_argmax(const char *name, const float *logits, char *line)
{
    char *word = strtok(line, " \n");

    for (size_t t = 0; t < TOKENS; t++) {
        word = strtok(NULL, " \n");
        assert_non_null(word);
        const float *l = logits + t * VOCAB;
        int best = 0;
        for (int i = 1; i < VOCAB; i++)
            if (l[i] > l[best])
                best = i;
        if (*word != '-' && atoi(word) != best)
            fail_msg("%s, token %zu: the largest logit is %d's, expected %s", name, t, best,
                     word);
    }
}

static void check_last(const char *name, const float *logits, char *line, double tolerance)
{
    char *word = strtok(line, " \n");

    for (int id = 0; id < VOCAB; id += 40) {
        word = strtok(NULL, " \n");
        assert_non_null(word);
        double want = strtod(word, NULL), got = logits[(TOKENS - 1) * VOCAB + id];
        if (!(fabs(got - want) <= tolerance))
            fail_msg("%s, logit %d: %.6f, expected %s within %g", name, id, got, word,
                     tolerance);
    }
}

static void golden_logits(void **state)
{
    static float logits[TOKENS * VOCAB];
    char line[1024], name[64];
    double tolerance;
    int models = 0;
    FILE *f = fopen("tests/golden/tiny_logits.txt", "r");

    (void)state;
    if (!f)
        fail_msg("tests/golden/tiny_logits.txt: run from the root of the repository");
    while (fgets(line, sizeof line, f)) {
        if (*line == '#')
            continue;
        assert_int_equal(sscanf(line, "%63s %lf", name, &tolerance), 2);
        struct model m = open_store(tiny_open(name));
        run(&m, TOKENS, 2, true, logits);
        assert_non_null(fgets(line, sizeof line, f));
        check_argmax(name, logits, line);
        assert_non_null(fgets(line, sizeof line, f));
        check_last(name, logits, line, tolerance);
        close_model(&m);
        models++;
    }
    fclose(f);
    /* Not there: three types for which the runtime rounds activations, two models whose
     * window it ignores. */
    assert_int_equal(models, tiny_n_variants - 5);
}

/* ---- the same bits ---- */

static void any_split_level_and_threads(void **state)
{
    static const struct {
        size_t batch;
        int threads;
    } ways[] = {{1, 2}, {7, 3}, {20, 2}};
    static float want[TOKENS * VOCAB], got[TOKENS * VOCAB];
    char level[32];

    (void)state;
    snprintf(level, sizeof level, "%s", gs_kernels()->name);
    n_tokens = 20; /* more than the window of gemma3 and than two tasks of attention */
    for (size_t i = 0; i < tiny_n_variants; i++) {
        struct model m = open_store(tiny_open(tiny_variants[i]));
        bool kv_f32 = i % 2;
        run(&m, 64, 1, kv_f32, want);
        for (size_t l = 0; gs_kernels_level(l); l++) {
            struct gs_kernels k;
            if (!gs_kernels_resolve(l, &k))
                continue;
            assert_int_equal(gs_kernels_select(k.name, &err), 0);
            for (size_t w = 0; w < GS_COUNT(ways); w++) {
                run(&m, ways[w].batch, ways[w].threads, kv_f32, got);
                if (memcmp(want, got, sizeof want))
                    fail_msg("%s differs: level %s, batch %zu, %d threads", tiny_variants[i],
                             k.name, ways[w].batch, ways[w].threads);
            }
        }
        assert_int_equal(gs_kernels_select(level, &err), 0);
        close_model(&m);
    }
    n_tokens = TOKENS;
}

static void rewinding(void **state)
{
    static float first[TOKENS * VOCAB], again[TOKENS * VOCAB];
    static const int32_t other[] = {9, 8, 7, 6, 5};

    (void)state;
    struct model m = open_store(tiny_open("gemma3"));
    struct gs_decoder *d = make_decoder(&m, TOKENS, 16, false, NULL);
    feed(d, 0, 16, first);
    gs_decoder_rewind(d, 33);
    assert_int_equal(gs_decoder_pos(d), 33);
    assert_int_equal(gs_decoder_forward(d, other, 5, &err), 0); /* overwritten below */
    gs_decoder_rewind(d, 33);
    feed(d, 33, 5, again);
    assert_memory_equal(first + 33 * VOCAB, again + 33 * VOCAB,
                        (TOKENS - 33) * VOCAB * sizeof(float));
    gs_decoder_rewind(d, 0);
    feed(d, 0, 11, again);
    assert_memory_equal(first, again, sizeof first);
    gs_decoder_destroy(&d);
    close_model(&m);
}

/* A token changes nothing before it, and nothing that no window reaches: two layers that see
 * 24 positions each pass it on to 46 positions further, no more. */
static void causality_and_windows(void **state)
{
    static float a[TOKENS * VOCAB], b[TOKENS * VOCAB];
    static const char *const names[] = {"llama:window", "phi3:window"};

    (void)state;
    for (size_t i = 0; i < GS_COUNT(names); i++) {
        struct model m = open_store(tiny_open(names[i]));
        run(&m, 64, 1, false, a);
        tokens[10]++;
        run(&m, 64, 1, false, b);
        tokens[10]--;
        for (size_t t = 0; t < TOKENS; t++) {
            bool same = !memcmp(a + t * VOCAB, b + t * VOCAB, VOCAB * sizeof *a);
            assert_int_equal(same, t < 10 || t > 10 + 2 * 23);
        }
        close_model(&m);
    }
}

/* Weights decoded beforehand give the same bits as weights decoded on the way. */
static bool to_f32(void *ctx, struct gs_tensor *t, const void **data)
{
    size_t n = t->dim[0] * t->dim[1];
    float *values = malloc(n * sizeof *values);

    (void)ctx;
    gs_kernels()->decode[t->type](*data, values, n);
    t->type = GS_TYPE_F32;
    *data = values;
    return true;
}

static void stored_types_are_exact(void **state)
{
    static float a[TOKENS * VOCAB], b[TOKENS * VOCAB];
    static const char *const names[] = {"llama:f16", "llama:bf16", "llama:q8_0"};

    (void)state;
    for (size_t i = 0; i < GS_COUNT(names); i++) {
        struct model stored = open_store(tiny_open(names[i]));
        struct model plain = open_store(tiny_copy(stored.store, NULL, to_f32, NULL));
        exact = true;
        run(&stored, 7, 2, false, a);
        run(&plain, 64, 2, false, b);
        exact = false;
        assert_memory_equal(a, b, sizeof a);
        close_model(&stored);
        close_model(&plain);
    }
}

/* In integers: near the exact result, and the same bits for every batch and team. */
static void stored_types_in_integers(void **state)
{
    static float a[TOKENS * VOCAB], b[TOKENS * VOCAB], c[TOKENS * VOCAB];
    double error = 0, size = 0;

    (void)state;
    struct model m = open_store(tiny_open("llama:q8_0"));
    exact = true;
    run(&m, 64, 1, false, a);
    exact = false;
    run(&m, 64, 2, false, b);
    run(&m, 1, 1, false, c);
    assert_memory_equal(b, c, sizeof b);
    run(&m, 7, 3, false, c);
    assert_memory_equal(b, c, sizeof b);
    for (size_t i = 0; i < TOKENS * VOCAB; i++) {
        error += pow((double)a[i] - (double)b[i], 2);
        size += pow((double)a[i], 2);
    }
    assert_true(error > 0 && error < 1e-6 * size);
    close_model(&m);
}

static void logits_of_a_part(void **state)
{
    static float all[TOKENS * VOCAB], part[3 * VOCAB];

    (void)state;
    struct model m = open_store(tiny_open("gemma3:softcap"));
    struct gs_decoder *d = make_decoder(&m, 100, 64, false, NULL);
    feed(d, 0, 64, all);
    gs_decoder_logits(d, 20, 3, part);
    assert_memory_equal(part, all + 20 * VOCAB, sizeof part);
    gs_decoder_logits(d, 64, 0, NULL);
    for (size_t i = 0; i < TOKENS * VOCAB; i++)
        assert_true(fabsf(all[i]) <= 5);
    /* 7 layers, 1 head of 24 for k, which v rounds up to 32, 100 positions to 128, 2 bytes. */
    assert_int_equal(gs_decoder_kv_bytes(d), 7 * 128 * (24 + 32) * 2);
    assert_true(gs_decoder_bytes(d) > gs_decoder_kv_bytes(d));
    assert_int_equal(gs_decoder_ctx(d), 100);
    gs_decoder_destroy(&d);
    close_model(&m);
}

/* ---- bad input ---- */

static void bad_batches(void **state)
{
    int32_t bad[] = {5, VOCAB}, negative[] = {-1};

    (void)state;
    struct model m = open_store(tiny_open("llama"));
    struct gs_decoder *d = make_decoder(&m, 10, 4, false, NULL);
    assert_int_equal(gs_decoder_forward(d, tokens, 0, NULL), GS_E_ARG);
    assert_int_equal(gs_decoder_forward(d, tokens, 5, NULL), GS_E_ARG);
    assert_int_equal(gs_decoder_forward(d, bad, 2, &err), GS_E_ARG);
    assert_non_null(strstr(err.msg, "320"));
    assert_int_equal(gs_decoder_forward(d, negative, 1, NULL), GS_E_ARG);
    assert_int_equal(gs_decoder_pos(d), 0);
    assert_int_equal(gs_decoder_forward(d, tokens, 4, NULL), 0);
    assert_int_equal(gs_decoder_forward(d, tokens, 4, NULL), 0);
    assert_int_equal(gs_decoder_forward(d, tokens, 3, NULL), GS_E_ARG); /* 11 > 10 */
    assert_int_equal(gs_decoder_forward(d, tokens, 2, NULL), 0);
    assert_int_equal(gs_decoder_forward(d, tokens, 1, NULL), GS_E_ARG);
    gs_decoder_destroy(&d);
    close_model(&m);
}

static void bad_options(void **state)
{
    struct gs_decoder *d;
    struct gs_decoder_options o = {.ctx = 0, .batch = 1};

    (void)state;
    struct model m = open_store(tiny_open("gpt2"));
    assert_int_equal(gs_decoder_create(m.lm, &o, &d, NULL), GS_E_ARG);
    o = (struct gs_decoder_options){.ctx = 8, .batch = 0};
    assert_int_equal(gs_decoder_create(m.lm, &o, &d, NULL), GS_E_ARG);
    o = (struct gs_decoder_options){.ctx = 257, .batch = 1}; /* learned positions end */
    assert_int_equal(gs_decoder_create(m.lm, &o, &d, NULL), GS_E_ARG);
    close_model(&m);

    m = open_store(tiny_open("llama")); /* sizes whose product no machine has */
    o = (struct gs_decoder_options){.ctx = UINT32_MAX, .batch = UINT32_MAX, .kv_f32 = true};
    gs_alloc_fail_at(3);
    assert_int_equal(gs_decoder_create(m.lm, &o, &d, NULL), GS_E_NOMEM);
    gs_alloc_fail_at(0);
    assert_null(d);
    close_model(&m);
}

struct edit {
    const char *name; /* of the tensor to change */
    bool drop;
    const char *rename;
    uint64_t dim0, dim1;
    enum gs_type type;
    float value; /* overwrites a vector */
};

static bool apply(void *ctx, struct gs_tensor *t, const void **data)
{
    const struct edit *e = ctx;

    if (strcmp(t->name, e->name))
        return true;
    if (e->rename)
        t->name = e->rename;
    if (e->dim0) {
        t->dim[0] = e->dim0;
        t->dim[1] = e->dim1;
        t->n_dims = e->dim1 > 1 ? 2 : 1;
    }
    if (e->type)
        t->type = e->type;
    if (e->value != 0) {
        float *values = malloc(t->dim[0] * sizeof *values);
        for (size_t i = 0; i < t->dim[0]; i++)
            values[i] = e->value;
        *data = values;
    }
    return !e->drop;
}

static void models_that_do_not_fit(void **state)
{
    static const struct {
        const char *variant;
        struct edit edit;
        int code;
        const char *parts[3]; /* of the message */
    } cases[] = {
        {"llama", {"blk.1.ffn_up.weight", .drop = true}, GS_E_FORMAT,
         {"blk.1.ffn_up.weight", "missing", "llama"}},
        {"llama", {"token_embd.weight", .drop = true}, GS_E_FORMAT, {"token_embd.weight"}},
        {"gpt2", {"blk.0.attn_qkv.bias", .drop = true}, GS_E_FORMAT, {"blk.0.attn_qkv.bias"}},
        {"llama:fused", {"blk.0.attn_qkv.weight", .drop = true}, GS_E_FORMAT,
         {"blk.0.attn_q.weight"}},
        {"llama", {"blk.0.attn_k.weight", .dim0 = 64, .dim1 = 31}, GS_E_FORMAT,
         {"blk.0.attn_k.weight", "[64, 32]", "[64, 31]"}},
        {"llama", {"blk.0.attn_k.weight", .dim0 = 32, .dim1 = 64}, GS_E_FORMAT,
         {"blk.0.attn_k.weight", "[64, 32]", "[32, 64]"}},
        {"llama", {"blk.0.attn_k.weight", .dim0 = 64, .dim1 = 1}, GS_E_FORMAT,
         {"blk.0.attn_k.weight", "[64, 32]", "[64]"}},
        {"llama", {"token_embd.weight", .dim0 = 64, .dim1 = 300}, GS_E_FORMAT,
         {"token_embd.weight", "[64, 320]", "[64, 300]"}},
        {"llama", {"blk.1.attn_norm.weight", .dim0 = 63, .dim1 = 1}, GS_E_FORMAT,
         {"blk.1.attn_norm.weight", "[64]", "[63]"}},
        {"llama", {"blk.1.attn_norm.weight", .type = GS_TYPE_I32}, GS_E_FORMAT,
         {"blk.1.attn_norm.weight", "F32", "I32"}},
        {"llama:untied", {"output.weight", .rename = "cls.output.weight"}, GS_E_UNSUPPORTED,
         {"cls.output.weight", "no place"}},
        {"llama:bias", {"blk.1.attn_q.bias", .rename = "blk.2.attn_q.bias"}, GS_E_UNSUPPORTED,
         {"blk.2.attn_q.bias", "2 layers"}},
        {"llama:llama3", {"rope_freqs.weight", .value = NAN}, GS_E_FORMAT,
         {"rope_freqs.weight", "nan"}},
        {"phi3:longrope", {"rope_factors_long.weight", .value = -1}, GS_E_FORMAT,
         {"rope_factors_long.weight", "-1"}},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct edit edit = cases[i].edit;
        struct gs_store *good = tiny_open(cases[i].variant), *bad;
        struct gs_lm *lm;
        bad = tiny_copy(good, NULL, apply, &edit);
        err = (struct gs_err){0};
        assert_int_equal(gs_lm_open(bad, &lm, &err), cases[i].code);
        assert_null(lm);
        assert_non_null(strstr(err.msg, "copy.gguf"));
        for (int p = 0; p < 3 && cases[i].parts[p]; p++)
            if (!strstr(err.msg, cases[i].parts[p]))
                fail_msg("'%s' does not name '%s'", err.msg, cases[i].parts[p]);
        gs_store_close(&good);
        gs_store_close(&bad);
    }
}

static bool keep_all(void *ctx, struct gs_tensor *t, const void **data)
{
    (void)ctx, (void)t, (void)data;
    return true;
}

/* A count from the metadata takes no memory that the file does not justify. */
static void more_layers_than_tensors(void **state)
{
    struct gs_meta *meta;
    struct gs_lm *lm;

    (void)state;
    struct gs_store *good = tiny_open("llama");
    err = (struct gs_err){0};
    assert_int_equal(gs_meta_create(&meta, &err), 0);
    const struct gs_meta *from = gs_store_meta(good);
    for (size_t i = 0; i < gs_meta_count(from); i++) {
        struct gs_str k = {gs_meta_key(from, i), strlen(gs_meta_key(from, i))};
        assert_int_equal(gs_meta_set(meta, k, gs_meta_value(from, i), &err), 0);
    }
    assert_int_equal(gs_meta_set_uint(meta, "llama.block_count", 1000, &err), 0);
    struct gs_store *bad = tiny_copy(good, meta, keep_all, NULL);
    assert_int_equal(gs_lm_open(bad, &lm, &err), GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "1000"));
    gs_store_close(&bad);
    gs_store_close(&good);
    gs_meta_destroy(&meta);
}

static void out_of_memory(void **state)
{
    struct gs_store *store = tiny_open("llama:bias");
    struct gs_lm *lm = NULL;
    struct gs_decoder *d = NULL;
    const struct gs_decoder_options o = {.ctx = 16, .batch = 4};
    uint64_t n = 0;

    (void)state;
    do {
        gs_alloc_fail_at(++n);
        err = (struct gs_err){0};
        if (gs_lm_open(store, &lm, &err))
            assert_int_equal(err.code, GS_E_NOMEM);
        gs_alloc_fail_at(0);
    } while (!lm && n < 100);
    assert_true(n > 2 && n < 100);
    n = 0;
    do {
        gs_alloc_fail_at(++n);
        err = (struct gs_err){0};
        if (gs_decoder_create(lm, &o, &d, &err))
            assert_int_equal(err.code, GS_E_NOMEM);
        gs_alloc_fail_at(0);
    } while (!d && n < 100);
    assert_int_equal(n, 4);
    gs_decoder_destroy(&d);
    gs_lm_close(&lm);
    gs_store_close(&store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_logits),
        cmocka_unit_test(any_split_level_and_threads),
        cmocka_unit_test(rewinding),
        cmocka_unit_test(causality_and_windows),
        cmocka_unit_test(stored_types_are_exact),
        cmocka_unit_test(stored_types_in_integers),
        cmocka_unit_test(logits_of_a_part),
        cmocka_unit_test(bad_batches),
        cmocka_unit_test(bad_options),
        cmocka_unit_test(models_that_do_not_fit),
        cmocka_unit_test(more_layers_than_tensors),
        cmocka_unit_test(out_of_memory),
    };
    (void)argc;
    tiny_init(argv[0]);
    tiny_tokens(tokens, TOKENS);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    tiny_exit();
    return rc;
}
