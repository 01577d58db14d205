/* SPDX-License-Identifier: MIT
 * The table is open addressing with linear probing over (hash, id) pairs, at most half
 * full. The 32 hash bits kept beside the id spare nearly every comparison of strings. */
#include "text/vocab.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/hash.h"

struct gs_vocab_slot {
    uint32_t hash;
    int32_t id_plus_1; /* 0 = free */
};

int32_t gs_vocab_find(const struct gs_vocab *v, const char *text, size_t n)
{
    if (n == 0 || n > v->max_bytes)
        return -1;
    uint32_t hash = (uint32_t)gs_hash(text, n);
    for (uint32_t at = hash & v->slot_mask;; at = (at + 1) & v->slot_mask) {
        const struct gs_vocab_slot *slot = &v->slots[at];
        if (!slot->id_plus_1)
            return -1;
        if (slot->hash != hash)
            continue;
        const struct gs_str *have = &v->text[slot->id_plus_1 - 1];
        if (have->size == n && !memcmp(have->data, text, n))
            return slot->id_plus_1 - 1;
    }
}

static int insert(struct gs_vocab *v, uint32_t id, const char *where, struct gs_err *err)
{
    struct gs_str s = v->text[id];
    uint32_t hash = (uint32_t)gs_hash(s.data, s.size);
    uint32_t at = hash & v->slot_mask;

    for (; v->slots[at].id_plus_1; at = (at + 1) & v->slot_mask) {
        uint32_t other = (uint32_t)v->slots[at].id_plus_1 - 1;
        if (v->slots[at].hash == hash && v->text[other].size == s.size &&
            !memcmp(v->text[other].data, s.data, s.size))
            return gs_fail(err, GS_E_FORMAT,
                           "%s: tokenizer.ggml.tokens: tokens %u and %u have the same text",
                           where, other, id);
    }
    v->slots[at] = (struct gs_vocab_slot){hash, (int32_t)id + 1};
    return GS_OK;
}

static int load_texts(struct gs_vocab *v, const struct gs_meta *meta, const char *where,
                      struct gs_err *err)
{
    struct gs_array a;
    int rc = gs_meta_get_array(meta, "tokenizer.ggml.tokens", GS_VALUE_STRING, &a, err);

    if (rc < 0)
        return gs_err_prefix(err, rc, where);
    if (rc == 0 || a.count == 0)
        return gs_fail(err, GS_E_FORMAT, "%s: tokenizer.ggml.tokens: %s", where,
                       rc ? "there must be at least one token" : "missing");
    if (a.count > INT32_MAX / 4)
        return gs_fail(err, GS_E_FORMAT, "%s: tokenizer.ggml.tokens: %" PRIu64
                       " tokens are too many", where, a.count);
    v->n = (uint32_t)a.count;
    v->text = a.data;
    uint32_t slots = 4;
    while (slots < 2 * v->n)
        slots *= 2;
    v->slot_mask = slots - 1;
    v->slots = gs_alloc(slots, sizeof *v->slots);
    if (!v->slots)
        return gs_fail_nomem(err, "vocabulary");
    for (uint32_t i = 0; i < v->n; i++) {
        if (v->text[i].size > UINT16_MAX)
            return gs_fail(err, GS_E_FORMAT, "%s: tokenizer.ggml.tokens: token %u has %zu "
                           "bytes, at most 65535 are allowed", where, i, v->text[i].size);
        v->max_bytes = GS_MAX(v->max_bytes, (uint32_t)v->text[i].size);
        if (!v->text[i].size) /* a hole in the numbering; never found */
            continue;
        rc = insert(v, i, where, err);
        if (rc < 0)
            return rc;
    }
    return GS_OK;
}

/* A numeric array with one element a token. 1 if there, 0 if absent. */
static int per_token(const struct gs_vocab *v, const struct gs_meta *meta, const char *key,
                     enum gs_value_type type, struct gs_array *a, const char *where,
                     struct gs_err *err)
{
    int rc = gs_meta_get_array(meta, key, type, a, err);

    if (rc < 0)
        return gs_err_prefix(err, rc, where);
    if (rc && a->count != v->n)
        return gs_fail(err, GS_E_FORMAT, "%s: %s: %" PRIu64 " elements for %u tokens", where,
                       key, a->count, v->n);
    return rc;
}

static int load_types(struct gs_vocab *v, const struct gs_meta *meta, const char *where,
                      struct gs_err *err)
{
    struct gs_array a;
    int rc = per_token(v, meta, "tokenizer.ggml.token_type", GS_VALUE_I64, &a, where, err);

    if (rc < 0)
        return rc;
    v->type = gs_alloc(v->n, 1);
    if (!v->type)
        return gs_fail_nomem(err, "vocabulary");
    for (uint32_t i = 0; i < v->n; i++) {
        int64_t type = rc ? gs_array_int(&a, i) : GS_TOKEN_NORMAL;
        bool known = type >= GS_TOKEN_NORMAL && type <= GS_TOKEN_BYTE;
        v->type[i] = known ? (uint8_t)type : GS_TOKEN_NORMAL;
    }
    return GS_OK;
}

static int load_scores(struct gs_vocab *v, const struct gs_meta *meta, const char *where,
                       struct gs_err *err)
{
    const char *key = "tokenizer.ggml.scores";
    const struct gs_value *value = gs_meta_find(meta, key);
    bool integers = value && value->type == GS_VALUE_ARRAY && value->as.a.type == GS_VALUE_I32;
    struct gs_array a;
    int rc = per_token(v, meta, key, integers ? GS_VALUE_I64 : GS_VALUE_F64, &a, where, err);

    if (rc <= 0)
        return rc;
    v->score = gs_alloc(v->n, sizeof *v->score);
    if (!v->score)
        return gs_fail_nomem(err, "vocabulary");
    for (uint32_t i = 0; i < v->n; i++) {
        v->score[i] = (float)gs_array_float(&a, i);
        if (isnan(v->score[i]))
            return gs_fail(err, GS_E_FORMAT, "%s: %s: element %u is not a number", where, key, i);
    }
    return GS_OK;
}

int gs_vocab_load(struct gs_vocab *v, const struct gs_meta *meta, const char *where,
                  struct gs_err *err)
{
    int rc = load_texts(v, meta, where, err);

    if (rc == GS_OK)
        rc = load_types(v, meta, where, err);
    if (rc == GS_OK)
        rc = load_scores(v, meta, where, err);
    if (rc < 0)
        gs_vocab_clear(v);
    return rc;
}

void gs_vocab_clear(struct gs_vocab *v)
{
    gs_free(&v->type);
    gs_free(&v->score);
    gs_free(&v->slots);
    *v = (struct gs_vocab){0};
}
