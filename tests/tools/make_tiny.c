/* SPDX-License-Identifier: MIT
 * Tiny models with random weights, for tests that need a model of every architecture.
 *
 *   make_tiny ARCH[:OPTION] OUT.gguf [SEED]      make_tiny --list
 *
 * A file is a few hundred kilobytes: 64 features, 2 or 3 layers (7 for gemma3, so that its
 * sixth sees all), a vocabulary of 320 with a working tokenizer, 256 positions. Weights are
 * sums of uniform integers, so the bytes are the same on every machine. Shapes and keys are
 * written out here by hand, apart from src/model, and stock readers accept the files. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "file/gguf.h"
#include "kernels/kernels.h"

#define TENSORS_MAX 160
#define EMBD 64u
#define VOCAB 320u
#define CTX 256u

struct tiny {
    const char *arch;
    struct gs_meta *meta;
    struct gs_tensor tensors[TENSORS_MAX];
    float mean[TENSORS_MAX], spread[TENSORS_MAX];
    char names[TENSORS_MAX][64];
    size_t n;
    enum gs_type type; /* of matrices */
    uint32_t layers, heads, heads_kv, head, ff;
    struct gs_err err;
};

enum { UNTIED = 1, MHA = 2, BIAS = 4, SEQUENTIAL = 8, FUSED = 16, BPE = 32 };

struct variant {
    const char *name;
    void (*build)(struct tiny *t, const struct variant *v);
    unsigned flags;
    enum gs_type type; /* 0 = F32 */
    const char *scaling; /* rope.scaling.type */
    float factor;
    uint32_t window, rope_dims, ctx_orig;
    float softcap;
    const char *factors; /* RoPE factor tensors: "freqs", "long" */
};

static void check(struct tiny *t, int rc)
{
    if (rc) {
        fprintf(stderr, "make_tiny: %s\n", t->err.msg);
        exit(1);
    }
}

/* ---- metadata ---- */

static const char *key(const struct tiny *t, const char *name)
{
    static char text[96];
    snprintf(text, sizeof text, "%s.%s", t->arch, name);
    return text;
}

static void set_uint(struct tiny *t, const char *name, uint64_t u)
{
    check(t, gs_meta_set_uint(t->meta, key(t, name), u, &t->err));
}

static void set_f32(struct tiny *t, const char *name, double f)
{
    check(t, gs_meta_set_f32(t->meta, key(t, name), f, &t->err));
}

static void set_str(struct tiny *t, const char *name, const char *s)
{
    check(t, gs_meta_set_str(t->meta, name, (struct gs_str){s, strlen(s)}, &t->err));
}

static size_t put_utf8(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
}

/* The character by which byte-level BPE writes a byte. */
static size_t byte_symbol(unsigned byte, char *out)
{
    unsigned hidden = 0;

    for (unsigned b = 0; b <= byte; b++) {
        bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte)
            return put_utf8(plain ? b : 256 + hidden, out);
        hidden += !plain;
    }
    return 0;
}

static struct gs_str copied(struct tiny *t, const char *text, size_t n)
{
    char *copy = gs_arena_strndup(gs_meta_arena(t->meta), text, n);
    if (!copy)
        check(t, gs_fail_nomem(&t->err, "a token"));
    return (struct gs_str){copy, n};
}

static struct gs_str text(const char *s)
{
    return (struct gs_str){s, strlen(s)};
}

static void set_array(struct tiny *t, const char *name, enum gs_value_type type,
                      const void *data, uint64_t n)
{
    check(t, gs_meta_set_array(t->meta, name, type, data, n, &t->err));
}

