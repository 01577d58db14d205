/* SPDX-License-Identifier: MIT
 * tokenizer.json of the `tokenizers` library:
 *
 *   {"added_tokens": [{"id": 0, "content": "<s>", "special": true, …}, …],
 *    "normalizer": …, "pre_tokenizer": …, "post_processor": …, "decoder": …,
 *    "model": {"type": "BPE", "vocab": {"a": 1, …}, "merges": ["a b", …] or [["a","b"], …]}
 *          or {"type": "Unigram", "vocab": [["a", -1.5], …], "unk_id": 0}}
 *
 * Byte-level BPE becomes GGUF's "gpt2" with its merges. BPE with byte fallback, which is a
 * SentencePiece model in disguise, becomes "llama": GGUF wants scores there instead of
 * merges, and minus the rank of a token's first merge is a score with the same order. */
#include "text/tokenizer_json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/log.h"
#include "text/hf.h"
#include "text/kind.h"

/* Models reserve rows of their embedding for tokens to come. More holes than that are not a
 * reserve but an attack on memory. */
#define MAX_HOLES 1000000

#define ESCAPED_SPACE "\xe2\x96\x81"

/* The tables being built; n = hf->n elements each, in the metadata's arena. */
struct tables {
    struct gs_str *text; /* data NULL: a hole so far */
    int32_t *type;
    float *score; /* NULL for byte-level BPE */
};

static int bad(const struct gs_hf *hf, struct gs_err *err, const char *place, const char *rule)
{
    return gs_fail(err, GS_E_FORMAT, "%s: %s: %s", hf->in->path, place, rule);
}

static int bad_at(const struct gs_hf *hf, struct gs_err *err, const char *list, size_t i,
                  const char *rule)
{
    return gs_fail(err, GS_E_FORMAT, "%s: %s[%zu]: %s", hf->in->path, list, i, rule);
}

static const json_t *vocab_of(const struct gs_hf *hf)
{
    return json_object_get(hf->model, "vocab");
}

int64_t gs_hf_find(const struct gs_hf *hf, const char *text)
{
    const json_t *vocab = vocab_of(hf), *v;
    int64_t id = -1;

    for (size_t i = 0; i < json_array_size(hf->added) && id < 0; i++) {
        const json_t *item = json_array_get(hf->added, i);
        const char *content = json_string_value(json_object_get(item, "content"));
        if (content && !strcmp(content, text))
            id = json_integer_value(json_object_get(item, "id"));
    }
    if (id < 0 && (v = json_object_get(vocab, text)))
        id = json_integer_value(v);
    for (size_t i = 0; i < json_array_size(vocab) && id < 0; i++) {
        const char *piece = json_string_value(json_array_get(json_array_get(vocab, i), 0));
        if (piece && !strcmp(piece, text))
            id = (int64_t)i;
    }
    return id >= 0 && (uint64_t)id < hf->n ? id : -1;
}

/* ---- how many tokens there are ---------------------------------------------------------- */

static int max_id(const struct gs_hf *hf, uint64_t *end, struct gs_err *err)
{
    const json_t *vocab = vocab_of(hf);

    *end = json_array_size(vocab); /* Unigram: positions are ids */
    for (void *it = json_object_iter(gs_unconst(vocab)); it;
         it = json_object_iter_next(gs_unconst(vocab), it)) {
        const json_t *v = json_object_iter_value(it);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return bad(hf, err, "model.vocab", "ids must be non-negative integers");
        *end = GS_MAX(*end, (uint64_t)json_integer_value(v) + 1);
    }
    for (size_t i = 0; i < json_array_size(hf->added); i++) {
        const json_t *item = json_array_get(hf->added, i);
        const json_t *id = json_object_get(item, "id");
        if (!json_is_integer(id) || json_integer_value(id) < 0)
            return bad_at(hf, err, "added_tokens", i, "\"id\" must be a non-negative integer");
        if (!json_is_string(json_object_get(item, "content")))
            return bad_at(hf, err, "added_tokens", i, "\"content\" must be a string");
        *end = GS_MAX(*end, (uint64_t)json_integer_value(id) + 1);
    }
    return GS_OK;
}

