/* SPDX-License-Identifier: MIT
 * One matrix made of parts, as a recipe names them, and the bytes that it becomes.
 *
 *     W ≈ T_out⁻¹ · unit · ( codebook[codes] in groups  +  sparse  +  low rank ) · T_in
 *
 *     W (rows, cols), H ──gs_part_round──▶ blob ──gs_part_decode──▶ Ŵ (rows, cols), every bit
 *
 * A group of weights shares the numbers of codebook/codebook.h. Groups are rectangles of
 * `group_rows` × `group_cols`; at the right and lower edge they are cut:
 *
 *     scale =    tensor        row         column          group          block
 *              rows × cols   1 × cols    group × 1       1 × group    group × group
 *
 * The blob, little-endian, each section from a whole byte on:
 *
 *   header    magic "GSPT", u16 version, u16 flags, u32 rows, cols, group_rows, group_cols,
 *             scale_group, u8 scale_bits, f32 unit, u64 seed, u32 stream_in, stream_out,
 *             u16 rank, then texts (u8 length, bytes): codebook, scale rule, kinds of T_in and
 *             T_out, format of the low-rank factors ("" for rank 0)
 *   shared    what the codebook learned for the whole matrix
 *   groups    bits, see groups.c
 *   codes     a row after the other, each from a whole byte on
 *   factor    f16 (cols): the diagonal of T_in, if flag 1 is set; else signs from seed, stream
 *   low rank  compensate/compensate.h
 *   sparse    compensate/sparse.h, if flag 2 is set: whatever remains
 *
 * A matrix may be cut: a base, the blob above, and pieces that refine it one after the other, so
 * that one file serves many sizes. What is rounded is a base with all its pieces behind it; a
 * file may keep them elsewhere (model/part_file.h), and any number of the first ones will do.
 *
 *   layers    flag 4: the codes above are the first layer of the codebook's; each piece has the
 *             next layer, a row after the other, each from a whole byte on
 *   blocks    flag 8, and u8 their number behind the texts: signs times a low rank, added up
 *             (compensate/sign_block.h): the base has the first, no groups, each piece the next
 *
 * Bits of a matrix are 8 times the bytes after the header: nothing is left out, and a plan
 * knows them before any weight is rounded, but for those of sparse outliers. */
#ifndef GS_PART_PART_H
#define GS_PART_PART_H

#include "codebook/codebook.h"
#include "core/type.h"
#include "linalg/factor.h"
#include "transform/transform.h"

#define GS_PART_NAME 24
#define GS_PART_TEXT 96
#define GS_PART_PIECES 64 /* most pieces of a matrix, the base being one of them */

/* What a recipe says of it; text fields are names of list members. */
struct gs_part_spec {
    char codebook[GS_PART_TEXT];   /* "uniform:bits=4"; "": no matrix of parts */
    char scale[GS_PART_NAME];      /* "row", "group" … */
    uint64_t group;                /* weights along the group; 0: as far as it goes */
    char scale_format[GS_PART_NAME];
    uint64_t scale_group, scale_bits; /* two levels: so many neighbouring groups share a range
                                         in which each scale has so many bits; 0: one level */
    char importance[GS_PART_NAME]; /* of weights in fits: "none", "hessian", "fisher" */
    char rounder[GS_PART_NAME];
    bool act_order;                /* feedback in the order of H's diagonal, largest first */
    bool static_groups;            /* fitted to W, not to what feedback made of it */
    double damping;                /* added to H's diagonal, over its mean */
    uint64_t sweeps;               /* of coordinate descent, or rounds of alternation */
    char sparse_by[GS_PART_NAME];  /* outliers kept apart before rounding: "none", or a rule */
    double sparse;                 /* their share; here and below 0 = the rule's default */
    double sparse_range, sparse_threshold;
    uint64_t low_rank;             /* rank of what is added after rounding; 0 = none */
    char low_rank_format[GS_PART_NAME];
    bool whiten;                   /* it is the best under H, not under the identity */
    uint64_t blocks;               /* of signs times a low rank of magnitudes instead of codes in
                                      groups (BitStack); 0 = none */
    uint64_t low_rank_steps;       /* rounds of rounding what the low rank leaves; 0 = one */
    char correct[GS_PART_NAME];    /* of outputs: "none", "bias", "affine" */
    double rate;                   /* what a bit of a packed file is worth, in squared errors of a
                                      weight over its mean square; 0: bits are not weighed */
    char search[GS_PART_NAME];     /* of scales by output error: "none", "easyquant", "evolution" */
};

void gs_part_default(struct gs_part_spec *spec);

/* Names and combinations; the message names key, rule and nearest name. */
int gs_part_check(const struct gs_part_spec *spec, struct gs_err *err) GS_MUST_USE;

/* Does the spec ask for more than W: second moments H, or at least their diagonal? */
bool gs_part_needs_h(const struct gs_part_spec *spec);

/* Does it correct outputs, by the means of inputs? */
bool gs_part_corrects(const struct gs_part_spec *spec);

/* Does it ask for squared gradients of single weights? */
bool gs_part_needs_fisher(const struct gs_part_spec *spec);

/* Names of what the text fields may say; NULL past the end. */
const char *gs_part_scale_name(size_t index);
const char *gs_part_rounder_name(size_t index);
const char *gs_part_importance_name(size_t index);
const char *gs_part_format_name(size_t index);
const char *gs_part_sparse_name(size_t index);
const char *gs_part_factor_name(size_t index);
const char *gs_part_correct_name(size_t index);
const char *gs_part_search_name(size_t index);

/* Bytes of the blob; `factor`: T_in has a diagonal of its own. `header` may be NULL. With
 * outliers an estimate: their number and places are known when they are found. Fails where the
 * shape does not go with the codebook. */
