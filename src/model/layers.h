/* SPDX-License-Identifier: MIT
 * The layers of a transformer as functions over f32 activations.
 *
 * Every gs_X_forward reads its inputs, writes its output and keeps nothing, so that a
 * gs_X_backward can stand beside it. Sizes were checked when the model and the decoder were
 * made; nothing here allocates or fails. Work is split over outputs and every output is
 * computed by the same operations in the same order, whatever the number of tokens in the
 * batch, of threads, or the kernel level: the same bits always.
 *
 * T tokens, C = n_embd, F = n_ff, H query heads, G key/value heads, D and Dv their sizes;
 * activations are row-major, one token after another. */
#ifndef GS_MODEL_LAYERS_H
#define GS_MODEL_LAYERS_H

#include "kernels/kernels.h"
#include "model/arch.h"
#include "model/weights.h"

/* Is shown each input x (T, w->cols) that a linear layer is about to multiply with w: how
 * calibration sees them. */
typedef void (*gs_tap_fn)(void *ctx, const struct gs_matrix *w, const float *x, size_t T);

/* What a layer computes with. */
struct gs_run {
    struct gs_team *team;
    const struct gs_kernels *k;
    float *scratch; /* scratch_size floats for each worker of the team */
    size_t scratch_size;
    float *mixed;   /* room for the transformed input of a native matrix: tokens of a batch
                       times the widest input; may be NULL without native matrices */
    const struct gs_int8 *int8; /* room for inputs as 8-bit integers: products with quantized
                       matrices are then taken in these. NULL: in f32, without rounding x */
    float *parts;   /* room for gs_attention_parts of the largest cache; only with a team */
    gs_tap_fn tap;  /* or NULL */
    void *tap_ctx;
};

/* The least multiplications worth handing to another thread: about a microsecond. */
#define GS_TASK_PRODUCTS ((size_t)16 * 1024)

static inline float *gs_run_scratch(const struct gs_run *run, int worker)
{
    return run->scratch + (size_t)worker * run->scratch_size;
}

/* ---- linear.c ---- */

/* y (T, rows) = x (T, cols) · Wᵀ + bias (rows; may be NULL). */
void gs_linear_forward(const struct gs_run *run, const struct gs_matrix *w, const float *bias,
                       const float *x, size_t T, float *y);

/* One of several products with the same input. */
struct gs_product {
    const struct gs_matrix *w;
    const float *bias; /* may be NULL */
    float *y;          /* (T, rows) */
};

/* The same for `count` matrices that all read x: what they share is computed once. */
void gs_linears_forward(const struct gs_run *run, const struct gs_product *products,
                        size_t count, const float *x, size_t T);

/* A norm before products (norm.c). */
struct gs_norm {
    enum gs_norm_kind kind;
    const float *weight, *bias; /* (cols); bias may be NULL */
    float eps;
    float *room; /* (T, cols) for its result, where that is needed as a whole */
};

/* The same of norm(x), or of x if norm is NULL. In integers, a token is normed, transformed and
 * rounded by one worker in its cache, once for each different transform. */
void gs_normed_linears_forward(const struct gs_run *run, const struct gs_norm *norm,
                               const struct gs_product *products, size_t count, const float *x,
                               size_t T);

/* Floats of scratch for matrices of at most `cols` columns, native ones with transforms of
 * at most that size included. */
size_t gs_linear_scratch(size_t cols);

/* The 8-bit path for stored types that have one (linear_int8.c). */
size_t gs_stored_int8_scratch(size_t cols);
bool gs_stored_has_int8(const struct gs_run *run, const struct gs_matrix *w);
void gs_stored_int8_forward(const struct gs_run *run, const struct gs_norm *norm,
                            const struct gs_product *products, size_t count, const float *x,
                            size_t T);

/* The native paths, called by the above: in f32 (native_linear.c), and in 8-bit integers, for
 * matrices with one transform of their input, if gs_native_has_int8 (native_int8.c). */
