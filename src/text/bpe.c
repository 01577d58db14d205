/* SPDX-License-Identifier: MIT
 * Byte-level BPE (Radford et al. 2019, GPT-2). Token texts are written in an alphabet that
 * has one printable character for each of the 256 bytes (letters.h).
 *
 * A merge "Ġt he" becomes an entry (token of Ġt, token of he) -> (rank, token of Ġthe), and
 * words are merged as chains of token ids: no strings are looked up while encoding. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "core/alloc.h"
#include "core/hash.h"
#include "core/log.h"
#include "text/kind.h"
#include "text/letters.h"
#include "text/nfc.h"
#include "text/pretokenizer.h"
#include "text/utf8.h"

struct merge {
    int32_t left, right; /* left negative: free */
    uint32_t rank;
    int32_t merged;
};

struct rules {
    const struct gs_pretokenizer *family;
    struct gs_splitter *splitter;
    struct merge *merges; /* open addressing, at most half full */
    uint32_t mask;
    uint64_t multiplier;  /* odd, of merge_hash */
    int32_t byte_token[256];        /* negative: the vocabulary lacks it */
    uint16_t letter[256];           /* code point that stands for a byte */
    int16_t byte_of[GS_LETTERS_END]; /* and back; negative: none */
};

static void make_alphabet(struct rules *r)
{
    gs_letters(r->letter);
    memset(r->byte_of, -1, sizeof r->byte_of);
    for (int b = 0; b < 256; b++)
        r->byte_of[r->letter[b]] = (int16_t)b;
}

static void find_byte_tokens(const struct gs_tokenizer *t, struct rules *r)
{
    int missing = 0; /* of printable ASCII: many vocabularies lack rarer bytes */
    char letter[4];

    for (int b = 0; b < 256; b++) {
        size_t n = gs_utf8_put(r->letter[b], letter);
        r->byte_token[b] = gs_vocab_find(&t->vocab, letter, n);
        missing += b >= 0x20 && b <= 0x7e && r->byte_token[b] < 0;
    }
    if (missing)
        gs_log(GS_LOG_WARN, "%s: the vocabulary lacks tokens for %d of the 95 printable "
               "ASCII characters; text with them loses them", t->where, missing);
}

/* Multiply-shift hashing with a multiplier that no file can know. */
static uint32_t merge_hash(const struct rules *r, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * r->multiplier;
    h ^= h >> 32;
    return (uint32_t)(h * r->multiplier >> 32);
}

/* The entry of the pair, or the free one where it belongs. */
static struct merge *find_merge(const struct rules *r, int32_t left, int32_t right)
{
    for (uint32_t at = merge_hash(r, left, right) & r->mask;; at = (at + 1) & r->mask) {
        struct merge *m = &r->merges[at];
        if (m->left < 0 || (m->left == left && m->right == right))
            return m;
    }
}

/* The token of a merge's result. Vocabularies list results in the order of their merges, so
 * the last result and the one after it are tried before the hash table. */
static int32_t find_merged(const struct gs_vocab *v, int32_t last, struct gs_str left,
                           struct gs_str right, char *buffer)
{
    size_t n = left.size + right.size;

    for (int32_t id = GS_MAX(last, 0); id <= last + 1 && id < (int32_t)v->n; id++) {
        struct gs_str s = v->text[id];
        if (s.size == n && !memcmp(s.data, left.data, left.size) &&
            !memcmp(s.data + left.size, right.data, right.size))
            return id;
    }
    if (n > v->max_bytes)
        return -1;
    memcpy(buffer, left.data, left.size);
    memcpy(buffer + left.size, right.data, right.size);
    return gs_vocab_find(v, buffer, n);
}

/* Cuts "left right" at its space. */
static bool parse_merge(struct gs_str s, struct gs_str *left, struct gs_str *right)
{
    const char *space = s.size > 2 ? memchr(s.data + 1, ' ', s.size - 2) : NULL;

    if (!space)
        return false;
    *left = (struct gs_str){s.data, (size_t)(space - s.data)};
    *right = (struct gs_str){space + 1, s.size - left->size - 1};
    return true;
}