static int count_tokens(struct gs_hf *hf, struct gs_err *err)
{
    const json_t *vocab = vocab_of(hf);
    uint64_t end, entries = json_object_size(vocab) + json_array_size(vocab) +
                            json_array_size(hf->added);
    int rc = max_id(hf, &end, err);

    if (rc < 0)
        return rc;
    hf->n = hf->in->n_vocab ? hf->in->n_vocab : end;
    if (entries == 0)
        return bad(hf, err, "model.vocab", "there must be at least one token");
    if (hf->n > entries + MAX_HOLES)
        return gs_fail(err, GS_E_FORMAT, "%s: %" PRIu64 " tokens in all, but only %" PRIu64
                       " are named", hf->in->path, hf->n, entries);
    if (end > hf->n)
        gs_log(GS_LOG_WARN, "%s: tokens from id %" PRIu64 " to %" PRIu64 " are beyond the "
               "model's vocabulary and are left out", hf->in->path, hf->n, end - 1);
    return GS_OK;
}

/* ---- tokens ------------------------------------------------------------------------------ */

static int set_token(const struct gs_hf *hf, struct tables *t, uint64_t id, const char *text,
                     size_t n, int type, struct gs_err *err)
{
    if (id >= hf->n)
        return GS_OK;
    char *copy = gs_arena_strndup(gs_meta_arena(hf->meta), text, n);
    if (!copy)
        return gs_fail_nomem(err, hf->in->path);
    t->text[id] = (struct gs_str){copy, n};
    t->type[id] = type;
    return GS_OK;
}

static int piece_type(const struct gs_hf *hf, const char *text, size_t n)
{
    bool byte = hf->sentencepiece && gs_byte_token_value((struct gs_str){text, n}) >= 0;
    return byte ? GS_TOKEN_BYTE : GS_TOKEN_NORMAL;
}

static int read_bpe_vocab(const struct gs_hf *hf, struct tables *t, struct gs_err *err)
{
    json_t *vocab = gs_unconst(vocab_of(hf));

    if (!json_is_object(vocab))
        return bad(hf, err, "model.vocab", "must be an object");
    for (void *it = json_object_iter(vocab); it; it = json_object_iter_next(vocab, it)) {
        const char *text = json_object_iter_key(it);
        uint64_t id = (uint64_t)json_integer_value(json_object_iter_value(it));
        if (id < hf->n && t->text[id].data)
            return gs_fail(err, GS_E_FORMAT, "%s: model.vocab: \"%.64s\" and \"%.64s\" have the "
                           "same id %" PRIu64, hf->in->path, t->text[id].data, text, id);
        size_t n = strlen(text);
        int rc = set_token(hf, t, id, text, n, piece_type(hf, text, n), err);
        if (rc < 0)
            return rc;
    }
    return GS_OK;
}

static int read_unigram_vocab(const struct gs_hf *hf, struct tables *t, struct gs_err *err)
{
    const json_t *vocab = vocab_of(hf);
    uint64_t unk = UINT64_MAX;
    int rc = gs_json_get_uint(hf->model, "unk_id", &unk, err);

    if (rc < 0)
        return gs_err_prefix(err, rc, hf->in->path);
    if (!json_is_array(vocab))
        return bad(hf, err, "model.vocab", "must be an array");
    gs_log(GS_LOG_WARN, "%s: Unigram tokens are chosen by merging, highest score first: some "
           "words may be cut differently", hf->in->path);
    for (size_t i = 0; i < json_array_size(vocab); i++) {
        const json_t *item = json_array_get(vocab, i), *piece = json_array_get(item, 0);
        double score = json_number_value(json_array_get(item, 1));
        if (!json_is_string(piece) || !json_is_number(json_array_get(item, 1)))
            return bad_at(hf, err, "model.vocab", i, "must be a string and a number");
        const char *text = json_string_value(piece);
        size_t n = json_string_length(piece);
        rc = set_token(hf, t, i, text, n,
                       i == unk ? GS_TOKEN_UNKNOWN : piece_type(hf, text, n), err);
        if (rc < 0)
            return rc;
        if (i < hf->n)
            t->score[i] = (float)score;
    }
    return GS_OK;
}