/* 256 bytes, merges, padding, <|endoftext|> last. */
static void bpe_vocabulary(struct tiny *t, const char *pre)
{
    static const char *const merges[] = {
        "\xc4\xa0 t", "h e", "i n", "\xc4\xa0 a", "\xc4\xa0t he", "e r", "o n", "r e", "a t",
        "\xc4\xa0 s", "e n", "n d", "o r", "\xc4\xa0 w", "i s", "\xc4\xa0 o", "in g",
        ("\xc4\xa0" "a nd"), "o u", "\xc4\xa0 b", "l l", "\xc4\xa0 c", "e d", "\xc4\xa0 f"};
    struct gs_str tokens[VOCAB], merge_list[GS_COUNT(merges)];
    int32_t types[VOCAB];
    uint32_t n = 0;

    for (unsigned b = 0; b < 256; b++) {
        char symbol[4];
        size_t size = byte_symbol(b, symbol);
        tokens[n++] = copied(t, symbol, size);
    }
    for (size_t i = 0; i < GS_COUNT(merges); i++) {
        const char *space = strchr(merges[i], ' ');
        char joined[16];
        size_t left = (size_t)(space - merges[i]);
        memcpy(joined, merges[i], left);
        strcpy(joined + left, space + 1);
        tokens[n++] = copied(t, joined, strlen(joined));
        merge_list[i] = text(merges[i]);
    }
    while (n < VOCAB - 1) {
        char pad[16];
        snprintf(pad, sizeof pad, "[PAD%u]", n);
        tokens[n++] = copied(t, pad, strlen(pad));
    }
    tokens[n++] = text("<|endoftext|>");
    for (uint32_t i = 0; i < VOCAB; i++)
        types[i] = i < 256 + GS_COUNT(merges) ? 1 : i < VOCAB - 1 ? 5 : 3;
    set_str(t, "tokenizer.ggml.model", "gpt2");
    set_str(t, "tokenizer.ggml.pre", pre);
    set_array(t, "tokenizer.ggml.tokens", GS_VALUE_STRING, tokens, VOCAB);
    set_array(t, "tokenizer.ggml.token_type", GS_VALUE_I32, types, VOCAB);
    set_array(t, "tokenizer.ggml.merges", GS_VALUE_STRING, merge_list, GS_COUNT(merges));
    check(t, gs_meta_set_uint(t->meta, "tokenizer.ggml.bos_token_id", VOCAB - 1, &t->err));
    check(t, gs_meta_set_uint(t->meta, "tokenizer.ggml.eos_token_id", VOCAB - 1, &t->err));
}

/* <unk> <s> </s>, 256 bytes, then pieces by falling score. */
static void spm_vocabulary(struct tiny *t)
{
    static const char *const pieces[] = {
        "\xe2\x96\x81", "e", "t", "a", "o", "i", "n", "s", "h", "r", "d", "l", "u", "c", "m",
        "w", "f", "g", "y", "p", "b", "v", "k", ".", ",", "th", "he", "in", "er", "an", "on",
        "re", "at", "en", "nd", "or", "is", "ou", "ed", "ing", "the", "and", "\xe2\x96\x81t",
        "\xe2\x96\x81""a", "\xe2\x96\x81s", "\xe2\x96\x81w", "\xe2\x96\x81o", "\xe2\x96\x81the",
        "\xe2\x96\x81""and", "\xe2\x96\x81of", "\xe2\x96\x81to", "\xe2\x96\x81in"};
    struct gs_str tokens[VOCAB];
    float scores[VOCAB] = {0};
    int32_t types[VOCAB] = {2, 3, 3};
    uint32_t n = 3;

    tokens[0] = text("<unk>");
    tokens[1] = text("<s>");
    tokens[2] = text("</s>");
    for (unsigned b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", b);
        types[n] = 6;
        tokens[n++] = copied(t, name, strlen(name));
    }
    for (uint32_t i = 0; n < VOCAB; i++) {
        char spare[16];
        bool known = i < GS_COUNT(pieces);
        snprintf(spare, sizeof spare, "[PAD%u]", n);
        types[n] = known ? 1 : 5;
        scores[n] = known ? -(float)i : -1000.0f;
        tokens[n++] = known ? text(pieces[i]) : copied(t, spare, strlen(spare));
    }
    set_str(t, "tokenizer.ggml.model", "llama");
    set_array(t, "tokenizer.ggml.tokens", GS_VALUE_STRING, tokens, VOCAB);
    set_array(t, "tokenizer.ggml.scores", GS_VALUE_F32, scores, VOCAB);
    set_array(t, "tokenizer.ggml.token_type", GS_VALUE_I32, types, VOCAB);
    check(t, gs_meta_set_uint(t->meta, "tokenizer.ggml.bos_token_id", 1, &t->err));
    check(t, gs_meta_set_uint(t->meta, "tokenizer.ggml.eos_token_id", 2, &t->err));
    check(t, gs_meta_set_uint(t->meta, "tokenizer.ggml.unknown_token_id", 0, &t->err));
}