void gs_native_forward(const struct gs_run *run, const struct gs_matrix *w, const float *bias,
                       const float *x, size_t T, float *y);
bool gs_native_has_int8(const struct gs_native *w);
size_t gs_native_int8_scratch(void); /* floats */
void gs_native_int8_forward(const struct gs_run *run, const struct gs_norm *norm,
                            const struct gs_product *products, size_t count, const float *x,
                            size_t T);

/* ---- norm.c ---- */

/* y (rows, n) = norm(x) · weight (n) + bias (n; may be NULL), each row by itself; y may be x. */
void gs_norm_forward(const struct gs_run *run, enum gs_norm_kind kind, const float *x,
                     size_t rows, size_t n, const float *weight, const float *bias, float eps,
                     float *y);

/* One row x (n), normed. */
void gs_norm_row(const struct gs_kernels *k, const struct gs_norm *norm, const float *x,
                 size_t n, float *y);

/* ---- elementwise.c ---- */

/* y = x + y (n). */
void gs_add_forward(const struct gs_run *run, const float *x, float *y, size_t n);
/* x (n) = act(x) · up (n), or act(x) if up is NULL. */
void gs_activation_forward(const struct gs_run *run, enum gs_activation act, const float *up,
                           float *x, size_t n);
/* x (n) = cap · tanh(x / cap). */
void gs_softcap_forward(const struct gs_run *run, float cap, float *x, size_t n);

/* ---- embedding.c ---- */

/* y (T, C) = scale · W[token]. */
void gs_embedding_forward(const struct gs_run *run, const struct gs_matrix *w,
                          const int32_t *tokens, size_t T, float scale, float *y);
/* y (T, C) += W[first + t]; C floats of scratch. */
void gs_position_forward(const struct gs_run *run, const struct gs_matrix *w, size_t first,
                         size_t T, float *y);

/* ---- rope.c ---- */

/* Frequencies (rope_dims / 2, radians a position) of the layers that are windowed or not, for
 * a context of `ctx` positions; returns the factor on cosine and sine. */
double gs_rope_frequencies(const struct gs_config *config, const struct gs_model_weights *m,
                           bool windowed, uint32_t ctx, double *freq);
/* table (T, n_freq, 2): cosine and sine of position · freq, times scale. */
void gs_rope_angles(const struct gs_run *run, const double *freq, size_t n_freq, double scale,
                    size_t first, size_t T, float *table);
/* Rotates the first 2·n_freq dimensions of each head of x (T, heads, D) in place. */
void gs_rope_forward(const struct gs_run *run, enum gs_rope_kind kind, const float *table,
                     size_t n_freq, size_t T, size_t heads, size_t D, float *x);
/* G of the rotated heads becomes that of the heads before. */
void gs_rope_backward(const struct gs_run *run, enum gs_rope_kind kind, const float *table,
                      size_t n_freq, size_t T, size_t heads, size_t D, float *G);

/* ---- kv.c ---- */

/* Positions of a chunk of the cache, and of the sums of attention. */
#define GS_KV_CHUNK ((size_t)256)

/* Keys and values of one layer: chunk c at data + c mod chunks · stride. */
struct gs_kv {
    char *data;
    size_t stride; /* bytes from a chunk to the next */
    size_t chunks; /* kept at a time */
    size_t room;   /* positions of a chunk that are kept: GS_KV_CHUNK, or a smaller multiple of
                      32 where the whole context is that small */
    enum gs_type type; /* F16 or F32 */
    size_t heads, head_k, head_v;
};

/* n rounded up to whole rows of 32. */
static inline size_t gs_kv_wide(size_t n)
{
    return (n + GS_PANEL_F32 - 1) / GS_PANEL_F32 * GS_PANEL_F32;
}

/* Bytes of a chunk of this layer, from `room`, `type` and sizes. */
size_t gs_kv_chunk_bytes(const struct gs_kv *kv);
/* The rows of keys (D, 32) whose columns are positions at / 32 · 32 … of a chunk; rows of
 * values (…, 32) from position `at` on, whose columns are dimensions d / 32 · 32 … */
