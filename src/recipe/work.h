/* SPDX-License-Identifier: MIT
 * What the steps of quantizing share. Private to src/recipe.
 *
 *   states.c    hidden states of the calibration set
 *   moments.c   Hessians from the calibration set
 *   layer.c     one block: rounding
 *   layer_stock.c  the same to block types
 *   layer_part.c  the same to codebooks
 *   rescale.c   the transform of an input
 *   order.c     which pieces of blobs are worth their bytes
 *   predictions.c  what a change does to predictions
 *   advance.c   moving the states through what is rounded
 *   quantize.c  the order of steps, the plan's report, the file */
#ifndef GS_RECIPE_WORK_H
#define GS_RECIPE_WORK_H

#include "file/gguf.h"
#include "linalg/factor.h"
#include "model/layers.h"
#include "recipe/calib.h"
#include "recipe/fisher.h"
#include "recipe/imatrix.h"
#include "recipe/journal.h"
#include "recipe/moments.h"
#include "recipe/plan.h"
#include "round/round.h"

/* Hidden states (tokens, C), in memory, or in a file without a name when they are larger. */
struct gs_states {
    float *data;
    size_t floats;
    bool mapped;
};

/* Bytes above which states go to disk, so that memory does not grow with the text. */
#define GS_STATES_IN_MEMORY ((uint64_t)192 << 20)

/* beside: a path in whose folder a scratch file may lie. */
int gs_states_create(const char *beside, size_t floats, struct gs_states *out,
                     struct gs_err *err) GS_MUST_USE;
void gs_states_clear(struct gs_states *states);

/* What is kept of a rounded matrix beside its codes, scales and factor. */
struct gs_rounded {
    double loss, energy; /* tr(E H Eᵀ), tr(W H Wᵀ) */
    float unit;          /* of the scales */
};
#define GS_ROUNDED_BYTES 24u

struct gs_work {
    const struct gs_quantize_options *options;
    struct gs_recipe recipe;
    struct gs_store *store;    /* the source, or the folded model in its place */
    struct gs_lm *lm;
    struct gs_store *source;   /* behind a folded model; NULL: nothing was folded */
    struct gs_lm *source_lm;
    struct gs_fold *fold;      /* what was folded, or would be; NULL: not asked for */
    uint64_t fold_bytes;       /* of the folded model on disk */
    struct gs_tokenizer *tokenizer;
    struct gs_team *team;
    struct gs_plan plan;
    struct gs_calib calib;
    struct gs_journal *journal;
    const struct gs_rounder *rounder;
    bool uses_fisher;          /* it needs squared gradients */
    struct gs_fisher *fisher;  /* these; NULL: not needed */
    bool uses_h;               /* the recipe needs second moments from calibration */
    struct gs_imatrix imatrix; /* their diagonals instead; diagonal NULL = none given */
    uint64_t source_hash, reuse_hash; /* reuse_hash 0: nothing is taken over */
    struct gs_decoder *decoder;
    struct gs_states states;
    float *x;                  /* (ctx, C) one sequence */
    struct gs_codec *codecs[GS_PLAN_RATES]; /* by rate, made when first needed */
    uint64_t done, total;      /* weights rounded */
    struct gs_quantize_seconds seconds;
    double loss, energy;
    struct gs_piece *pieces;   /* of all blobs, in the order of the file; NULL: not known yet */
    size_t n_pieces;
};

/* One piece behind the base of a blob. */
struct gs_piece {
    uint32_t item, number;     /* 1 … */
    uint64_t offset, bytes;    /* in the item's record */
    double value;              /* divergence that a byte of it saves */
};

/* Makes work->pieces, from what rounding has measured (order.c). All items are in the journal. */
int gs_work_order(struct gs_work *work, struct gs_err *err) GS_MUST_USE;

/* The decoder for work->lm and the calibration set. */
int gs_work_decoder(struct gs_work *work, struct gs_err *err) GS_MUST_USE;

/* Decides what of `list` is folded, by the plan's types if there is a plan, and puts the folded
 * model in the source's place, if need_model or the plan changes with it: the plan is then to be
 * made anew. */
int gs_work_fold(struct gs_work *work, const char *list, const char *dst, bool need_model,
                 struct gs_err *err)
    GS_MUST_USE;

