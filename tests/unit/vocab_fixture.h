/* SPDX-License-Identifier: MIT
 * Small vocabularies made in the test, and a log that counts warnings. */
#ifndef GS_TEST_VOCAB_FIXTURE_H
#define GS_TEST_VOCAB_FIXTURE_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/meta.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#define FIXTURE_MAX 1024

/* A vocabulary under construction. */
struct fixture {
    struct gs_str tokens[FIXTURE_MAX];
    float scores[FIXTURE_MAX];
    int32_t types[FIXTURE_MAX];
    struct gs_str merges[FIXTURE_MAX];
    size_t n, n_merges;
    char letters[256][4];
};

static inline int32_t fixture_add(struct fixture *f, const char *text, int type, float score)
{
    assert_true(f->n < FIXTURE_MAX);
    f->tokens[f->n] = (struct gs_str){text, strlen(text)};
    f->types[f->n] = type;
    f->scores[f->n] = score;
    return (int32_t)f->n++;
}

/* The 256 letters of byte-level BPE as tokens 0 to 255, in the order of the bytes. */
static inline void fixture_letters(struct fixture *f)
{
    uint32_t next = 256;

    for (int b = 0; b < 256; b++) {
        bool printable = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);
        size_t n = gs_utf8_put(printable ? (uint32_t)b : next++, f->letters[b]);
        f->tokens[f->n] = (struct gs_str){f->letters[b], n};
        f->types[f->n++] = 1;
    }
}

/* "<0x00>" to "<0xFF>". */
static inline void fixture_bytes(struct fixture *f, char names[256][8])
{
    for (int b = 0; b < 256; b++) {
        snprintf(names[b], 8, "<0x%02X>", b);
        fixture_add(f, names[b], 6, 0);
    }
}

static inline void fixture_merge(struct fixture *f, const char *merge)
{
    f->merges[f->n_merges++] = (struct gs_str){merge, strlen(merge)};
}

static inline void set_str(struct gs_meta *m, const char *key, const char *s)
{
    struct gs_str value = {s, strlen(s)};
    assert_int_equal(gs_meta_set_str(m, key, value, NULL), 0);
}

static inline void set_uint(struct gs_meta *m, const char *key, uint64_t u)
{
    assert_int_equal(gs_meta_set_uint(m, key, u, NULL), 0);
}

static inline void set_bool(struct gs_meta *m, const char *key, bool b)
{
    assert_int_equal(gs_meta_set_bool(m, key, b, NULL), 0);
}

static inline void set_array(struct gs_meta *m, const char *key, enum gs_value_type type,
                             const void *data, size_t n)
{
    assert_int_equal(gs_meta_set_array(m, key, type, data, n, NULL), 0);
}

static inline struct gs_meta *fixture_meta(const struct fixture *f, const char *model)
{
    struct gs_meta *m = NULL;

    assert_int_equal(gs_meta_create(&m, NULL), 0);
    set_str(m, "tokenizer.ggml.model", model);
    set_array(m, "tokenizer.ggml.tokens", GS_VALUE_STRING, f->tokens, f->n);
    set_array(m, "tokenizer.ggml.token_type", GS_VALUE_I32, f->types, f->n);
    if (!strcmp(model, "gpt2")) {
        set_array(m, "tokenizer.ggml.merges", GS_VALUE_STRING, f->merges, f->n_merges);
        set_str(m, "tokenizer.ggml.pre", "gpt-2");
    } else {
        set_array(m, "tokenizer.ggml.scores", GS_VALUE_F32, f->scores, f->n);
    }
    return m;
}

static inline struct gs_tokenizer *fixture_tokenizer(const struct gs_meta *m)
{
    struct gs_tokenizer *t = NULL;
    struct gs_err err = {0};
    int rc = gs_tokenizer_create(m, "test", &t, &err);

    if (rc)
        print_error("%s\n", err.msg);
    assert_int_equal(rc, 0);
    return t;
}

/* Creation must fail with this code and a message that holds `words`. */
static inline void fixture_fails(const struct gs_meta *m, int code, const char *words)
{
    struct gs_tokenizer *t = NULL;
    struct gs_err err = {0};

    assert_int_equal(gs_tokenizer_create(m, "test", &t, &err), code);
    assert_null(t);
    if (!strstr(err.msg, words) || strncmp(err.msg, "test: ", 6))
        fail_msg("message \"%s\" lacks \"%s\"", err.msg, words);
}

/* The ids of a text as "1 2 3"; borrowed until the next call. */
static inline const char *fixture_encode(const struct gs_tokenizer *t, const char *text, size_t n,
                                  int flags)
{
    static char line[4096];
    struct gs_tokens tokens = {0};
    struct gs_err err = {0};
    size_t at = 0;

    assert_int_equal(gs_tokenizer_encode(t, text, n, flags, &tokens, &err), 0);
    line[0] = 0;
    for (size_t i = 0; i < tokens.count && at < sizeof line - 16; i++)
        at += (size_t)sprintf(line + at, "%s%d", i ? " " : "", tokens.data[i]);
    gs_tokens_clear(&tokens);
    return line;
}

#define assert_tokens(t, text, flags, ids) \
    assert_string_equal(fixture_encode(t, text, sizeof text - 1, flags), ids)

static char fixture_warning[512];
static int fixture_warnings;

static inline void fixture_log(void *ctx, enum gs_log_level level, const char *line)
{
    (void)ctx;
    if (level != GS_LOG_WARN)
        return;
    fixture_warnings++;
    snprintf(fixture_warning, sizeof fixture_warning, "%s", line);
}

#endif
