/* SPDX-License-Identifier: MIT
 * Words are chains of symbols in one array, each word once, weighed by its count. A symbol
 * that has a right neighbour is the place of a pair; the places of one pair are a second,
 * doubly linked chain through the same array:
 *
 *      l   o   w   e   r   |   l   o   w       word chains: prev, next
 *      └─lo─────────────────────┘              place chains: before, after
 *
 * Merging a pair walks its chain only. At each place two or three pairs lose a place and two
 * gain one, and one symbol disappears, so all merges together cost at most as many steps as
 * there are symbols, times the logarithm that the table's heap takes. */
#include "text/bpe_train.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "core/alloc.h"
#include "text/letters.h"
#include "text/nfc.h"
#include "text/pair_table.h"
#include "text/pretokenizer.h"
#include "text/utf8.h"
#include "text/vocab.h"
#include "text/word_count.h"

#define NONE UINT32_MAX
#define SYMBOLS_MAX (UINT32_MAX / 2)

struct symbol {
    uint32_t token;
    uint32_t prev, next;    /* in the word */
    uint32_t pair;          /* of this symbol and the next; NONE for a word's last */
    uint32_t before, after; /* places of the same pair */
    uint32_t word;
};

struct token {
    struct gs_str text; /* in letters, as GGUF stores it */
    uint32_t bytes;     /* that it stands for */
};

struct trainer {
    struct gs_bpe_options options;
    const struct gs_pretokenizer *family;
    struct gs_splitter *splitter;
    struct gs_arena arena;    /* texts of tokens, rewritten texts */
    struct gs_word_counts words;
    struct symbol *symbols;
    struct gs_pairs pairs;
    struct token *tokens;     /* options.n_vocab of them */
    uint32_t n_tokens;
    struct gs_str *merges;    /* "left right" of a token that was merged */
    struct gs_err *err;
};

/* ---- counting words ------------------------------------------------------------------------ */

static int count_word(void *ctx, const char *word, size_t n)
{
    struct trainer *t = ctx;

    return gs_word_counts_add(&t->words, word, n, t->err);
}

/* A text without `end` in it. What is rewritten stays in the arena, where the words are. */
static int count_words(struct trainer *t, const char *text, size_t n)
{
    char *repaired;
    int rc = gs_utf8_repair(text, n, &repaired, &n, t->err);

    if (rc)
        return rc;
    if (repaired) {
        text = gs_arena_strndup(&t->arena, repaired, n);
        gs_free(&repaired);
        if (!text)
            return gs_fail_nomem(t->err, "the text");
    }
    if (t->family->nfc)
        rc = gs_nfc(&t->arena, text, n, &text, &n, t->err);
    return rc < 0 ? rc : gs_splitter_run(t->splitter, text, n, count_word, t, t->err);
}

/* Where `end` is in n bytes, or n. */
static size_t find_end(const char *text, size_t n, const char *end)
{
    size_t m = strlen(end);

    for (size_t at = 0; at + m <= n; at++) {
        const char *p = memchr(text + at, end[0], n - m + 1 - at);
        if (!p)
            break;
        at = (size_t)(p - text);
        if (!memcmp(p, end, m))
            return at;
    }
    return n;
}

static int count_text(struct trainer *t, struct gs_str text)
{
    const char *end = t->options.end;
    int rc = GS_OK;

    while (!rc && text.size) {
        size_t n = find_end(text.data, text.size, end);
        rc = n ? count_words(t, text.data, n) : GS_OK;
        n = n < text.size ? n + strlen(end) : n;
        text = (struct gs_str){text.data + n, text.size - n};
    }
    return rc;
}

/* ---- tokens -------------------------------------------------------------------------------- */

static uint32_t add_token(struct trainer *t, struct gs_str text, uint32_t bytes)
{
    assert(t->n_tokens < t->options.n_vocab);
    t->tokens[t->n_tokens] = (struct token){text, bytes};
    return t->n_tokens++;
}

