/* SPDX-License-Identifier: MIT
 * Prompts: any bytes through every pre-tokenizer family and through SentencePiece, with a
 * vocabulary of all bytes and a few merges. The first byte chooses the tokenizer (0xff: all
 * of them) and whether control tokens are parsed. Encoding must succeed, decoding must give the
 * text back (with U+FFFD for what was broken), and the incremental decoder must agree. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/meta.h"
#include "text/chat.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_TOKENIZERS 32
#define MAX_TOKENS 400

static struct gs_meta *metas[MAX_TOKENIZERS];
static struct gs_tokenizer *tokenizers[MAX_TOKENIZERS];
static bool nfc[MAX_TOKENIZERS];
static size_t n_tokenizers;

static void must(int rc)
{
    if (rc < 0)
        abort();
}

struct vocabulary {
    struct gs_str tokens[MAX_TOKENS];
    int32_t types[MAX_TOKENS];
    float scores[MAX_TOKENS];
    size_t n;
    char names[256][8];
};

static void add(struct vocabulary *v, const char *text, size_t n, int type)
{
    v->tokens[v->n] = (struct gs_str){text, n};
    v->types[v->n] = type;
    v->scores[v->n] = -(float)v->n;
    v->n++;
}

/* The 256 bytes, as letters or as <0x00>, then words and special tokens. */
static void fill(struct vocabulary *v, bool bpe)
{
    static const char *const words[] = {
        "he", "ll", "hell", "hello", "in", "ing", "the", "12", "  ", "\n\n", "<s>", "<|im_end|>",
    };
    uint32_t next = 256;

    for (int b = 0; b < 256; b++) {
        bool printable = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);
        size_t n = bpe ? gs_utf8_put(printable ? (uint32_t)b : next++, v->names[b])
                       : (size_t)snprintf(v->names[b], 8, "<0x%02X>", b);
        add(v, v->names[b], n, bpe ? 1 : 6);
    }
    for (size_t i = 0; i < GS_COUNT(words); i++)
        add(v, words[i], strlen(words[i]), i < 8 ? 1 : i < 10 ? 4 : 3);
    if (bpe)
        return;
    for (const char *c = "abcdefghijklmnopqrstuvwxyz12"; *c; c++)
        add(v, c, 1, 1);
    add(v, "\xe2\x96\x81", 3, 1);
    add(v, "\xe2\x96\x81he", 5, 1);
}

static void make(const char *pre, bool bpe)
{
    static const struct gs_str merges[] = {
        GS_STR("h e"), GS_STR("l l"), GS_STR("he ll"), GS_STR("hell o"), GS_STR("i n"),
        GS_STR("in g"), GS_STR("1 2")};
    struct vocabulary *v = gs_alloc(1, sizeof *v);
    struct gs_meta *m = NULL;

    if (!v || n_tokenizers == MAX_TOKENIZERS)
        abort();
    fill(v, bpe);
    must(gs_meta_create(&m, NULL));
    must(gs_meta_set_str(m, "tokenizer.ggml.model", bpe ? GS_STR("gpt2") : GS_STR("llama"), NULL));
    must(gs_meta_set_str(m, "tokenizer.ggml.pre", (struct gs_str){pre, strcspn(pre, " ")}, NULL));
    must(gs_meta_set_array(m, "tokenizer.ggml.tokens", GS_VALUE_STRING, v->tokens, v->n, NULL));
    must(gs_meta_set_array(m, "tokenizer.ggml.token_type", GS_VALUE_I32, v->types, v->n, NULL));
    must(gs_meta_set_array(m, "tokenizer.ggml.scores", GS_VALUE_F32, v->scores, v->n, NULL));
    must(gs_meta_set_array(m, "tokenizer.ggml.merges", GS_VALUE_STRING, merges,
                           GS_COUNT(merges), NULL));
    must(gs_tokenizer_create(m, "fuzz", &tokenizers[n_tokenizers], NULL));
    metas[n_tokenizers++] = m;
    gs_free(&v);
}

static void clear_all(void)
{
    while (n_tokenizers) {
        gs_tokenizer_destroy(&tokenizers[--n_tokenizers]);
        gs_meta_destroy(&metas[n_tokenizers]);
    }
}

static void make_all(void)
{
    const struct gs_pretokenizer *family;

    atexit(clear_all);
    for (size_t i = 0; (family = gs_pretokenizer_at(i)); i++) {
        nfc[n_tokenizers] = family->nfc;
        make(family->names, true);
    }
    make("default", false);
}

/* Token by token through the stream, as a session does it, against the whole. */
static void check_stream(const struct gs_tokenizer *t, const struct gs_tokens *tokens,
                         const char *want, size_t n)
{
    struct gs_utf8_stream s = {{0}, 0};
    size_t at = 0;
    char bytes[64], out[3 * (sizeof bytes + 4)];

    for (size_t i = 0; i < tokens->count; i++) {
        size_t len = gs_tokenizer_bytes(t, tokens->data[i], true, bytes, sizeof bytes);
        size_t got = gs_utf8_push(&s, bytes, len, out);
        if (got > n - at || memcmp(want + at, out, got))
            abort();
        at += got;
    }
    if (gs_utf8_flush(&s, out) || at != n)
        abort();
}

static void check(size_t i, const char *text, size_t n, int flags)
{
    const struct gs_tokenizer *t = tokenizers[i];
    bool bpe = i + 1 < n_tokenizers;
    struct gs_tokens tokens = {0};
    char *repaired = NULL, *back = NULL;
    size_t repaired_n, back_n = 0;

    must(gs_utf8_repair(text, n, &repaired, &repaired_n, NULL));
    must(gs_tokenizer_encode(t, text, n, flags, &tokens, NULL));
    must(gs_tokenizer_decode(t, tokens.data, tokens.count, true, &back, &back_n, NULL));
    /* NFC changes the text; SentencePiece adds spaces and cannot tell U+2581 from one. */
    if (bpe && !nfc[i]) {
        if (back_n != repaired_n || memcmp(back, repaired ? repaired : text, back_n))
            abort();
        check_stream(t, &tokens, back, back_n);
    }
    gs_free(&back);
    gs_free(&repaired);
    gs_tokens_clear(&tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;

    if (!n_tokenizers)
        make_all();
    if (size < 1 || size > 65536)
        return 0;
    uint8_t choice = data[0];
    text++;
    size--;
    for (size_t i = 0; i < n_tokenizers; i++) {
        if (choice != 0xff && choice / 2 % n_tokenizers != i)
            continue;
        check(i, text, size, choice % 2 ? GS_TOKENIZE_SPECIAL : 0);
    }
    /* The same bytes as a chat template. */
    struct gs_chat_message message = {"user", "x"};
    struct gs_meta *m = NULL;
    char *prompt = NULL;
    must(gs_meta_create(&m, NULL));
    must(gs_meta_set_str(m, "tokenizer.chat_template", (struct gs_str){text, size}, NULL));
    must(gs_chat_render(m, &message, 1, true, &prompt, NULL));
    gs_free(&prompt);
    gs_meta_destroy(&m);
    return 0;
}