void *gs_kv_keys(const struct gs_kv *kv, size_t head, size_t chunk, size_t at);
void *gs_kv_values(const struct gs_kv *kv, size_t head, size_t chunk, size_t at, size_t d);

/* Rounds k (T, G, D) and v (T, G, Dv) to the cache's type at positions first … first+T-1. */
void gs_kv_store(const struct gs_run *run, const struct gs_kv *kv, const float *k,
                 const float *v, size_t first, size_t T);

/* ---- attention.c ---- */

struct gs_attention {
    size_t heads;       /* H, a multiple of kv->heads */
    size_t window;      /* positions seen, the own one included; 0 = all before */
    float scale, softcap;
};

/* y (T, H, Dv) = softmax(scale · q kᵀ) v for q (T, H, D) at positions first … first+T-1,
 * whose keys and values are in the cache. */
void gs_attention_forward(const struct gs_run *run, const struct gs_attention *a,
                          const struct gs_kv *kv, const float *q, size_t first, size_t T,
                          float *y);
/* Floats of scratch, and of run->parts for H query heads. */
size_t gs_attention_scratch(size_t head_k, size_t head_v);
size_t gs_attention_parts(const struct gs_kv *kv, size_t heads);

/* ---- ffn.c ---- */

/* y (T, C) = down(act(gate(n)) · up(n)), or down(act(up(n))) without gate, for n = norm(x), or
 * x if norm is NULL. hidden and hidden_up (T, F) are overwritten. */
void gs_ffn_forward(const struct gs_run *run, enum gs_activation act,
                    const struct gs_block_weights *w, const struct gs_norm *norm, const float *x,
                    size_t T, float *hidden, float *hidden_up, float *y);

/* ---- block.c ---- */

/* Activations of a batch; what a block reads and leaves is x, the rest is its own. */
struct gs_activations {
    float *x;         /* (T, C) the residual stream */
    float *norm;      /* (T, C) */
    float *q, *k, *v; /* (T, H, D), (T, G, D), (T, G, Dv) */
    float *att;       /* (T, H, Dv) */
    float *branch;    /* (T, C) what attention or FFN add to x */
    float *hidden, *hidden_up; /* (T, F) */
    float *rope, *rope_local;  /* (T, rope_dims / 2, 2); local: windowed layers */
};

/* A block's halves, each with its addition to the residual stream. With a parallel residual
 * there is only the whole. */
enum gs_block_part { GS_BLOCK_ATTENTION = 1, GS_BLOCK_FFN = 2, GS_BLOCK_WHOLE = 3 };

/* Piece by piece, for calibration (decoder.c): every call stands for one text of n tokens
 * from position 0; w are block il's weights, or others that take their place. x (n, C) is
 * the residual stream. The cache of block 0 is overwritten. */
struct gs_decoder;
void gs_decoder_tap(struct gs_decoder *d, gs_tap_fn tap, void *ctx);
int gs_decoder_embed(struct gs_decoder *d, const int32_t *tokens, size_t n, float *x,
                     struct gs_err *err) GS_MUST_USE;
void gs_decoder_block(struct gs_decoder *d, uint32_t il, const struct gs_block_weights *w,
                      enum gs_block_part part, float *x, size_t n);
/* y (n, C): what the output matrix reads. */
void gs_decoder_final_norm(struct gs_decoder *d, const float *x, size_t n, float *y);
/* (C) of each token from `first` on of the last forward batch: what the output matrix reads. */
const float *gs_decoder_hidden(const struct gs_decoder *d, size_t first);
/* out (n, V): the logits of y (n, C); n at most the batch. */
void gs_decoder_head(struct gs_decoder *d, const float *y, size_t n, float *out);

void gs_block_forward(const struct gs_run *run, const struct gs_config *config, uint32_t il,
                      const struct gs_block_weights *w, const struct gs_kv *kv, size_t first,
                      size_t T, enum gs_block_part part, const struct gs_activations *act);

#endif
