/* SPDX-License-Identifier: MIT
 * Training: ten steps against an independent run in double (tools/train_reference.py), the order
 * of texts, checkpoints that resume to the same bits, and what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "gosset.h"
#include "model/backprop.h"
#include "tests/unit/tiny.h"
#include "train/checkpoint.h"
#include "train/corpus.h"
#include "train/grad_norm.h"
#include "train/optimizer.h"
#include "train/save.h"

/* ---- ten steps ------------------------------------------------------------------------------- */

#define TEXTS 2u
#define CTX 24u
#define STEPS 10u

/* As tools/train_reference.py draws them. */
static void draw_texts(uint64_t step, int32_t *tokens, int32_t *target)
{
    uint64_t x = 12345 + step;

    for (size_t b = 0; b < TEXTS; b++)
        for (size_t t = 0; t <= CTX; t++) {
            x = (1103515245 * x + 12345) % ((uint64_t)1 << 31);
            int32_t token = (int32_t)((x >> 8) % 40);
            if (t < CTX)
                tokens[b * CTX + t] = token;
            if (t > 0)
                target[b * CTX + t - 1] = token;
        }
}

static void test_ten_steps(void **state)
{
    struct gs_store *store = tiny_open("llama");
    struct gs_backprop_options bo = {.texts = TEXTS, .ctx = CTX};
    struct gs_optimizer_options oo = {.kind = gs_optimizer_kind_find("adamw"), .beta1 = 0.9f,
                                      .beta2 = 0.95f, .eps = 1e-8f, .decay = 0.1f};
    int32_t tokens[TEXTS * CTX], target[TEXTS * CTX];
    struct gs_err err = {0};
    struct gs_lm *lm;
    struct gs_params *p;
    struct gs_backprop *bp;
    struct gs_optimizer *o;
    char line[128];
    unsigned steps = 0;

    (void)state;
    if (gs_lm_open(store, &lm, &err) || gs_params_create(lm, NULL, &p, &err) ||
        gs_backprop_create(p, &bo, &bp, &err) || gs_optimizer_create(p, &oo, &o, &err))
        fail_msg("%s", err.msg);
    double *sums = gs_alloc(gs_grad_norm_sums(p), sizeof *sums);
    FILE *f = fopen("tests/golden/train_losses.txt", "r");
    if (!f)
        fail_msg("tests/golden/train_losses.txt: run from the root of the repository");
    while (fgets(line, sizeof line, f)) {
        double want, want_norm, loss;
        unsigned step;
        if (*line == '#')
            continue;
        assert_int_equal(sscanf(line, "%u %lf %lf", &step, &want, &want_norm), 3);
        assert_int_equal(step, ++steps);
        draw_texts(step, tokens, target);
        memset(gs_backprop_grads(bp), 0, p->floats * sizeof(float));
        gs_backprop_loss(bp, tokens, target, 1.0f / (TEXTS * CTX), &loss);
        double norm = gs_grad_norm(p, NULL, gs_backprop_grads(bp), sums);
        loss /= TEXTS * CTX;
        if (!(fabs(loss - want) < 1e-4 * want && fabs(norm - want_norm) < 1e-3 * want_norm))
            fail_msg("step %u: loss %.9g, norm %.9g, not %.9g, %.9g", step, loss, norm, want,
                     want_norm);
        gs_optimizer_step(o, NULL, gs_backprop_grads(bp), (float)fmin(1, 1 / norm), 2e-3f,
                          step);
    }
    fclose(f);
    assert_int_equal(steps, STEPS);
    gs_free(&sums);
    gs_optimizer_destroy(&o);
    gs_backprop_destroy(&bp);
    gs_params_destroy(&p);
    gs_lm_close(&lm);
    gs_store_close(&store);
}

/* ---- text ------------------------------------------------------------------------------------ */

