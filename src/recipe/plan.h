/* SPDX-License-Identifier: MIT
 * What becomes of every tensor, and how many bytes that makes, before any work is done.
 *
 * Matrices of the blocks get one rate, embedding and head one that is recipe->head_bits
 * higher; what the budget leaves after that raises single matrices by one step, those first
 * that are known to matter most. Vectors and the like stay F32, matrices that no grid fits
 * (rows that are no multiple of its block) become F16 and the log says so. */
#ifndef GS_RECIPE_PLAN_H
#define GS_RECIPE_PLAN_H

#include "core/arena.h"
#include "grid/grid.h"
#include "model/weights.h"
#include "recipe/keep.h"
#include "recipe/mix.h"
#include "recipe/recipe.h"

/* Of an item's record in the journal: what its pieces leave, f64 for each. */
#define GS_PLAN_LOSS_BYTES 8u

#define GS_PLAN_RATES 129 /* rates are below, in bits per 8 weights */

/* Matrices of one block that read one input share its Hessian and its transform. */
enum gs_plan_input {
    GS_INPUT_ATTN, GS_INPUT_ATTN_OUTPUT, GS_INPUT_FFN, GS_INPUT_FFN_DOWN,
    GS_INPUT_BLOCK_COUNT,
    GS_INPUT_HEAD = GS_INPUT_BLOCK_COUNT, /* the output matrix, or the tied embedding */
    GS_INPUT_EMBD                         /* an embedding of its own: read row by row */
};

struct gs_plan_item {
    const struct gs_tensor *source;
    bool native;             /* rounded to the recipe's grid */
    bool part;               /* rounded to the recipe's codebook: codes_bytes of a blob */
    bool rescaled;           /* T_in has a diagonal of its own */
    bool stock;              /* rounded to the block type `type` */
    bool kept;               /* which the caller fixed by name */
    bool fused;              /* its rows are those of several matrices */
    enum gs_type type;       /* not native: stored so */
    unsigned rate;           /* native: bits per 8 weights */
    uint32_t il;             /* block, n_layer for the model's own */
    enum gs_plan_input input;
    size_t field;            /* of struct gs_block_weights */
    size_t rows, cols;
    uint32_t in_stream, out_stream; /* of random signs */
    bool mixes_rows;         /* transform_out applies */
    size_t codes_stride, codes_bytes;
    unsigned pieces;         /* of a blob; 1: not cut */
    size_t pieces_bytes;     /* of codes_bytes, what is not the base */
    /* Tensors of the output file; NULL where there is none. Matrices that share a factor name
     * it alike. */
    const char *scale, *factor, *table;
    bool owns_factor;        /* the first of those that share it */
    const char *bias;        /* F32 (rows), what corrects the outputs of a part; it stands for */
    const struct gs_tensor *source_bias; /* that of the source, if there is one, added to it */
    bool replaced;           /* the item is such a bias of the source: not written */
};

struct gs_plan {
    const struct gs_recipe *recipe;
    const struct gs_grid *grid;
    const struct gs_mix *mix;   /* NULL: a native file */
    struct gs_plan_item *items; /* blocks first, in the order of work */
    size_t n_items, n_native, n_part, n_stock;
    struct gs_part_spec spec, head_spec; /* with a codebook: of blocks, of embedding and head */
    struct gs_tensor *tensors;  /* of the output file */
    size_t n_tensors;
    uint64_t parameters;        /* weights of the source */
    uint64_t bytes;             /* of all tensors */
    double bpw;                 /* 8 · bytes / parameters */
    struct gs_arena arena;      /* names */
};

