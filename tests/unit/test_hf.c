/* SPDX-License-Identifier: MIT
 * Hugging Face folders: each architecture's keys and adaptations on models of one layer whose
 * expected GGUF form is written out. test_hf_hostile.c has the folders that are wrong. */
#include "tests/unit/hf_case.h"

#include <math.h>

static float element(const void *data, enum gs_type type, uint64_t i)
{
    uint16_t h;
    float f;
    if (type == GS_TYPE_F32) {
        memcpy(&f, (const uint8_t *)data + 4 * i, 4);
        return f;
    }
    memcpy(&h, (const uint8_t *)data + 2 * i, 2);
    return type == GS_TYPE_BF16 ? gs_bf16_to_f32(h) : gs_f16_to_f32(h);
}

/* The tensor has this type and this first column (of a vector: these elements). */
static void expect(struct gs_store *store, const char *name, enum gs_type type, uint64_t cols,
                   size_t rows, const float *first)
{
    const struct gs_tensor *t = gs_store_find(store, name);
    const void *data;

    if (!t)
        fail_msg("no tensor %s", name);
    assert_int_equal(t->type, type);
    assert_int_equal(gs_store_data(store, t, &data, &err), 0);
    assert_int_equal(t->n_dims, cols ? 2 : 1);
    assert_int_equal(t->dim[0], cols ? cols : rows);
    assert_int_equal(t->dim[1], cols ? rows : 1);
    for (size_t r = 0; r < rows; r++) {
        float have = element(data, type, r * (cols ? cols : 1));
        if (have != first[r])
            fail_msg("%s: row %zu begins with %g, expected %g", name, r, (double)have,
                     (double)first[r]);
    }
}

static void expect_uint(const struct gs_store *store, const char *key, uint64_t want)
{
    uint64_t have = UINT64_MAX;
    assert_int_equal(gs_meta_get_uint(gs_store_meta(store), key, &have, &err), 1);
    assert_int_equal(have, want);
}

static void expect_float(const struct gs_store *store, const char *key, double want)
{
    double have = -1;
    assert_int_equal(gs_meta_get_float(gs_store_meta(store), key, &have, &err), 1);
    if (fabs(have - want) > 1e-6 * fabs(want))
        fail_msg("%s is %g, expected %g", key, have, want);
}

static void expect_str(const struct gs_store *store, const char *key, const char *want)
{
    struct gs_str have;
    assert_int_equal(gs_meta_get_str(gs_store_meta(store), key, &have, &err), 1);
    if (!gs_str_equal(have, want))
        fail_msg("%s is %.*s, expected %s", key, (int)have.size, have.data, want);
}

static void expect_absent(const struct gs_store *store, const char *key)
{
    assert_null(gs_meta_find(gs_store_meta(store), key));
}

static void llama(void **state)
{
    (void)state;
    begin(LLAMA(",\"tie_word_embeddings\":true,\"rope_theta\":5e5"));
    add_llama();
    struct gs_store *store = finish_ok();

    assert_string_equal(gs_store_format(store), "safetensors");
    expect_str(store, "general.architecture", "llama");
    expect_uint(store, "llama.block_count", 1);
    expect_uint(store, "llama.context_length", 32);
    expect_uint(store, "llama.embedding_length", 8);
    expect_uint(store, "llama.feed_forward_length", 6);
    expect_uint(store, "llama.attention.head_count", 2);
    expect_uint(store, "llama.attention.head_count_kv", 1);
    expect_float(store, "llama.attention.layer_norm_rms_epsilon", 1e-5);
    expect_uint(store, "llama.rope.dimension_count", 4);
    expect_float(store, "llama.rope.freq_base", 5e5);
    expect_uint(store, "llama.vocab_size", 5);
    expect_uint(store, "general.file_type", 32); /* by the first matrix */
    expect_uint(store, "general.quantization_version", 2);
    expect_absent(store, "llama.attention.key_length");
    expect_absent(store, "llama.rope.scaling.type");

    /* Heads of 4: halves [0 1 | 2 3] become pairs. */
    expect(store, "blk.0.attn_q.weight", GS_TYPE_F32, 8, 8,
           (float[]){0, 20, 10, 30, 40, 60, 50, 70});
    expect(store, "blk.0.attn_q.bias", GS_TYPE_F32, 0, 8, (float[]){0, 2, 1, 3, 4, 6, 5, 7});
    expect(store, "blk.0.attn_k.weight", GS_TYPE_BF16, 8, 4, (float[]){0, 20, 10, 30});
    expect(store, "blk.0.attn_v.weight", GS_TYPE_F16, 8, 4, (float[]){0, 10, 20, 30});
    expect(store, "blk.0.attn_output.weight", GS_TYPE_BF16, 8, 8,
           (float[]){0, 10, 20, 30, 40, 50, 60, 70});
    expect(store, "blk.0.attn_norm.weight", GS_TYPE_F32, 0, 8, (float[]){0, 1, 2, 3, 4, 5, 6, 7});
    expect(store, "output_norm.weight", GS_TYPE_F32, 0, 8, (float[]){0, 1, 2, 3, 4, 5, 6, 7});
    assert_null(gs_store_find(store, "output.weight")); /* tied */
    assert_int_equal(gs_store_count(store), 9);
    gs_store_close(&store);
    clean();
}