static bool starts_and_ends(const char *s, const char *start, const char *end)
{
    size_t n = strlen(s), a = strlen(start), b = strlen(end);
    return n >= a + b && !memcmp(s, start, a) && !memcmp(s + n - b, end, b);
}

/* Files call some tokens ordinary that are not; the stock converter's list. */
static bool looks_special(const char *s)
{
    return !strcmp(s, "<pad>") || !strcmp(s, "<mask>") || !strcmp(s, "<2mass>") ||
           !strcmp(s, "[@BOS@]") || starts_and_ends(s, "<|", "|>") ||
           starts_and_ends(s, "<\xef\xbd\x9c", "\xef\xbd\x9c>") ||
           starts_and_ends(s, "<unused", ">");
}

/* User-defined tokens are matched in the text as it is typed: with spaces. In place. */
static size_t unescape_spaces(char *s, size_t n)
{
    size_t at = 0;

    for (size_t i = 0; i < n; at++) {
        bool space = n - i >= 3 && !memcmp(s + i, ESCAPED_SPACE, 3);
        s[at] = space ? ' ' : s[i];
        i += space ? 3 : 1;
    }
    return at;
}

static int read_added(const struct gs_hf *hf, struct tables *t, struct gs_err *err)
{
    for (size_t i = 0; i < json_array_size(hf->added); i++) {
        const json_t *item = json_array_get(hf->added, i);
        const json_t *content = json_object_get(item, "content");
        uint64_t id = (uint64_t)json_integer_value(json_object_get(item, "id"));
        bool special = false;
        int rc = gs_json_get_bool(item, "special", &special, err);
        if (rc < 0)
            return gs_err_prefix(err, rc, hf->in->path);
        const char *text = json_string_value(content);
        special = special || looks_special(text);
        rc = set_token(hf, t, id, text, json_string_length(content),
                       special ? GS_TOKEN_CONTROL : GS_TOKEN_USER, err);
        if (rc < 0)
            return rc;
        if (id >= hf->n)
            continue;
        if (!special) /* set_token's copy is ours to change */
            t->text[id].size = unescape_spaces(gs_unconst(t->text[id].data), t->text[id].size);
        if (t->score)
            t->score[id] = -1000;
    }
    return GS_OK;
}

static int fill_holes(const struct gs_hf *hf, struct tables *t, struct gs_err *err)
{
    char name[32];

    for (uint64_t id = 0; id < hf->n; id++) {
        if (t->text[id].data)
            continue;
        int n = snprintf(name, sizeof name, "[PAD%" PRIu64 "]", id);
        int rc = set_token(hf, t, id, name, (size_t)n, GS_TOKEN_UNUSED, err);
        if (rc < 0)
            return rc;
        if (t->score)
            t->score[id] = -10000;
    }
    return GS_OK;
}

/* ---- merges ------------------------------------------------------------------------------ */

/* Both sides of model.merges[i], borrowed from the JSON. */
static int read_merge(const struct gs_hf *hf, const json_t *item, size_t i, struct gs_str *left,
                      struct gs_str *right, struct gs_err *err)
{
    const json_t *a = json_array_get(item, 0), *b = json_array_get(item, 1);

    if (json_is_string(item)) {
        const char *s = json_string_value(item);
        size_t n = json_string_length(item);
        const char *space = n > 2 ? memchr(s + 1, ' ', n - 2) : NULL;
        if (!space)
            return bad_at(hf, err, "model.merges", i, "must be two tokens with a space between");
        *left = (struct gs_str){s, (size_t)(space - s)};
        *right = (struct gs_str){space + 1, n - left->size - 1};
        return GS_OK;
    }
    if (json_array_size(item) != 2 || !json_is_string(a) || !json_is_string(b) ||
        !json_string_length(a) || !json_string_length(b))
        return bad_at(hf, err, "model.merges", i, "must be a string or a pair of strings");
    *left = (struct gs_str){json_string_value(a), json_string_length(a)};
    *right = (struct gs_str){json_string_value(b), json_string_length(b)};
    return GS_OK;
}

