/* SPDX-License-Identifier: MIT
 * Turns a model of llama2.c (Karpathy, 2023) in its legacy layout into an f32 GGUF file.
 *
 *   MODEL.bin      i32 dim, hidden, layers, heads, kv_heads, vocab, context; then f32:
 *                  embedding [V, C]; per kind, stacked over layers: attention norm [C],
 *                  wq [C, C], wk [G D, C], wv [G D, C], wo [C, C], ffn norm [C], w1 [F, C],
 *                  w2 [C, F], w3 [F, C]; final norm [C]; RoPE tables 2 x [S, D / 2];
 *                  the head [V, C] if vocab is negative, else it is the embedding
 *   TOKENIZER.bin  i32 longest; per token f32 score, i32 length, bytes
 *
 * Its RoPE turns neighbouring pairs, as GGUF's llama does, so rows stay where they are. */
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/cursor.h"
#include "file/gguf.h"
#include "file/map.h"

struct shape {
    uint64_t dim, hidden, layers, heads, kv_heads, vocab, context;
    bool tied;
};

/* The kinds of tensors in the order of the file. rows and cols are by the shape. */
struct kind {
    const char *name;
    uint64_t rows, cols; /* rows 0: a vector */
    bool per_layer;
};

#define KINDS 12

static void list_kinds(const struct shape *s, struct kind k[KINDS])
{
    uint64_t kv = s->dim / s->heads * s->kv_heads;
    const struct kind all[KINDS] = {
        {"token_embd", s->vocab, s->dim, false},
        {"attn_norm", 0, s->dim, true},
        {"attn_q", s->dim, s->dim, true},
        {"attn_k", kv, s->dim, true},
        {"attn_v", kv, s->dim, true},
        {"attn_output", s->dim, s->dim, true},
        {"ffn_norm", 0, s->dim, true},
        {"ffn_gate", s->hidden, s->dim, true},
        {"ffn_down", s->dim, s->hidden, true},
        {"ffn_up", s->hidden, s->dim, true},
        {"output_norm", 0, s->dim, false},
        {"output", s->tied ? 0 : s->vocab, s->dim, false},
    };
    memcpy(k, all, sizeof all);
}

static int read_shape(struct gs_cursor *c, struct shape *s, struct gs_err *err)
{
    uint32_t u[7];

    for (size_t i = 0; i < 7; i++)
        u[i] = gs_cursor_u32(c);
    int rc = gs_cursor_check(c, "the model's header", err);
    if (rc)
        return rc;
    s->tied = (int32_t)u[5] > 0;
    if (!s->tied)
        u[5] = 0u - u[5];
    for (size_t i = 0; i < 7; i++)
        if (!u[i] || u[i] > 1u << 24)
            return gs_fail(err, GS_E_FORMAT, "the model's header is not llama2.c's");
    *s = (struct shape){u[0], u[1], u[2], u[3], u[4], u[5], u[6], s->tied};
    if (s->dim % s->heads || s->heads % s->kv_heads)
        return gs_fail(err, GS_E_FORMAT, "heads do not divide the width");
    return GS_OK;
}

static int set_shape(struct gs_meta *meta, const struct shape *s, struct gs_err *err)
{
    const struct { const char *key; uint64_t value; } keys[] = {
        {"llama.block_count", s->layers},
        {"llama.context_length", s->context},
        {"llama.embedding_length", s->dim},
        {"llama.feed_forward_length", s->hidden},
        {"llama.attention.head_count", s->heads},
        {"llama.attention.head_count_kv", s->kv_heads},
        {"llama.rope.dimension_count", s->dim / s->heads},
        {"llama.vocab_size", s->vocab},
        {"general.file_type", 0},
        {"general.quantization_version", 2},
    };
    int rc = gs_meta_set_str(meta, "general.architecture", GS_STR("llama"), err);

    if (!rc)
        rc = gs_meta_set_str(meta, "general.name", GS_STR("llama2.c"), err);
    for (size_t i = 0; !rc && i < GS_COUNT(keys); i++)
        rc = gs_meta_set_uint(meta, keys[i].key, keys[i].value, err);
    if (!rc)
        rc = gs_meta_set_f32(meta, "llama.attention.layer_norm_rms_epsilon", 1e-5, err);
    if (!rc)
        rc = gs_meta_set_f32(meta, "llama.rope.freq_base", 10000, err);
    return rc;
}

/* llama2.c keeps spaces as they are and dresses up the special tokens. */
static struct gs_str piece(struct gs_arena *arena, uint64_t id, const char *text, uint32_t n)
{
    static const struct gs_str special[] = {GS_STR("<unk>"), GS_STR("<s>"), GS_STR("</s>")};
    char *out = gs_arena_alloc(arena, 3 * (size_t)n + 1, 1);
    size_t m = 0;

    if (id < GS_COUNT(special))
        return special[id];
    for (uint32_t i = 0; out && i < n; i++) {
        if (text[i] == ' ') {
            memcpy(out + m, "\xe2\x96\x81", 3);
            m += 3;
        } else {
            out[m++] = text[i];
        }
    }
    return (struct gs_str){out, m};
}

static int set_tokenizer(struct gs_meta *meta, const struct gs_map *map, uint64_t vocab,
                         struct gs_err *err)
{
    struct gs_cursor c = gs_cursor_make(map->data, map->size);
    struct gs_arena *arena = gs_meta_arena(meta);
    struct gs_str *tokens = gs_arena_alloc(arena, vocab, sizeof *tokens);
    float *scores = gs_arena_alloc(arena, vocab, sizeof *scores);
    int32_t *types = gs_arena_alloc(arena, vocab, sizeof *types);