struct gs_plan_options {
    double bpw;             /* the budget of a native file */
    const struct gs_mix *mix; /* types of a stock file; NULL: a native file */
    struct gs_keeps *keeps; /* for single tensors of it; or NULL */
    bool pure;              /* the mix's base type everywhere */
    const int *types;       /* by tensor of the source, instead of the mix's; negative or NULL:
                               as the mix says */
    bool allow_requantize;
    bool quiet;             /* a plan whose warnings were given before */
    uint64_t parameters;    /* what bits are counted over; 0: all weights of the model */
    bool tables;            /* native matrices carry the table of their grid, for tuning */
};

int gs_plan_create(const struct gs_lm *lm, const struct gs_recipe *recipe,
                   const struct gs_plan_options *options, struct gs_plan *out,
                   struct gs_err *err) GS_MUST_USE;
/* The output's tensors anew, after codes_bytes of items of parts have changed. */
int gs_plan_relist(struct gs_plan *plan, struct gs_err *err) GS_MUST_USE;
void gs_plan_clear(struct gs_plan *plan);

/* Which input a tap (model/layers.h) that is shown w, a matrix of block b, sees for the first
 * time; GS_INPUT_BLOCK_COUNT for one that it has seen with another matrix already. */
enum gs_plan_input gs_plan_first_input(const struct gs_block_weights *b,
                                       const struct gs_matrix *w);

/* It has codes in the journal. */
static inline bool gs_plan_is_rounded(const struct gs_plan_item *item)
{
    return item->native || item->part || item->stock;
}

/* The kind of T_in of an item: one that is fitted is none where nothing can be fitted. */
const char *gs_plan_transform_in(const struct gs_plan *plan, const struct gs_plan_item *item);

/* The key `bits` of the codebook that a text names; NULL if it has none. */
const struct gs_codebook_key *gs_plan_codebook_bits(const char *text);
void gs_plan_set_codebook_bits(struct gs_part_spec *spec, double bits);
/* What a budget counts them by: whole ones, or eighths where several weights share a code. */
double gs_plan_bits_step(const struct gs_codebook_key *key);

/* Of an item that is rounded to a codebook (plan_part.c). */
const struct gs_part_spec *gs_plan_spec(const struct gs_plan *plan,
                                        const struct gs_plan_item *item);

/* Chooses the specs and codes_bytes of all such items: the most bits that fit the budget, or
 * what the recipe says where there is none (bpw 0). `fixed`: bytes of all else. */
int gs_plan_set_specs(struct gs_plan *plan, double bpw, uint64_t fixed, struct gs_err *err)
    GS_MUST_USE;

/* Bytes of an item's blob with a spec. */
int gs_plan_part_bytes(const struct gs_plan *plan, const struct gs_plan_item *item,
                       const struct gs_part_spec *spec, uint64_t *bytes, struct gs_err *err)
    GS_MUST_USE;

/* Names the bias of a matrix of a block whose recipe corrects outputs, where the architecture's
 * files may have one (plan_part.c). */
int gs_plan_name_bias(struct gs_plan *plan, const struct gs_lm *lm, struct gs_plan_item *item,
                      struct gs_err *err) GS_MUST_USE;

/* The field of the block that points to it. */
const float **gs_plan_bias_field(struct gs_block_weights *w, const struct gs_plan_item *item);

static inline size_t gs_plan_bias_bytes(const struct gs_plan_item *item)
{
    return item->bias ? item->rows * sizeof(float) : 0;
}

/* Bytes of what stands beside the codes of a native item, in the file. */
size_t gs_plan_side_bytes(const struct gs_plan_item *item);

/* Bytes of scales and of a factor. */
static inline size_t gs_plan_scale_bytes(const struct gs_plan_item *item)
{
    return item->scale ? 2 * item->rows : 0;
}

static inline size_t gs_plan_losses_bytes(const struct gs_plan_item *item)
{
    return item->pieces > 1 ? GS_PLAN_LOSS_BYTES * (size_t)item->pieces : 0;
}

static inline size_t gs_plan_factor_bytes(const struct gs_plan_item *item)
{
    return item->factor ? 2 * item->cols : 0;
}

#endif
