/* SPDX-License-Identifier: MIT
 * The tensors of a llama model (names and shapes as GGUF has them), each a recipe of a store:
 * gs_build makes it from its stream of the seed when it is first asked for. */
#include "file/fresh.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/rng.h"
#include "file/store_impl.h"

#define DEVIATION 0.02
#define SIZE_MAX_ALLOWED (1u << 20)
#define LAYERS_MAX 4096u
#define WHERE "new model"

/* What a build needs to know. */
struct draw {
    uint64_t seed, stream;
    double deviation; /* 0: all ones */
};

static int make_random(const struct gs_tensor *tensor, const struct gs_source *source, void *dst,
                       struct gs_err *err)
{
    const struct draw *draw = source->ctx;
    uint64_t n = tensor->bytes / sizeof(float);
    float *out = dst;
    struct gs_rng rng;

    (void)err;
    gs_rng_init(&rng, draw->seed, draw->stream);
    for (uint64_t i = 0; i < n; i++)
        out[i] = draw->deviation > 0 ? (float)(draw->deviation * gs_rng_normal(&rng)) : 1.0f;
    return GS_OK;
}

static const struct gs_build build_random = {"random", make_random};

/* ---- sizes -------------------------------------------------------------------------------- */

static int check_sizes(const struct gs_model_sizes *s, struct gs_err *err)
{
    const struct { const char *name; uint32_t value, max; } sizes[] = {
        {"the width", s->n_embd, SIZE_MAX_ALLOWED},
        {"the number of layers", s->n_layer, LAYERS_MAX},
        {"the inner width", s->n_ff, SIZE_MAX_ALLOWED},
        {"the context", s->n_ctx, SIZE_MAX_ALLOWED},
        {"the number of heads", s->n_head, s->n_embd},
        {"the number of key/value heads", s->n_head_kv, s->n_head},
    };

    for (size_t i = 0; i < GS_COUNT(sizes); i++)
        if (!sizes[i].value || sizes[i].value > sizes[i].max)
            return gs_fail(err, GS_E_ARG, WHERE ": %s is %" PRIu32 ", allowed are 1 to %" PRIu32,
                           sizes[i].name, sizes[i].value, sizes[i].max);
    if (s->n_embd % s->n_head || s->n_embd / s->n_head % 2)
        return gs_fail(err, GS_E_ARG, WHERE ": a width of %" PRIu32 " does not give %" PRIu32
                       " heads of an even size", s->n_embd, s->n_head);
    if (s->n_head % s->n_head_kv)
        return gs_fail(err, GS_E_ARG, WHERE ": %" PRIu32 " heads cannot share %" PRIu32
                       " key/value heads equally", s->n_head, s->n_head_kv);
    if (!isfinite(s->rope_base) || s->rope_base < 1 || !isfinite(s->norm_eps) || s->norm_eps <= 0)
        return gs_fail(err, GS_E_ARG, WHERE ": the base of RoPE must be at least 1 and the "
                       "epsilon of the norms positive");
    return GS_OK;
}

static int set_sizes(struct gs_meta *meta, const struct gs_model_sizes *s, uint64_t n_vocab,
                     struct gs_err *err)
{
    const struct { const char *key; uint64_t value; } keys[] = {
        {"llama.block_count", s->n_layer},
        {"llama.context_length", s->n_ctx},
        {"llama.embedding_length", s->n_embd},
        {"llama.feed_forward_length", s->n_ff},
        {"llama.attention.head_count", s->n_head},
        {"llama.attention.head_count_kv", s->n_head_kv},
        {"llama.rope.dimension_count", s->n_embd / s->n_head},
        {"llama.vocab_size", n_vocab},
    };
    int rc = gs_meta_set_str(meta, "general.architecture", GS_STR("llama"), err);

    if (!rc && s->name)
        rc = gs_meta_set_str(meta, "general.name", (struct gs_str){s->name, strlen(s->name)}, err);
    for (size_t i = 0; !rc && i < GS_COUNT(keys); i++)
        rc = gs_meta_set_uint(meta, keys[i].key, keys[i].value, err);
    if (!rc)
        rc = gs_meta_set_f32(meta, "llama.attention.layer_norm_rms_epsilon", s->norm_eps, err);
    return rc ? rc : gs_meta_set_f32(meta, "llama.rope.freq_base", s->rope_base, err);
}

/* Copies the keys of the tokenizer and counts its tokens. */
static int set_tokenizer(struct gs_meta *meta, const struct gs_meta *tokenizer, uint64_t *n_vocab,
                         struct gs_err *err)
{
    struct gs_array tokens;
    int rc = gs_meta_get_array(tokenizer, "tokenizer.ggml.tokens", GS_VALUE_STRING, &tokens, err);

