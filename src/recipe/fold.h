/* SPDX-License-Identifier: MIT
 * Transforms folded into a model's weights: the function stays, in the same tensors, so any
 * reader of the file computes it; what is rounded afterwards is easier to round.
 *
 *   x̂ = x / rms(x),  γ the norm's weights,  R orthogonal,  P one for each key/value head,
 *   s > 0, ∘ channel by channel
 *
 *   rotate-residual  E ← E R,  W ← W diag(γ) R for what reads a norm of the stream, γ ← 1,
 *                    W ← Rᵀ W for what adds to it (QuaRot, arXiv:2404.00456): an RMS does not
 *                    see R. The head reads the last norm, so a tied one must be untied.
 *   untie            the head becomes a matrix of its own: more bytes
 *   rotate-values    W_v ← Pᵀ W_v,  W_o ← W_o P,  P shared by the query heads of a group
 *   scale-values     W_v ← W_v / s (rows),  W_o ← W_o s (columns)
 *   scale-norms      γ ← γ / s,  W ← W s (columns) for what reads it (SmoothQuant,
 *                    arXiv:2211.10438; AWQ, arXiv:2306.00978)
 *   scale-ffn        W_up ← W_up / s (rows),  W_down ← W_down s: the gate multiplies behind it
 *
 * Rotations are random Hadamard matrices. Scales come from what feedback leaves to do: with
 * H = L D Lᵀ the error of a column costs D_j, so in a run that shares its scale
 *
 *     s_j = (D_j / σ_j²)^β,  σ_j² = Σ_r W_rj²,     β = 1/4 by Cauchy-Schwarz,
 *
 * H scales along exactly (L ← S⁻¹ L S, D ← S⁻² D), and of a few β the one with the least error of
 * rounded rows is taken, if other rows agree.
 *
 * First everything is decided, in one pass over the calibration set (fold_fit.c), then the
 * folded model is written as a file of f32 (fold.c); blocks are changed in fold_block.c.
 * Private to src/recipe. */
#ifndef GS_RECIPE_FOLD_H
#define GS_RECIPE_FOLD_H

#include "model/layers.h"
#include "recipe/calib.h"

enum gs_fold_id {
    GS_FOLD_UNTIE, GS_FOLD_ROTATE_RESIDUAL, GS_FOLD_ROTATE_VALUES, GS_FOLD_SCALE_VALUES,
    GS_FOLD_SCALE_NORMS, GS_FOLD_SCALE_FFN, GS_FOLD_COUNT
};

struct gs_fold_slot {
    const char *name;
    bool fitted;    /* to second moments: needs a calibration set */
    bool on_demand; /* `auto` leaves it alone */
    /* Why the model cannot take it, all of `wanted` (bits by enum gs_fold_id) given; or NULL. */
    const char *(*refuse)(const struct gs_lm *lm, unsigned wanted);
};

const struct gs_fold_slot *gs_fold_slot(enum gs_fold_id id);

/* Scales of a block, by what is divided. */
enum gs_fold_scale { GS_SCALE_ATTN_NORM, GS_SCALE_VALUES, GS_SCALE_FFN_NORM, GS_SCALE_FFN,
                     GS_SCALE_COUNT };

struct gs_fold_layer {
    bool rotate_values;
    float *scale[GS_SCALE_COUNT]; /* NULL: ones; (C), (G, Dv), (C), (F) */
};

struct gs_fold_options {
    const char *list;              /* names with commas, or "auto" */
    uint64_t seed;                 /* of random signs */
    double damping;                /* of H, by channel, as in the recipe; 0: gs_recipe_damping */
    const struct gs_calib *calib;  /* NULL: only what needs none */
    struct gs_decoder *decoder;    /* of the model, for calib->ctx tokens; NULL without calib */
    const int *types;              /* by tensor of the store: the block type that it is to become,
                                      negative where it becomes none; NULL without calib */
    struct gs_team *team;
    gs_progress_fn progress;
    void *progress_ctx;
};

/* What became of a slot. */
struct gs_fold_outcome {
    size_t on, sites;   /* places in the model where it could be, and where it is */
    double log_gain;    /* Σ ln(error without it / with it) over the matrices of all places; where
                           it is not done, 0 */
    double log_tried;   /* the same, where it is not done: as it was measured */
    size_t matrices;
    const char *why;    /* not asked for by name, and impossible; or NULL */
};