static const char *write_file(const char *name, const void *data, size_t n)
{
    static char path[2][512];
    static int turn;
    char *p = path[turn ^= 1];

    snprintf(p, sizeof path[0], "%s/%s", tiny_folder, name);
    FILE *f = fopen(p, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
    return p;
}

static const char *write_text(const char *name, size_t n)
{
    static const char words[] = "the cat sat on a mat and then it ran to the old dog. ";
    char *text = malloc(n);
    struct gs_rng rng;

    assert_non_null(text);
    gs_rng_init(&rng, 3, n);
    for (size_t i = 0; i < n; i++)
        text[i] = words[(i + gs_rng_below(&rng, 2) * 7) % (sizeof words - 1)];
    const char *path = write_file(name, text, n);
    free(text);
    return path;
}

static struct gs_corpus *open_corpus(struct gs_store **store, struct gs_tokenizer **tokenizer,
                                     const char *path, uint32_t ctx)
{
    struct gs_err err = {0};
    struct gs_corpus *c;

    *store = tiny_open("llama:bpe");
    if (gs_tokenizer_create(gs_store_meta(*store), "tiny", tokenizer, &err) ||
        gs_corpus_create(*tokenizer, &path, 1, ctx, 11, &c, &err))
        fail_msg("%s", err.msg);
    return c;
}

/* An epoch sees every piece once, the next in another order, and a text depends only on its
 * number. */
static void test_corpus(void **state)
{
    enum { CONTEXT = 20 };
    int32_t tokens[CONTEXT], target[CONTEXT], again[CONTEXT];
    struct gs_store *store;
    struct gs_tokenizer *tokenizer;
    const char *path = write_text("corpus", 3000);
    struct gs_corpus *c = open_corpus(&store, &tokenizer, path, CONTEXT);
    uint64_t pieces = gs_corpus_pieces(c), differ = 0;
    int32_t *first = gs_alloc(pieces * CONTEXT, sizeof *first);

    (void)state;
    assert_true(pieces > 10 && pieces <= (gs_corpus_tokens(c) - 1) / CONTEXT);
    assert_int_equal(gs_corpus_bytes(c), 3000);
    for (uint64_t i = 0; i < pieces; i++) {
        gs_corpus_text(c, i, tokens, target);
        memcpy(first + i * CONTEXT, tokens, sizeof tokens);
        for (size_t t = 0; t + 1 < CONTEXT; t++)
            assert_int_equal(target[t], tokens[t + 1]);
    }
    for (uint64_t i = 0; i < pieces; i++) {
        gs_corpus_text(c, pieces + i, tokens, target);
        differ += memcmp(tokens, first + i * CONTEXT, sizeof tokens) != 0;
    }
    assert_true(differ > pieces / 2);
    gs_corpus_text(c, 5, again, target); /* back to the first epoch */
    assert_memory_equal(again, first + 5 * CONTEXT, sizeof again);
    gs_free(&first);
    gs_corpus_destroy(&c);
    gs_tokenizer_destroy(&tokenizer);
    gs_store_close(&store);
    unlink(path);
}

/* ---- whole runs ------------------------------------------------------------------------------ */

struct place {
    char model[512], text[512], out[512], file[560];
};

static void begin_place(struct place *p, const char *variant)
{
    snprintf(p->model, sizeof p->model, "%s", tiny_make(variant));
    snprintf(p->text, sizeof p->text, "%s", write_text("text", 4000));
    snprintf(p->out, sizeof p->out, "%s/out", tiny_folder);
}

static const char *beside(struct place *p, const char *tail)
{
    snprintf(p->file, sizeof p->file, "%s%s", p->out, tail);
    return p->file;
}

static void end_place(struct place *p)
{
    unlink(p->model);
    unlink(p->text);
    unlink(p->out);
    unlink(beside(p, ".ckpt"));
    unlink(beside(p, ".jsonl"));
}

static const char *text_path;

static struct gs_train_options options_of(const struct place *p)
{
    text_path = p->text;
    return (struct gs_train_options){
        .init = p->model, .texts = &text_path, .n_texts = 1, .steps = 6, .ctx = 16, .batch = 3,
        .lr = 1e-3, .decay = -1, .beta1 = -1, .beta2 = -1, .clip = -1, .warmup = 2,
        .checkpoint = 2, .type = "f32", .overwrite = true, .threads = 1};
}

static void *read_whole(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    void *data = malloc(1 << 22);

    if (!f || !data)
        fail_msg("%s is missing", path);
    *n = fread(data, 1, 1 << 22, f);
    fclose(f);
    return data;
}

static int stop_at(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    (void)what, (void)total;
    return done == *(const uint64_t *)ctx;
}

/* A run that stops (on or between checkpoints) and goes on, with other threads, writes the
 * file of one that never stopped. */
static void test_resume(void **state)
{
    const char *const kinds[] = {"adamw", "adamw8", "adamw4", "sgd"};
    struct place p;

    (void)state;
    begin_place(&p, "llama:bpe");
    for (size_t k = 0; k < GS_COUNT(kinds); k++) {
        struct gs_train_options o = options_of(&p);
        struct gs_train_result r;
        struct gs_err err = {0};
        uint64_t stop = 2 + k % 2;
        size_t n, m;

        o.optimizer = kinds[k];
        if (gs_train(p.out, &o, &r, &err))
            fail_msg("%s", err.msg);
        assert_int_equal(r.steps, 6);
        assert_int_equal(r.tokens, 6 * 3 * 16);
        assert_true(r.loss > 0 && isnan(r.valid_loss) && r.file_bytes > 0);
        assert_int_not_equal(access(beside(&p, ".ckpt"), F_OK), 0);
        void *whole = read_whole(p.out, &n);

        o.progress = stop_at;
        o.progress_ctx = &stop;
        assert_int_equal(gs_train(p.out, &o, &r, &err), GS_E_STOPPED);
        o.progress = NULL;
        o.overwrite = false;
        o.resume = true;
        o.threads = 3;
        err = (struct gs_err){0};
        if (gs_train(p.out, &o, &r, &err))
            fail_msg("%s", err.msg);
        void *parts = read_whole(p.out, &m);
        assert_int_equal(n, m);
        assert_memory_equal(whole, parts, n);
        free(whole), free(parts);

        /* One line a step, each once. */
        char *log = read_whole(beside(&p, ".jsonl"), &n);
        size_t lines = 0;
        for (size_t i = 0; i < n; i++)
            lines += log[i] == '\n';
        assert_int_equal(lines, 6);
        free(log);
    }
    end_place(&p);
}

/* It learns: text of few words is soon no surprise, and a text of its kind neither. */
static void test_learns(void **state)
{
    struct place p;
    struct gs_train_result r;
    struct gs_err err = {0};

    (void)state;
    begin_place(&p, "qwen3");
    struct gs_train_options o = options_of(&p);
    o.steps = 40;
    o.checkpoint = 100;
    o.lr = 3e-3;
    o.valid = p.text;
    o.accumulate = 2;
    o.type = "f16";
    if (gs_train(p.out, &o, &r, &err))
        fail_msg("%s", err.msg);
    assert_true(r.valid_loss < 3.2); /* ln 320 = 5.8; untrained models say 7 and more */
    end_place(&p);
}

static void refuse(struct place *p, const struct gs_train_options *o, int code,
                   const char *words)
{
    struct gs_err err = {0};
    int rc = gs_train(p->out, o, NULL, &err);

    if (rc != code || !strstr(err.msg, words))
        fail_msg("expected %d and '%s', found %d: %s", code, words, rc, err.msg);
}

static void test_refusals(void **state)
{
    struct place p;
    struct gs_train_options o;
    const char *words = NULL;

    (void)state;
    begin_place(&p, "llama:bpe");
    o = options_of(&p);
    o.steps = 0;
    refuse(&p, &o, GS_E_ARG, "steps");
    o = options_of(&p);
    o.optimizer = "adam";
    refuse(&p, &o, GS_E_ARG, "'adam'");
    o = options_of(&p);
    o.schedule = "sine";
    refuse(&p, &o, GS_E_ARG, "'sine'");
    o = options_of(&p);
    o.type = "q4_k";
    refuse(&p, &o, GS_E_ARG, "q4_k");
    o = options_of(&p);
    o.n_texts = 0;
    refuse(&p, &o, GS_E_ARG, "text");
    o = options_of(&p);
    o.init = NULL;
    refuse(&p, &o, GS_E_ARG, "model to continue");
    o = options_of(&p);
    o.config = "n_embd=32,n_layer=1,n_head=2,depth=3";
    o.init = NULL;
    refuse(&p, &o, GS_E_ARG, "unknown key 'depth'");
    o.config = "n_embd=32,n_layer=one";
    refuse(&p, &o, GS_E_ARG, "'one'");
    o.config = "n_embd=32,n_layer=1,n_head=2,n_vocab=300";
    o.tokenizer = p.model;
    refuse(&p, &o, GS_E_ARG, "n_vocab is 300");
    o = options_of(&p);
    o.ctx = 200000; /* a text shorter than a context */
    refuse(&p, &o, GS_E_ARG, "too few for a context of 200000");
    o = options_of(&p);
    o.n_texts = 1;
    words = "/nonexistent/text";
    o.texts = &words;
    refuse(&p, &o, GS_E_IO, "/nonexistent/text");
    o = options_of(&p);
    o.resume = true; /* nothing to go on from */
    refuse(&p, &o, GS_E_IO, "out.ckpt");
    fclose(fopen(p.out, "w"));
    o = options_of(&p);
    o.overwrite = false;
    refuse(&p, &o, GS_E_IO, "exists already");
    end_place(&p);
}

/* A checkpoint of another configuration, or a damaged one, is refused and kept. */
static void test_checkpoints(void **state)
{
    struct place p;
    struct gs_err err = {0};
    uint64_t stop = 2;
    size_t n;

    (void)state;
    begin_place(&p, "llama:bpe");
    struct gs_train_options good = options_of(&p), o;
    good.progress = stop_at;
    good.progress_ctx = &stop;
    assert_int_equal(gs_train(p.out, &good, NULL, &err), GS_E_STOPPED);
    good.progress = NULL;
    good.resume = true;
    o = good;
    o.batch = 4;
    refuse(&p, &o, GS_E_ARG, "another batch or optimizer");
    o = good;
    o.optimizer = "adamw8";
    refuse(&p, &o, GS_E_ARG, "another batch or optimizer");
    o = good;
    o.ctx = 15;
    refuse(&p, &o, GS_E_ARG, "other text, context or seed");
    o = good;
    o.seed = 1;
    refuse(&p, &o, GS_E_ARG, "other text, context or seed");
    o = good;
    o.steps = 1;
    refuse(&p, &o, GS_E_ARG, "beyond the 1");
    char other[512];
    unlink(p.model);
    snprintf(other, sizeof other, "%s", tiny_make("llama:untied"));
    o = good;
    o.init = other;
    refuse(&p, &o, GS_E_ARG, "another model");
    unlink(other);
    snprintf(p.model, sizeof p.model, "%s", tiny_make("llama:bpe"));

    uint8_t *file = read_whole(beside(&p, ".ckpt"), &n);
    const size_t spots[] = {100, n / 2, n - 1};
    for (size_t i = 0; i < GS_COUNT(spots); i++) {
        file[spots[i]] ^= 1;
        write_file("out.ckpt", file, n);
        refuse(&p, &good, GS_E_FORMAT, "damaged");
        file[spots[i]] ^= 1;
    }
    const size_t cuts[] = {0, 7, 71, 100, n - 8};
    for (size_t i = 0; i < GS_COUNT(cuts); i++) {
        write_file("out.ckpt", file, cuts[i]);
        struct gs_err why = {0};
        assert_true(gs_train(p.out, &good, NULL, &why) < 0);
    }
    write_file("out.ckpt", file, n);
    err = (struct gs_err){0};
    if (gs_train(p.out, &good, NULL, &err))
        fail_msg("%s", err.msg);
    free(file);
    end_place(&p);
}

/* ---- what is not a number -------------------------------------------------------------------- */

/* One weight of the named tensor becomes NaN. */
static bool poison(void *ctx, struct gs_tensor *t, const void **data)
{
    if (!strcmp(t->name, ctx)) {
        float *copy = malloc(t->bytes);
        memcpy(copy, *data, t->bytes);
        copy[5] = NAN;
        *data = copy;
    }
    return true;
}

/* A NaN stops the run, which names step and tensor and leaves the last checkpoint. */
static void test_not_a_number(void **state)
{
    char name[] = "blk.1.ffn_up.weight";
    struct place p;
    struct gs_err err = {0};
    uint64_t stop = 2;
    size_t n, m;

    (void)state;
    begin_place(&p, "llama:bpe");
    struct gs_train_options o = options_of(&p);
    o.progress = stop_at;
    o.progress_ctx = &stop;
    assert_int_equal(gs_train(p.out, &o, NULL, &err), GS_E_STOPPED);
    void *before = read_whole(beside(&p, ".ckpt"), &n);
    o = options_of(&p);
    o.overwrite = false;
    o.resume = true;
    o.lr = 1e30; /* the steps may have another rate; this one ruins the weights */
    err = (struct gs_err){0};
    assert_true(gs_train(p.out, &o, NULL, &err) < 0);
    if (!strstr(err.msg, "step 4") || !strstr(err.msg, "step 2 is kept"))
        fail_msg("%s", err.msg);
    void *after = read_whole(beside(&p, ".ckpt"), &m);
    assert_int_equal(n, m);
    assert_memory_equal(before, after, n);
    free(before), free(after);

    struct gs_store *store = tiny_open_file(p.model);
    char path[512];
    snprintf(path, sizeof path, "%s", tiny_path("copy"));
    struct gs_tensor tensors[64];
    const void *data[64];
    struct gs_gguf_writer *w;
    size_t count = gs_store_count(store);
    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        tensors[i] = *gs_store_tensor(store, i);
        rc |= gs_store_data(store, gs_store_tensor(store, i), &data[i], &err);
        poison(name, &tensors[i], &data[i]);
    }
    rc |= gs_gguf_create(path, true, gs_store_meta(store), tensors, count, &w, &err);
    for (size_t i = 0; !rc && i < count; i++)
        rc = gs_gguf_write(w, i, data[i], tensors[i].bytes, &err);
    if (rc || gs_gguf_commit(&w, NULL, &err))
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < count; i++)
        if (!strcmp(tensors[i].name, name))
            free(gs_unconst(data[i]));
    gs_store_close(&store);
    end_place(&p);
    snprintf(p.text, sizeof p.text, "%s", write_text("text", 4000));
    o = options_of(&p);
    o.init = path;
    err = (struct gs_err){0};
    assert_true(gs_train(p.out, &o, NULL, &err) < 0);
    if (!strstr(err.msg, "step 1") || !strstr(err.msg, name) ||
        !strstr(err.msg, "no checkpoint"))
        fail_msg("%s", err.msg);
    unlink(path);
    end_place(&p);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_steps),    cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_resume),       cmocka_unit_test(test_learns),
        cmocka_unit_test(test_refusals),     cmocka_unit_test(test_checkpoints),
        cmocka_unit_test(test_not_a_number),
    };
    (void)argc;
    tiny_init(argv[0]);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tiny_exit();
    return failed;
}
