/* SPDX-License-Identifier: MIT
 * SentencePiece's BPE (Kudo & Richardson, arXiv:1808.06226), as Llama 1/2, Mistral, Phi-3
 * and Gemma use it: spaces become U+2581, characters are merged while the result is a
 * token, highest score first, and what is no token in the end is spelled in bytes.
 *
 * SentencePiece merges a text as a whole. We cut it where no token of the vocabulary has
 * these two neighbouring characters, so where no merge can ever happen: the result is the
 * same, the heaps are small, and repeated words come from the cache. */
#include <assert.h>
#include <string.h>

#include "core/alloc.h"
#include "text/kind.h"
#include "text/utf8.h"

#define ESCAPED_SPACE "\xe2\x96\x81"
#define ESCAPED_BYTES (sizeof ESCAPED_SPACE - 1)

/* A set of pairs of characters, by hash: a false member costs only a missed cut. */
#define PAIR_BITS 21

struct rules {
    const struct gs_tokenizer *t;
    int32_t byte_token[256]; /* negative: none */
    bool all_bytes;
    uint64_t joined[(1u << PAIR_BITS) / 64];
};

int gs_byte_token_value(struct gs_str text)
{
    int value = 0;

    if (text.size != 6 || memcmp(text.data, "<0x", 3) || text.data[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        char c = text.data[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10
                  : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        value = 16 * value + digit;
    }
    return value;
}

/* A token that merging may produce. The others have names, not texts. */
static bool is_mergeable(const struct gs_vocab *v, int32_t id)
{
    return v->type[id] == GS_TOKEN_NORMAL || v->type[id] == GS_TOKEN_USER;
}

static uint32_t pair_hash(uint32_t a, uint32_t b)
{
    return (uint32_t)(((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15u >> (64 - PAIR_BITS));
}

static void note_pairs(struct rules *r, struct gs_str s)
{
    uint32_t c, last = 0;
    size_t len;

    for (size_t i = 0; i < s.size; i += len, last = c) {
        gs_utf8_next(s.data + i, s.size - i, &c, &len);
        if (i > 0) {
            uint32_t h = pair_hash(last, c);
            r->joined[h / 64] |= (uint64_t)1 << h % 64;
        }
    }
}

static bool is_joined(const struct rules *r, uint32_t a, uint32_t b)
{
    uint32_t h = pair_hash(a, b);
    return r->joined[h / 64] >> h % 64 & 1;
}

static int read_tokens(struct gs_tokenizer *t, struct rules *r, struct gs_err *err)
{
    const struct gs_vocab *v = &t->vocab;
    int found = 0;

    for (uint32_t id = 0; id < v->n; id++) {
        if (is_mergeable(v, (int32_t)id))
            note_pairs(r, v->text[id]);
        if (v->type[id] != GS_TOKEN_BYTE)
            continue;
        int value = gs_byte_token_value(v->text[id]);
        if (value < 0)
            return gs_fail(err, GS_E_FORMAT, "%s: tokenizer.ggml.tokens: token %u is a byte "
                           "token but is not written <0x00> to <0xFF>", t->where, id);
        found += r->byte_token[value] < 0;
        r->byte_token[value] = (int32_t)id;
    }
    r->all_bytes = found == 256;
    return GS_OK;
}

static void spm_clear(struct gs_tokenizer *t)
{
    gs_free(&t->rules);
}

static int spm_load(struct gs_tokenizer *t, const struct gs_meta *meta, struct gs_err *err)
{
    (void)meta;
    if (!t->vocab.score)
        return gs_fail(err, GS_E_FORMAT, "%s: tokenizer.ggml.scores: missing, and the "
                       "tokenizer model llama needs it", t->where);
    struct rules *r = gs_alloc(1, sizeof *r);
    if (!r)
        return gs_fail_nomem(err, "tokenizer");
    t->rules = r;
    r->t = t;
    memset(r->byte_token, -1, sizeof r->byte_token);
    return read_tokens(t, r, err);
}

static bool pair(const void *rules, const char *word, const struct gs_symbol *left,
                 const struct gs_symbol *right, uint32_t *rank, int32_t *id)
{
    const struct rules *r = rules;
    const struct gs_vocab *v = &r->t->vocab;
    int32_t token = gs_vocab_find(v, word + left->at, (size_t)left->n + right->n);
    uint32_t bits;
    float score;

    if (token < 0 || !is_mergeable(v, token))
        return false;
    /* The order of floats as an order of integers, best first; + 0.0f unites the zeros. */
    score = v->score[token] + 0.0f;
    memcpy(&bits, &score, sizeof bits);
    *rank = bits >> 31 ? bits : ~bits & 0x7fffffff;
    *id = token;
    return true;
}

static int push_bytes(const struct rules *r, struct gs_encoder *e, const char *bytes, uint32_t n)
{
    int rc = GS_OK;

    for (uint32_t i = 0; i < n && !r->all_bytes; i++) {
        if (r->byte_token[(uint8_t)bytes[i]] >= 0)
            continue;
        /* Not all of it can be spelled: the whole character is unknown. */
        return r->t->unk >= 0 ? gs_encoder_push(e, r->t->unk) : GS_OK;
    }
    for (uint32_t i = 0; i < n && rc == GS_OK; i++)
        rc = gs_encoder_push(e, r->byte_token[(uint8_t)bytes[i]]);
    return rc;
}

static int merge_word(const struct rules *r, struct gs_encoder *e, const char *word, size_t n)
{
    const struct gs_vocab *v = &r->t->vocab;
    struct gs_merger *m = &e->merger;
    int rc = gs_merger_reserve(m, n, e->err);
    size_t len;
    uint32_t c;

    for (size_t i = 0; i < n && rc == GS_OK; i += len) {
        gs_utf8_next(word + i, n - i, &c, &len);
        int32_t id = gs_vocab_find(v, word + i, len);
        gs_merger_add(m, (uint32_t)len, id >= 0 && is_mergeable(v, id) ? id : -1);
    }
    if (rc == GS_OK)
        gs_merger_run(m, word, pair, r);
    for (uint32_t i = 0; rc == GS_OK && i != GS_NO_SYMBOL; i = m->symbols[i].next) {
        const struct gs_symbol *s = &m->symbols[i];
        rc = s->id >= 0 ? gs_encoder_push(e, s->id) : push_bytes(r, e, word + s->at, s->n);
    }
    return rc;
}

static int encode_word(const struct rules *r, struct gs_encoder *e, const char *word, size_t n)
{
    struct gs_cached_word *slot;
    size_t first = e->out->count;
    int rc;

    if (gs_encoder_recall(e, word, n, &slot, &rc))
        return rc;
    rc = merge_word(r, e, word, n);
    if (rc == GS_OK)
        gs_encoder_keep(e, slot, word, n, first);
    return rc;
}

/* The text with spaces escaped and, where wanted, one in front, in the encoder's arena. */
static char *escape(struct gs_encoder *e, const char *text, size_t n, bool prefix, size_t *out_n)
{
    size_t spaces = prefix, at = 0;

    for (size_t i = 0; i < n; i++)
        spaces += text[i] == ' ';
    char *out = gs_arena_alloc(&e->texts, 1, n + ESCAPED_BYTES * spaces);
    if (!out)
        return NULL;
    if (prefix) {
        memcpy(out, ESCAPED_SPACE, ESCAPED_BYTES);
        at = ESCAPED_BYTES;
    }
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ' ') {
            memcpy(out + at, ESCAPED_SPACE, ESCAPED_BYTES);
            at += ESCAPED_BYTES;
        } else {
            out[at++] = text[i];
        }
    }
    *out_n = at;
    return out;
}

static int spm_encode(const struct gs_tokenizer *t, struct gs_encoder *e, const char *text,
                      size_t n, bool first)
{
    const struct rules *r = t->rules;
    char *s = escape(e, text, n, first && t->add_space_prefix, &n);
    size_t start = 0, len;
    uint32_t c, last = 0;
    int rc = GS_OK;

    if (!s)
        return gs_fail_nomem(e->err, "tokens");
    for (size_t i = 0; i < n && rc == GS_OK; i += len, last = c) {
        gs_utf8_next(s + i, n - i, &c, &len);
        if (i > start && !is_joined(r, last, c)) {
            rc = encode_word(r, e, s + start, i - start);
            start = i;
        }
    }
    return rc == GS_OK && n > start ? encode_word(r, e, s + start, n - start) : rc;
}

static size_t spm_bytes(const struct gs_tokenizer *t, int32_t token, char *out, size_t capacity)
{
    struct gs_str s = t->vocab.text[token];
    size_t n = 0;

    for (size_t i = 0; i < s.size; n++) {
        bool space = s.size - i >= ESCAPED_BYTES &&
                     !memcmp(s.data + i, ESCAPED_SPACE, ESCAPED_BYTES);
        if (n < capacity)
            out[n] = space ? ' ' : s.data[i];
        i += space ? ESCAPED_BYTES : 1;
    }
    return n;
}

const struct gs_tokenizer_kind gs_tokenizer_spm = {
    .name = "llama",
    .bos = 1, .eos = 2, .unk = 0,
    .add_bos = true, .add_space_prefix = true,
    .load = spm_load,
    .clear = spm_clear,
    .encode = spm_encode,
    .bytes = spm_bytes,
};