int gs_part_bytes(const struct gs_part_spec *spec, size_t rows, size_t cols,
                  const char *transform_in, const char *transform_out, bool factor,
                  uint64_t *bytes, uint64_t *header, struct gs_err *err) GS_MUST_USE;

/* What all matrices that read one input share: H in the basis of T_in, and its factor. */
struct gs_part_input {
    size_t n, block;     /* weights a code */
    const double *h;     /* (n, n) both triangles; NULL: diagonal only */
    double *diagonal;    /* (n) of H; ones where nothing is known */
    float *h32;          /* (n, n), and the inverses of its diagonal blocks (n, block), for */
    float *inverses;     /* coordinate descent; NULL: not needed, or H is diagonal */
    uint32_t *order;     /* (n) column at each position of the factor; NULL: natural */
    const double *mean;  /* (n) of the inputs, borrowed, in the basis of H, which is then that of
                            inputs less their mean; NULL: not known. Set after creation */
    struct gs_ldl ldl;   /* of H in that order; n = 0: no rounder needs it */
};

/* h (n, n) is used as scratch and restored; it must live as long as the input. h NULL: H is
 * `diagonal`, or the identity where that is NULL too. */
int gs_part_input_create(const struct gs_part_spec *spec, struct gs_team *team, size_t n,
                         double *h, const double *diagonal, struct gs_part_input *out,
                         struct gs_err *err) GS_MUST_USE;
void gs_part_input_clear(struct gs_part_input *input);

struct gs_part_job {
    const struct gs_part_spec *spec;
    const struct gs_part_input *input;
    const struct gs_transform *in, *out; /* NULL: none */
    bool factor;                 /* T_in has a diagonal that does not follow from the seed */
    uint64_t seed;
    uint32_t stream_in, stream_out;
    size_t rows, cols;
    float *w;                    /* (rows, cols) in: W, finite; out: scratch */
    const float *fisher;         /* (rows, cols) squared gradients, or NULL */
    float *bias;                 /* (rows) out: W x − Ŵ x for the mean input, in the basis of W;
                                    where the spec corrects and the mean is known. Or NULL */
    struct gs_team *team;
};

struct gs_part_result {
    double loss, energy; /* tr(E H Eᵀ), tr(W H Wᵀ), without damping */
    double losses[GS_PART_PIECES]; /* tr(E H Eᵀ) with the first 1, 2 … pieces */
    unsigned pieces;     /* 1: not cut */
    uint64_t bytes;      /* of the blob */
    uint64_t bits;       /* of it without its header */
};

/* *blob (result.bytes) is for gs_free. */
int gs_part_round(const struct gs_part_job *job, uint8_t **blob, struct gs_part_result *out,
                  struct gs_err *err) GS_MUST_USE;

/* What the header of a blob says; text is copied. */
struct gs_part_facts {
    size_t rows, cols;
    char codebook[GS_PART_TEXT];
    uint64_t bits;
    bool blocks;          /* of signs: to be multiplied as they are (struct gs_part_stack) */
    unsigned pieces;      /* that the matrix is made of; 1: not cut */
    struct gs_part_piece {
        uint64_t bytes;   /* of the base, of each piece */
        uint64_t memory;  /* of the matrix with all pieces up to this one, when loaded; at most */
        unsigned serves;  /* bits a weight that it then has; 0: nobody asks for bits */
    } piece[GS_PART_PIECES];
};

/* The same of what a spec makes, as far as pieces go. */
int gs_part_spec_facts(const struct gs_part_spec *spec, size_t rows, size_t cols,
                       struct gs_part_facts *out, struct gs_err *err) GS_MUST_USE;

/* A base (with its pieces behind it, or without) and pieces from elsewhere. */
struct gs_part_source {
    const uint8_t *piece[GS_PART_PIECES]; /* the base first */
    uint64_t base_bytes;
    unsigned pieces;                      /* how many are there */
};

int gs_part_read_facts(const uint8_t *blob, uint64_t bytes, struct gs_part_facts *out,
                       struct gs_err *err) GS_MUST_USE;

/* Ŵ (rows, cols) in the basis of W; the same bits for any team. Any bytes give an error or
 * finite weights. */
int gs_part_decode(const uint8_t *blob, uint64_t bytes, struct gs_team *team, float *w,
                   struct gs_err *err) GS_MUST_USE;

/* The same from a base and those of its pieces that are given. */
int gs_part_decode_source(const struct gs_part_source *source, struct gs_team *team, float *w,
                          struct gs_err *err) GS_MUST_USE;

/* Blocks of signs, used as they lie in a file: W = Σ S ∘ (A B). */
struct gs_part_stack {
    size_t rows, cols, rank, row_bytes; /* of signs */
    unsigned blocks;
    const uint8_t *block[GS_PART_PIECES]; /* signs, then factors; borrowed */
};

/* Checks the factors: any bytes give an error or finite weights. */
int gs_part_stack_open(const struct gs_part_source *source, struct gs_part_stack *out,
                       struct gs_err *err) GS_MUST_USE;
/* Row r: y (cols). */
void gs_part_stack_row(const struct gs_part_stack *stack, size_t r, float *y);

/* Rows of a type that products know (part_store.c). */
struct gs_part_stored {
    enum gs_type type;
    size_t row_bytes;
    void *data; /* (rows, row_bytes), for gs_free */
};

/* The weights *w (rows, cols) from gs_alloc, which are taken, in the smallest of Q4_0, Q5_0 and
 * Q8_0 that has every one of them to the last bit; where none does, in F16, or as they are if
 * `exact` or beyond F16's range. */
int gs_part_store(float **w, size_t rows, size_t cols, bool exact, struct gs_team *team,
                  struct gs_part_stored *out, struct gs_err *err) GS_MUST_USE;

#endif
