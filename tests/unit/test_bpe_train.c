/* SPDX-License-Identifier: MIT
 * The trainer of byte-level BPE against its definition carried out literally (recount
 * everything after each merge), and its vocabularies in use. */
#include "tests/unit/vocab_fixture.h"

#include <stdlib.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "text/bpe_train.h"
#include "text/letters.h"
#include "text/utf8.h"

static struct gs_meta *train(const struct gs_bpe_options *options, const char *text, size_t n)
{
    struct gs_str texts = {text, n};
    struct gs_meta *m = NULL;
    struct gs_err err = {0};

    assert_int_equal(gs_meta_create(&m, NULL), 0);
    if (gs_bpe_train(options, &texts, 1, m, &err))
        fail_msg("%s", err.msg);
    return m;
}

static struct gs_array get_array(const struct gs_meta *m, const char *key)
{
    struct gs_array a;

    assert_int_equal(gs_meta_get_array(m, key, GS_VALUE_STRING, &a, NULL), 1);
    return a;
}

static void assert_str(struct gs_str have, const char *want)
{
    if (!gs_str_equal(have, want))
        fail_msg("\"%.*s\" is not \"%s\"", (int)have.size, have.data, want);
}

/* ---- by hand ------------------------------------------------------------------------------ */

/* Pairs of hug 4, pug 2, hugs 1, bun 2 (each at the end of its line): ug 7, then h ug 5, then
 * p ug, b u and u n, 2 each: b has the smallest token, bu the largest. */
static void test_by_hand(void **state)
{
    static const char text[] = "hug\nhug\npug\nhugs\nbun\nhug\npug\nhug\nbun";
    static const char *const merges[] = {"u g", "h ug", "b u", "p ug", "bu n"};
    struct gs_bpe_options options = {.n_vocab = GS_BPE_TOKENS_MIN + GS_COUNT(merges)};
    struct gs_meta *m = train(&options, text, sizeof text - 1);
    struct gs_array a = get_array(m, "tokenizer.ggml.merges");
    struct gs_array tokens = get_array(m, "tokenizer.ggml.tokens");

    (void)state;
    assert_int_equal(a.count, GS_COUNT(merges));
    for (size_t i = 0; i < a.count; i++)
        assert_str(gs_array_str(&a, i), merges[i]);
    assert_int_equal(tokens.count, options.n_vocab);
    assert_str(gs_array_str(&tokens, 0), "<|endoftext|>");
    assert_str(gs_array_str(&tokens, 1), "!");
    assert_str(gs_array_str(&tokens, 256), "\xc5\x83"); /* U+0143, the last letter */
    assert_str(gs_array_str(&tokens, 258), "hug");
    gs_meta_destroy(&m);
}

/* ---- against the definition ----------------------------------------------------------------- */

#define WORDS_MAX 400
#define WORD_MAX 40

/* Words as rows of tokens; token texts in letters that are ASCII here. */
struct reference {
    int words[WORDS_MAX][WORD_MAX], length[WORDS_MAX];
    int n_words;
    char tokens[600][WORD_MAX + 1];
    int n_tokens;
    char merges[600][2 * WORD_MAX + 2];
    int n_merges;
};

static void reference_start(struct reference *r, const char *text)
{
    uint16_t letter[256];

    memset(r, 0, sizeof *r);
    gs_letters(letter);
    strcpy(r->tokens[r->n_tokens++], "<|endoftext|>");
    for (unsigned c = 0; c < GS_LETTERS_END; c++)
        for (int b = 0; b < 256; b++)
            if (letter[b] == c)
                r->tokens[r->n_tokens++][0] = (char)(c < 128 ? c : 1);
    for (; *text; text++) {
        if (*text == '\n') {
            r->n_words += r->length[r->n_words] > 0;
            continue;
        }
        int id = 1;
        while (r->tokens[id][0] != *text || r->tokens[id][1])
            id++;
        r->words[r->n_words][r->length[r->n_words]++] = id;
    }
    r->n_words += r->length[r->n_words] > 0;
}

