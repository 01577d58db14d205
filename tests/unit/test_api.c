/* SPDX-License-Identifier: MIT
 * gosset.h as its users see it, on a tiny model: sessions that are continued, rewound and
 * matched, stopping, limits, wrong arguments, metadata as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gosset.h"

static char path[] = "/tmp/gosset-api-XXXXXX";
static char tool[1024];
static struct gs_model *model;
static struct gs_err err;

static const struct gs_sampling greedy = {.top_p = 1, .repeat_penalty = 1};

static struct gs_session *session(uint32_t ctx, uint32_t batch)
{
    struct gs_session_options options = {.ctx = ctx, .batch = batch, .threads = 2};
    struct gs_session *s;

    err = (struct gs_err){0};
    if (gs_session_create(model, &options, &s, &err))
        fail_msg("%s", err.msg);
    return s;
}

static size_t tokenize(const char *text, int32_t *out, size_t capacity)
{
    int32_t *tokens;
    int64_t n = gs_tokenize(model, text, strlen(text), GS_TOKENIZE_BOS, &tokens, &err);

    assert_true(n > 0 && (size_t)n <= capacity);
    memcpy(out, tokens, (size_t)n * sizeof *out);
    gs_tokens_free(&tokens);
    assert_null(tokens);
    return (size_t)n;
}

struct heard {
    char text[4096];
    size_t n;
    int calls, stop_after;
};

static int hear(void *ctx, const char *text, size_t n)
{
    struct heard *h = ctx;

    assert_true(n > 0 && h->n + n < sizeof h->text);
    memcpy(h->text + h->n, text, n);
    h->n += n;
    return ++h->calls == h->stop_after;
}

static void info_and_tensors(void **state)
{
    struct gs_model_info info;
    struct gs_tensor_info t;
    uint64_t bytes = 0, parameters = 0;
    (void)state;

    gs_model_info(model, &info);
    assert_string_equal(info.arch, "llama");
    assert_string_equal(info.format, "gguf");
    assert_true(info.has_tokenizer);
    assert_int_equal(gs_model_runnable(model, &err), 0);
    for (size_t i = 0; i < info.n_tensors; i++) {
        assert_int_equal(gs_model_tensor(model, i, &t, &err), 0);
        bytes += t.bytes;
        parameters += t.shape[0] * t.shape[1] * t.shape[2] * t.shape[3];
    }
    assert_int_equal(bytes, info.bytes);
    assert_int_equal(parameters, info.parameters);
    assert_int_equal(gs_model_tensor(model, info.n_tensors, &t, NULL), GS_E_ARG);
}

static void metadata_as_text(void **state)
{
    const char *key, *type, *value;
    struct gs_model_info info;
    bool arrays = false;
    (void)state;

    gs_model_info(model, &info);
    for (size_t i = 0; i < info.n_meta; i++) {
        assert_int_equal(gs_model_meta(model, i, &key, &type, &value, &err), 0);
        if (!strcmp(key, "general.architecture")) {
            assert_string_equal(type, "string");
            assert_string_equal(value, "llama");
        }
        if (!strcmp(key, "llama.block_count"))
            assert_int_equal(atoi(value), info.n_layer);
        if (!strcmp(key, "tokenizer.ggml.tokens")) {
            assert_memory_equal(type, "string[", 7);
            assert_int_equal(atoi(type + 7), info.n_vocab);
            assert_non_null(strstr(value, "…]"));
            arrays = true;
        }
    }
    assert_true(arrays);
    assert_int_equal(gs_model_meta(model, info.n_meta, &key, &type, &value, NULL), GS_E_ARG);
}

/* In one call, or in two, or after another conversation: the same text. */
static void continued_sessions(void **state)
{
    struct heard whole = {.n = 0}, parts = {.n = 0}, again = {.n = 0};
    struct gs_session *s = session(128, 16);
    struct gs_run_stats stats;
    int32_t tokens[64];
    size_t n = tokenize("Once upon a time", tokens, 64);
    (void)state;

    assert_int_equal(gs_session_generate(s, tokens, n, 24, &greedy, hear, &whole, &stats, &err), 0);
    assert_int_equal(stats.prompt_tokens, n);
    assert_int_equal(gs_session_pos(s), n + stats.tokens);
    uint32_t filled = gs_session_pos(s);

    gs_session_rewind(s, 0);
    assert_int_equal(gs_session_pos(s), 0);
    assert_int_equal(gs_session_generate(s, tokens, n, 10, &greedy, hear, &parts, NULL, &err), 0);
    assert_int_equal(gs_session_generate(s, NULL, 0, 14, &greedy, hear, &parts, NULL, &err), 0);
    assert_int_equal(gs_session_pos(s), filled);
    assert_int_equal(parts.n, whole.n);
    assert_memory_equal(parts.text, whole.text, whole.n);

    /* What matches need not be fed: all but the last token, which gives the logits. */
    assert_int_equal(gs_session_match(s, tokens, n), n);
    tokens[n - 1] ^= 1;
    assert_int_equal(gs_session_match(s, tokens, n), n - 1);
    tokens[n - 1] ^= 1;
    gs_session_rewind(s, (uint32_t)n - 1);
    assert_int_equal(gs_session_generate(s, tokens + n - 1, 1, 24, &greedy, hear, &again, NULL,
                                         &err), 0);
    assert_int_equal(again.n, whole.n);
    assert_memory_equal(again.text, whole.text, whole.n);
    gs_session_destroy(&s);
    assert_null(s);
}