/* Bytes of a merge's side with every space as the letter for it, written to out if not NULL. */
static size_t put_side(struct gs_str s, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < s.size; i++) {
        if (s.data[i] == ' ') {
            if (out)
                memcpy(out + n, "\xc4\xa0", 2);
            n += 2;
        } else {
            if (out)
                out[n] = s.data[i];
            n++;
        }
    }
    return n;
}

/* tokenizer.ggml.merges: "left right". */
static int set_merges(const struct gs_hf *hf, const json_t *merges, struct gs_err *err)
{
    struct gs_arena *arena = gs_meta_arena(hf->meta);
    size_t count = json_array_size(merges);
    struct gs_str *list = gs_arena_alloc(arena, count, sizeof *list);
    struct gs_value value = {.type = GS_VALUE_ARRAY, .as.a = {GS_VALUE_STRING, count, list}};

    if (!list)
        return gs_fail_nomem(err, hf->in->path);
    for (size_t i = 0; i < count; i++) {
        struct gs_str left, right;
        int rc = read_merge(hf, json_array_get(merges, i), i, &left, &right, err);
        if (rc < 0)
            return rc;
        size_t n = put_side(left, NULL) + 1 + put_side(right, NULL);
        char *text = gs_arena_alloc(arena, n, 1);
        if (!text)
            return gs_fail_nomem(err, hf->in->path);
        size_t at = put_side(left, text);
        text[at] = ' ';
        put_side(right, text + at + 1);
        list[i] = (struct gs_str){text, n};
    }
    return gs_meta_set(hf->meta, GS_STR("tokenizer.ggml.merges"), &value, err);
}

/* Scores for a SentencePiece vocabulary: minus the rank of the first merge that makes the
 * token. What no merge makes (single characters need none) comes last. */
static int set_scores(const struct gs_hf *hf, const json_t *merges, struct tables *t,
                      struct gs_err *err)
{
    const json_t *vocab = vocab_of(hf);
    size_t count = json_array_size(merges);
    char *joined = NULL;
    size_t room = 0;
    int rc = GS_OK;

    for (uint64_t id = 0; id < hf->n; id++)
        t->score[id] = -(float)(count + 1);
    for (size_t i = count; i-- > 0 && rc == GS_OK;) { /* backwards: the first merge stays */
        struct gs_str left, right;
        rc = read_merge(hf, json_array_get(merges, i), i, &left, &right, err);
        if (rc < 0)
            break;
        size_t n = left.size + right.size;
        if (n >= room) {
            gs_free(&joined);
            room = 2 * n + 64;
            joined = gs_alloc(room, 1);
            if (!joined) {
                rc = gs_fail_nomem(err, hf->in->path);
                break;
            }
        }
        memcpy(joined, left.data, left.size);
        memcpy(joined + left.size, right.data, right.size);
        joined[n] = 0;
        const json_t *id = json_object_get(vocab, joined);
        if (id && (uint64_t)json_integer_value(id) < hf->n)
            t->score[json_integer_value(id)] = -(float)i;
    }
    gs_free(&joined);
    return rc;
}

/* ---- the whole --------------------------------------------------------------------------- */