/* Token 0 and the letters, by code point, as Hugging Face's trainer numbers them.
 * token_of[b] = the token of byte b. */
static int add_letters(struct trainer *t, uint32_t token_of[256])
{
    uint16_t letter[256];
    struct gs_str end = {t->options.end, strlen(t->options.end)};

    gs_letters(letter);
    add_token(t, end, (uint32_t)end.size);
    for (uint32_t c = 0; c < GS_LETTERS_END; c++)
        for (uint32_t b = 0; b < 256; b++) {
            char utf8[4];
            if (letter[b] != c)
                continue;
            size_t n = gs_utf8_put(c, utf8);
            struct gs_str text = {gs_arena_strndup(&t->arena, utf8, n), n};
            if (!text.data)
                return gs_fail_nomem(t->err, "tokens");
            token_of[b] = add_token(t, text, 1);
        }
    return GS_OK;
}

/* The token that the pair makes. Its text is new: up to the merge that joins its two ends, what
 * becomes of a stretch of text depends on nothing outside it, so all stretches with this text
 * that end as one token do so by the same merge. For the same reason a pair that has been
 * merged does not come back. */
static int add_merge(struct trainer *t, const struct gs_pair *pair, uint32_t *token)
{
    struct token left = t->tokens[pair->left], right = t->tokens[pair->right];
    size_t n = left.text.size + right.text.size;
    char *text = gs_arena_alloc(&t->arena, n, 1), *merge = gs_arena_alloc(&t->arena, n + 1, 1);

    if (!text || !merge)
        return gs_fail_nomem(t->err, "merges");
    memcpy(text, left.text.data, left.text.size);
    memcpy(text + left.text.size, right.text.data, right.text.size);
    memcpy(merge, left.text.data, left.text.size);
    merge[left.text.size] = ' ';
    memcpy(merge + left.text.size + 1, right.text.data, right.text.size);
    t->merges[t->n_tokens] = (struct gs_str){merge, n + 1};
    *token = add_token(t, (struct gs_str){text, n}, left.bytes + right.bytes);
    return GS_OK;
}

/* ---- symbols and pairs --------------------------------------------------------------------- */

static int64_t weight(const struct trainer *t, uint32_t at)
{
    return (int64_t)t->words.words[t->symbols[at].word].count;
}

/* Symbol `at` and its next become a place of their pair; the table has room for it. */
static void link_place(struct trainer *t, uint32_t at)
{
    struct symbol *s = &t->symbols[at];
    uint32_t right = t->symbols[s->next].token;
    uint32_t index = gs_pairs_find(&t->pairs, s->token, right);
    struct gs_pair *pair = &t->pairs.pairs[index];

    if (t->tokens[s->token].bytes + t->tokens[right].bytes > t->options.max_token_bytes)
        pair->closed = true;
    s->pair = index;
    s->before = NONE;
    s->after = pair->first;
    if (pair->first != NONE)
        t->symbols[pair->first].before = at;
    pair->first = at;
    gs_pairs_change(&t->pairs, index, weight(t, at));
}

static void unlink_place(struct trainer *t, uint32_t at)
{
    struct symbol *s = &t->symbols[at];

    if (s->after != NONE)
        t->symbols[s->after].before = s->before;
    if (s->before != NONE)
        t->symbols[s->before].after = s->after;
    else
        t->pairs.pairs[s->pair].first = s->after;
    gs_pairs_change(&t->pairs, s->pair, -weight(t, at));
    s->pair = NONE;
}