static void count_pairs(const struct reference *r, int counts[600][600])
{
    memset(counts, 0, 600 * sizeof counts[0]);
    for (int w = 0; w < r->n_words; w++)
        for (int i = 0; i + 1 < r->length[w]; i++)
            counts[r->words[w][i]][r->words[w][i + 1]]++;
}

/* One merge; false if no pair is left that occurs twice. */
static bool reference_step(struct reference *r, size_t max_bytes)
{
    static int counts[600][600];
    int left = 0, right = 0, id;
    char text[2 * WORD_MAX + 2];

    count_pairs(r, counts);
    for (int a = 0; a < r->n_tokens; a++)
        for (int b = 0; b < r->n_tokens; b++)
            if (counts[a][b] > counts[left][right] &&
                strlen(r->tokens[a]) + strlen(r->tokens[b]) <= max_bytes)
                left = a, right = b;
    if (counts[left][right] < 2)
        return false;
    snprintf(text, sizeof text, "%s %s", r->tokens[left], r->tokens[right]);
    strcpy(r->merges[r->n_merges++], text);
    memmove(text + strlen(r->tokens[left]), r->tokens[right], strlen(r->tokens[right]) + 1);
    for (id = 1; id < r->n_tokens; id++)
        assert_string_not_equal(r->tokens[id], text); /* as bpe_train.c says */
    strcpy(r->tokens[r->n_tokens++], text);
    for (int w = 0; w < r->n_words; w++) {
        int *word = r->words[w], n = 0;
        for (int i = 0; i < r->length[w]; i++, n++) {
            bool here = i + 1 < r->length[w] && word[i] == left && word[i + 1] == right;
            word[n] = here ? id : word[i];
            i += here;
        }
        r->length[w] = n;
    }
    return true;
}

/* Words of few letters have many overlaps. */
static void random_text(struct gs_rng *rng, char *text)
{
    unsigned letters = 1 + (unsigned)gs_rng_below(rng, 4);
    size_t n = 0, words = 20 + gs_rng_below(rng, 100);

    for (size_t w = 0; w < words; w++) {
        for (size_t i = 1 + gs_rng_below(rng, WORD_MAX - 1); i > 0; i--)
            text[n++] = (char)('a' + gs_rng_below(rng, letters));
        text[n++] = '\n';
    }
    text[n] = 0;
}

static void test_definition(void **state)
{
    static struct reference r;
    static char text[128 * (WORD_MAX + 1)];
    size_t merged = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct gs_rng rng;
        gs_rng_init(&rng, seed, 0);
        random_text(&rng, text);
        uint32_t max_bytes = seed % 2 ? 5 + (uint32_t)gs_rng_below(&rng, 8) : WORD_MAX;
        reference_start(&r, text);
        for (int i = 0; i < 60 && reference_step(&r, max_bytes); i++)
            ;
        struct gs_bpe_options options = {.n_vocab = (uint32_t)r.n_tokens,
                                         .max_token_bytes = max_bytes};
        struct gs_meta *m = train(&options, text, strlen(text));
        struct gs_array merges = get_array(m, "tokenizer.ggml.merges");
        struct gs_array tokens = get_array(m, "tokenizer.ggml.tokens");
        assert_int_equal(merges.count, r.n_merges);
        for (size_t i = 0; i < merges.count; i++)
            assert_str(gs_array_str(&merges, i), r.merges[i]);
        for (int i = GS_BPE_TOKENS_MIN; i < r.n_tokens; i++)
            assert_str(gs_array_str(&tokens, (uint64_t)i), r.tokens[i]);
        merged += merges.count;
        gs_meta_destroy(&m);
    }
    assert_true(merged > 1000);
}

/* ---- in use --------------------------------------------------------------------------------- */

static const char sample[] =
    "Tom has a red ball. The red ball is big. Tom and Sam play with the big red ball.\n"
    "<|endoftext|>The cat sat. The cat ran. The \xc3\xa9t\xc3\xa9 was hot, the \xc3\xa9t\xc3\xa9 "
    "was long.<|endoftext|>The cat and the ball, the ball and the cat.";