/* ---- tensors ---- */

/* out 0: a vector. Values are mean + spread · (a number of variance 1). */
static void add(struct tiny *t, int layer, const char *name, uint32_t in, uint32_t out,
                float mean, float spread)
{
    size_t i = t->n++;
    struct gs_tensor *tensor = &t->tensors[i];

    if (layer < 0)
        snprintf(t->names[i], sizeof t->names[i], "%s", name);
    else
        snprintf(t->names[i], sizeof t->names[i], "blk.%d.%s", layer, name);
    *tensor = (struct gs_tensor){.name = t->names[i], .type = out ? t->type : GS_TYPE_F32,
                                 .n_dims = out ? 2 : 1, .dim = {in, out ? out : 1, 1, 1}};
    t->mean[i] = mean;
    t->spread[i] = spread;
}

static void add_matrix(struct tiny *t, int layer, const char *name, uint32_t in, uint32_t out)
{
    add(t, layer, name, in, out, 0, 1.2f / sqrtf((float)in));
}

static void add_gain(struct tiny *t, int layer, const char *name, uint32_t n)
{
    add(t, layer, name, n, 0, 1, 0.2f);
}

static void add_bias(struct tiny *t, int layer, const char *name, uint32_t n)
{
    add(t, layer, name, n, 0, 0, 0.3f);
}

static void set_sizes(struct tiny *t, const struct variant *v)
{
    if (v->flags & MHA)
        t->heads_kv = t->heads;
    set_str(t, "general.architecture", t->arch);
    /* A stock reader changes token attributes by words in the name ("phi3"): none here. */
    set_str(t, "general.name", "tiny");
    set_uint(t, "context_length", CTX);
    set_uint(t, "embedding_length", EMBD);
    set_uint(t, "block_count", t->layers);
    set_uint(t, "feed_forward_length", t->ff);
    set_uint(t, "attention.head_count", t->heads);
    set_uint(t, "attention.head_count_kv", t->heads_kv);
    if (v->rope_dims)
        set_uint(t, "rope.dimension_count", v->rope_dims);
    if (v->scaling) {
        set_str(t, key(t, "rope.scaling.type"), v->scaling);
        set_f32(t, "rope.scaling.factor", v->factor);
    }
    if (v->ctx_orig)
        set_uint(t, "rope.scaling.original_context_length", v->ctx_orig);
    if (v->window)
        set_uint(t, "attention.sliding_window", v->window);
    if (v->softcap != 0)
        set_f32(t, "final_logit_softcapping", v->softcap);
}

static void add_ends(struct tiny *t, const struct variant *v)
{
    add(t, -1, "token_embd.weight", EMBD, VOCAB, 0, 0.4f);
    add_gain(t, -1, "output_norm.weight", EMBD);
    if (v->flags & UNTIED)
        add(t, -1, "output.weight", EMBD, VOCAB, 0, 0.4f);
    if (v->factors && !strcmp(v->factors, "freqs"))
        add(t, -1, "rope_freqs.weight", t->head / 2, 0, 3, 1);
    if (v->factors && !strcmp(v->factors, "long")) {
        uint32_t dims = v->rope_dims ? v->rope_dims : t->head;
        add(t, -1, "rope_factors_long.weight", dims / 2, 0, 4, 1);
        add(t, -1, "rope_factors_short.weight", dims / 2, 0, 1.2f, 0.1f);
    }
}

