/* SPDX-License-Identifier: MIT
 * An untrained model: sizes, a tokenizer and random numbers behind the face of a store.
 *
 * What opens a model (gs_lm_open) or writes one (gs_convert_store) takes it as if it were
 * a file. Weights are drawn when a tensor is first asked for, each from its own stream of
 * the seed, so neither order nor number of reads changes them:
 *
 *   matrices            normal, deviation 0.02 (Radford et al. 2019)
 *   attn_output, ffn_down   0.02 / sqrt(2 · n_layer): these add to the residual stream
 *   norms               1
 */
#ifndef GS_FILE_FRESH_H
#define GS_FILE_FRESH_H

#include "file/store.h"

/* The sizes of a llama model; the vocabulary is the tokenizer's. */
struct gs_model_sizes {
    uint32_t n_embd, n_layer, n_ff, n_ctx;
    uint32_t n_head, n_head_kv; /* n_head divides n_embd, n_head_kv divides n_head; 0: n_head */
    bool untied;                /* an output matrix of its own, else the embedding serves */
    float rope_base;            /* 0: 10000 */
    float norm_eps;             /* 0: 1e-5 */
    const char *name;           /* general.name; NULL: none */
};

/* Limits: n_embd, n_ff and n_ctx up to 2^20, n_layer up to 4096, an even head size. The
 * metadata of `tokenizer` (keys tokenizer.*) is copied. All tensors are F32. The store's
 * path, for messages, is "new model". */
int gs_model_create(const struct gs_model_sizes *sizes, const struct gs_meta *tokenizer,
                    uint64_t seed, struct gs_store **out, struct gs_err *err) GS_MUST_USE;

#endif