static void batches_give_the_same_logits(void **state)
{
    static const uint32_t batches[] = {1, 3, 7, 64};
    struct gs_model_info info;
    const float *logits;
    int32_t tokens[64];
    size_t n = tokenize("The quick brown fox", tokens, 64);
    (void)state;

    gs_model_info(model, &info);
    float *want = malloc(info.n_vocab * sizeof *want);
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        struct gs_session *s = session(64, batches[i]);
        assert_int_equal(gs_session_feed(s, tokens, n, &logits, &err), 0);
        if (!i)
            memcpy(want, logits, info.n_vocab * sizeof *want);
        assert_memory_equal(want, logits, info.n_vocab * sizeof *want);
        gs_session_destroy(&s);
    }
    free(want);
}

static void limits(void **state)
{
    struct gs_session *s = session(16, 4);
    struct gs_run_stats stats;
    const float *logits = (const float *)&stats;
    int32_t tokens[64] = {0};
    size_t n = tokenize("Once", tokens, 16);
    struct heard heard = {.stop_after = 2};
    (void)state;

    assert_int_equal(gs_session_ctx(s), 16);
    assert_int_equal(gs_session_generate(s, NULL, 0, 1, &greedy, NULL, NULL, NULL, NULL), GS_E_ARG);
    err = (struct gs_err){0};
    assert_int_equal(gs_session_feed(s, tokens, 17, &logits, &err), GS_E_ARG);
    assert_non_null(strstr(err.msg, "17"));
    assert_non_null(strstr(err.msg, "16"));
    assert_null(logits);
    assert_int_equal(gs_session_pos(s), 0);
    err = (struct gs_err){0};

    /* Until the context ends; then there is no room for more. */
    assert_int_equal(gs_session_generate(s, tokens, n, -1, &greedy, NULL, NULL, &stats, &err), 0);
    if (!stats.ended)
        assert_int_equal(gs_session_pos(s), 16);
    /* emit stops. */
    gs_session_rewind(s, 0);
    assert_int_equal(gs_session_generate(s, tokens, n, -1, &greedy, hear, &heard, &stats, &err), 0);
    assert_int_equal(heard.calls, 2);
    assert_int_equal(gs_session_pos(s), n + stats.tokens);
    /* A token that is none. */
    gs_session_rewind(s, 0);
    tokens[0] = -1;
    assert_true(gs_session_feed(s, tokens, 1, &logits, NULL) < 0);
    tokens[0] = INT32_MAX;
    assert_true(gs_session_feed(s, tokens, 1, &logits, NULL) < 0);
    assert_int_equal(gs_session_pos(s), 0);
    gs_session_destroy(&s);
    gs_session_destroy(&s);
}