static void add_attention(struct tiny *t, const struct variant *v, int il)
{
    uint32_t q = t->heads * t->head, kv = t->heads_kv * t->head;

    add_gain(t, il, "attn_norm.weight", EMBD);
    if (v->flags & FUSED) {
        add_matrix(t, il, "attn_qkv.weight", EMBD, q + 2 * kv);
        if (v->flags & BIAS)
            add_bias(t, il, "attn_qkv.bias", q + 2 * kv);
    } else {
        add_matrix(t, il, "attn_q.weight", EMBD, q);
        add_matrix(t, il, "attn_k.weight", EMBD, kv);
        add_matrix(t, il, "attn_v.weight", EMBD, kv);
        if (v->flags & BIAS) {
            add_bias(t, il, "attn_q.bias", q);
            add_bias(t, il, "attn_k.bias", kv);
            add_bias(t, il, "attn_v.bias", kv);
        }
    }
    add_matrix(t, il, "attn_output.weight", q, EMBD);
}

static void add_gated_ffn(struct tiny *t, int il)
{
    add_gain(t, il, "ffn_norm.weight", EMBD);
    add_matrix(t, il, "ffn_gate.weight", EMBD, t->ff);
    add_matrix(t, il, "ffn_up.weight", EMBD, t->ff);
    add_matrix(t, il, "ffn_down.weight", t->ff, EMBD);
}

/* ---- architectures ---- */

static void build_llama(struct tiny *t, const struct variant *v)
{
    set_sizes(t, v);
    set_f32(t, "attention.layer_norm_rms_epsilon", 1e-5);
    set_f32(t, "rope.freq_base", 10000);
    if (v->flags & BPE)
        bpe_vocabulary(t, "smollm");
    else
        spm_vocabulary(t);
    add_ends(t, v);
    for (int il = 0; il < (int)t->layers; il++) {
        add_attention(t, v, il);
        add_gated_ffn(t, il);
        if (v->flags & BIAS) {
            add_bias(t, il, "attn_output.bias", EMBD);
            add_bias(t, il, "ffn_gate.bias", t->ff);
            add_bias(t, il, "ffn_up.bias", t->ff);
            add_bias(t, il, "ffn_down.bias", EMBD);
        }
    }
}

static void build_qwen(struct tiny *t, const struct variant *v)
{
    bool qwen3 = !strcmp(t->arch, "qwen3");

    if (qwen3)
        t->head = 32; /* unlike the other models here, not EMBD / heads */
    set_sizes(t, v);
    if (qwen3) {
        set_uint(t, "attention.key_length", t->head);
        set_uint(t, "attention.value_length", t->head);
    }
    set_f32(t, "attention.layer_norm_rms_epsilon", 1e-6);
    set_f32(t, "rope.freq_base", 1e6);
    bpe_vocabulary(t, "qwen2");
    add_ends(t, v);
    for (int il = 0; il < (int)t->layers; il++) {
        add_attention(t, v, il);
        if (qwen3) {
            add_gain(t, il, "attn_q_norm.weight", t->head);
            add_gain(t, il, "attn_k_norm.weight", t->head);
        }
        add_gated_ffn(t, il);
    }
}

static void build_gemma3(struct tiny *t, const struct variant *v)
{
    t->layers = 7;
    t->heads = 2;
    t->heads_kv = 1;
    t->head = 24;
    t->ff = 64;
    set_sizes(t, v);
    set_uint(t, "attention.key_length", t->head);
    set_uint(t, "attention.value_length", t->head);
    set_f32(t, "attention.layer_norm_rms_epsilon", 1e-6);
    set_f32(t, "rope.freq_base", 1e6);
    spm_vocabulary(t);
    check(t, gs_meta_set_bool(t->meta, "tokenizer.ggml.add_space_prefix", false, &t->err));
    add_ends(t, v);
    for (int il = 0; il < (int)t->layers; il++) {
        add_attention(t, v, il);
        add_gain(t, il, "attn_q_norm.weight", t->head);
        add_gain(t, il, "attn_k_norm.weight", t->head);
        add_gain(t, il, "post_attention_norm.weight", EMBD);
        add_gated_ffn(t, il);
        add_gain(t, il, "post_ffw_norm.weight", EMBD);
    }
}

