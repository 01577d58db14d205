/* SPDX-License-Identifier: MIT
 * The architectures of Hugging Face folders, one description each: keys, tensors, and how
 * they differ from their GGUF form. A new one is a table of names and one line in the list.
 *
 * Names follow transformers' modules on the left, GGUF's on the right. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "file/hf_folder.h"

#define END_KEYS {NULL, GS_HF_UINT, {NULL}, false, 0}
#define END_NAMES {NULL, NULL, NULL}

static int set_uint(struct gs_hf *hf, const char *key, uint64_t u, struct gs_err *err)
{
    char buffer[GS_HF_KEY_BYTES];
    return gs_meta_set_uint(gs_store_meta_edit(hf->store), gs_hf_key(hf, key, buffer), u, err);
}

static int set_float(struct gs_hf *hf, const char *key, double f, struct gs_err *err)
{
    char buffer[GS_HF_KEY_BYTES];
    return gs_meta_set_f32(gs_store_meta_edit(hf->store), gs_hf_key(hf, key, buffer), f, err);
}

/* ---- llama, mistral ----------------------------------------------------------------------- */

static const struct gs_hf_name llama_names[] = {
    {"model.embed_tokens", "token_embd", &gs_hf_embedding},
    {"model.norm", "output_norm", NULL},
    {"lm_head", "output", &gs_hf_head},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm", NULL},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q", &gs_hf_rope_q},
    {"model.layers.*.self_attn.k_proj", "blk.*.attn_k", &gs_hf_rope_k},
    {"model.layers.*.self_attn.v_proj", "blk.*.attn_v", NULL},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output", NULL},
    {"model.layers.*.post_attention_layernorm", "blk.*.ffn_norm", NULL},
    {"model.layers.*.mlp.gate_proj", "blk.*.ffn_gate", NULL},
    {"model.layers.*.mlp.up_proj", "blk.*.ffn_up", NULL},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down", NULL},
    END_NAMES,
};

static const struct gs_hf_key llama_keys[] = {
    {"vocab_size", GS_HF_UINT, {"vocab_size"}, false, 0},
    END_KEYS,
};

static int llama_extra_keys(struct gs_hf *hf, struct gs_err *err)
{
    return set_uint(hf, "rope.dimension_count", hf->head_dim, err);
}

/* Llama 3.1's RoPE scaling as one divisor per frequency (the reference: transformers'
 * modeling_rope_utils). Long wavelengths are stretched by `factor`, short ones not at all,
 * those between in proportion. */
static int llama_extra_tensors(struct gs_hf *hf, struct gs_err *err)
{
    const struct gs_hf_rope *r = &hf->rope;
    double factor = 8, low = 1, high = 4, base = r->theta != 0 ? r->theta : 10000;
    double ctx = r->ctx_orig ? (double)r->ctx_orig : 8192;
    uint64_t n = hf->head_dim / 2;

    if (strcmp(r->type, "llama3") || !n)
        return GS_OK;
    int rc = gs_json_get_float(r->object, "factor", &factor, err);
    if (rc >= 0)
        rc = gs_json_get_float(r->object, "low_freq_factor", &low, err);
    if (rc >= 0)
        rc = gs_json_get_float(r->object, "high_freq_factor", &high, err);
    if (rc < 0)
        return gs_err_prefix(err, rc, hf->config_text->path);
    if (!(factor > 0 && low > 0 && high > low && base > 0))
        return gs_fail(err, GS_E_FORMAT, "%s: the factors of llama3 RoPE scaling must be "
                       "positive, high_freq_factor above low_freq_factor", hf->config_text->path);
    float *out = gs_arena_alloc(gs_store_arena(hf->store), n, sizeof *out);
    if (!out)
        return gs_fail_nomem(err, "rope_freqs");
    for (uint64_t i = 0; i < n; i++) {
        double turns = ctx / (2 * 3.14159265358979323846 *
                              pow(base, (double)(2 * i) / (double)hf->head_dim));
        double smooth = (turns - low) / (high - low);
        out[i] = (float)(turns > high ? 1 : turns < low ? factor
                                        : 1 / ((1 - smooth) / factor + smooth));
    }
    return gs_hf_vector_add(hf, "rope_freqs.weight", out, n, err);
}

