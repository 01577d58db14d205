/* SPDX-License-Identifier: MIT
 * For tests of Hugging Face folders: one folder in the making, its tensors numbered. */
#ifndef GS_TEST_HF_CASE_H
#define GS_TEST_HF_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sys/stat.h>

#include "tests/unit/bytes.h"

#include "core/half.h"

static struct gs_err err;
static char folder[128];
static struct st_bytes s;
static struct bytes b;

static inline void begin(const char *config)
{
    make_folder(folder, sizeof folder);
    if (config)
        write_file(folder, "config.json", config, strlen(config));
    st_begin(&s);
}

static inline int finish(struct gs_store **store)
{
    st_end(&s, &b);
    write_file(folder, "model.safetensors", b.data, b.size);
    err = (struct gs_err){0};
    return gs_store_open(folder, store, &err);
}

static inline void clean(void)
{
    static const char *const names[] = {
        "config.json", "model.safetensors", "model.safetensors.index.json", "a.safetensors",
        "b.safetensors", "adapter_config.json", "adapter_model.safetensors",
        "pytorch_model.bin", "tokenizer.model", "generation_config.json",
    };
    for (size_t i = 0; i < GS_COUNT(names); i++)
        remove_file(folder, names[i]);
    assert_int_equal(rmdir(folder), 0);
}

static inline struct gs_store *finish_ok(void)
{
    struct gs_store *store;
    if (finish(&store))
        fail_msg("%s", err.msg);
    return store;
}

/* A tensor whose element at row r and column c is 10 r + c, in any float type. */
static inline void add(const char *name, const char *dtype, unsigned rows, unsigned cols)
{
    uint8_t data[4 * 256];
    char shape[32];
    size_t size = strcmp(dtype, "F32") ? 2 : 4;

    for (unsigned i = 0; i < rows * (cols ? cols : 1); i++) {
        float f = cols ? (float)(10 * (i / cols) + i % cols) : (float)i;
        uint16_t h = strcmp(dtype, "BF16") ? gs_f32_to_f16(f) : gs_f32_to_bf16(f);
        memcpy(data + i * size, size == 4 ? (void *)&f : (void *)&h, size);
    }
    if (cols)
        snprintf(shape, sizeof shape, "[%u,%u]", rows, cols);
    else
        snprintf(shape, sizeof shape, "[%u]", rows);
    st_add(&s, name, dtype, shape, data, size * rows * (cols ? cols : 1));
}

#define LLAMA(rest) \
    "{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":1,\"hidden_size\":8," \
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"intermediate_size\":6," \
    "\"max_position_embeddings\":32,\"rms_norm_eps\":1e-5,\"vocab_size\":5" rest "}"
#define LAYER "model.layers.0."

static inline void add_llama(void)
{
    add("model.embed_tokens.weight", "BF16", 5, 8);
    add("model.norm.weight", "BF16", 8, 0);
    add("lm_head.weight", "BF16", 5, 8);
    add(LAYER "input_layernorm.weight", "F16", 8, 0);
    add(LAYER "self_attn.q_proj.weight", "F32", 8, 8);
    add(LAYER "self_attn.q_proj.bias", "F16", 8, 0);
    add(LAYER "self_attn.k_proj.weight", "BF16", 4, 8);
    add(LAYER "self_attn.v_proj.weight", "F16", 4, 8);
    add(LAYER "self_attn.o_proj.weight", "BF16", 8, 8);
    add(LAYER "self_attn.rotary_emb.inv_freq", "F32", 2, 0);
    add(LAYER "mlp.down_proj.weight", "BF16", 8, 6);
}

#endif
