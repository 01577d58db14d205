/* SPDX-License-Identifier: MIT
 * The frame around the kinds: reading the keys that all share, cutting out special tokens,
 * BOS and EOS, and the way back to text.
 *
 *   bytes -> well-formed UTF-8 -> special tokens | text between -> kind: words -> merges
 *
 * Broken UTF-8 is replaced first, one U+FFFD for each maximal subpart. That is what the
 * reference sees (Python decodes before it tokenizes), and what a model was trained on. */
#include "text/tokenizer.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "core/alloc.h"
#include "core/log.h"
#include "text/kind.h"
#include "text/special.h"
#include "text/utf8.h"

static const struct gs_tokenizer_kind *const kinds[] = {&gs_tokenizer_spm, &gs_tokenizer_bpe};

/* Control tokens that end a turn or a text, by their usual names. Files rarely list more
 * than one of them by id, and a chat that misses the end of its turn never stops. */
static const char *const end_names[] = {
    "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>",
    "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<|fim_pad|>", "<|repo_name|>",
    "<|file_sep|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<end_of_utterance>",
    ("<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"), /* DeepSeek */
};

void gs_tokens_clear(struct gs_tokens *tokens)
{
    gs_free(&tokens->data);
    *tokens = (struct gs_tokens){0};
}

/* A token id from the metadata. A default holds only if the token can be what it says:
 * files that leave the key out have other vocabularies than the kind's first model. */
static int read_id(const struct gs_tokenizer *t, const struct gs_meta *meta, const char *key,
                   int32_t preset, int32_t *out, struct gs_err *err)
{
    const struct gs_value *v = gs_meta_find(meta, key);
    uint64_t id = 0;

    *out = -1;
    if (v && v->type == GS_VALUE_I32 && v->as.i == -1)
        return GS_OK; /* -1 in either sign is how some writers say "none" */
    int rc = gs_meta_get_uint(meta, key, &id, err);
    if (rc < 0)
        return gs_err_prefix(err, rc, t->where);
    if (rc == 0) {
        bool fits = preset >= 0 && (uint32_t)preset < t->vocab.n &&
                    (t->vocab.type[preset] == GS_TOKEN_CONTROL ||
                     t->vocab.type[preset] == GS_TOKEN_UNKNOWN);
        *out = fits ? preset : -1;
        return GS_OK;
    }
    if (id == UINT32_MAX)
        return GS_OK;
    if (id >= t->vocab.n)
        return gs_fail(err, GS_E_FORMAT, "%s: %s: token %" PRIu64 " is beyond the vocabulary "
                       "of %u", t->where, key, id, t->vocab.n);
    *out = (int32_t)id;
    return GS_OK;
}

static int read_flag(const struct gs_tokenizer *t, const struct gs_meta *meta, const char *key,
                     bool *out, struct gs_err *err)
{
    int rc = gs_meta_get_bool(meta, key, out, err);
    return rc < 0 ? gs_err_prefix(err, rc, t->where) : GS_OK;
}

static int read_keys(struct gs_tokenizer *t, const struct gs_meta *meta, struct gs_err *err)
{
    const struct gs_tokenizer_kind *k = t->kind;
    int rc = read_id(t, meta, "tokenizer.ggml.bos_token_id", k->bos, &t->bos, err);

    if (rc == GS_OK)
        rc = read_id(t, meta, "tokenizer.ggml.eos_token_id", k->eos, &t->eos, err);
    if (rc == GS_OK)
        rc = read_id(t, meta, "tokenizer.ggml.unknown_token_id", k->unk, &t->unk, err);
    if (rc == GS_OK)
        rc = read_flag(t, meta, "tokenizer.ggml.add_bos_token", &t->add_bos, err);
    if (rc == GS_OK)
        rc = read_flag(t, meta, "tokenizer.ggml.add_eos_token", &t->add_eos, err);
    if (rc == GS_OK)
        rc = read_flag(t, meta, "tokenizer.ggml.add_space_prefix", &t->add_space_prefix, err);
    if (rc < 0)
        return rc;
    t->add_bos = t->add_bos && t->bos >= 0;
    t->add_eos = t->add_eos && t->eos >= 0;
    return GS_OK;
}

/* The tokens that end a generation. Those found by name become control tokens even where
 * the file calls them normal: text from a user must not be able to end a turn. */