/* ---- qwen2, qwen3: half-split RoPE, so q and k stay as they are ------------------------------ */

static const struct gs_hf_name qwen_names[] = {
    {"model.embed_tokens", "token_embd", &gs_hf_embedding},
    {"model.norm", "output_norm", NULL},
    {"lm_head", "output", &gs_hf_head},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm", NULL},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q", NULL},
    {"model.layers.*.self_attn.k_proj", "blk.*.attn_k", NULL},
    {"model.layers.*.self_attn.v_proj", "blk.*.attn_v", NULL},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output", NULL},
    {"model.layers.*.self_attn.q_norm", "blk.*.attn_q_norm", NULL},
    {"model.layers.*.self_attn.k_norm", "blk.*.attn_k_norm", NULL},
    {"model.layers.*.post_attention_layernorm", "blk.*.ffn_norm", NULL},
    {"model.layers.*.mlp.gate_proj", "blk.*.ffn_gate", NULL},
    {"model.layers.*.mlp.up_proj", "blk.*.ffn_up", NULL},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down", NULL},
    END_NAMES,
};

/* ---- gemma3: its RMSNorm multiplies by 1 + weight ---------------------------------------- */

static const struct gs_hf_name gemma3_names[] = {
    {"model.embed_tokens", "token_embd", &gs_hf_embedding},
    {"model.norm", "output_norm", &gs_hf_plus_one},
    {"lm_head", "output", &gs_hf_head},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm", &gs_hf_plus_one},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q", NULL},
    {"model.layers.*.self_attn.k_proj", "blk.*.attn_k", NULL},
    {"model.layers.*.self_attn.v_proj", "blk.*.attn_v", NULL},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output", NULL},
    {"model.layers.*.self_attn.q_norm", "blk.*.attn_q_norm", &gs_hf_plus_one},
    {"model.layers.*.self_attn.k_norm", "blk.*.attn_k_norm", &gs_hf_plus_one},
    {"model.layers.*.post_attention_layernorm", "blk.*.post_attention_norm", &gs_hf_plus_one},
    {"model.layers.*.pre_feedforward_layernorm", "blk.*.ffn_norm", &gs_hf_plus_one},
    {"model.layers.*.post_feedforward_layernorm", "blk.*.post_ffw_norm", &gs_hf_plus_one},
    {"model.layers.*.mlp.gate_proj", "blk.*.ffn_gate", NULL},
    {"model.layers.*.mlp.up_proj", "blk.*.ffn_up", NULL},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down", NULL},
    END_NAMES,
};

/* Published configs often leave out what transformers' Gemma3TextConfig supplies. */
static const struct gs_hf_key gemma3_keys[] = {
    {"context_length", GS_HF_UINT, {"max_position_embeddings"}, true, 131072},
    {"attention.head_count", GS_HF_UINT, {"num_attention_heads"}, true, 8},
    {"attention.head_count_kv", GS_HF_UINT, {"num_key_value_heads"}, true, 4},
    {"attention.layer_norm_rms_epsilon", GS_HF_FLOAT, {"rms_norm_eps"}, true, 1e-6},
    {"attention.key_length", GS_HF_UINT, {"head_dim"}, true, 256},
    {"attention.value_length", GS_HF_UINT, {"head_dim"}, true, 256},
    {"rope.freq_base", GS_HF_FLOAT, {"rope_theta"}, true, 1e6},
    {"final_logit_softcapping", GS_HF_FLOAT, {"final_logit_softcapping"}, false, 0},
    END_KEYS,
};

static int gemma3_extra_keys(struct gs_hf *hf, struct gs_err *err)
{
    uint64_t pattern = 6, window = 4096;
    int rc = gs_hf_get_uint(hf, (const char *const[]){"sliding_window_pattern", NULL}, &pattern,
                            err);
    if (rc >= 0)
        rc = gs_hf_get_uint(hf, (const char *const[]){"sliding_window", NULL}, &window, err);
    if (rc < 0 || pattern == 1)
        return rc;
    return set_uint(hf, "attention.sliding_window", window, err);
}

/* ---- phi3 --------------------------------------------------------------------------------- */