static int add_merges(const struct gs_tokenizer *t, struct rules *r, const struct gs_array *a,
                      struct gs_err *err)
{
    const struct gs_vocab *v = &t->vocab;
    char *buffer = gs_alloc(v->max_bytes, 1);
    uint64_t useless = 0;
    int32_t last = -1;
    int rc = buffer ? GS_OK : gs_fail_nomem(err, "merges");

    for (uint64_t i = 0; i < a->count && rc == GS_OK; i++) {
        struct gs_str left, right;
        if (!parse_merge(gs_array_str(a, i), &left, &right)) {
            rc = gs_fail(err, GS_E_FORMAT, "%s: tokenizer.ggml.merges: element %" PRIu64
                         " is not two tokens with a space between them", t->where, i);
            break;
        }
        int32_t l = gs_vocab_find(v, left.data, left.size);
        int32_t m = l < 0 ? -1 : gs_vocab_find(v, right.data, right.size);
        int32_t merged = m < 0 ? -1 : find_merged(v, last, left, right, buffer);
        if (merged < 0) { /* it could never be used */
            useless++;
            continue;
        }
        last = merged;
        struct merge *entry = find_merge(r, l, m);
        if (entry->left < 0) /* of equal pairs the first counts */
            *entry = (struct merge){l, m, (uint32_t)i, merged};
    }
    if (useless && rc == GS_OK)
        gs_log(GS_LOG_WARN, "%s: tokenizer.ggml.merges: %" PRIu64 " of %" PRIu64
               " name no token of the vocabulary and are ignored", t->where, useless, a->count);
    gs_free(&buffer);
    return rc;
}

static int load_merges(const struct gs_tokenizer *t, struct rules *r,
                       const struct gs_meta *meta, struct gs_err *err)
{
    struct gs_array a;
    int rc = gs_meta_get_array(meta, "tokenizer.ggml.merges", GS_VALUE_STRING, &a, err);

    if (rc < 0)
        return gs_err_prefix(err, rc, t->where);
    if (rc == 0)
        return gs_fail(err, GS_E_FORMAT, "%s: tokenizer.ggml.merges: missing, and the "
                       "tokenizer model gpt2 needs it", t->where);
    if (a.count > INT32_MAX / 4)
        return gs_fail(err, GS_E_FORMAT, "%s: tokenizer.ggml.merges: %" PRIu64
                       " merges are too many", t->where, a.count);
    uint32_t slots = 4;
    while (slots < 2 * a.count)
        slots *= 2;
    r->mask = slots - 1;
    r->merges = gs_alloc(slots, sizeof *r->merges);
    if (!r->merges)
        return gs_fail_nomem(err, "merges");
    for (uint32_t i = 0; i < slots; i++)
        r->merges[i].left = -1;
    return add_merges(t, r, &a, err);
}

static int choose_family(const struct gs_tokenizer *t, struct rules *r,
                         const struct gs_meta *meta, struct gs_err *err)
{
    struct gs_str pre = GS_STR("default");
    int rc = gs_meta_get_str(meta, "tokenizer.ggml.pre", &pre, err);

    if (rc < 0)
        return gs_err_prefix(err, rc, t->where);
    r->family = gs_pretokenizer_find(pre.data, pre.size);
    if (rc == 0)
        gs_log(GS_LOG_WARN, "%s: tokenizer.ggml.pre is missing: using 'default', quality may "
               "be degraded", t->where);
    else if (!r->family)
        gs_log(GS_LOG_WARN, "%s: tokenizer.ggml.pre '%.*s' is not known: using 'default', "
               "quality may be degraded", t->where, (int)GS_MIN(pre.size, 64), pre.data);
    if (!r->family)
        r->family = gs_pretokenizer_find("default", 7);
    assert(r->family);
    return gs_splitter_create(r->family, &r->splitter, err);
}

static void bpe_clear(struct gs_tokenizer *t)
{
    struct rules *r = t->rules;

    if (!r)
        return;
    gs_splitter_destroy(&r->splitter);
    gs_free(&r->merges);
    gs_free(&t->rules);
}

static int bpe_load(struct gs_tokenizer *t, const struct gs_meta *meta, struct gs_err *err)
{
    struct rules *r = gs_alloc(1, sizeof *r);

    if (!r)
        return gs_fail_nomem(err, "tokenizer");
    t->rules = r;
    r->multiplier = gs_hash("merges", 6) | 1;
    make_alphabet(r);
    find_byte_tokens(t, r);
    int rc = choose_family(t, r, meta, err);
    if (rc == GS_OK)
        rc = load_merges(t, r, meta, err);
    if (rc == GS_OK)
        t->add_bos = r->family->add_bos;
    return rc;
}