static void untied_head_stays(void **state)
{
    (void)state;
    begin(LLAMA(""));
    add_llama();
    struct gs_store *store = finish_ok();
    expect(store, "output.weight", GS_TYPE_BF16, 8, 5, (float[]){0, 10, 20, 30, 40});
    gs_store_close(&store);
    clean();
}

/* Values of the reference formula for Llama 3.2 1B. */
static void llama3_scaling(void **state)
{
    const void *data;
    (void)state;
    begin("{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":1,\"hidden_size\":64,"
          "\"num_attention_heads\":1,\"rope_theta\":500000.0,\"rope_scaling\":{\"factor\":32.0,"
          "\"high_freq_factor\":4.0,\"low_freq_factor\":1.0,"
          "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"}}");
    struct gs_store *store = finish_ok();
    const struct gs_tensor *t = gs_store_find(store, "rope_freqs.weight");
    assert_non_null(t);
    assert_int_equal(t->dim[0], 32);
    assert_int_equal(gs_store_data(store, t, &data, &err), 0);
    const float *f = data;
    assert_true(f[0] == 1 && f[14] == 1 && f[18] == 32 && f[31] == 32);
    assert_true(fabs(f[15] - 1.6513293) < 1e-5);
    assert_true(fabs(f[16] - 3.2922628) < 1e-5);
    assert_true(fabs(f[17] - 9.6667309) < 1e-4);
    expect_absent(store, "llama.rope.scaling.type");
    gs_store_close(&store);
    clean();
}

static void other_scalings(void **state)
{
    struct gs_store *store;
    (void)state;
    begin(LLAMA(",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}"));
    store = finish_ok();
    expect_str(store, "llama.rope.scaling.type", "linear");
    expect_float(store, "llama.rope.scaling.factor", 4);
    gs_store_close(&store);
    clean();

    begin(LLAMA(",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":2.5,\"beta_fast\":16,"
                "\"rope_theta\":1e6,\"original_max_position_embeddings\":16}"));
    store = finish_ok();
    expect_str(store, "llama.rope.scaling.type", "yarn");
    expect_float(store, "llama.rope.scaling.factor", 2.5);
    expect_float(store, "llama.rope.scaling.yarn_beta_fast", 16);
    expect_uint(store, "llama.rope.scaling.original_context_length", 16);
    expect_float(store, "llama.rope.freq_base", 1e6);
    gs_store_close(&store);
    clean();
}

static void qwen3(void **state)
{
    (void)state;
    begin("{\"architectures\":[\"Qwen3ForCausalLM\"],\"num_hidden_layers\":1,\"hidden_size\":8,"
          "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":6,"
          "\"intermediate_size\":6,\"rms_norm_eps\":1e-6}");
    add(LAYER "self_attn.q_proj.weight", "BF16", 12, 8);
    add(LAYER "self_attn.q_norm.weight", "BF16", 6, 0);
    add(LAYER "self_attn.k_norm.weight", "BF16", 6, 0);
    struct gs_store *store = finish_ok();
    expect_uint(store, "qwen3.attention.key_length", 6);
    expect_uint(store, "qwen3.attention.value_length", 6);
    expect(store, "blk.0.attn_q.weight", GS_TYPE_BF16, 8, 12, /* not permuted */
           (float[]){0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110});
    expect(store, "blk.0.attn_q_norm.weight", GS_TYPE_F32, 0, 6, (float[]){0, 1, 2, 3, 4, 5});
    expect(store, "blk.0.attn_k_norm.weight", GS_TYPE_F32, 0, 6, (float[]){0, 1, 2, 3, 4, 5});
    gs_store_close(&store);
    clean();
}

/* A multimodal checkpoint: the text model lies one level deeper, and its config relies on the
 * defaults of transformers. */