static const struct gs_hf_name phi3_names[] = {
    {"model.embed_tokens", "token_embd", &gs_hf_embedding},
    {"model.norm", "output_norm", NULL},
    {"lm_head", "output", &gs_hf_head},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm", NULL},
    {"model.layers.*.self_attn.qkv_proj", "blk.*.attn_qkv", NULL},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output", NULL},
    {"model.layers.*.post_attention_layernorm", "blk.*.ffn_norm", NULL},
    {"model.layers.*.mlp.gate_up_proj", "blk.*.ffn_up", NULL},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down", NULL},
    END_NAMES,
};

/* A window of 0 tells Phi-4 from the others. */
static const struct gs_hf_key phi3_keys[] = {
    {"attention.sliding_window", GS_HF_UINT, {"sliding_window"}, true, 0},
    END_KEYS,
};

static uint64_t rotated(const struct gs_hf *hf, double fallback)
{
    double part = hf->rope.partial != 0 ? hf->rope.partial : fallback;
    return part > 0 && part <= 1 ? (uint64_t)(part * (double)hf->head_dim) : hf->head_dim;
}

/* Attention is scaled up with the context (LongRoPE, arXiv:2402.13753, section 3.3). The
 * converter writes no rope.scaling.type here: the factor tensors say it all. */
static int phi3_extra_keys(struct gs_hf *hf, struct gs_err *err)
{
    const struct gs_hf_rope *r = &hf->rope;
    uint64_t orig = r->ctx_orig ? r->ctx_orig : hf->ctx;
    bool yarn = !strcmp(r->type, "yarn"), scaled = json_object_get(r->object, "long_factor");

    int rc = set_uint(hf, "rope.dimension_count", rotated(hf, 1), err);
    if (!rc)
        rc = set_uint(hf, "rope.scaling.original_context_length", orig, err);
    if (!rc)
        rc = set_float(hf, "rope.freq_base", r->theta != 0 ? r->theta : 10000, err);
    if (rc || !scaled)
        return rc;
    if (!yarn && strcmp(r->type, "longrope") && strcmp(r->type, "su"))
        return gs_fail(err, GS_E_UNSUPPORTED, "%s: RoPE scaling \"%.32s\" is not supported",
                       hf->config_text->path, r->type);
    double scale = orig ? (double)hf->ctx / (double)orig : 1, factor = 1;
    if (scale > 1 && orig > 1)
        factor = yarn ? 0.1 * log(scale) + 1 : sqrt(1 + log(scale) / log((double)orig));
    return set_float(hf, "rope.scaling.attn_factor", factor, err);
}

static int add_factors(struct gs_hf *hf, const char *json, const char *name, struct gs_err *err)
{
    const json_t *list = json_object_get(hf->rope.object, json);
    uint64_t n = json_array_size(list);

    if (n != rotated(hf, 1) / 2)
        return gs_fail(err, GS_E_FORMAT, "%s: \"%s\" must have %" PRIu64 " numbers, has %" PRIu64,
                       hf->config_text->path, json, rotated(hf, 1) / 2, n);
    float *out = gs_arena_alloc(gs_store_arena(hf->store), n, sizeof *out);
    if (!out)
        return gs_fail_nomem(err, name);
    for (uint64_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_number(v))
            return gs_fail(err, GS_E_FORMAT, "%s: \"%s\" must hold numbers",
                           hf->config_text->path, json);
        out[i] = (float)json_number_value(v);
    }
    return gs_hf_vector_add(hf, name, out, n, err);
}

static int phi3_extra_tensors(struct gs_hf *hf, struct gs_err *err)
{
    if (!json_object_get(hf->rope.object, "long_factor"))
        return GS_OK;
    int rc = add_factors(hf, "long_factor", "rope_factors_long.weight", err);
    return rc ? rc : add_factors(hf, "short_factor", "rope_factors_short.weight", err);
}

/* ---- gpt2: Conv1D keeps its weights as [in, out] -------------------------------------------- */

