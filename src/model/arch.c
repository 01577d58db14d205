/* SPDX-License-Identifier: MIT
 * The list of architectures.
 *
 * Names of tensors, pairing of rotated dimensions and constants are those of GGUF files in
 * the field. Where the original model and the stock GGUF runtime (llama.cpp) differ and the
 * file does not tell, the entry follows the runtime and says so:
 *   gptneox  Pythia was trained with the erf form of GELU; the runtime computes the tanh form.
 * and where the runtime ignores what the file does tell, the entry follows the file:
 *   llama, phi3  attention.sliding_window (Mistral 7B v0.1, Phi-3-mini-4k) is kept. */
#include "model/arch.h"

#include <string.h>

#define NORM_WEIGHTS (GS_BIT(attn_norm) | GS_BIT(ffn_norm))
#define NORM_BIASES (GS_BIT(attn_norm_b) | GS_BIT(ffn_norm_b) | GS_BIT(output_norm_b))
#define MODEL_WEIGHTS (GS_BIT(token_embd) | GS_BIT(output_norm))
/* attn_qkv, where a file has it, takes the place of these. */
#define QKV (GS_BIT(attn_q) | GS_BIT(attn_k) | GS_BIT(attn_v))
#define QKV_BIASES \
    (GS_BIT(attn_q_b) | GS_BIT(attn_k_b) | GS_BIT(attn_v_b) | GS_BIT(attn_qkv_b))
#define GATED_FFN (GS_BIT(ffn_gate) | GS_BIT(ffn_up) | GS_BIT(ffn_down))

#define DECODER (MODEL_WEIGHTS | NORM_WEIGHTS | QKV | GS_BIT(attn_output))
#define ANY_DECODER (GS_BIT(output) | GS_BIT(attn_qkv) | QKV_BIASES)

/* What GPT-2 and GPT-NeoX share: layer norms, fused q/k/v and biases everywhere. */
#define BIASED_DECODER                                                              \
    (MODEL_WEIGHTS | NORM_WEIGHTS | NORM_BIASES | GS_BIT(attn_qkv) |                \
     GS_BIT(attn_qkv_b) | GS_BIT(attn_output) | GS_BIT(attn_output_b) |             \
     GS_BIT(ffn_up) | GS_BIT(ffn_up_b) | GS_BIT(ffn_down) | GS_BIT(ffn_down_b))

static const struct gs_arch archs[] = {
    {
        .name = "llama", /* Llama 1 to 3.x, Mistral, SmolLM, SmolLM2, TinyLlama */
        .norm = GS_NORM_RMS, .rope = GS_ROPE_INTERLEAVED, .act = GS_ACT_SILU, .gated = true,
        .rope_whole_head = true, .window = GS_WINDOW_ALL,
        .need = DECODER | GATED_FFN,
        .may = ANY_DECODER | GS_BIT(attn_output_b) | GS_BIT(ffn_gate_b) | GS_BIT(ffn_up_b) |
               GS_BIT(ffn_down_b) | GS_BIT(rope_freqs) | GS_BIT(rope_long) | GS_BIT(rope_short),
    },
    {
        .name = "qwen2",
        .norm = GS_NORM_RMS, .rope = GS_ROPE_HALVES, .act = GS_ACT_SILU, .gated = true,
        .rope_whole_head = true,
        .need = DECODER | GATED_FFN, .may = ANY_DECODER | GS_BIT(output_b),
    },
    {
        .name = "qwen3",
        .norm = GS_NORM_RMS, .rope = GS_ROPE_HALVES, .act = GS_ACT_SILU, .gated = true,
        .rope_whole_head = true,
        .need = DECODER | GATED_FFN | GS_BIT(attn_q_norm) | GS_BIT(attn_k_norm),
        .may = ANY_DECODER,
    },
    {
        .name = "gemma3", /* the text model */
        .norm = GS_NORM_RMS, .rope = GS_ROPE_HALVES, .act = GS_ACT_GELU_TANH, .gated = true,
        .scale_embd = true, .window = GS_WINDOW_PATTERN, .window_pattern = 6,
        .rope_base_local = 10000.0f, .attn_scale_layers = 62, /* 27B */
        .need = DECODER | GATED_FFN | GS_BIT(attn_q_norm) | GS_BIT(attn_k_norm) |
                GS_BIT(attn_post_norm) | GS_BIT(ffn_post_norm),
        .may = ANY_DECODER,
    },
    {
        .name = "phi3",
        .norm = GS_NORM_RMS, .rope = GS_ROPE_HALVES, .act = GS_ACT_SILU, .gated = true,
        .window = GS_WINDOW_ALL,
        .need = DECODER | GS_BIT(ffn_gate_up) | GS_BIT(ffn_down),
        .may = ANY_DECODER | GS_BIT(rope_long) | GS_BIT(rope_short),
    },
    {
        .name = "gpt2",
        .norm = GS_NORM_LAYER, .rope = GS_ROPE_NONE, .act = GS_ACT_GELU_TANH,
        .need = BIASED_DECODER | GS_BIT(position_embd), .may = GS_BIT(output),
    },
    {
        .name = "gptneox", /* Pythia */
        .norm = GS_NORM_LAYER, .rope = GS_ROPE_HALVES, .act = GS_ACT_GELU_TANH,
        .parallel = true,
        .need = BIASED_DECODER, .may = GS_BIT(output),
    },
};

const struct gs_arch *gs_arch_at(size_t index)
{
    return index < GS_COUNT(archs) ? &archs[index] : NULL;
}

const struct gs_arch *gs_arch_find(const char *name, size_t n)
{
    for (size_t i = 0; i < GS_COUNT(archs); i++)
        if (strlen(archs[i].name) == n && !memcmp(archs[i].name, name, n))
            return &archs[i];
    return NULL;
}
