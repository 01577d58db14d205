/* SPDX-License-Identifier: MIT
 * Gradients of the layers of layers.h.
 *
 * There is no graph: a block knows its order, keeps what its backward reads (gs_saved) and
 * walks back through it. G stands for the gradient of the loss with respect to an output.
 * Where `add` is said the result is added to what is there, so that gradients of shared and
 * of repeated parameters accumulate; a NULL gradient of a parameter is not computed.
 *
 * A batch is B texts of T tokens, N = B·T rows of every activation; attention sees each text
 * by itself, from position 0. Work is split over outputs and every sum has a fixed order, so
 * gradients have the same bits for any number of threads. Equations: docs/train.md. */
#ifndef GS_MODEL_BACKWARD_H
#define GS_MODEL_BACKWARD_H

#include "linalg/space.h"
#include "model/layers.h"

/* What all of these compute with. */
struct gs_pass {
    struct gs_run run;          /* scratch: gs_pass_scratch floats a worker */
    struct gs_mul_space *space;
    float *stats;               /* (N · max(H, 1), 2) */
    size_t B, T;
};

/* ---- linear_backward.c ---- */

/* y (N, rows) = x (N, cols) · Wᵀ + bias, as gs_linear_forward for an F32 matrix, in the
 * order of linalg/mul.h. */
void gs_linear_train(const struct gs_pass *pass, const struct gs_matrix *w, const float *bias,
                     const float *x, size_t N, float *y);
/* dx (N, cols) = or += G·W; dw (rows, cols) += Gᵀx; db (rows) += ΣG. */
void gs_linear_backward(const struct gs_pass *pass, const struct gs_matrix *w, const float *x,
                        const float *G, size_t N, bool add, float *dx, float *dw, float *db);
/* out (n) += Σ over rows of x (rows, n), in f64. */
void gs_sum_rows(const struct gs_pass *pass, const float *x, size_t rows, size_t n, float *out);

/* ---- norm_backward.c ---- */

/* dx (rows, n) = or += the gradient; without `add` dx may be G. */
void gs_norm_backward(const struct gs_pass *pass, enum gs_norm_kind kind, const float *x,
                      size_t rows, size_t n, const float *weight, float eps, const float *G,
                      bool add, float *dx, float *dweight, float *dbias);

/* ---- elementwise_backward.c ---- */

/* Of hidden (n) = act(gate) · up, or act(gate) if up is NULL: G (n) becomes the gradient of
 * gate, dup (n) that of up. */
void gs_activation_backward(const struct gs_pass *pass, enum gs_activation act,
                            const float *gate, const float *up, size_t n, float *G,
                            float *dup);
/* G (n) *= 1 − (y / cap)², y (n) being the capped values. */
void gs_softcap_backward(const struct gs_pass *pass, float cap, const float *y, size_t n,
                         float *G);

/* ---- embedding_backward.c ---- */

/* dw (V, C) += scale · G[t] at row tokens[t]. */
void gs_embedding_backward(const struct gs_pass *pass, const int32_t *tokens, size_t N,
                           float scale, const float *G, size_t C, float *dw);
/* dw (ctx, C) += ΣG over the texts. */
void gs_position_backward(const struct gs_pass *pass, const float *G, size_t C, float *dw);

/* ---- attention_backward.c ---- */

struct gs_heads {
    size_t H, G, D, Dv;
};

/* y (N, H, Dv) and soft (N, H, 2): the largest score and one over the sum of exponentials of
 * every query, from q (N, H, D), k (N, G, D), v (N, G, Dv). */
void gs_attention_train(const struct gs_pass *pass, const struct gs_attention *a,
                        const struct gs_heads *heads, const float *q, const float *k,
                        const float *v, float *y, float *soft);