struct gs_fold {
    const struct gs_lm *lm;
    struct gs_fold_options options;
    bool by_name;               /* not `auto` */
    unsigned wanted;            /* bits: asked for and possible */
    unsigned on;                /* bits: done somewhere */
    struct gs_transform *residual; /* R; NULL: none */
    struct gs_fold_layer *layers;
    struct gs_fold_outcome outcomes[GS_FOLD_COUNT];
    struct gs_arena arena;      /* scales */
    uint64_t hash;              /* of all decisions; 0: nothing was folded */
    char names[128];            /* of what is on, with commas */
    char text[1200];            /* a line for each slot: what it bought, or why it is off */
    uint64_t memory;            /* the most that deciding and folding hold */
};

/* Can the list be folded into the model? A slot that was asked for by name and cannot be is an
 * error with the reason. */
int gs_fold_check(const struct gs_lm *lm, const char *list, bool calibrated, struct gs_err *err)
    GS_MUST_USE;

/* Decides; checks the list too. */
int gs_fold_create(const struct gs_lm *lm, const struct gs_fold_options *options,
                   struct gs_fold **out, struct gs_err *err) GS_MUST_USE;
void gs_fold_destroy(struct gs_fold **fold);

/* The folded model as a GGUF file: matrices that may have changed in F32, the rest as stored.
 * bytes may be NULL. Tensors of the source are released (file/store.h): the model that was
 * folded runs no more. */
int gs_fold_write(const struct gs_fold *fold, const char *path, uint64_t *bytes,
                  struct gs_err *err) GS_MUST_USE;

/* Bytes of that file. */
int gs_fold_size(const struct gs_fold *fold, uint64_t *bytes, struct gs_err *err) GS_MUST_USE;

/* Written, and opened; the file has no name any more. `beside`: a path in whose folder it may
 * lie. */
int gs_fold_open(const struct gs_fold *fold, const char *beside, struct gs_store **out,
                 uint64_t *bytes, struct gs_err *err) GS_MUST_USE;

/* ---- fold_block.c: one block in f32, changed in place ----------------------------------------- */

struct gs_fold_tensor {
    const struct gs_tensor *source;
    float *data;
};

struct gs_fold_block {
    uint32_t il;
    struct gs_block_weights w; /* points into data */
    struct gs_fold_tensor tensors[GS_SLOT_COUNT];
    size_t n;
};

int gs_fold_load(const struct gs_fold *fold, uint32_t il, struct gs_fold_block *out,
                 struct gs_err *err) GS_MUST_USE;
void gs_fold_unload(struct gs_fold_block *block);

/* R and γ into a block. */
int gs_fold_rotate_residual(const struct gs_fold *fold, struct gs_fold_block *block,
                            struct gs_err *err) GS_MUST_USE;
/* P into values and outputs, or out of them again. */
int gs_fold_rotate_values(const struct gs_fold *fold, struct gs_fold_block *block, bool back,
                          struct gs_err *err) GS_MUST_USE;
/* H ← P H Pᵀ for the second moments h (H·Dv, H·Dv) of the outputs' input. */
int gs_fold_rotate_moments(const struct gs_fold *fold, uint32_t il, double *h,
                           struct gs_err *err) GS_MUST_USE;
void gs_fold_scale_block(const struct gs_fold *fold, struct gs_fold_block *block,
                         enum gs_fold_scale which, const float *scale);

/* Which scale of the values goes with channel c of the outputs' input. */
static inline size_t gs_fold_value_of(const struct gs_config *c, size_t channel)
{
    size_t head = channel / c->head_v;

    return head / (c->n_head / c->n_head_kv) * c->head_v + channel % c->head_v;
}

/* ---- fold_fit.c: decisions -------------------------------------------------------------------- */

/* Fills layers, outcomes and, for `auto`, takes rotate-residual out of `wanted` and frees
 * `residual` where it does not help. */
int gs_fold_fit(struct gs_fold *fold, struct gs_err *err) GS_MUST_USE;

#endif
