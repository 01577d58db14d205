/* SPDX-License-Identifier: MIT
 * What the files of src/part share. Private to it. */
#ifndef GS_PART_MEMBERS_H
#define GS_PART_MEMBERS_H

#include "compensate/compensate.h"
#include "compensate/sparse.h"
#include "core/cursor.h"
#include "part/part.h"

#define GS_PART_MAGIC 0x54505347u /* "GSPT" */
#define GS_PART_VERSION 1
#define GS_PART_FLAG_FACTOR 1u
#define GS_PART_FLAG_SPARSE 2u
#define GS_PART_FLAG_LAYERS 4u
#define GS_PART_FLAG_BLOCKS 8u
#define GS_PART_FLAGS 15u
#define GS_PART_DIM_MAX (UINT64_C(1) << 31)

/* Groups of a row or of a column, whichever has the lower loss in a matrix (AdaDim). */
#define GS_PART_ADAPTIVE "adaptive"

/* A granularity of scales: the rectangle that shares a group's numbers. */
struct gs_part_scale {
    const char *name;
    bool needs_size; /* the key `group` */
    void (*shape)(size_t rows, size_t cols, size_t size, size_t *group_rows,
                  size_t *group_cols);
};

const struct gs_part_scale *gs_part_scale_find(const char *name);

/* The layout of a blob: what its header says, and what follows from that. */
struct gs_part_form {
    size_t rows, cols;
    float unit;
    struct gs_codebook *codebook;
    char text[GS_PART_TEXT];
    const struct gs_scale_rule *rule;
    size_t group_rows, group_cols;     /* of one group */
    size_t n_group_rows, n_group_cols; /* groups */
    size_t scale_group;                /* group rows that share a range; 1: one level */
    unsigned scale_bits;               /* 0: one level */
    const struct gs_transform_kind *in, *out;
    bool factor;
    uint64_t seed;
    uint32_t stream_in, stream_out;
    size_t rank;                       /* of the low rank; 0: none */
    const struct gs_factor_format *factors;
    bool sparse;
    bool cut;                          /* codes are in layers */
    unsigned blocks;                   /* of signs; 0: codes in groups */
    unsigned pieces;                   /* of the matrix, the base included */
    uint64_t pieces_bytes;             /* of those behind the base */
    /* Where sections begin, and the whole (without the outliers); all bytes. */
    uint64_t shared_at, groups_at, codes_at, factor_at, low_rank_at, bytes;
    uint64_t row_bytes;                /* of a row's codes */
};

int gs_part_form_create(const struct gs_part_spec *spec, size_t rows, size_t cols,
                        const char *transform_in, const char *transform_out, bool factor,
                        struct gs_part_form *out, struct gs_err *err) GS_MUST_USE;
int gs_part_form_read(const uint8_t *blob, uint64_t bytes, struct gs_part_form *out,
                      struct gs_err *err) GS_MUST_USE;
void gs_part_form_write(const struct gs_part_form *form, uint8_t *blob);
void gs_part_form_clear(struct gs_part_form *form);

/* Bytes of the base (k = 0, without outliers) and of the pieces. */
uint64_t gs_part_piece_bytes(const struct gs_part_form *form, unsigned k);
/* What the form says, but for the codebook's text. */
void gs_part_form_facts(const struct gs_part_form *form, struct gs_part_facts *out);

/* A base, or a base with all its pieces behind it, as a source. */
struct gs_part_source gs_part_source_of(const struct gs_part_form *form, const uint8_t *blob,
                                        uint64_t bytes);

/* Rounds w (rows, cols) to blocks of signs, into the whole blob; w becomes what they leave. */
int gs_part_round_blocks(const struct gs_part_job *job, const struct gs_part_form *form,
                         uint8_t *blob, struct gs_part_result *out, struct gs_err *err)
    GS_MUST_USE;

/* What scales of the second level lie in: low + step · q. */
struct gs_part_range {
    float low, step;
};

/* The numbers of all groups of a matrix, row by row of groups. */
struct gs_part_groups {
    struct gs_group *list; /* (n_group_rows, n_group_cols) */
    float *tables;         /* table_floats for each; NULL where there are none */
    struct gs_part_range *ranges; /* two levels: of scales and of zeros, for each column of
                                     each scale_group group rows; else NULL */
};

int gs_part_groups_create(const struct gs_part_form *form, struct gs_part_groups *out,
                          struct gs_err *err) GS_MUST_USE;
void gs_part_groups_clear(struct gs_part_groups *groups);

/* Bits of all group numbers; false if there are too many. */
bool gs_part_groups_bits(const struct gs_part_form *form, uint64_t *bits);
void gs_part_groups_write(const struct gs_part_form *form, const struct gs_part_groups *groups,
                          uint8_t *dst);
int gs_part_groups_read(const struct gs_part_form *form, const uint8_t *src,
                        struct gs_part_groups *groups, struct gs_err *err) GS_MUST_USE;

static inline const struct gs_group *gs_part_group_of(const struct gs_part_form *form,
                                                      const struct gs_part_groups *groups,
                                                      size_t row, size_t col)
{
    return &groups->list[row / form->group_rows * form->n_group_cols + col / form->group_cols];
}

/* What rounders work on. */
struct gs_part_work {
    const struct gs_part_spec *spec;
    const struct gs_part_form *form;
    const struct gs_part_input *input;
    const float *w;      /* (rows, cols) what is to be met, over unit */
    const float *h;      /* (cols) importances in fits, or NULL */
    const float *h_all;  /* (rows, cols) */
    const uint8_t *mask; /* (rows, cols) outliers, whose codes are made good by what is kept
                            apart: they have no error. NULL: none */
    struct gs_part_groups groups;
    bool dynamic;        /* groups are fitted while rounding */
    size_t chunk;        /* rows that are rounded together */
    uint64_t sweeps;     /* of descent, or rounds of alternation */
    float lambda;        /* what a bit is worth; 0: nothing (part_rate.c) */
    float least_step;    /* scales are no smaller */
    size_t fit_floats;   /* scratch of gs_part_fit */
    float *y;            /* (rows, cols) out: the values */
};