static void build_phi3(struct tiny *t, const struct variant *v)
{
    set_sizes(t, v);
    set_f32(t, "attention.layer_norm_rms_epsilon", 1e-5);
    set_f32(t, "rope.freq_base", 10000);
    if (v->factors)
        set_f32(t, "rope.scaling.attn_factor", 1.19);
    spm_vocabulary(t);
    add_ends(t, v);
    for (int il = 0; il < (int)t->layers; il++) {
        add_attention(t, v, il);
        add_gain(t, il, "ffn_norm.weight", EMBD);
        add_matrix(t, il, "ffn_up.weight", EMBD, 2 * t->ff);
        add_matrix(t, il, "ffn_down.weight", t->ff, EMBD);
    }
}

/* gpt2 and gptneox. */
static void build_gpt(struct tiny *t, const struct variant *v)
{
    bool gpt2 = !strcmp(t->arch, "gpt2");

    set_sizes(t, v);
    set_f32(t, "attention.layer_norm_epsilon", 1e-5);
    bpe_vocabulary(t, "gpt-2");
    if (!gpt2)
        check(t, gs_meta_set_bool(t->meta, key(t, "use_parallel_residual"),
                                  !(v->flags & SEQUENTIAL), &t->err));
    add_ends(t, v);
    add_bias(t, -1, "output_norm.bias", EMBD);
    if (gpt2)
        add(t, -1, "position_embd.weight", EMBD, CTX, 0, 0.3f);
    for (int il = 0; il < (int)t->layers; il++) {
        add_attention(t, v, il);
        add_bias(t, il, "attn_norm.bias", EMBD);
        add_bias(t, il, "attn_output.bias", EMBD);
        add_gain(t, il, "ffn_norm.weight", EMBD);
        add_bias(t, il, "ffn_norm.bias", EMBD);
        add_matrix(t, il, "ffn_up.weight", EMBD, t->ff);
        add_bias(t, il, "ffn_up.bias", t->ff);
        add_matrix(t, il, "ffn_down.weight", t->ff, EMBD);
        add_bias(t, il, "ffn_down.bias", EMBD);
    }
}

static const struct variant variants[] = {
    {.name = "llama", .build = build_llama},
    {.name = "llama:untied", .build = build_llama, .flags = UNTIED},
    {.name = "llama:mha", .build = build_llama, .flags = MHA | UNTIED},
    {.name = "llama:bias", .build = build_llama, .flags = BIAS},
    {.name = "llama:fused", .build = build_llama, .flags = FUSED},
    {.name = "llama:bpe", .build = build_llama, .flags = BPE},
    {.name = "llama:linear", .build = build_llama, .scaling = "linear", .factor = 2},
    {.name = "llama:yarn", .build = build_llama, .scaling = "yarn", .factor = 4,
     .ctx_orig = 64},
    {.name = "llama:llama3", .build = build_llama, .factors = "freqs"},
    {.name = "llama:longrope", .build = build_llama, .scaling = "longrope", .factor = 1,
     .factors = "long", .ctx_orig = 64},
    {.name = "llama:window", .build = build_llama, .window = 24},
    {.name = "llama:f16", .build = build_llama, .type = GS_TYPE_F16},
    {.name = "llama:bf16", .build = build_llama, .type = GS_TYPE_BF16},
    {.name = "llama:q8_0", .build = build_llama, .type = GS_TYPE_Q8_0},
    {.name = "qwen2", .build = build_qwen, .flags = BIAS},
    {.name = "qwen2:untied", .build = build_qwen, .flags = BIAS | UNTIED},
    {.name = "qwen2:yarn", .build = build_qwen, .flags = BIAS, .scaling = "yarn", .factor = 4,
     .ctx_orig = 64},
    {.name = "qwen3", .build = build_qwen},
    {.name = "qwen3:untied", .build = build_qwen, .flags = UNTIED},
    {.name = "gemma3", .build = build_gemma3, .window = 16},
    {.name = "gemma3:linear", .build = build_gemma3, .window = 16, .scaling = "linear",
     .factor = 8},
    {.name = "gemma3:softcap", .build = build_gemma3, .window = 16, .softcap = 5},
    {.name = "gemma3:full", .build = build_gemma3},
    {.name = "phi3", .build = build_phi3, .flags = FUSED | UNTIED},
    {.name = "phi3:partial", .build = build_phi3, .flags = FUSED | UNTIED, .rope_dims = 12},
    {.name = "phi3:longrope", .build = build_phi3, .flags = FUSED | UNTIED, .factors = "long",
     .ctx_orig = 64},
    {.name = "phi3:shortrope", .build = build_phi3, .flags = FUSED | UNTIED, .factors = "long",
     .ctx_orig = 256},
    {.name = "phi3:window", .build = build_phi3, .flags = FUSED | UNTIED, .window = 24},
    {.name = "gpt2", .build = build_gpt, .flags = FUSED | MHA | BIAS},
    {.name = "gpt2:untied", .build = build_gpt, .flags = FUSED | MHA | BIAS | UNTIED},
    {.name = "gptneox", .build = build_gpt, .flags = FUSED | MHA | BIAS | UNTIED,
     .rope_dims = 4},
    {.name = "gptneox:sequential", .build = build_gpt,
     .flags = FUSED | MHA | BIAS | UNTIED | SEQUENTIAL, .rope_dims = 16},
};