static int read_ends(struct gs_tokenizer *t, const struct gs_meta *meta, struct gs_err *err)
{
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    struct gs_vocab *v = &t->vocab;

    t->is_end = gs_alloc(v->n, 1);
    if (!t->is_end)
        return gs_fail_nomem(err, "tokenizer");
    for (size_t i = 0; i < GS_COUNT(keys); i++) {
        int32_t id;
        int rc = read_id(t, meta, keys[i], -1, &id, err);
        if (rc < 0)
            return rc;
        if (id >= 0)
            t->is_end[id] = 1;
    }
    for (size_t i = 0; i < GS_COUNT(end_names); i++) {
        int32_t id = gs_vocab_find(v, end_names[i], strlen(end_names[i]));
        if (id < 0)
            continue;
        t->is_end[id] = 1;
        v->type[id] = GS_TOKEN_CONTROL;
    }
    /* Where <|return|> and <|call|> end a turn, <|end|> only ends a part of it (harmony). */
    int32_t end = gs_vocab_find(v, "<|end|>", 7);
    if (end >= 0 && gs_vocab_find(v, "<|return|>", 10) >= 0 &&
        gs_vocab_find(v, "<|call|>", 8) >= 0)
        t->is_end[end] = 0;
    if (t->eos >= 0)
        t->is_end[t->eos] = 1;
    return GS_OK;
}

/* Phi-3's tokenizer.json lets its special tokens swallow the white space that follows;
 * GGUF has no key for that. */
static int read_rstrip(struct gs_tokenizer *t, const struct gs_meta *meta, struct gs_err *err)
{
    struct gs_str arch = {0};
    int rc = gs_meta_get_str(meta, "general.architecture", &arch, err);

    if (rc < 0)
        return gs_err_prefix(err, rc, t->where);
    t->special_rstrip = t->kind == &gs_tokenizer_spm && rc && gs_str_equal(arch, "phi3");
    return GS_OK;
}

static int choose_kind(struct gs_tokenizer *t, const struct gs_meta *meta, struct gs_err *err)
{
    struct gs_str model;
    int rc = gs_meta_get_str(meta, "tokenizer.ggml.model", &model, err);

    if (rc < 0)
        return gs_err_prefix(err, rc, t->where);
    if (rc == 0)
        return gs_fail(err, GS_E_FORMAT, "%s: tokenizer.ggml.model: missing", t->where);
    for (size_t i = 0; i < GS_COUNT(kinds); i++)
        if (gs_str_equal(model, kinds[i]->name))
            t->kind = kinds[i];
    if (!t->kind)
        return gs_fail(err, GS_E_UNSUPPORTED, "%s: tokenizer.ggml.model: '%.*s' is not "
                       "supported (llama and gpt2 are)", t->where,
                       (int)GS_MIN(model.size, 64), model.data);
    t->add_bos = t->kind->add_bos;
    t->add_space_prefix = t->kind->add_space_prefix;
    return GS_OK;
}

int gs_tokenizer_create(const struct gs_meta *meta, const char *where,
                        struct gs_tokenizer **out, struct gs_err *err)
{
    struct gs_tokenizer *t = gs_alloc(1, sizeof *t);
    int rc;

    *out = NULL;
    if (t)
        t->where = gs_strndup(where, strlen(where));
    if (!t || !t->where) {
        rc = gs_fail_nomem(err, "tokenizer");
        goto out;
    }
    rc = choose_kind(t, meta, err);
    if (rc == GS_OK)
        rc = gs_vocab_load(&t->vocab, meta, t->where, err);
    if (rc == GS_OK)
        rc = t->kind->load(t, meta, err);
    if (rc == GS_OK)
        rc = read_keys(t, meta, err);
    if (rc == GS_OK)
        rc = read_ends(t, meta, err);
    if (rc == GS_OK)
        rc = read_rstrip(t, meta, err);
    if (rc == GS_OK)
        rc = gs_special_create(&t->vocab, &t->special, err);
out:
    if (rc < 0)
        gs_tokenizer_destroy(&t);
    *out = t;
    return rc;
}

void gs_tokenizer_destroy(struct gs_tokenizer **tokenizer)
{
    struct gs_tokenizer *t = *tokenizer;

    if (!t)
        return;
    if (t->kind)
        t->kind->clear(t);
    gs_special_destroy(&t->special);
    gs_vocab_clear(&t->vocab);
    gs_free(&t->is_end);
    gs_free(&t->where);
    gs_free(tokenizer);
}

uint32_t gs_tokenizer_n_vocab(const struct gs_tokenizer *t)
{
    return t->vocab.n;
}

int32_t gs_tokenizer_bos(const struct gs_tokenizer *t)
{
    return t->bos;
}

int32_t gs_tokenizer_eos(const struct gs_tokenizer *t)
{
    return t->eos;
}

bool gs_tokenizer_add_bos(const struct gs_tokenizer *t)
{
    return t->add_bos;
}

bool gs_tokenizer_add_eos(const struct gs_tokenizer *t)
{
    return t->add_eos;
}

static bool is_token(const struct gs_tokenizer *t, int32_t token)
{
    return token >= 0 && (uint32_t)token < t->vocab.n;
}