static bool pair(const void *rules, const char *word, const struct gs_symbol *left,
                 const struct gs_symbol *right, uint32_t *rank, int32_t *id)
{
    (void)word;
    if (left->id < 0 || right->id < 0)
        return false;
    const struct merge *m = find_merge(rules, left->id, right->id);
    if (m->left < 0)
        return false;
    *rank = m->rank;
    *id = m->merged;
    return true;
}

/* The token that is the whole word, or negative. */
static int32_t whole_word(const struct gs_tokenizer *t, const struct rules *r, const char *word,
                          size_t n)
{
    char text[256]; /* a longer word is not worth the try: merging gives the same token */
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        if (at > sizeof text - 4)
            return -1;
        at += gs_utf8_put(r->letter[(uint8_t)word[i]], text + at);
    }
    int32_t id = gs_vocab_find(&t->vocab, text, at);
    return id >= 0 && t->vocab.type[id] == GS_TOKEN_NORMAL ? id : -1;
}

/* What encode_word needs; e->err takes the errors. */
struct word_ctx {
    const struct gs_tokenizer *t;
    struct gs_encoder *e;
};

static int merge_word(const struct rules *r, struct gs_encoder *e, const char *word, size_t n)
{
    struct gs_merger *m = &e->merger;
    int rc = gs_merger_reserve(m, n, e->err);

    for (size_t i = 0; i < n && rc == GS_OK; i++)
        gs_merger_add(m, 1, r->byte_token[(uint8_t)word[i]]);
    if (rc == GS_OK)
        gs_merger_run(m, word, pair, r);
    for (uint32_t i = 0; rc == GS_OK && i != GS_NO_SYMBOL; i = m->symbols[i].next)
        if (m->symbols[i].id >= 0)
            rc = gs_encoder_push(e, m->symbols[i].id);
    return rc;
}

static int encode_word(void *ctx, const char *word, size_t n)
{
    const struct word_ctx *w = ctx;
    const struct rules *r = w->t->rules;
    struct gs_cached_word *slot;
    size_t first = w->e->out->count;
    int rc;

    if (gs_encoder_recall(w->e, word, n, &slot, &rc))
        return rc;
    int32_t whole = r->family->ignore_merges ? whole_word(w->t, r, word, n) : -1;
    rc = whole >= 0 ? gs_encoder_push(w->e, whole) : merge_word(r, w->e, word, n);
    if (rc == GS_OK)
        gs_encoder_keep(w->e, slot, word, n, first);
    return rc;
}

static int bpe_encode(const struct gs_tokenizer *t, struct gs_encoder *e, const char *text,
                      size_t n, bool first)
{
    const struct rules *r = t->rules;
    struct word_ctx w = {t, e};

    (void)first;
    if (r->family->nfc) {
        int rc = gs_nfc(&e->texts, text, n, &text, &n, e->err);
        if (rc < 0)
            return rc;
    }
    return gs_splitter_run(r->splitter, text, n, encode_word, &w, e->err);
}

/* A character outside the alphabet (an added token's) is written as it stands. */
static size_t bpe_bytes(const struct gs_tokenizer *t, int32_t token, char *out, size_t capacity)
{
    const struct rules *r = t->rules;
    struct gs_str s = t->vocab.text[token];
    size_t n = 0, len;
    uint32_t c;

    for (size_t i = 0; i < s.size; i += len) {
        gs_utf8_next(s.data + i, s.size - i, &c, &len);
        int byte = c < GS_LETTERS_END ? r->byte_of[c] : -1;
        const char one = (char)byte, *from = byte >= 0 ? &one : s.data + i;
        for (size_t k = 0; k < (byte >= 0 ? 1 : len); k++, n++)
            if (n < capacity)
                out[n] = from[k];
    }
    return n;
}

const struct gs_tokenizer_kind gs_tokenizer_bpe = {
    .name = "gpt2",
    .bos = 11, .eos = 11, .unk = -1,
    .load = bpe_load,
    .clear = bpe_clear,
    .encode = bpe_encode,
    .bytes = bpe_bytes,
};
