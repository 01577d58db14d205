/* SPDX-License-Identifier: MIT
 * Token after token: nothing is allocated, and caches that keep a window only give the same
 * bits as those that keep all, also after a rewind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/unit/tiny.h"

#include "core/alloc.h"
#include "gosset.h"
#include "model/layers.h"

#define VOCAB 320
#define TOKENS 700 /* three chunks of the cache */

static struct gs_err err;
static int32_t tokens[TOKENS];

/* ---- allocations ---- */

enum { WARM = 4, COUNTED = 16 };

struct heard {
    uint64_t allocated[WARM + COUNTED + 1];
    size_t calls;
};

static int count_allocations(void *ctx, const char *text, size_t n)
{
    struct heard *h = ctx;

    (void)text, (void)n;
    if (h->calls < GS_COUNT(h->allocated))
        h->allocated[h->calls++] = gs_alloc_count();
    return h->calls == GS_COUNT(h->allocated);
}

static void generate(const char *path, bool exact)
{
    static const int32_t prompt[] = {1, 40, 50, 60};
    const struct gs_session_options options = {.ctx = 250, .threads = 2, .exact = exact};
    const struct gs_sampling sampling = {.temp = 0.8f, .top_k = 40, .top_p = 0.95f,
                                         .min_p = 0.05f, .repeat_penalty = 1.1f,
                                         .repeat_last_n = 8, .seed = 3};
    struct gs_model *model;
    struct gs_session *s;
    struct heard h = {.calls = 0};

    err = (struct gs_err){0};
    if (gs_model_open(path, &model, &err) || gs_session_create(model, &options, &s, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; h.calls < GS_COUNT(h.allocated) && i < 8; i++) {
        h.calls = 0; /* an end of text came too early */
        gs_session_rewind(s, 0);
        if (gs_session_generate(s, prompt, GS_COUNT(prompt) - (size_t)i % 3, 200, &sampling,
                                count_allocations, &h, NULL, &err))
            fail_msg("%s", err.msg);
    }
    assert_int_equal(h.calls, GS_COUNT(h.allocated));
    assert_int_equal(h.allocated[WARM], h.allocated[WARM + COUNTED]);
    gs_session_destroy(&s);
    gs_model_close(&model);
    unlink(path);
}

static void a_token_allocates_nothing(void **state)
{
    static const char *const names[] = {"llama:f16", "llama:bf16", "llama:q8_0", "llama",
                                        "gemma3", "gpt2"};

    (void)state;
    for (size_t i = 0; i < 2 * GS_COUNT(names); i++)
        generate(tiny_make(names[i / 2]), i % 2);
}

static void ignore(void *ctx, const struct gs_matrix *w, const float *x, size_t n)
{
    (void)w, (void)x, (void)n;
    ++*(size_t *)ctx;
}

/* A norm on the way into integers gives the bits of a norm by itself, which a tap asks for. */
static void compare_norms(const char *path)
{
    static float fused[2][VOCAB], apart[2][VOCAB];
    const struct gs_decoder_options o = {.ctx = 64, .batch = 32};
    struct gs_store *store = tiny_open_file(path);
    struct gs_decoder *d;
    struct gs_lm *lm;
    size_t taps = 0;

    if (gs_lm_open(store, &lm, &err) || gs_decoder_create(lm, &o, &d, &err))
        fail_msg("%s", err.msg);
    for (int tap = 0; tap < 2; tap++)
        for (size_t i = 0; i < 2; i++) { /* a prompt, and a token behind it */
            size_t from = 20 * i, n = i ? 1 : 20;
            gs_decoder_tap(d, tap ? ignore : NULL, &taps);
            gs_decoder_rewind(d, (uint32_t)from);
            assert_int_equal(gs_decoder_forward(d, tokens + from, n, &err), 0);
            gs_decoder_tap(d, NULL, NULL);
            gs_decoder_logits(d, n - 1, 1, tap ? apart[i] : fused[i]);
        }
    assert_true(taps > 0);
    assert_memory_equal(fused, apart, sizeof fused);
    gs_decoder_destroy(&d);
    gs_lm_close(&lm);
    gs_store_close(&store);
}

static void norms_on_the_way(void **state)
{
    static const char *const names[] = {"llama:q8_0", "llama", "gemma3", "gptneox",
                                        "gptneox:sequential"};

    (void)state;
    for (size_t i = 0; i < GS_COUNT(names); i++)
        compare_norms(tiny_make(names[i]));
}

static void a_token_of_a_native_model_allocates_nothing(void **state)
{
    char source[512], target[512], text[512];
    const char *texts[] = {text};
    struct gs_quantize_options o = {.bpw = 3, .calib = texts, .n_calib = 1, .no_eval = true,
                                    .tokens = 64, .threads = 2};

    (void)state;
    snprintf(source, sizeof source, "%s", tiny_make("llama"));
    snprintf(text, sizeof text, "%s", tiny_path("text"));
    FILE *f = fopen(text, "w");
    assert_non_null(f);
    for (int i = 0; i < 60; i++)
        fprintf(f, "%d: a lazy dog sees the fox jump over it, %d times.\n", i, i * 7 % 13);
    fclose(f);
    for (int round = 0; round < 3; round++) {
        snprintf(target, sizeof target, "%s", tiny_path("native"));
        err = (struct gs_err){0};
        if (gs_quantize(source, target, &o, NULL, &err))
            fail_msg("%s", err.msg);
        if (round < 2)
            generate(target, round == 1);
        else
            compare_norms(target);
    }
    unlink(source);
    unlink(text);
}

/* The counter does count. */
static void an_allocation_is_seen(void **state)
{
    uint64_t before = gs_alloc_count();
    void *p = gs_alloc(1, 1);

    (void)state;
    assert_non_null(p);
    gs_free(&p);
    assert_int_equal(gs_alloc_count(), before + 1);
}

/* ---- windows ---- */

static struct gs_decoder *decoder(struct gs_lm *lm, uint32_t batch)
{
    const struct gs_decoder_options o = {.ctx = TOKENS, .batch = batch};
    struct gs_decoder *d;

    err = (struct gs_err){0};
    if (gs_decoder_create(lm, &o, &d, &err))
        fail_msg("%s", err.msg);
    return d;
}

/* Feeds tokens from where the decoder is; logits of the last one. */
static void feed(struct gs_decoder *d, size_t end, size_t batch, float *logits)
{
    size_t n = 0;

    for (size_t t = gs_decoder_pos(d); t < end; t += n) {
        n = GS_MIN(batch, end - t);
        if (gs_decoder_forward(d, tokens + t, n, &err))
            fail_msg("%s", err.msg);
    }
    gs_decoder_logits(d, n - 1, 1, logits);
}

/* gemma3: windows of 16 in six of seven layers; phi3: of 24 in all. */
static void windows_keep_less_and_compute_the_same(void **state)
{
    static const char *const names[] = {"gemma3", "phi3:window"};
    static float want[VOCAB], got[VOCAB];

    (void)state;
    for (size_t i = 0; i < GS_COUNT(names); i++) {
        struct gs_store *store = tiny_open(names[i]);
        struct gs_lm *lm;
        assert_int_equal(gs_lm_open(store, &lm, &err), 0);
        struct gs_decoder *whole = decoder(lm, TOKENS), *part = decoder(lm, 16);
        assert_true(gs_decoder_kv_bytes(part) < gs_decoder_kv_bytes(whole));
        feed(whole, TOKENS, TOKENS, want);
        feed(part, TOKENS, 16, got);
        assert_memory_equal(want, got, sizeof want);

        /* As far back as a batch, nothing is lost; far back, all has to come again. */
        assert_int_equal(gs_decoder_rewind(part, TOKENS - 16), TOKENS - 16);
        feed(part, TOKENS, 5, got);
        assert_memory_equal(want, got, sizeof want);
        assert_int_equal(gs_decoder_rewind(part, 200), 0);
        assert_int_equal(gs_decoder_pos(part), 0);
        feed(part, TOKENS, 7, got);
        assert_memory_equal(want, got, sizeof want);
        assert_int_equal(gs_decoder_rewind(whole, 200), 200);
        feed(whole, TOKENS, 64, got);
        assert_memory_equal(want, got, sizeof want);
        gs_decoder_destroy(&whole);
        gs_decoder_destroy(&part);
        gs_lm_close(&lm);
        gs_store_close(&store);
    }
}

/* A session feeds by itself what a rewind has lost. */
static void sessions_rewind_anywhere(void **state)
{
    const struct gs_session_options options = {.ctx = TOKENS, .batch = 32, .threads = 1};
    static float want[VOCAB];
    const char *path = tiny_make("gemma3");
    struct gs_model *model;
    struct gs_session *s;
    const float *logits;

    (void)state;
    if (gs_model_open(path, &model, &err) || gs_session_create(model, &options, &s, &err))
        fail_msg("%s", err.msg);
    unlink(path);
    assert_int_equal(gs_session_feed(s, tokens, 400, &logits, &err), 0);
    memcpy(want, logits, sizeof want);
    assert_int_equal(gs_session_feed(s, tokens + 400, TOKENS - 400, &logits, &err), 0);
    gs_session_rewind(s, 250);
    assert_int_equal(gs_session_pos(s), 250);
    assert_int_equal(gs_session_match(s, tokens, TOKENS), 250);
    gs_session_rewind(s, 240); /* twice, before anything is fed */
    assert_int_equal(gs_session_feed(s, tokens + 240, 160, &logits, &err), 0);
    assert_int_equal(gs_session_pos(s), 400);
    assert_memory_equal(want, logits, sizeof want);
    gs_session_destroy(&s);
    gs_model_close(&model);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_allocation_is_seen),
        cmocka_unit_test(a_token_allocates_nothing),
        cmocka_unit_test(norms_on_the_way),
        cmocka_unit_test(a_token_of_a_native_model_allocates_nothing),
        cmocka_unit_test(windows_keep_less_and_compute_the_same),
        cmocka_unit_test(sessions_rewind_anywhere),
    };
    (void)argc;
    tiny_init(argv[0]);
    tiny_tokens(tokens, TOKENS);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    tiny_exit();
    return rc;
}