static int make_symbols(struct trainer *t, const uint32_t token_of[256])
{
    uint32_t n = 0;
    int rc = GS_OK;

    if (t->words.bytes > SYMBOLS_MAX)
        return gs_fail(t->err, GS_E_ARG, "the text's different words have %" PRIu64 " bytes, "
                       "at most %" PRIu32 " can be learned from", t->words.bytes, SYMBOLS_MAX);
    t->symbols = gs_alloc(t->words.bytes, sizeof *t->symbols);
    if (!t->symbols)
        return gs_fail_nomem(t->err, "symbols");
    for (size_t w = 0; !rc && w < t->words.n; w++) {
        const struct gs_counted_word *word = &t->words.words[w];
        for (size_t i = 0; !rc && i < word->n; i++, n++) {
            t->symbols[n] = (struct symbol){
                .token = token_of[(uint8_t)word->text[i]], .prev = i ? n - 1 : NONE,
                .next = NONE, .pair = NONE, .word = (uint32_t)w,
            };
            if (!i)
                continue;
            t->symbols[n - 1].next = n;
            rc = gs_pairs_reserve(&t->pairs, 1, t->err);
            if (!rc)
                link_place(t, n - 1);
        }
    }
    return rc;
}

/* The place `at` becomes one symbol. */
static int merge_place(struct trainer *t, uint32_t at, uint32_t token)
{
    struct symbol *s = &t->symbols[at];
    uint32_t right = s->next, prev = s->prev, next = t->symbols[right].next;
    int rc = gs_pairs_reserve(&t->pairs, 2, t->err);

    if (rc)
        return rc;
    unlink_place(t, at);
    if (prev != NONE)
        unlink_place(t, prev);
    if (next != NONE)
        unlink_place(t, right);
    s->token = token;
    s->next = next;
    if (next != NONE) {
        t->symbols[next].prev = at;
        link_place(t, at);
    }
    if (prev != NONE)
        link_place(t, prev);
    return GS_OK;
}

/* Merges every place of the pair. Places of "a a" overlap in a run of a: from its left end
 * each second one is merged, as an encoder does. */
static int merge_pair(struct trainer *t, uint32_t index, uint32_t token)
{
    uint32_t at;
    int rc = GS_OK;

    while (!rc && (at = t->pairs.pairs[index].first) != NONE) {
        const struct symbol *s = t->symbols;
        while (s[at].prev != NONE && s[s[at].prev].pair == index)
            at = s[at].prev;
        while (!rc && at != NONE && s[at].pair == index) {
            rc = merge_place(t, at, token);
            at = s[at].next;
        }
    }
    return rc;
}

static int learn(struct trainer *t)
{
    const struct gs_bpe_options *o = &t->options;
    int rc = GS_OK;

    while (!rc && t->n_tokens < o->n_vocab) {
        uint32_t token = 0, best = gs_pairs_pop(&t->pairs);
        if (best == GS_NO_PAIR || t->pairs.pairs[best].count < o->min_count)
            return gs_fail(t->err, GS_E_ARG, "the text gives %" PRIu32 " tokens only, not %"
                           PRIu32 ": no further pair of up to %" PRIu32 " bytes occurs %"
                           PRIu64 " times", t->n_tokens, o->n_vocab, o->max_token_bytes,
                           o->min_count);
        rc = add_merge(t, &t->pairs.pairs[best], &token);
        if (!rc)
            rc = merge_pair(t, best, token);
    }
    return rc;
}

/* ---- in and out ---------------------------------------------------------------------------- */

