/* SPDX-License-Identifier: MIT
 * Real vocabularies ($GOSSET_DATA/vocab): texts with the tokens that llama.cpp and Hugging
 * Face agree on. NAME.gguf.inp holds the texts between separator lines, NAME.gguf.out one
 * line of tokens for each. */
#include "tests/unit/vocab_fixture.h"

#include <stdlib.h>

#include "core/alloc.h"
#include "file/store.h"

#define SEPARATOR "\n__ggml_vocab_test__\n"

/* The file's bytes, NUL-terminated, or NULL if there is none. */
static char *read_file(const char *path, size_t *n)
{
    FILE *in = fopen(path, "rb");
    char *text;

    if (!in)
        return NULL;
    assert_int_equal(fseek(in, 0, SEEK_END), 0);
    *n = (size_t)ftell(in);
    rewind(in);
    text = gs_alloc(*n + 1, 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, *n, in), *n);
    fclose(in);
    return text;
}

/* Decoding gives the text back, but for the spaces that SentencePiece adds. */
static void check_round_trip(const struct gs_tokenizer *t, const char *text, size_t n)
{
    struct gs_tokens tokens = {0};
    struct gs_err err = {0};
    char *back = NULL;
    size_t back_n = 0;

    assert_int_equal(gs_tokenizer_encode(t, text, n, 0, &tokens, &err), 0);
    assert_int_equal(gs_tokenizer_decode(t, tokens.data, tokens.count, false, &back, &back_n,
                                         &err), 0);
    assert_int_equal(back_n, n);
    assert_memory_equal(back, text, n);
    gs_free(&back);
    gs_tokens_clear(&tokens);
}

static void check_vocab(void **state)
{
    const char *folder = getenv("GOSSET_DATA"), *name = *state;
    char path[600], inp[620], out[620];
    size_t n, m, texts = 0;

    if (!folder || !*folder)
        skip();
    snprintf(path, sizeof path, "%s/vocab/ggml-vocab-%s.gguf", folder, name);
    snprintf(inp, sizeof inp, "%s.inp", path);
    snprintf(out, sizeof out, "%s.out", path);
    char *input = read_file(inp, &n), *output = input ? read_file(out, &m) : NULL;
    if (!output)
        skip();
    struct gs_store *store = NULL;
    struct gs_err err = {0};
    assert_int_equal(gs_store_open(path, &store, &err), 0);
    struct gs_tokenizer *t = fixture_tokenizer(gs_store_meta(store));
    char *text = input, *want = output;
    while (text) {
        char *end = strstr(text, SEPARATOR), *line_end = strchr(want, '\n');
        size_t text_n = end ? (size_t)(end - text) : n - (size_t)(text - input);
        if (line_end)
            *line_end = 0;
        while (*want == ' ')
            want++;
        const char *got = fixture_encode(t, text, text_n, 0);
        if (strcmp(got, want))
            fail_msg("%s, text %zu: tokens %s, not %s", name, texts, got, want);
        check_round_trip(t, text, text_n);
        want = line_end ? line_end + 1 : want + strlen(want);
        text = end ? end + sizeof SEPARATOR - 1 : NULL;
        texts++;
    }
    assert_true(texts >= 40);
    gs_tokenizer_destroy(&t);
    gs_store_close(&store);
    gs_free(&output);
    gs_free(&input);
}

#define VOCAB(name) {"vocabulary " name, check_vocab, NULL, NULL, gs_unconst(name)}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VOCAB("gpt-2"), VOCAB("falcon"), VOCAB("starcoder"), VOCAB("llama-spm"), VOCAB("phi-3"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