/* Every byte string is written, and read back as it was but for ill-formed parts. */
static void test_any_bytes(void **state)
{
    struct gs_bpe_options options = {.n_vocab = 280};
    struct gs_meta *m = train(&options, sample, sizeof sample - 1);
    struct gs_tokenizer *t = fixture_tokenizer(m);
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 7, 0);
    for (int round = 0; round < 2000; round++) {
        char bytes[64], *repaired, *back = NULL;
        size_t n = gs_rng_below(&rng, sizeof bytes), back_n = 0;
        struct gs_tokens tokens = {0};
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)(gs_rng_below(&rng, 3) ? gs_rng_below(&rng, 128)
                                                    : gs_rng_below(&rng, 256));
        assert_int_equal(gs_tokenizer_encode(t, bytes, n, 0, &tokens, NULL), 0);
        assert_int_equal(gs_tokenizer_decode(t, tokens.data, tokens.count, false, &back, &back_n,
                                             NULL), 0);
        assert_int_equal(gs_utf8_repair(bytes, n, &repaired, &n, NULL), 0);
        assert_int_equal(back_n, n);
        assert_memory_equal(back, repaired ? repaired : bytes, n);
        gs_free(&repaired);
        gs_free(&back);
        gs_tokens_clear(&tokens);
    }
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

