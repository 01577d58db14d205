/* SPDX-License-Identifier: MIT
 * Both kinds of tokenizers on vocabularies made here, and every way in which the metadata of
 * a tokenizer can be wrong. */
#include "tests/unit/vocab_fixture.h"

#include <stdlib.h>
#include <time.h>

#include "core/alloc.h"

/* ---- byte-level BPE ------------------------------------------------------------------- */

enum { TH = 256, THE, SP_THE, IN, SP_SP, END, USER, USER_LONG, LAST };

static struct gs_meta *bpe_meta(struct fixture *f)
{
    *f = (struct fixture){0};
    fixture_letters(f);
    assert_int_equal(fixture_add(f, "th", 1, 0), TH);
    fixture_add(f, "the", 1, 0);
    fixture_add(f, "\xc4\xa0the", 1, 0); /* Ġthe */
    fixture_add(f, "in", 1, 0);
    fixture_add(f, "\xc4\xa0\xc4\xa0", 1, 0);
    fixture_add(f, "<|im_end|>", 3, 0);
    fixture_add(f, "<u>", 4, 0);
    fixture_add(f, "<u>er", 4, 0);
    fixture_merge(f, "t h");
    fixture_merge(f, "th e");
    fixture_merge(f, "i n");
    fixture_merge(f, "\xc4\xa0 the");
    fixture_merge(f, "\xc4\xa0 \xc4\xa0");
    return fixture_meta(f, "gpt2");
}