bool gs_tokenizer_is_end(const struct gs_tokenizer *t, int32_t token)
{
    return is_token(t, token) && t->is_end[token];
}

bool gs_tokenizer_is_control(const struct gs_tokenizer *t, int32_t token)
{
    return is_token(t, token) && (t->vocab.type[token] == GS_TOKEN_CONTROL ||
                                  t->vocab.type[token] == GS_TOKEN_UNKNOWN);
}

int32_t gs_tokenizer_find(const struct gs_tokenizer *t, const char *text, size_t n)
{
    return gs_vocab_find(&t->vocab, text, n);
}

/* Whether the white space after this special token belongs to it. */
static bool swallows_space(const struct gs_tokenizer *t, int32_t id)
{
    static const char *const exceptions[] = {"<unk>", "<s>", "<|endoftext|>"};

    if (!t->special_rstrip)
        return false;
    for (size_t i = 0; i < GS_COUNT(exceptions); i++)
        if (gs_str_equal(t->vocab.text[id], exceptions[i]))
            return false;
    return true;
}

/* Well-formed text with special tokens in it. */
static int encode_text(const struct gs_tokenizer *t, struct gs_encoder *e, const char *text,
                       size_t n, bool control)
{
    bool first = true;

    while (n > 0) {
        size_t at = n, len;
        int32_t id = -1;
        len = gs_special_find(t->special, text, n, control, &at, &id);
        int rc = at > 0 ? t->kind->encode(t, e, text, at, first) : GS_OK;
        if (rc == GS_OK && len)
            rc = gs_encoder_push(e, id);
        if (rc < 0)
            return rc;
        text += at + len;
        n -= at + len;
        first = true;
        while (len && n > 0 && swallows_space(t, id) && isspace((unsigned char)*text))
            text++, n--;
    }
    return GS_OK;
}

int gs_tokenizer_encode(const struct gs_tokenizer *t, const char *text, size_t n, int flags,
                        struct gs_tokens *out, struct gs_err *err)
{
    struct gs_encoder e;
    size_t before = out->count;
    char *repaired = NULL;
    int rc = gs_encoder_init(&e, n, out, err);

    if (rc == GS_OK)
        rc = gs_utf8_repair(text, n, &repaired, &n, err);
    if (rc == GS_OK && (flags & GS_TOKENIZE_BOS) && t->add_bos)
        rc = gs_encoder_push(&e, t->bos);
    if (rc == GS_OK)
        rc = encode_text(t, &e, repaired ? repaired : text, n, flags & GS_TOKENIZE_SPECIAL);
    if (rc == GS_OK && (flags & GS_TOKENIZE_BOS) && t->add_eos)
        rc = gs_encoder_push(&e, t->eos);
    if (rc < 0)
        out->count = before;
    gs_encoder_clear(&e);
    gs_free(&repaired);
    return rc;
}

size_t gs_tokenizer_bytes(const struct gs_tokenizer *t, int32_t token, bool special, char *out,
                          size_t capacity)
{
    if (!is_token(t, token))
        return 0;
    uint8_t type = t->vocab.type[token];
    struct gs_str s = t->vocab.text[token];
    int byte = type == GS_TOKEN_BYTE ? gs_byte_token_value(s) : -1;
    if (byte >= 0) {
        if (capacity > 0)
            out[0] = (char)byte;
        return 1;
    }
    if (type == GS_TOKEN_NORMAL || type == GS_TOKEN_BYTE)
        return t->kind->bytes(t, token, out, capacity);
    if (type != GS_TOKEN_USER && !special)
        return 0;
    if (capacity > 0)
        memcpy(out, s.data, GS_MIN(s.size, capacity));
    return s.size;
}

int gs_tokenizer_decode(const struct gs_tokenizer *t, const int32_t *tokens, size_t n_tokens,
                        bool special, char **text, size_t *n, struct gs_err *err)
{
    uint64_t total = *n;
    char none;

    for (size_t i = 0; i < n_tokens; i++)
        if (!gs_add_ok(total, gs_tokenizer_bytes(t, tokens[i], special, &none, 0), &total))
            return gs_fail_nomem(err, "text");
    char *out = gs_realloc(*text, *text ? *n + 1 : 0, total + 1);
    if (!out)
        return gs_fail_nomem(err, "text");
    *text = out;
    bool drop_space = t->add_space_prefix;
    for (size_t i = 0; i < n_tokens; i++) {
        size_t len = gs_tokenizer_bytes(t, tokens[i], special, out + *n, total - *n);
        bool has_space = len > 0 && out[*n] == ' ';
        if (drop_space && has_space && !gs_tokenizer_is_control(t, tokens[i]))
            memmove(out + *n, out + *n + 1, --len);
        drop_space = drop_space && (len == 0 && !has_space);
        *n += len;
    }
    out[*n] = 0;
    return GS_OK;
}