/* What is kept apart and added: both may be NULL. */
struct gs_part_extras {
    struct gs_sparse *sparse;
    struct gs_low_rank *low_rank;
};

/* mask (rows, cols) becomes 1 for outliers of w. */
int gs_part_mark_outliers(const struct gs_part_spec *spec, const struct gs_part_form *form,
                          const struct gs_part_input *input, const float *w,
                          const float *fisher, struct gs_team *team, uint8_t *mask,
                          struct gs_err *err) GS_MUST_USE;
int gs_part_extras_read(const struct gs_part_form *form, const uint8_t *blob, uint64_t bytes,
                        struct gs_part_extras *out, struct gs_err *err) GS_MUST_USE;
void gs_part_extras_add(const struct gs_part_extras *extras, struct gs_team *team, float *y,
                        size_t cols);
void gs_part_extras_clear(struct gs_part_extras *extras);

/* Fits group (group_row, group_col) to x, its upper left weight, rows `stride` apart. */
void gs_part_fit(const struct gs_part_work *work, size_t group_row, size_t group_col,
                 const float *x, size_t stride, float *scratch);
/* To be called when all groups of column group_col that share ranges with group rows
 * [first, end) are fitted: first is a multiple of scale_group, end as well or the last. */
void gs_part_settle(const struct gs_part_work *work, size_t first, size_t end,
                    size_t group_col);

/* The values y (cols) of row r, with the first layers of codes that are cut; codes (cols / dim)
 * is scratch. */
void gs_part_decode_row(const struct gs_part_form *form, const struct gs_part_groups *groups,
                        const struct gs_part_source *source, size_t r, uint64_t *codes, float *y);

/* Rows [row, row + rows) of what is rounded: the whole of their codes (rows, cols / dim). */
struct gs_part_rows {
    const struct gs_part_work *work;
    size_t row, rows;
    uint64_t *codes;
    void *scratch;
};

struct gs_part_rounder {
    const char *name, *paper;
    bool uses_h;    /* all of H */
    bool feeds;     /* the factor of H; in an order, with dynamic groups */
    bool descends;  /* H itself in f32 */
    bool learns;    /* by steps of descent, `sweeps` of them; no polish after it */
    bool single;    /* codes of one weight */
    bool alternates; /* fits groups itself after a first fit; they lie within a row */
    unsigned sweeps; /* where the spec says 0 */
    /* Bytes of scratch for so many rows (work->chunk), a multiple of 64. */
    size_t (*scratch)(const struct gs_part_work *work);
    /* Finds codes, y and, where dynamic, the groups. */
    void (*run)(const struct gs_part_rows *rows);
};

const struct gs_part_rounder *gs_part_rounder_find(const char *name);
const struct gs_part_rounder *gs_part_rounder_at(size_t index);

extern const struct gs_part_rounder gs_part_rounder_nearest;
extern const struct gs_part_rounder gs_part_rounder_gptq;
extern const struct gs_part_rounder gs_part_rounder_ldlq;
extern const struct gs_part_rounder gs_part_rounder_greedy;
extern const struct gs_part_rounder gs_part_rounder_coordinate;
extern const struct gs_part_rounder gs_part_rounder_decoupleq;
extern const struct gs_part_rounder gs_part_rounder_adaround;
extern const struct gs_part_rounder gs_part_rounder_discquant;
extern const struct gs_part_rounder gs_part_rounder_flexround;

/* Sweeps of coordinate descent over rows whose codes and y are set, or from_weights: Ŵ = W at
 * first. Not for an input of which only the diagonal is known. */
size_t gs_part_descent_scratch(const struct gs_part_work *work);
void gs_part_descend(const struct gs_part_rows *rows, uint64_t sweeps, bool from_weights);

/* Rounding that weighs bits: λ and least step; a model of the codes of a chunk in scratch. */
struct gs_rate;
void gs_part_set_rate(struct gs_part_work *work);
size_t gs_part_rate_scratch(const struct gs_part_work *work);
void gs_part_rate_start(const struct gs_part_work *work, struct gs_rate *rate);

/* The code for x with importance h (mean 1), values y: the nearest, or with λ what is best after
 * the code `*previous` of its row (0 at first). */
uint64_t gs_part_choose(const struct gs_part_work *work, struct gs_rate *rate, int32_t *previous,
                        const struct gs_group *group, const float *x, float h, float *y);

/* Better scales for fitted groups, if the spec asks for a search (part_search.c). */
int gs_part_search_scales(const struct gs_part_work *work, struct gs_team *team,
                          struct gs_err *err) GS_MUST_USE;

/* Output correction (part_correct.c). Gains go into the scales of rows, y is as the blob's codes
 * then give it; `bias` from e = W − Ŵ (rows, cols). */
int gs_part_fit_gains(const struct gs_part_work *work, const uint8_t *blob, struct gs_team *team,
                      struct gs_err *err) GS_MUST_USE;
int gs_part_find_bias(const struct gs_part_job *job, const struct gs_part_form *form,
                      const float *e, struct gs_err *err) GS_MUST_USE;

/* tr(E H Eᵀ) of e (rows, cols). */
int gs_part_loss(const struct gs_part_input *input, struct gs_team *team, const float *e,
                 size_t rows, double *out, struct gs_err *err) GS_MUST_USE;

#endif