static void gemma3(void **state)
{
    (void)state;
    begin("{\"architectures\":[\"Gemma3ForConditionalGeneration\"],\"vision_config\":{},"
          "\"text_config\":{\"num_hidden_layers\":1,\"hidden_size\":8,\"intermediate_size\":6,"
          "\"sliding_window\":512,\"vocab_size\":4,"
          "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8.0}}}");
    add("language_model.model.embed_tokens.weight", "BF16", 6, 8);
    add("language_model.model.norm.weight", "BF16", 8, 0);
    add("language_model.lm_head.weight", "BF16", 6, 8);
    add("language_model.model.layers.0.post_attention_layernorm.weight", "F16", 8, 0);
    add("language_model.model.layers.0.pre_feedforward_layernorm.weight", "F32", 8, 0);
    add("language_model.model.layers.0.post_feedforward_layernorm.weight", "F32", 8, 0);
    add("vision_tower.vision_model.embeddings.patch_embedding.weight", "BF16", 8, 8);
    add("multi_modal_projector.mm_input_projection_weight", "BF16", 8, 8);
    struct gs_store *store = finish_ok();
    expect_str(store, "general.architecture", "gemma3");
    expect_uint(store, "gemma3.attention.head_count", 8);
    expect_uint(store, "gemma3.attention.head_count_kv", 4);
    expect_uint(store, "gemma3.attention.key_length", 256);
    expect_uint(store, "gemma3.context_length", 131072);
    expect_uint(store, "gemma3.attention.sliding_window", 512);
    expect_float(store, "gemma3.attention.layer_norm_rms_epsilon", 1e-6);
    expect_float(store, "gemma3.rope.freq_base", 1e6);
    expect_str(store, "gemma3.rope.scaling.type", "linear");
    const float plus_one[] = {1, 2, 3, 4, 5, 6, 7, 8};
    expect(store, "output_norm.weight", GS_TYPE_F32, 0, 8, plus_one);
    expect(store, "blk.0.post_attention_norm.weight", GS_TYPE_F32, 0, 8, plus_one);
    expect(store, "blk.0.ffn_norm.weight", GS_TYPE_F32, 0, 8, plus_one);
    expect(store, "blk.0.post_ffw_norm.weight", GS_TYPE_F32, 0, 8, plus_one);
    /* rows beyond the vocabulary are left out */
    expect(store, "token_embd.weight", GS_TYPE_BF16, 8, 4, (float[]){0, 10, 20, 30});
    assert_int_equal(gs_store_count(store), 5);
    gs_store_close(&store);
    clean();
}

static void phi3(void **state)
{
    const void *data;
    (void)state;
    begin("{\"architectures\":[\"Phi3ForCausalLM\"],\"num_hidden_layers\":1,\"hidden_size\":8,"
          "\"num_attention_heads\":2,\"num_key_value_heads\":2,\"intermediate_size\":6,"
          "\"max_position_embeddings\":131072,\"original_max_position_embeddings\":4096,"
          "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"sliding_window\":null,"
          "\"rope_scaling\":{\"type\":\"longrope\",\"long_factor\":[1.5,2.5],"
          "\"short_factor\":[1,1.25]}}");
    add(LAYER "self_attn.qkv_proj.weight", "BF16", 24, 8);
    add(LAYER "mlp.gate_up_proj.weight", "BF16", 12, 8);
    struct gs_store *store = finish_ok();
    expect_uint(store, "phi3.rope.dimension_count", 4);
    expect_uint(store, "phi3.rope.scaling.original_context_length", 4096);
    expect_uint(store, "phi3.attention.sliding_window", 0);
    expect_float(store, "phi3.rope.scaling.attn_factor", 1.1902380714238083);
    expect(store, "rope_factors_long.weight", GS_TYPE_F32, 0, 2, (float[]){1.5f, 2.5f});
    expect(store, "rope_factors_short.weight", GS_TYPE_F32, 0, 2, (float[]){1, 1.25f});
    assert_int_equal(gs_store_data(store, gs_store_find(store, "blk.0.ffn_up.weight"), &data,
                                   &err), 0);
    assert_non_null(gs_store_find(store, "blk.0.attn_qkv.weight"));
    gs_store_close(&store);
    clean();
}