static void test_end(void **state)
{
    struct gs_bpe_options options = {.n_vocab = 280};
    struct gs_meta *m = train(&options, sample, sizeof sample - 1);
    struct gs_tokenizer *t = fixture_tokenizer(m);
    struct gs_array tokens = get_array(m, "tokenizer.ggml.tokens");
    const char *first = strstr(sample, "<|endoftext|>");
    const char *second = strstr(first + 1, "<|endoftext|>");
    struct gs_str parts[] = {{sample, (size_t)(first - sample)},
                             {first + 13, (size_t)(second - first) - 13},
                             {second + 13, strlen(second + 13)}};
    struct gs_meta *apart = NULL;

    (void)state;
    assert_tokens(t, "<|endoftext|>", GS_TOKENIZE_SPECIAL, "0");
    assert_int_equal(gs_tokenizer_bos(t), 0);
    assert_int_equal(gs_tokenizer_eos(t), 0);
    assert_true(gs_tokenizer_add_bos(t));
    assert_true(gs_tokenizer_is_end(t, 0));
    assert_true(gs_tokenizer_is_control(t, 0));
    for (size_t i = 1; i < tokens.count; i++)
        assert_false(gs_array_str(&tokens, i).size > 2 &&
                     !memcmp(gs_array_str(&tokens, i).data, "<|", 2));
    /* The same texts apart give the same vocabulary. */
    assert_int_equal(gs_meta_create(&apart, NULL), 0);
    assert_int_equal(gs_bpe_train(&options, parts, 3, apart, NULL), 0);
    struct gs_array others = get_array(apart, "tokenizer.ggml.tokens");
    for (size_t i = 0; i < tokens.count; i++) {
        struct gs_str a = gs_array_str(&tokens, i), b = gs_array_str(&others, i);
        assert_int_equal(a.size, b.size);
        assert_memory_equal(a.data, b.data, a.size);
    }
    gs_meta_destroy(&apart);
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

/* The trained words come out as few tokens, in the merges' order of importance. */
static void test_encode(void **state)
{
    struct gs_bpe_options options = {.n_vocab = 280};
    struct gs_meta *m = train(&options, sample, sizeof sample - 1);
    struct gs_tokenizer *t = fixture_tokenizer(m);
    int32_t ball = gs_tokenizer_find(t, "\xc4\xa0" "ball", 6);
    struct gs_tokens tokens = {0};

    (void)state;
    assert_true(ball >= GS_BPE_TOKENS_MIN);
    assert_int_equal(gs_tokenizer_encode(t, " ball ball", 10, 0, &tokens, NULL), 0);
    assert_int_equal(tokens.count, 2);
    assert_int_equal(tokens.data[0], ball);
    assert_int_equal(tokens.data[1], ball);
    gs_tokens_clear(&tokens);
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

/* ---- hostile texts and wrong options -------------------------------------------------------- */

/* A megabyte without a space: doubles up to the limit, in far less than a second. */
static void test_long_word(void **state)
{
    size_t n = (size_t)1 << 20;
    char *text = gs_alloc(n, 1);
    struct gs_bpe_options options = {.n_vocab = GS_BPE_TOKENS_MIN + 6};
    struct gs_err err = {0};

    (void)state;
    assert_non_null(text);
    memset(text, 'a', n);
    struct gs_meta *m = train(&options, text, n);
    struct gs_array tokens = get_array(m, "tokenizer.ggml.tokens");
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(gs_array_str(&tokens, GS_BPE_TOKENS_MIN + i).size, 2u << i);
    options.n_vocab++; /* all is one token of 64 bytes repeated */
    struct gs_str whole = {text, n};
    assert_int_equal(gs_bpe_train(&options, &whole, 1, m, &err), GS_E_ARG);
    assert_non_null(strstr(err.msg, "gives 263 tokens only, not 264"));
    gs_meta_destroy(&m);
    gs_free(&text);
}

static void test_wrong(void **state)
{
    static const struct {
        struct gs_bpe_options options;
        const char *words;
    } cases[] = {
        {{.n_vocab = 256}, "a vocabulary of 256 tokens"},
        {{.n_vocab = GS_BPE_TOKENS_MAX + 1}, "a vocabulary of 1048577 tokens"},
        {{.n_vocab = 300, .pre = "nobody"}, "pre-tokenizer 'nobody' is not known"},
        {{.n_vocab = 300, .end = "a b"}, "without spaces"},
        {{.n_vocab = 300, .end = "x"}, "2 to 255"},
        {{.n_vocab = 300, .end = ""}, "2 to 255"},
        {{.n_vocab = 300, .end = "\xc4\xa0z"}, "printable ASCII"},
        {{.n_vocab = 300, .max_token_bytes = 40000}, "tokens of up to 40000 bytes"},
        {{.n_vocab = 10000}, "no further pair of up to 64 bytes occurs 2 times"},
        {{.n_vocab = 300, .min_count = 1000}, "gives 257 tokens only, not 300"},
    };
    struct gs_str text = {sample, sizeof sample - 1};
    struct gs_meta *m = NULL;

    (void)state;
    assert_int_equal(gs_meta_create(&m, NULL), 0);
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct gs_err err = {0};
        assert_int_equal(gs_bpe_train(&cases[i].options, &text, 1, m, &err), GS_E_ARG);
        if (!strstr(err.msg, cases[i].words))
            fail_msg("message \"%s\" lacks \"%s\"", err.msg, cases[i].words);
        assert_int_equal(gs_meta_count(m), 0);
    }
    struct gs_bpe_options bytes_only = {.n_vocab = GS_BPE_TOKENS_MIN};
    assert_int_equal(gs_bpe_train(&bytes_only, NULL, 0, m, NULL), 0);
    assert_int_equal(get_array(m, "tokenizer.ggml.merges").count, 0);
    gs_meta_destroy(&m);
}

/* Lets the n-th allocation fail, for each n. The regular-expression library does without some. */
static void test_out_of_memory(void **state)
{
    struct gs_bpe_options options = {.n_vocab = 280};
    struct gs_str text = {sample, sizeof sample - 1};
    uint64_t n = 0, used;

    (void)state;
    do {
        struct gs_meta *m = NULL;
        struct gs_err err = {0};
        assert_int_equal(gs_meta_create(&m, NULL), 0);
        uint64_t before = gs_alloc_count();
        gs_alloc_fail_at(++n);
        int rc = gs_bpe_train(&options, &text, 1, m, &err);
        gs_alloc_fail_at(0);
        used = gs_alloc_count() - before;
        assert_true(rc == 0 || (rc == GS_E_NOMEM && err.msg[0]));
        gs_meta_destroy(&m);
    } while (used >= n);
    assert_true(n > 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),   cmocka_unit_test(test_definition),
        cmocka_unit_test(test_any_bytes), cmocka_unit_test(test_end),
        cmocka_unit_test(test_encode),    cmocka_unit_test(test_long_word),
        cmocka_unit_test(test_wrong),     cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