static int check_options(struct trainer *t, const struct gs_bpe_options *options)
{
    struct gs_bpe_options *o = &t->options;

    *o = *options;
    o->pre = o->pre ? o->pre : "gpt-2";
    o->end = o->end ? o->end : "<|endoftext|>";
    o->max_token_bytes = o->max_token_bytes ? o->max_token_bytes : 64;
    o->min_count = o->min_count ? o->min_count : 2;
    if (o->n_vocab < GS_BPE_TOKENS_MIN || o->n_vocab > GS_BPE_TOKENS_MAX)
        return gs_fail(t->err, GS_E_ARG, "a vocabulary of %" PRIu32 " tokens: allowed are %d to "
                       "%d", o->n_vocab, GS_BPE_TOKENS_MIN, GS_BPE_TOKENS_MAX);
    if (o->max_token_bytes > UINT16_MAX / 2)
        return gs_fail(t->err, GS_E_ARG, "tokens of up to %" PRIu32 " bytes: allowed are %d",
                       o->max_token_bytes, UINT16_MAX / 2);
    t->family = gs_pretokenizer_find(o->pre, strlen(o->pre));
    if (!t->family)
        return gs_fail(t->err, GS_E_ARG, "pre-tokenizer '%.64s' is not known", o->pre);
    size_t n = strspn(o->end, "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              "[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~");
    if (n < 2 || n > 255 || o->end[n])
        return gs_fail(t->err, GS_E_ARG, "the token that ends a text must be of 2 to 255 "
                       "printable ASCII characters without spaces");
    return GS_OK;
}

static int create_tables(struct trainer *t)
{
    t->merges = gs_alloc(t->options.n_vocab, sizeof *t->merges);
    t->tokens = gs_alloc(t->options.n_vocab, sizeof *t->tokens);
    if (!t->merges || !t->tokens)
        return gs_fail_nomem(t->err, "tokens");
    return gs_splitter_create(t->family, &t->splitter, t->err);
}

static int set_meta(const struct trainer *t, struct gs_meta *meta)
{
    uint32_t n = t->n_tokens;
    struct gs_str *texts = gs_alloc(n, sizeof *texts), pre = {t->options.pre,
                                                               strlen(t->options.pre)};
    int32_t *types = gs_alloc(n, sizeof *types);
    struct gs_err *err = t->err;
    int rc = texts && types ? GS_OK : gs_fail_nomem(err, "tokens");

    for (uint32_t i = 0; !rc && i < n; i++) {
        texts[i] = t->tokens[i].text;
        types[i] = i ? GS_TOKEN_NORMAL : GS_TOKEN_CONTROL;
    }
    if (!rc)
        rc = gs_meta_set_str(meta, "tokenizer.ggml.model", GS_STR("gpt2"), err);
    if (!rc)
        rc = gs_meta_set_str(meta, "tokenizer.ggml.pre", pre, err);
    if (!rc)
        rc = gs_meta_set_array(meta, "tokenizer.ggml.tokens", GS_VALUE_STRING, texts, n, err);
    if (!rc)
        rc = gs_meta_set_array(meta, "tokenizer.ggml.token_type", GS_VALUE_I32, types, n, err);
    if (!rc)
        rc = gs_meta_set_array(meta, "tokenizer.ggml.merges", GS_VALUE_STRING,
                               t->merges + GS_BPE_TOKENS_MIN, n - GS_BPE_TOKENS_MIN, err);
    if (!rc)
        rc = gs_meta_set_uint(meta, "tokenizer.ggml.bos_token_id", 0, err);
    if (!rc)
        rc = gs_meta_set_uint(meta, "tokenizer.ggml.eos_token_id", 0, err);
    if (!rc)
        rc = gs_meta_set_bool(meta, "tokenizer.ggml.add_bos_token", true, err);
    gs_free(&types);
    gs_free(&texts);
    return rc;
}

int gs_bpe_train(const struct gs_bpe_options *options, const struct gs_str *texts,
                 size_t n_texts, struct gs_meta *meta, struct gs_err *err)
{
    struct trainer t = {.err = err};
    uint32_t token_of[256];
    int rc = check_options(&t, options);

    if (!rc)
        rc = create_tables(&t);
    for (size_t i = 0; !rc && i < n_texts; i++)
        rc = count_text(&t, texts[i]);
    if (!rc)
        rc = add_letters(&t, token_of);
    if (!rc)
        rc = make_symbols(&t, token_of);
    if (!rc)
        rc = learn(&t);
    if (!rc)
        rc = set_meta(&t, meta);
    gs_splitter_destroy(&t.splitter);
    gs_word_counts_clear(&t.words);
    gs_pairs_clear(&t.pairs);
    gs_free(&t.symbols);
    gs_free(&t.tokens);
    gs_free(&t.merges);
    gs_arena_clear(&t.arena);
    return rc;
}