static void test_bpe(void **state)
{
    static struct fixture f;
    struct gs_meta *m = bpe_meta(&f);
    struct gs_tokenizer *t = fixture_tokenizer(m);

    (void)state;
    assert_int_equal(gs_tokenizer_n_vocab(t), LAST);
    assert_tokens(t, "", 0, "");
    assert_tokens(t, "the", 0, "257");
    assert_tokens(t, "thin", 0, "256 259");
    assert_tokens(t, "in the", 0, "259 258");
    assert_tokens(t, "a\n", 0, "97 10");
    /* The second of three spaces goes to the word; two merge. */
    assert_tokens(t, "a   the", 0, "97 260 258");
    assert_tokens(t, "\xc3\xa4\0", 0, "195 164 0");
    /* Longest special first; control only when asked; the rest of the text is its own. */
    assert_tokens(t, "x<u>er<u>e", 0, "120 263 262 101");
    assert_tokens(t, "<|im_end|>", 0, "60 124 105 109 95 101 110 100 124 62");
    assert_tokens(t, "the<|im_end|>the", GS_TOKENIZE_SPECIAL, "257 261 257");
    assert_tokens(t, "<|im_end|", GS_TOKENIZE_SPECIAL, "60 124 105 109 95 101 110 100 124");
    /* Broken UTF-8 is U+FFFD, once for each maximal subpart. */
    assert_tokens(t, "a\xe2\x82" "b\xff", 0, "97 239 191 189 98 239 191 189");
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

static void test_bpe_facts(void **state)
{
    static struct fixture f;
    struct gs_meta *m = bpe_meta(&f);

    (void)state;
    struct gs_tokenizer *t = fixture_tokenizer(m);
    /* The default id 11 is an ordinary token here: no BOS at all. */
    assert_int_equal(gs_tokenizer_bos(t), -1);
    assert_int_equal(gs_tokenizer_eos(t), -1);
    assert_false(gs_tokenizer_add_bos(t));
    assert_true(gs_tokenizer_is_end(t, END)); /* by its name */
    assert_false(gs_tokenizer_is_end(t, USER));
    assert_false(gs_tokenizer_is_end(t, -1));
    assert_false(gs_tokenizer_is_end(t, LAST));
    assert_true(gs_tokenizer_is_control(t, END));
    assert_int_equal(gs_tokenizer_find(t, "<|im_end|>", 10), END);
    assert_int_equal(gs_tokenizer_find(t, "<|im_end|", 9), -1);
    assert_int_equal(gs_tokenizer_find(t, "", 0), -1);
    gs_tokenizer_destroy(&t);

    set_uint(m, "tokenizer.ggml.bos_token_id", END);
    set_uint(m, "tokenizer.ggml.eos_token_id", USER);
    set_bool(m, "tokenizer.ggml.add_bos_token", true);
    set_bool(m, "tokenizer.ggml.add_eos_token", true);
    t = fixture_tokenizer(m);
    assert_tokens(t, "the", GS_TOKENIZE_BOS, "261 257 262");
    assert_tokens(t, "", GS_TOKENIZE_BOS, "261 262");
    assert_tokens(t, "the", 0, "257");
    assert_true(gs_tokenizer_is_end(t, USER));
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

static void check_decode(const struct gs_tokenizer *t, const int32_t *ids, size_t n,
                         bool special, const char *want)
{
    struct gs_err err = {0};
    char *text = NULL;
    size_t bytes = 0;

    assert_int_equal(gs_tokenizer_decode(t, ids, n, special, &text, &bytes, &err), 0);
    assert_string_equal(text, want);
    assert_int_equal(bytes, strlen(want));
    gs_free(&text);
}

static void test_bpe_decode(void **state)
{
    static struct fixture f;
    struct gs_meta *m = bpe_meta(&f);
    struct gs_tokenizer *t = fixture_tokenizer(m);
    char out[8] = "";

    (void)state;
    check_decode(t, (int32_t[]){IN, SP_THE, 195, 164, USER}, 5, false, "in the\xc3\xa4<u>");
    check_decode(t, (int32_t[]){SP_THE, END, -7, 9999}, 4, false, " the");
    check_decode(t, (int32_t[]){SP_THE, END}, 2, true, " the<|im_end|>");
    check_decode(t, NULL, 0, true, "");
    /* The number of bytes is told even where they do not fit. */
    assert_int_equal(gs_tokenizer_bytes(t, SP_THE, false, out, 2), 4);
    assert_string_equal(out, " t");
    assert_int_equal(gs_tokenizer_bytes(t, 0x80, false, out, 8), 1);
    assert_int_equal((uint8_t)out[0], 0x80);
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

/* ignore_merges: a word that is a token is that token although no merge leads there. */
static void test_bpe_ignore_merges(void **state)
{
    static struct fixture f;
    struct gs_meta *m = bpe_meta(&f);

    (void)state;
    gs_meta_destroy(&m);
    fixture_add(&f, "xyz", 1, 0);
    m = fixture_meta(&f, "gpt2");
    struct gs_tokenizer *t = fixture_tokenizer(m);
    assert_tokens(t, "xyz", 0, "120 121 122");
    gs_tokenizer_destroy(&t);
    set_str(m, "tokenizer.ggml.pre", "llama-bpe");
    t = fixture_tokenizer(m);
    assert_tokens(t, "xyz", 0, "264");
    assert_tokens(t, "xyzx", 0, "120 121 122 120");
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

static void test_unknown_pre(void **state)
{
    static struct fixture f;
    struct gs_meta *m = bpe_meta(&f);

    (void)state;
    gs_set_log(fixture_log, NULL);
    fixture_warnings = 0;
    set_str(m, "tokenizer.ggml.pre", "nonesuch");
    struct gs_tokenizer *t = fixture_tokenizer(m);
    assert_int_equal(fixture_warnings, 1);
    assert_non_null(strstr(fixture_warning, "'nonesuch' is not known"));
    gs_tokenizer_destroy(&t);
    gs_meta_remove(m, "tokenizer.ggml.pre");
    t = fixture_tokenizer(m);
    assert_int_equal(fixture_warnings, 2);
    assert_non_null(strstr(fixture_warning, "quality may be degraded"));
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
    gs_set_log(NULL, NULL);
}

/* ---- SentencePiece -------------------------------------------------------------------- */

enum { UNK, BOS, EOS, BYTE_0, A = BYTE_0 + 256, B, SPACE, AB, SP_A, SP_AB, AE, NL, SPM_LAST };

static char byte_names[256][8];

static struct gs_meta *spm_meta(struct fixture *f)
{
    *f = (struct fixture){0};
    fixture_add(f, "<unk>", 2, 0);
    fixture_add(f, "<s>", 3, 0);
    fixture_add(f, "</s>", 3, 0);
    fixture_bytes(f, byte_names);
    fixture_add(f, "a", 1, -10);
    fixture_add(f, "b", 1, -11);
    fixture_add(f, "\xe2\x96\x81", 1, -12);
    fixture_add(f, "ab", 1, -2);
    fixture_add(f, "\xe2\x96\x81" "a", 1, -3);
    fixture_add(f, "\xe2\x96\x81" "ab", 1, -4);
    fixture_add(f, "\xc3\xa4", 1, -5);
    fixture_add(f, "\n\n", 4, 0);
    return fixture_meta(f, "llama");
}

static void test_spm(void **state)
{
    static struct fixture f;
    struct gs_meta *m = spm_meta(&f);
    struct gs_tokenizer *t = fixture_tokenizer(m);

    (void)state;
    assert_int_equal(gs_tokenizer_n_vocab(t), SPM_LAST);
    assert_tokens(t, "", 0, "");
    assert_tokens(t, "", GS_TOKENIZE_BOS, "1");
    assert_tokens(t, "ab", GS_TOKENIZE_BOS, "1 264"); /* ab (-2) merges before ▁a (-3) */
    assert_tokens(t, "a a", 0, "263 263");
    assert_tokens(t, " a", 0, "261 263");
    assert_tokens(t, "\xc3\xa4" "a", 0, "261 265 259");
    /* Bytes for what is no token: <0x63> is token 3 + 0x63. */
    assert_tokens(t, "c", 0, "261 102");
    assert_tokens(t, "\xe2\x82\xac", 0, "261 229 133 175");
    /* A user-defined token is cut out; what follows begins anew, with a space. */
    assert_tokens(t, "a\n\na", 0, "263 266 263");
    /* The names of control and byte tokens are only text. */
    assert_tokens(t, "<s>", 0, "261 63 118 65");
    assert_tokens(t, "<s>a", GS_TOKENIZE_SPECIAL, "1 263");
    assert_tokens(t, "\xff", 0, "261 242 194 192"); /* U+FFFD in bytes */
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

static void test_spm_decode(void **state)
{
    static struct fixture f;
    struct gs_meta *m = spm_meta(&f);
    struct gs_tokenizer *t = fixture_tokenizer(m);

    (void)state;
    /* The space before the first word is not part of the text, with or without BOS. */
    check_decode(t, (int32_t[]){SP_A, SP_AB}, 2, false, "a ab");
    check_decode(t, (int32_t[]){BOS, SP_A, BYTE_0 + 0x21, EOS}, 4, false, "a!");
    check_decode(t, (int32_t[]){BOS, SP_A}, 2, true, "<s> a");
    check_decode(t, (int32_t[]){BYTE_0 + 0xe2, BYTE_0 + 0x82, BYTE_0 + 0xac}, 3, false,
                 "\xe2\x82\xac");
    check_decode(t, (int32_t[]){SPACE, SPACE, A}, 3, false, " a");
    gs_tokenizer_destroy(&t);

    set_bool(m, "tokenizer.ggml.add_space_prefix", false);
    t = fixture_tokenizer(m);
    assert_tokens(t, "a a", 0, "259 263");
    check_decode(t, (int32_t[]){SP_A, SP_AB}, 2, false, " a ab");
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

/* Without byte tokens a character that is no token becomes <unk>, once. */
static void test_spm_unknown(void **state)
{
    static struct fixture f;
    struct gs_meta *m = spm_meta(&f);

    (void)state;
    gs_meta_destroy(&m);
    for (int i = BYTE_0; i < A; i++)
        f.types[i] = 1; /* mere names now */
    m = fixture_meta(&f, "llama");
    struct gs_tokenizer *t = fixture_tokenizer(m);
    assert_tokens(t, "a\xe2\x82\xac" "b", 0, "263 0 260");
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

/* Equal scores merge from the left. */
static void test_spm_ties(void **state)
{
    static struct fixture f;
    struct gs_meta *m = spm_meta(&f);

    (void)state;
    gs_meta_destroy(&m);
    int32_t aa = fixture_add(&f, "aa", 1, -1);
    m = fixture_meta(&f, "llama");
    struct gs_tokenizer *t = fixture_tokenizer(m);
    assert_int_equal(aa, 267);
    assert_tokens(t, "\naaa", 0, "261 13 267 259");
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

/* Phi-3's special tokens swallow the white space after them. */
static void test_phi3_rstrip(void **state)
{
    static struct fixture f;
    struct gs_meta *m = spm_meta(&f);

    (void)state;
    set_str(m, "general.architecture", "phi3");
    struct gs_tokenizer *t = fixture_tokenizer(m);
    assert_tokens(t, "</s> \n a", GS_TOKENIZE_SPECIAL, "2 263");
    assert_tokens(t, "<s> a", GS_TOKENIZE_SPECIAL, "1 261 263");
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

/* ---- wrong metadata --------------------------------------------------------------------- */

static void test_bad_spm(void **state)
{
    static struct fixture f;
    struct gs_meta *m = spm_meta(&f);

    (void)state;
    gs_meta_remove(m, "tokenizer.ggml.scores");
    fixture_fails(m, GS_E_FORMAT, "tokenizer.ggml.scores: missing");
    set_array(m, "tokenizer.ggml.scores", GS_VALUE_U8, f.scores, f.n);
    fixture_fails(m, GS_E_FORMAT, "tokenizer.ggml.scores must be an array of f64, is of u8");
    set_array(m, "tokenizer.ggml.scores", GS_VALUE_F32, f.scores, f.n - 1);
    fixture_fails(m, GS_E_FORMAT, "tokenizer.ggml.scores: 266 elements for 267 tokens");
    f.scores[9] = (float)strtod("nan", NULL);
    set_array(m, "tokenizer.ggml.scores", GS_VALUE_F32, f.scores, f.n);
    fixture_fails(m, GS_E_FORMAT, "element 9 is not a number");
    gs_meta_destroy(&m);

    static const char *const bad_bytes[] = {"<0x-1>", "<0x1>", "<0xGG>", "<0x000>", "0x0000"};
    for (size_t i = 0; i < GS_COUNT(bad_bytes); i++) {
        m = spm_meta(&f);
        gs_meta_destroy(&m);
        f.tokens[BYTE_0 + 5] = (struct gs_str){bad_bytes[i], strlen(bad_bytes[i])};
        m = fixture_meta(&f, "llama");
        fixture_fails(m, GS_E_FORMAT, "token 8 is a byte token");
        gs_meta_destroy(&m);
    }
}

static void test_bad_bpe(void **state)
{
    static struct fixture f;
    static const char *const bad[] = {"", "ab", " b", "a ", " "};
    struct gs_meta *m;

    (void)state;
    for (size_t i = 0; i < GS_COUNT(bad); i++) {
        m = bpe_meta(&f);
        gs_meta_destroy(&m);
        f.merges[2] = (struct gs_str){bad[i], strlen(bad[i])};
        m = fixture_meta(&f, "gpt2");
        fixture_fails(m, GS_E_FORMAT, "tokenizer.ggml.merges: element 2 is not two tokens");
        gs_meta_destroy(&m);
    }
    m = bpe_meta(&f);
    gs_meta_remove(m, "tokenizer.ggml.merges");
    fixture_fails(m, GS_E_FORMAT, "tokenizer.ggml.merges: missing");
    gs_meta_destroy(&m);

    /* A merge of things that are no tokens is harmless; the log says so. */
    m = bpe_meta(&f);
    gs_meta_destroy(&m);
    fixture_merge(&f, "q z");
    fixture_merge(&f, "nonesuch e");
    gs_set_log(fixture_log, NULL);
    fixture_warnings = 0;
    m = fixture_meta(&f, "gpt2");
    struct gs_tokenizer *t = fixture_tokenizer(m);
    assert_int_equal(fixture_warnings, 1);
    assert_non_null(strstr(fixture_warning, "2 of 7"));
    gs_set_log(NULL, NULL);
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

static void test_bad_common(void **state)
{
    static struct fixture f;
    struct gs_meta *m = bpe_meta(&f);
    struct gs_tokenizer *t;

    (void)state;
    set_uint(m, "tokenizer.ggml.bos_token_id", LAST);
    fixture_fails(m, GS_E_FORMAT,
                  "tokenizer.ggml.bos_token_id: token 264 is beyond the vocabulary of 264");
    set_str(m, "tokenizer.ggml.bos_token_id", "1");
    fixture_fails(m, GS_E_FORMAT, "tokenizer.ggml.bos_token_id must be an integer");
    set_uint(m, "tokenizer.ggml.bos_token_id", UINT32_MAX); /* "none" */
    t = fixture_tokenizer(m);
    assert_int_equal(gs_tokenizer_bos(t), -1);
    gs_tokenizer_destroy(&t);
    set_uint(m, "tokenizer.ggml.eot_token_id", 1 << 20);
    fixture_fails(m, GS_E_FORMAT, "tokenizer.ggml.eot_token_id: token 1048576 is beyond");
    gs_meta_remove(m, "tokenizer.ggml.eot_token_id");
    set_uint(m, "tokenizer.ggml.add_bos_token", 1);
    fixture_fails(m, GS_E_FORMAT, "tokenizer.ggml.add_bos_token must be a bool");
    gs_meta_remove(m, "tokenizer.ggml.add_bos_token");
    set_array(m, "tokenizer.ggml.token_type", GS_VALUE_I32, f.types, 3);
    fixture_fails(m, GS_E_FORMAT, "tokenizer.ggml.token_type: 3 elements for 264 tokens");
    set_str(m, "tokenizer.ggml.model", "bert");
    fixture_fails(m, GS_E_UNSUPPORTED, "'bert' is not supported");
    gs_meta_remove(m, "tokenizer.ggml.model");
    fixture_fails(m, GS_E_FORMAT, "tokenizer.ggml.model: missing");
    set_str(m, "tokenizer.ggml.model", "gpt2");
    set_array(m, "tokenizer.ggml.tokens", GS_VALUE_STRING, f.tokens, 0);
    fixture_fails(m, GS_E_FORMAT, "there must be at least one token");
    gs_meta_remove(m, "tokenizer.ggml.tokens");
    fixture_fails(m, GS_E_FORMAT, "tokenizer.ggml.tokens: missing");
    gs_meta_destroy(&m);

    m = bpe_meta(&f);
    gs_meta_destroy(&m);
    f.tokens[30] = f.tokens[20];
    m = fixture_meta(&f, "gpt2");
    fixture_fails(m, GS_E_FORMAT, "tokens 20 and 30 have the same text");
    gs_meta_destroy(&m);
}

/* ---- time and memory ---------------------------------------------------------------------- */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* A megabyte of one character is one word of a million symbols: no step may be quadratic
 * (a quadratic one takes minutes). The bound leaves room for sanitizers. */
static void check_long_runs(const struct gs_meta *m)
{
    static const char *const units[] = {" ", "a", "\n", "A", "1", "the", " a", "\xcc\x81",
                                        "\xcc\x81\xcc\x96", "\xff", "a\xcc\x81", "'"};
    enum { BYTES = 1000000 };
    char *text = gs_alloc(BYTES + 8, 1);
    struct gs_tokenizer *t = fixture_tokenizer(m);

    assert_non_null(text);
    for (size_t i = 0; i < GS_COUNT(units); i++) {
        struct gs_tokens tokens = {0};
        struct gs_err err = {0};
        size_t n = 0;
        while (n < BYTES) {
            memcpy(text + n, units[i], strlen(units[i]));
            n += strlen(units[i]);
        }
        double start = seconds();
        assert_int_equal(gs_tokenizer_encode(t, text, n, 0, &tokens, &err), 0);
        assert_true(tokens.count > 0);
        if (seconds() - start > 20)
            fail_msg("1 MB of '%s' took %.1f s", units[i], seconds() - start);
        gs_tokens_clear(&tokens);
    }
    gs_tokenizer_destroy(&t);
    gs_free(&text);
}

static void test_long_runs(void **state)
{
    static const char *const families[] = {"gpt-2", "llama-bpe", "qwen2", "tekken", "default"};
    static struct fixture f;
    struct gs_meta *m = bpe_meta(&f);

    (void)state;
    for (size_t i = 0; i < GS_COUNT(families); i++) {
        set_str(m, "tokenizer.ggml.pre", families[i]);
        check_long_runs(m);
    }
    gs_meta_destroy(&m);
    m = spm_meta(&f);
    check_long_runs(m);
    gs_meta_destroy(&m);
}

/* Every allocation may fail: an error, nothing leaked, the output as it was. */
static void check_oom(const struct gs_meta *m)
{
    static const char text[] = "the <u>in\xc3\xa4\xff thin";
    bool done = false;

    for (uint64_t k = 1; !done; k++) {
        struct gs_tokenizer *t = NULL;
        struct gs_tokens tokens = {0};
        struct gs_err err = {0};
        gs_alloc_fail_at(k);
        int rc = gs_tokenizer_create(m, "test", &t, &err);
        if (rc == GS_OK)
            rc = gs_tokenizer_encode(t, text, sizeof text - 1, 0, &tokens, &err);
        gs_alloc_fail_at(0);
        done = rc == GS_OK;
        if (!done) {
            assert_int_equal(rc, GS_E_NOMEM);
            assert_int_equal(tokens.count, 0);
        }
        gs_tokens_clear(&tokens);
        gs_tokenizer_destroy(&t);
        assert_true(k < 1000);
    }
}

static void test_out_of_memory(void **state)
{
    static struct fixture f;
    struct gs_meta *m = bpe_meta(&f);

    (void)state;
    set_str(m, "tokenizer.ggml.pre", "qwen2");
    check_oom(m);
    gs_meta_destroy(&m);
    m = spm_meta(&f);
    check_oom(m);
    gs_meta_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bpe),           cmocka_unit_test(test_bpe_facts),
        cmocka_unit_test(test_bpe_decode),    cmocka_unit_test(test_bpe_ignore_merges),
        cmocka_unit_test(test_unknown_pre),   cmocka_unit_test(test_spm),
        cmocka_unit_test(test_spm_decode),    cmocka_unit_test(test_spm_unknown),
        cmocka_unit_test(test_spm_ties),      cmocka_unit_test(test_phi3_rstrip),
        cmocka_unit_test(test_bad_spm),       cmocka_unit_test(test_bad_bpe),
        cmocka_unit_test(test_bad_common),    cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