static const struct gs_hf_name gpt2_names[] = {
    {"wte", "token_embd", &gs_hf_embedding},
    {"wpe", "position_embd", NULL},
    {"ln_f", "output_norm", NULL},
    {"lm_head", "output", &gs_hf_head},
    {"h.*.ln_1", "blk.*.attn_norm", NULL},
    {"h.*.attn.c_attn", "blk.*.attn_qkv", &gs_hf_transpose},
    {"h.*.attn.c_proj", "blk.*.attn_output", &gs_hf_transpose},
    {"h.*.ln_2", "blk.*.ffn_norm", NULL},
    {"h.*.mlp.c_fc", "blk.*.ffn_up", &gs_hf_transpose},
    {"h.*.mlp.c_proj", "blk.*.ffn_down", &gs_hf_transpose},
    END_NAMES,
};

static int gpt2_extra_keys(struct gs_hf *hf, struct gs_err *err)
{
    char buffer[GS_HF_KEY_BYTES];

    if (gs_meta_find(gs_store_meta_edit(hf->store),
                     gs_hf_key(hf, "feed_forward_length", buffer)))
        return GS_OK;
    return set_uint(hf, "feed_forward_length", 4 * hf->n_embd, err);
}

/* ---- gptneox: q, k and v are interleaved per head -------------------------------------------- */

static const struct gs_hf_name gptneox_names[] = {
    {"gpt_neox.embed_in", "token_embd", &gs_hf_embedding},
    {"gpt_neox.final_layer_norm", "output_norm", NULL},
    {"embed_out", "output", &gs_hf_head},
    {"gpt_neox.layers.*.input_layernorm", "blk.*.attn_norm", NULL},
    {"gpt_neox.layers.*.attention.query_key_value", "blk.*.attn_qkv", &gs_hf_qkv},
    {"gpt_neox.layers.*.attention.dense", "blk.*.attn_output", NULL},
    {"gpt_neox.layers.*.post_attention_layernorm", "blk.*.ffn_norm", NULL},
    {"gpt_neox.layers.*.mlp.dense_h_to_4h", "blk.*.ffn_up", NULL},
    {"gpt_neox.layers.*.mlp.dense_4h_to_h", "blk.*.ffn_down", NULL},
    END_NAMES,
};

static const struct gs_hf_key gptneox_keys[] = {
    {"use_parallel_residual", GS_HF_BOOL, {"use_parallel_residual"}, true, 1},
    END_KEYS,
};

/* transformers' GPTNeoXConfig rotates a quarter of each head unless told otherwise. */
static int gptneox_extra_keys(struct gs_hf *hf, struct gs_err *err)
{
    return set_uint(hf, "rope.dimension_count", rotated(hf, 0.25), err);
}

/* ---- the list ------------------------------------------------------------------------------- */

static const struct gs_hf_arch archs[] = {
    {.arch = "llama", .classes = {"LlamaForCausalLM", "MistralForCausalLM", "LLaMAForCausalLM"},
     .keys = llama_keys, .names = llama_names, .rope_keys = true,
     .extra_keys = llama_extra_keys, .extra_tensors = llama_extra_tensors},
    {.arch = "qwen2", .classes = {"Qwen2ForCausalLM"}, .names = qwen_names, .rope_keys = true},
    {.arch = "qwen3", .classes = {"Qwen3ForCausalLM"}, .names = qwen_names, .rope_keys = true},
    {.arch = "gemma3", .classes = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"},
     .keys = gemma3_keys, .names = gemma3_names, .tied = true, .rope_keys = true,
     .n_head = 8, .n_head_kv = 4, .head_dim = 256, .extra_keys = gemma3_extra_keys},
    {.arch = "phi3", .classes = {"Phi3ForCausalLM"}, .keys = phi3_keys, .names = phi3_names,
     .extra_keys = phi3_extra_keys, .extra_tensors = phi3_extra_tensors},
    {.arch = "gpt2", .classes = {"GPT2LMHeadModel"}, .names = gpt2_names, .tied = true,
     .extra_keys = gpt2_extra_keys},
    {.arch = "gptneox", .classes = {"GPTNeoXForCausalLM"}, .keys = gptneox_keys,
     .names = gptneox_names, .rope_keys = true, .extra_keys = gptneox_extra_keys},
};

const struct gs_hf_arch *gs_hf_arch_find(const char *class_name)
{
    for (size_t i = 0; i < GS_COUNT(archs); i++)
        for (size_t j = 0; j < GS_COUNT(archs[i].classes) && archs[i].classes[j]; j++)
            if (!strcmp(archs[i].classes[j], class_name))
                return archs + i;
    return NULL;
}