/* ---- writing ---- */

/* Four uniform 16-bit numbers: near normal, exact, mean 0 and variance 1. */
static float random_value(struct gs_rng *rng)
{
    uint64_t u = gs_rng_u64(rng);
    int32_t sum = (int32_t)((u & 0xffff) + (u >> 16 & 0xffff) + (u >> 32 & 0xffff) + (u >> 48));

    return (float)(sum - 2 * 65535) / 37837.0f;
}

static void write_tensor(struct tiny *t, struct gs_gguf_writer *w, size_t i, uint64_t seed)
{
    const struct gs_tensor *tensor = &t->tensors[i];
    uint64_t n = tensor->dim[0], row_bytes;
    float values[2 * EMBD * 4];
    unsigned char row[sizeof values];
    struct gs_rng rng;

    gs_rng_init(&rng, seed, i);
    check(t, gs_type_row_bytes(tensor->type, n, &row_bytes, &t->err));
    for (uint64_t r = 0; r < tensor->dim[1]; r++) {
        for (uint64_t c = 0; c < n; c++)
            values[c] = t->mean[i] + t->spread[i] * random_value(&rng);
        gs_kernels()->encode[tensor->type](values, row, n);
        check(t, gs_gguf_write(w, i, row, row_bytes, &t->err));
    }
}

int main(int argc, char **argv)
{
    const struct variant *v = NULL;
    struct gs_gguf_writer *writer;
    struct tiny t = {.layers = 2, .heads = 4, .heads_kv = 2, .head = 16, .ff = 128};
    char arch[32];

    if (argc == 2 && !strcmp(argv[1], "--list")) {
        for (size_t i = 0; i < GS_COUNT(variants); i++)
            puts(variants[i].name);
        return 0;
    }
    for (size_t i = 0; argc >= 3 && i < GS_COUNT(variants); i++)
        if (!strcmp(variants[i].name, argv[1]))
            v = &variants[i];
    if (!v) {
        fputs("usage: make_tiny ARCH[:OPTION] OUT.gguf [SEED] | make_tiny --list\n", stderr);
        return 2;
    }
    snprintf(arch, sizeof arch, "%.*s", (int)strcspn(v->name, ":"), v->name);
    t.arch = arch;
    t.type = v->type;
    check(&t, gs_meta_create(&t.meta, &t.err));
    v->build(&t, v);
    check(&t, gs_gguf_create(argv[2], true, t.meta, t.tensors, t.n, &writer, &t.err));
    for (size_t i = 0; i < t.n; i++)
        write_tensor(&t, writer, i, argc > 3 ? strtoull(argv[3], NULL, 10) : 1);
    check(&t, gs_gguf_commit(&writer, NULL, &t.err));
    gs_meta_destroy(&t.meta);
    return 0;
}