static int build(struct gs_hf *hf, bool unigram, struct gs_err *err)
{
    const json_t *merges = json_object_get(hf->model, "merges");
    struct gs_arena *arena = gs_meta_arena(hf->meta);
    int rc = count_tokens(hf, err);

    if (rc < 0)
        return rc;
    if (!unigram && !json_is_array(merges))
        return bad(hf, err, "model.merges", "must be an array");
    struct tables t = {gs_arena_alloc(arena, hf->n, sizeof *t.text),
                       gs_arena_alloc(arena, hf->n, sizeof *t.type), NULL};
    if (hf->sentencepiece)
        t.score = gs_arena_alloc(arena, hf->n, sizeof *t.score);
    if (!t.text || !t.type || (hf->sentencepiece && !t.score))
        return gs_fail_nomem(err, hf->in->path);
    rc = unigram ? read_unigram_vocab(hf, &t, err) : read_bpe_vocab(hf, &t, err);
    if (rc == GS_OK && !unigram)
        rc = hf->sentencepiece ? set_scores(hf, merges, &t, err) : set_merges(hf, merges, err);
    if (rc == GS_OK)
        rc = read_added(hf, &t, err);
    if (rc == GS_OK)
        rc = fill_holes(hf, &t, err);
    struct gs_value v = {.type = GS_VALUE_ARRAY, .as.a = {GS_VALUE_STRING, hf->n, t.text}};
    if (rc == GS_OK)
        rc = gs_meta_set(hf->meta, GS_STR("tokenizer.ggml.tokens"), &v, err);
    v.as.a = (struct gs_array){GS_VALUE_I32, hf->n, t.type};
    if (rc == GS_OK)
        rc = gs_meta_set(hf->meta, GS_STR("tokenizer.ggml.token_type"), &v, err);
    v.as.a = (struct gs_array){GS_VALUE_F32, hf->n, t.score};
    if (rc == GS_OK && hf->sentencepiece)
        rc = gs_meta_set(hf->meta, GS_STR("tokenizer.ggml.scores"), &v, err);
    return rc;
}

static int translate(struct gs_hf *hf, struct gs_err *err)
{
    const char *type;
    bool fallback = false, unigram;

    hf->model = json_object_get(hf->root, "model");
    hf->added = json_object_get(hf->root, "added_tokens");
    if (!json_is_object(hf->model))
        return bad(hf, err, "model", "must be an object");
    if (hf->added && !json_is_null(hf->added) && !json_is_array(hf->added))
        return bad(hf, err, "added_tokens", "must be an array");
    type = gs_hf_type(hf->model);
    if (!*type && json_object_get(hf->model, "merges"))
        type = "BPE"; /* files of old versions leave it out */
    unigram = !strcmp(type, "Unigram");
    if (!unigram && strcmp(type, "BPE"))
        return gs_fail(err, GS_E_UNSUPPORTED, "%s: model.type: \"%.32s\" is not supported (BPE "
                       "and Unigram are)", hf->in->path, type);
    int rc = gs_json_get_bool(hf->model, "byte_fallback", &fallback, err);
    if (rc < 0)
        return gs_err_prefix(err, rc, hf->in->path);
    hf->sentencepiece = unigram || !gs_hf_is_byte_level(hf->root);
    if (hf->sentencepiece && !unigram && !fallback)
        return gs_fail(err, GS_E_UNSUPPORTED, "%s: model: BPE with neither byte_fallback nor a "
                       "ByteLevel pre_tokenizer is not supported", hf->in->path);
    rc = gs_meta_set_str(hf->meta, "tokenizer.ggml.model",
                         hf->sentencepiece ? GS_STR("llama") : GS_STR("gpt2"), err);
    if (rc == GS_OK)
        rc = gs_hf_pretokenizer(hf, err);
    if (rc == GS_OK)
        rc = build(hf, unigram, err);
    return rc == GS_OK ? gs_hf_special(hf, err) : rc;
}

int gs_tokenizer_json_to_meta(const struct gs_hf_tokenizer *in, struct gs_meta *meta,
                              struct gs_err *err)
{
    struct gs_hf hf = {.in = in, .meta = meta};
    json_t *root = NULL;
    int rc = gs_json_parse(in->text, in->n, in->path, &root, err);

    hf.root = root;
    if (rc == GS_OK && !json_is_object(root))
        rc = bad(&hf, err, "line 1", "must be an object");
    if (rc == GS_OK)
        rc = translate(&hf, err);
    json_decref(root);
    return rc;
}