static int stop_reading(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    assert_int_equal(total, 24);
    ++*(int *)ctx;
    return done >= 16;
}

static void stopping_a_prompt(void **state)
{
    int calls = 0;
    struct gs_session_options options = {.ctx = 64, .batch = 8, .threads = 1,
                                         .progress = stop_reading, .progress_ctx = &calls};
    int32_t tokens[24] = {0};
    struct gs_session *s;
    (void)state;

    assert_int_equal(gs_session_create(model, &options, &s, &err), 0);
    assert_int_equal(gs_session_feed(s, tokens, 24, NULL, NULL), GS_E_STOPPED);
    assert_int_equal(calls, 2);
    assert_int_equal(gs_session_pos(s), 16);
    gs_session_destroy(&s);
}

static void tokens_to_bytes(void **state)
{
    int32_t tokens[64];
    size_t n = tokenize("Hello", tokens, 64);
    char text[64];
    size_t used = 0;
    (void)state;

    for (size_t i = 0; i < n; i++) {
        int64_t size = gs_token_bytes(model, tokens[i], false, NULL, 0);
        assert_true(size >= 0 && used + (size_t)size < sizeof text);
        assert_int_equal(gs_token_bytes(model, tokens[i], false, text + used, 64 - used), size);
        used += (size_t)size;
    }
    text[used] = 0;
    assert_non_null(strstr(text, "Hello"));
    assert_int_equal(gs_token_bytes(model, -1, true, text, 1), GS_E_ARG);
    assert_int_equal(gs_token_bytes(model, INT32_MAX, true, text, 1), GS_E_ARG);
}

/* Two threads, each with its own session on the shared model, opened for the first time. */
static void *run_session(void *out)
{
    struct gs_session_options options = {.ctx = 64, .threads = 1};
    int32_t tokens[4] = {1, 2, 3, 4};
    struct gs_session *s;
    const float *logits;

    if (!gs_session_create(model, &options, &s, NULL) &&
        !gs_session_feed(s, tokens, 4, &logits, NULL))
        memcpy(out, logits, 64 * sizeof *logits);
    gs_session_destroy(&s);
    return NULL;
}

static void sessions_in_threads(void **state)
{
    float logits[4][64] = {{0}};
    pthread_t threads[4];
    (void)state;

    gs_model_close(&model);
    assert_int_equal(gs_model_open(path, &model, &err), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_session, logits[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(logits[0][0] != 0.0f || logits[0][1] != 0.0f);
    for (int i = 1; i < 4; i++)
        assert_memory_equal(logits[0], logits[i], sizeof logits[0]);
}

static int open_model(void **state)
{
    char command[1200];
    int fd = mkstemp(path);
    (void)state;

    if (fd < 0)
        return -1;
    close(fd);
    snprintf(command, sizeof command, "'%s' llama '%s'", tool, path);
    return system(command) || gs_model_open(path, &model, &err) ? -1 : 0;
}

static int close_model(void **state)
{
    (void)state;
    gs_model_close(&model);
    unlink(path);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_and_tensors), cmocka_unit_test(metadata_as_text),
        cmocka_unit_test(continued_sessions), cmocka_unit_test(batches_give_the_same_logits),
        cmocka_unit_test(limits), cmocka_unit_test(stopping_a_prompt),
        cmocka_unit_test(tokens_to_bytes), cmocka_unit_test(sessions_in_threads),
    };
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;

    snprintf(tool, sizeof tool, "%.*s/../tools/make_tiny", slash ? (int)(slash - argv[0]) : 1,
             slash ? argv[0] : ".");
    setenv("GOSSET_ALLOC_GUARD", "1", 1);
    return cmocka_run_group_tests(tests, open_model, close_model);
}