    if (rc == 0 || (rc > 0 && (!tokens.count || tokens.count > INT32_MAX / 4)))
        rc = gs_fail(err, GS_E_ARG, WHERE ": the tokenizer has no usable tokenizer.ggml.tokens");
    if (rc < 0)
        return rc;
    *n_vocab = tokens.count;
    rc = GS_OK;
    for (size_t i = 0; !rc && i < gs_meta_count(tokenizer); i++) {
        const char *key = gs_meta_key(tokenizer, i);
        const struct gs_value *v = gs_meta_value(tokenizer, i);
        if (strncmp(key, "tokenizer.", 10))
            continue;
        if (v->type == GS_VALUE_ARRAY)
            rc = gs_meta_set_array(meta, key, v->as.a.type, v->as.a.data, v->as.a.count, err);
        else if (v->type == GS_VALUE_STRING)
            rc = gs_meta_set_str(meta, key, v->as.s, err);
        else
            rc = gs_meta_set(meta, (struct gs_str){key, strlen(key)}, v, err);
    }
    return rc;
}

/* ---- tensors ------------------------------------------------------------------------------ */

struct shape {
    const char *name;
    uint64_t cols, rows; /* rows 0: a norm */
    bool residual;       /* adds to the residual stream */
};

static int add_tensor(struct gs_store *store, uint64_t seed, const struct shape *shape,
                      const char *prefix, double deviation, struct gs_err *err)
{
    struct draw *draw = gs_arena_alloc(gs_store_arena(store), 1, sizeof *draw);
    const uint64_t dim[] = {shape->cols, shape->rows};
    char name[64];

    if (!draw)
        return gs_fail_nomem(err, WHERE);
    *draw = (struct draw){seed, gs_store_count(store), shape->rows ? deviation : 0};
    int n = snprintf(name, sizeof name, "%s%s.weight", prefix, shape->name);
    struct gs_source source = {.build = &build_random, .ctx = draw};
    return gs_store_add(store, (struct gs_str){name, (size_t)n}, GS_TYPE_F32,
                        shape->rows ? 2 : 1, dim, &source, err);
}

static int add_block(struct gs_store *store, const struct gs_model_sizes *s, uint32_t layer,
                     uint64_t seed, struct gs_err *err)
{
    uint64_t C = s->n_embd, kv = (uint64_t)s->n_embd / s->n_head * s->n_head_kv;
    const struct shape shapes[] = {
        {"attn_norm", C, 0, false},
        {"attn_q", C, C, false},
        {"attn_k", C, kv, false},
        {"attn_v", C, kv, false},
        {"attn_output", C, C, true},
        {"ffn_norm", C, 0, false},
        {"ffn_gate", C, s->n_ff, false},
        {"ffn_up", C, s->n_ff, false},
        {"ffn_down", s->n_ff, C, true},
    };
    char prefix[24];
    int rc = GS_OK;

    snprintf(prefix, sizeof prefix, "blk.%" PRIu32 ".", layer);
    for (size_t i = 0; !rc && i < GS_COUNT(shapes); i++)
        rc = add_tensor(store, seed, &shapes[i], prefix,
                        shapes[i].residual ? DEVIATION / sqrt(2.0 * s->n_layer) : DEVIATION, err);
    return rc;
}

static int add_tensors(struct gs_store *store, const struct gs_model_sizes *s, uint64_t n_vocab,
                       uint64_t seed, struct gs_err *err)
{
    const struct shape embedding = {"token_embd", s->n_embd, n_vocab, false};
    const struct shape norm = {"output_norm", s->n_embd, 0, false};
    const struct shape output = {"output", s->n_embd, n_vocab, false};
    int rc = add_tensor(store, seed, &embedding, "", DEVIATION, err);

    for (uint32_t il = 0; !rc && il < s->n_layer; il++)
        rc = add_block(store, s, il, seed, err);
    if (!rc)
        rc = add_tensor(store, seed, &norm, "", DEVIATION, err);
    if (!rc && s->untied)
        rc = add_tensor(store, seed, &output, "", DEVIATION, err);
    return rc;
}

int gs_model_create(const struct gs_model_sizes *sizes, const struct gs_meta *tokenizer,
                    uint64_t seed, struct gs_store **out, struct gs_err *err)
{
    struct gs_model_sizes s = *sizes;
    struct gs_store *store = NULL;
    uint64_t n_vocab = 0;

    *out = NULL;
    s.n_head_kv = s.n_head_kv ? s.n_head_kv : s.n_head;
    s.rope_base = s.rope_base != 0 ? s.rope_base : 10000.0f;
    s.norm_eps = s.norm_eps != 0 ? s.norm_eps : 1e-5f;
    int rc = check_sizes(&s, err);
    if (!rc)
        rc = gs_store_create(WHERE, "new", &store, err);
    if (!rc)
        rc = set_tokenizer(gs_store_meta_edit(store), tokenizer, &n_vocab, err);
    if (!rc)
        rc = set_sizes(gs_store_meta_edit(store), &s, n_vocab, err);
    if (!rc)
        rc = add_tensors(store, &s, n_vocab, seed, err);
    if (rc)
        gs_store_close(&store);
    *out = store;
    return rc;
}