    if (!tokens || !scores || !types)
        return gs_fail_nomem(err, "the vocabulary");
    (void)gs_cursor_u32(&c);
    for (uint64_t i = 0; i < vocab && !c.failed; i++) {
        const uint8_t *score = gs_cursor_bytes(&c, 4);
        uint32_t n = gs_cursor_u32(&c);
        const uint8_t *text = gs_cursor_bytes(&c, n);
        if (!text)
            break;
        scores[i] = i < 3 ? 0 : gs_load_f32(score);
        tokens[i] = piece(arena, i, (const char *)text, n);
        types[i] = i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1; /* unknown, control, byte, normal */
        if (!tokens[i].data)
            return gs_fail_nomem(err, "the vocabulary");
    }
    int rc = gs_cursor_check(&c, "the tokenizer", err);
    if (!rc)
        rc = gs_meta_set_str(meta, "tokenizer.ggml.model", GS_STR("llama"), err);
    if (!rc)
        rc = gs_meta_set_str(meta, "tokenizer.ggml.pre", GS_STR("default"), err);
    if (!rc)
        rc = gs_meta_set_array(meta, "tokenizer.ggml.tokens", GS_VALUE_STRING, tokens, vocab, err);
    if (!rc)
        rc = gs_meta_set_array(meta, "tokenizer.ggml.scores", GS_VALUE_F32, scores, vocab, err);
    if (!rc)
        rc = gs_meta_set_array(meta, "tokenizer.ggml.token_type", GS_VALUE_I32, types, vocab, err);
    if (!rc)
        rc = gs_meta_set_uint(meta, "tokenizer.ggml.unknown_token_id", 0, err);
    if (!rc)
        rc = gs_meta_set_uint(meta, "tokenizer.ggml.bos_token_id", 1, err);
    return rc ? rc : gs_meta_set_uint(meta, "tokenizer.ggml.eos_token_id", 2, err);
}

/* Finds every tensor in the file; returns their number, or a negative code. */
static int64_t list_tensors(const struct shape *s, struct gs_cursor *c, struct gs_arena *arena,
                            struct gs_tensor *tensors, const uint8_t **data, struct gs_err *err)
{
    struct kind kinds[KINDS];
    int64_t n = 0;

    list_kinds(s, kinds);
    for (size_t i = 0; i < KINDS; i++) {
        const struct kind *k = kinds + i;
        if (i == KINDS - 1) { /* before the head: RoPE tables */
            (void)gs_cursor_bytes(c, 4 * s->context * (s->dim / s->heads));
            if (s->tied)
                break;
        }
        for (uint64_t l = 0; l < (k->per_layer ? s->layers : 1); l++) {
            char name[64];
            int m = k->per_layer ? snprintf(name, sizeof name, "blk.%u.%s.weight", (unsigned)l,
                                            k->name)
                                 : snprintf(name, sizeof name, "%s.weight", k->name);
            tensors[n] = (struct gs_tensor){
                .name = gs_arena_strndup(arena, name, (size_t)m), .type = GS_TYPE_F32,
                .n_dims = k->rows ? 2 : 1, .dim = {k->cols, k->rows ? k->rows : 1, 1, 1},
            };
            tensors[n].bytes = 4 * k->cols * (k->rows ? k->rows : 1);
            data[n] = gs_cursor_bytes(c, tensors[n].bytes);
            if (!tensors[n++].name)
                return gs_fail_nomem(err, "names");
        }
    }
    int rc = gs_cursor_check(c, "the model", err);
    return rc ? rc : n;
}

static int convert(const struct gs_map *model, const struct gs_map *tokenizer, const char *out,
                   struct gs_err *err)
{
    struct gs_cursor c = gs_cursor_make(model->data, model->size);
    struct shape s = {0};
    struct gs_meta *meta = NULL;
    struct gs_tensor *tensors = NULL;
    const uint8_t **data = NULL;
    struct gs_gguf_writer *w = NULL;

    int rc = gs_meta_create(&meta, err);
    if (!rc)
        rc = read_shape(&c, &s, err);
    if (rc)
        goto out;
    tensors = gs_alloc(s.layers * KINDS + KINDS, sizeof *tensors);
    data = gs_alloc(s.layers * KINDS + KINDS, sizeof(uint8_t *));
    rc = tensors && data ? set_shape(meta, &s, err) : gs_fail_nomem(err, "tensors");
    if (!rc)
        rc = set_tokenizer(meta, tokenizer, s.vocab, err);
    int64_t n = rc ? rc : list_tensors(&s, &c, gs_meta_arena(meta), tensors, data, err);
    rc = n < 0 ? (int)n : gs_gguf_create(out, true, meta, tensors, (size_t)n, &w, err);
    for (int64_t i = 0; !rc && i < n; i++)
        rc = gs_gguf_write(w, (size_t)i, data[i], tensors[i].bytes, err);
    if (!rc)
        rc = gs_gguf_commit(&w, NULL, err);
out:
    gs_gguf_abort(&w);
    gs_free(&data);
    gs_free(&tensors);
    gs_meta_destroy(&meta);
    return rc;
}

int main(int argc, char **argv)
{
    struct gs_err err = {0};
    struct gs_map *model = NULL, *tokenizer = NULL;

    if (argc != 4) {
        fputs("usage: llama2c MODEL.bin TOKENIZER.bin OUT.gguf\n", stderr);
        return 2;
    }
    int rc = gs_map_open(argv[1], &model, &err);
    if (!rc)
        rc = gs_map_open(argv[2], &tokenizer, &err);
    if (!rc)
        rc = convert(model, tokenizer, argv[3], &err);
    if (rc)
        fprintf(stderr, "llama2c: %s\n", err.msg);
    gs_map_close(&model);
    gs_map_close(&tokenizer);
    return rc ? 1 : 0;
}