static void gpt2(void **state)
{
    (void)state;
    begin("{\"architectures\":[\"GPT2LMHeadModel\"],\"n_layer\":1,\"n_embd\":4,\"n_head\":2,"
          "\"n_ctx\":8,\"n_positions\":8,\"vocab_size\":3,\"n_inner\":null,"
          "\"layer_norm_epsilon\":1e-5}");
    add("transformer.wte.weight", "F32", 3, 4);
    add("transformer.wpe.weight", "F16", 8, 4);
    add("lm_head.weight", "F32", 3, 4);
    add("transformer.h.0.attn.bias", "F32", 8, 8); /* the causal mask */
    add("transformer.h.0.attn.masked_bias", "F32", 1, 0);
    add("transformer.h.0.attn.c_attn.weight", "F16", 4, 12);
    add("transformer.h.0.attn.c_attn.bias", "F16", 12, 0);
    add("transformer.h.0.mlp.c_fc.weight", "F32", 4, 16);
    add("transformer.ln_f.bias", "F32", 4, 0);
    struct gs_store *store = finish_ok();
    expect_uint(store, "gpt2.feed_forward_length", 16);
    expect_uint(store, "gpt2.context_length", 8);
    expect_float(store, "gpt2.attention.layer_norm_epsilon", 1e-5);
    expect(store, "blk.0.attn_qkv.weight", GS_TYPE_F16, 4, 12, /* its first row, upright */
           (float[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
    expect(store, "blk.0.attn_qkv.bias", GS_TYPE_F32, 0, 12,
           (float[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
    expect(store, "blk.0.ffn_up.weight", GS_TYPE_F32, 4, 16,
           (float[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
    expect(store, "position_embd.weight", GS_TYPE_F32, 4, 8,
           (float[]){0, 10, 20, 30, 40, 50, 60, 70});
    expect(store, "output_norm.bias", GS_TYPE_F32, 0, 4, (float[]){0, 1, 2, 3});
    assert_int_equal(gs_store_count(store), 6);
    gs_store_close(&store);
    clean();
}

static void gptneox(void **state)
{
    const float order[] = {0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11}; /* [q k v][head][D = 2] */
    float rows[12];
    (void)state;
    begin("{\"architectures\":[\"GPTNeoXForCausalLM\"],\"num_hidden_layers\":1,\"hidden_size\":4,"
          "\"num_attention_heads\":2,\"intermediate_size\":16,\"max_position_embeddings\":8,"
          "\"rotary_pct\":0.5,\"rotary_emb_base\":10000,\"layer_norm_eps\":1e-5,"
          "\"use_parallel_residual\":true,\"tie_word_embeddings\":false}");
    add("gpt_neox.embed_in.weight", "F16", 3, 4);
    add("embed_out.weight", "F16", 3, 4);
    add("gpt_neox.layers.0.attention.query_key_value.weight", "F16", 12, 4);
    add("gpt_neox.layers.0.attention.query_key_value.bias", "F16", 12, 0);
    add("gpt_neox.layers.0.attention.rotary_emb.inv_freq", "F16", 1, 0);
    add("gpt_neox.layers.0.mlp.dense_4h_to_h.weight", "F16", 4, 16);
    struct gs_store *store = finish_ok();
    bool parallel = false;
    assert_int_equal(gs_meta_get_bool(gs_store_meta(store), "gptneox.use_parallel_residual",
                                      &parallel, &err), 1);
    assert_true(parallel);
    expect_uint(store, "gptneox.rope.dimension_count", 1);
    for (size_t i = 0; i < 12; i++)
        rows[i] = 10 * order[i];
    expect(store, "blk.0.attn_qkv.weight", GS_TYPE_F16, 4, 12, rows);
    expect(store, "blk.0.attn_qkv.bias", GS_TYPE_F32, 0, 12, order);
    expect(store, "output.weight", GS_TYPE_F16, 4, 3, (float[]){0, 10, 20});
    gs_store_close(&store);
    clean();
}

static void sampling_defaults(void **state)
{
    static const char text[] = "{\"top_k\":20,\"top_p\":0.8,\"temperature\":0.7}";
    (void)state;
    begin(LLAMA(""));
    write_file(folder, "generation_config.json", text, sizeof text - 1);
    struct gs_store *store = finish_ok();
    expect_uint(store, "general.sampling.top_k", 20);
    expect_float(store, "general.sampling.top_p", 0.8);
    expect_float(store, "general.sampling.temp", 0.7);
    gs_store_close(&store);
    clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama),
        cmocka_unit_test(untied_head_stays),
        cmocka_unit_test(llama3_scaling),
        cmocka_unit_test(other_scalings),
        cmocka_unit_test(qwen3),
        cmocka_unit_test(gemma3),
        cmocka_unit_test(phi3),
        cmocka_unit_test(gpt2),
        cmocka_unit_test(gptneox),
        cmocka_unit_test(sampling_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