/* GS_E_STOPPED if the caller wants so. */
int gs_work_progress(const struct gs_work *work, struct gs_err *err) GS_MUST_USE;

int gs_work_codec(struct gs_work *work, unsigned rate, const struct gs_codec **out,
                  struct gs_err *err) GS_MUST_USE;

/* Bytes of an item in the journal: codes, scales, factor, bias, struct gs_rounded. */
uint64_t gs_work_payload_bytes(const struct gs_plan_item *item);
int gs_work_rounded(const struct gs_work *work, size_t item, struct gs_rounded *out,
                    struct gs_err *err) GS_MUST_USE;

/* Rows first … first + rows - 1 of the item's weights as f32 (rows, cols), all finite. */
int gs_work_decode(const struct gs_work *work, const struct gs_plan_item *item, size_t first,
                   size_t rows, float *w, struct gs_err *err) GS_MUST_USE;

/* The field of a block that holds the item's matrix. */
struct gs_matrix *gs_work_field(struct gs_block_weights *w, const struct gs_plan_item *item);

/* What the importance matrix says of the input that items[first] reads, into h (cols). */
int gs_work_diagonal(const struct gs_work *work, size_t first, size_t end, double *h,
                     struct gs_err *err) GS_MUST_USE;

/* Fills the record's end: what gs_work_rounded reads. */
void gs_work_put_rounded(const struct gs_rounded *rounded, uint8_t *p);

/* The factor of H with damping by channel, share · H_ii, which is also put into damping (n); h
 * is as before on return. */
int gs_damped_ldl(struct gs_team *team, double share, double *h, size_t n, size_t block,
                  double *damping, struct gs_ldl *out, struct gs_err *err) GS_MUST_USE;

/* The same with the recipe's share. */
int gs_work_damped_ldl(const struct gs_work *work, double *h, size_t n, size_t block,
                       double *damping, struct gs_ldl *out, struct gs_err *err) GS_MUST_USE;

/* Rounds item `index` into the journal. */
typedef int (*gs_work_item_fn)(struct gs_work *work, size_t index, void *ctx,
                               struct gs_err *err);

/* Calls it for every unfinished one of items[first … end-1] that reads the input of
 * items[first]; errors name the tensor. */
int gs_work_each(struct gs_work *work, size_t first, size_t end, gs_work_item_fn fn,
                 void *ctx, struct gs_err *err) GS_MUST_USE;

/* Rounds all that reads the input of items[first] to block types. h (n, n) are the second
 * moments of that input, NULL where they were not gathered. */
int gs_work_round_stock(struct gs_work *work, size_t first, size_t end, double *h,
                        struct gs_err *err) GS_MUST_USE;

/* The transform of the input that items[first] reads, the rescale folded in by the diagonal of
 * its second moments, and by the largest inputs where the rule asks for them (rescale.c). */
int gs_work_transform(const struct gs_work *work, size_t first, size_t end,
                      const double *diagonal_h, const double *most, struct gs_transform **out,
                      struct gs_err *err) GS_MUST_USE;

/* Rounds all that reads the input of items[first] to the recipe's codebook, with what was gathered
 * of that input; in->h changes its basis. */
int gs_work_round_parts(struct gs_work *work, size_t first, size_t end,
                        const struct gs_moments *in, struct gs_err *err) GS_MUST_USE;

/* Takes the size of a blob from the journal. */
void gs_work_know_part(struct gs_work *work, size_t index);

/* Rows that are rounded at a time: all where a transform mixes them, else a strip of a multiple
 * of 32, because an output head may be larger than a block. */
size_t gs_work_strip_rows(const struct gs_plan_item *item);

/* Is the input read in this half? What belongs to no block is in every one. */
bool gs_input_in_part(enum gs_plan_input input, enum gs_block_part part);

/* Moves the states through a half of block il, all of whose matrices are rounded. */
int gs_work_advance(struct gs_work *work, uint32_t il, enum gs_block_part part, size_t first,
                    size_t end, struct gs_err *err) GS_MUST_USE;

/* Rounds the items first … end-1, all of block il (or the model's own), and moves the states
 * through the block. */
int gs_work_layer(struct gs_work *work, uint32_t il, size_t first, size_t end,
                  struct gs_err *err) GS_MUST_USE;

#endif