/* dq, dk, dv of the shapes of q, k, v; overwritten. dy is G. */
void gs_attention_backward(const struct gs_pass *pass, const struct gs_attention *a,
                           const struct gs_heads *heads, const float *q, const float *k,
                           const float *v, const float *y, const float *soft, const float *dy,
                           float *dq, float *dk, float *dv);
size_t gs_attention_train_scratch(const struct gs_heads *heads, size_t T, bool softcap);

/* ---- block_backward.c ---- */

#define M(field, name, in, out) float *field;
#define V(field, name, n) float *field;
/* A gradient beside every weight; NULL: not wanted. */
struct gs_model_grads {
#define GS_MODEL_TENSORS
#include "model/weights.def"
#undef GS_MODEL_TENSORS
};

struct gs_block_grads {
#define GS_BLOCK_TENSORS
#include "model/weights.def"
#undef GS_BLOCK_TENSORS
};
#undef M
#undef V

/* What a block's backward reads: x is the block's input, the rest is made by
 * gs_block_train. Shapes as in layers.h with N for T. */
struct gs_saved {
    float *x, *norm;
    float *q_raw, *k_raw; /* before their norms; only with q/k norms */
    float *q, *k, *v;     /* after norm and RoPE */
    float *soft;          /* (N, H, 2) */
    float *att;
    float *att_out;       /* (N, C) before the post-norm; only with one */
    float *mid;           /* (N, C) what the FFN's norm reads; x itself if parallel */
    float *ffn_norm;
    float *gate, *up;     /* (N, F) inputs of the activation; without gates only `gate` */
    float *hidden;
    float *ffn_out;       /* (N, C) before the post-norm; only with one */
};

/* Gradients between the layers of a block; lives only during gs_block_backward. */
struct gs_between {
    float *norm, *branch, *kept; /* (N, C) each; kept only for parallel residuals */
    float *q, *k, *v, *att;      /* as in gs_saved */
    float *hidden, *up;          /* (N, F) */
};

/* Floats of the arrays of both structs for N tokens. */
size_t gs_saved_floats(const struct gs_config *config, size_t N);
size_t gs_between_floats(const struct gs_config *config, size_t N);
/* Lays the arrays into `base` (64-aligned, so many floats). */
void gs_saved_place(const struct gs_config *config, size_t N, float *base,
                    struct gs_saved *out);
void gs_between_place(const struct gs_config *config, size_t N, float *base,
                      struct gs_between *out);

/* Floats of scratch for each worker. */
size_t gs_pass_scratch(const struct gs_config *config, size_t T);

/* The block's output y (N, C; not s->x) from s->x; branch (N, C) is scratch. rope
 * (T, rope_dims / 2, 2) is that of the layer. */
void gs_block_train(const struct gs_pass *pass, const struct gs_config *config, uint32_t il,
                    const struct gs_block_weights *w, const float *rope, struct gs_saved *s,
                    float *branch, float *y);
/* dx (N, C): on entry G of the block's output, on return that of its input. */
void gs_block_backward(const struct gs_pass *pass, const struct gs_config *config, uint32_t il,
                       const struct gs_block_weights *w, const float *rope,
                       const struct gs_saved *s, const struct gs_between *b, float *dx,
                       struct gs_block_grads *grads);

/* ---- loss.c ---- */

/* Targets below 0 do not count. Each row of logits (n, V) becomes weight times its gradient,
 * loss (n) the row's −log p(target). */
void gs_cross_entropy(const struct gs_pass *pass, float *logits, const int32_t *target,
                      size_t n, size_t V, float weight, double *loss);
/* loss = KL(teacher ‖ student) of each row; both are logits (n, V). With 0 < top < V both
 * are renormalised over the teacher's `top` most likely tokens, and the others' gradients
 * are 0. Student's rows become weight times the gradient; with `top` the teacher's other
 * logits become −inf. */
void gs_kl_divergence(const struct gs_pass *pass, float *student, float *teacher, size_t n,
                      size_t V, size_t top, float weight, double *loss);

#endif
