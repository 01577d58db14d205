/* SPDX-License-Identifier: MIT
 * A model's weights, bound to the tensors of a store.
 *
 * Matrices stay where the store maps them, in their stored type; vectors (norms, biases,
 * RoPE factors) are small and become f32. Fused projections are split here into views of
 * their rows, so that no layer knows of them. */
#ifndef GS_MODEL_WEIGHTS_H
#define GS_MODEL_WEIGHTS_H

#include "core/arena.h"
#include "model/model.h"
#include "model/native.h"
#include "model/part_file.h"

/* W (rows, cols), rows one after another; data NULL = the model has no such matrix. A native
 * one is rows `first` … of what `native` describes; type and row_bytes do not apply. */
struct gs_matrix {
    const void *data;
    enum gs_type type;
    size_t rows, cols, row_bytes;
    const struct gs_native *native; /* NULL: stored in `type` */
    const struct gs_part_stack *stack; /* blocks of signs, from row `first` on; the same */
    size_t first;
};

#define M(field, name, in, out) struct gs_matrix field;
#define V(field, name, n) const float *field;
struct gs_model_weights {
#define GS_MODEL_TENSORS
#include "model/weights.def"
#undef GS_MODEL_TENSORS
};

struct gs_block_weights {
#define GS_BLOCK_TENSORS
#include "model/weights.def"
#undef GS_BLOCK_TENSORS
};
#undef M
#undef V

/* Points q, k, v, gate and up into the fused matrices, where there are such. */
void gs_block_split(const struct gs_config *config, struct gs_block_weights *block);

struct gs_lm {
    struct gs_config config;
    struct gs_store *store; /* borrowed */
    const struct gs_lm_options *options; /* while it is opened */
    struct gs_model_weights model;
    struct gs_block_weights *blocks; /* n_layer of them */
    struct gs_arena vectors;
    struct gs_natives *natives; /* NULL: none */
    struct gs_part_file *parts; /* NULL: none */
};

#endif
