/* SPDX-License-Identifier: MIT
 * Codebooks: the points that a group of weights may take, when the group has numbers of its own.
 *
 *   group     weights that share a scale (zero point, choice of type, table): a row, 128 columns
 *             of a row, a tensor …; which, is for the caller (recipe keys `scale`, `group`)
 *   └ code    `dim` neighbouring weights of a row; dim = 1 for numbers, 8 for a lattice
 *
 *     W (rows, cols) ──fit, a group──▶ struct gs_group ──nearest, a code──▶ code, values ŵ
 *                                        │ written as `group_bits` bits        │ `code_bits`
 *                                        ▼                                     ▼
 *                                      what a file holds, counted exactly
 *
 * Unlike a codec (grid/grid.h), which sees weights scaled to unit variance with one scale a
 * row and may search over a whole tile, a codebook answers for one code at a time; that is what
 * feedback column by column, coordinate descent and learned rounding need. Unlike a format
 * (grid/format.h), it is bound to no runtime's layout.
 *
 * A kind is one `static const struct gs_codebook_kind` in one file and one line in the list of
 * codebook.c; tests and benchmarks walk the list. A codebook is a kind with its keys fixed and,
 * where tables are learned, what was learned. After gs_codebook_learn it is immutable: any
 * number of threads may use it at once.
 *
 * Importances h ≥ 0 weigh squared errors: Σ h (w − ŵ)²; NULL stands for ones. */
#ifndef GS_CODEBOOK_CODEBOOK_H
#define GS_CODEBOOK_CODEBOOK_H

#include "core/err.h"
#include "core/team.h"

#define GS_CODEBOOK_KEYS 6   /* most keys of a kind */
#define GS_CODEBOOK_DIM 64   /* most weights of a code */
#define GS_CODEBOOK_LAYERS 8 /* most layers of one */

/* A number that a kind is made from: "bits", "exponent", "zero" … */
struct gs_codebook_key {
    const char *name, *help;
    double low, high, value; /* value: the default */
    bool integer;
};

/* How a scale is stored, so that fitting can count with what a file will hold. */
struct gs_scale_rule {
    const char *name;         /* "f32", "f16", "e8m0" … */
    unsigned bits;
    float (*round)(float v);  /* the nearest number that can be stored */
    uint32_t (*encode)(float v);    /* the `bits` bits of what `round` gave */
    float (*decode)(uint32_t code); /* and back; what no `round` gives (NaN …) is for readers
                                       to refuse */
};

/* The numbers of a group. What a kind does not use stays 0 (scale: 1). */
struct gs_group {
    float scale, zero;   /* w ≈ scale · (point − zero) */
    uint32_t choice;     /* which of several sets of points */
    const float *table;  /* own points of this group (codebook->table_floats), borrowed; or NULL */
};

struct gs_codebook;

/* What tables are learned from: a whole matrix, as it will be rounded. */
struct gs_codebook_data {
    const float *w;      /* (rows, cols) */
    size_t rows, cols, stride;
    const float *h;      /* (cols) importances of columns, or NULL */
    const float *h_all;  /* (rows, cols) importances of single weights (Fisher), or NULL */
    size_t group_rows, group_cols; /* what shares a group; 0: not known */
    const struct gs_scale_rule *rule; /* how its scale is stored; NULL: not known */
    uint64_t seed;
    struct gs_team *team;
};

struct gs_codebook_kind {
    const char *name, *paper; /* "float"; a citation in one line */
    const struct gs_codebook_key *keys; /* name NULL ends the list; GS_CODEBOOK_KEYS at most */

    /* The rest is for codebook.c and the member itself; use the gs_codebook_ functions. */
    /* values: one for each key. Combinations that make no sense fail with GS_E_ARG. The kind,
     * the values and, where they are left 0, dim, pack_codes (1) and pack_bits (the fewest)
     * are filled in by gs_codebook_create. */
    int (*create)(const struct gs_codebook_kind *kind, const double *values,
                  struct gs_codebook **out, struct gs_err *err);
    void (*destroy)(struct gs_codebook *codebook);
    /* NULL where nothing is learned from a matrix. */
    int (*learn)(struct gs_codebook *codebook, const struct gs_codebook_data *data,
                 struct gs_err *err);
    /* What was learned, in shared_bits rounded up to bytes; NULL where `learn` is. `read` takes
     * the place of `learn` and fails for bytes that `write` never gives. */
    void (*write)(const struct gs_codebook *codebook, uint8_t *dst);
    int (*read)(struct gs_codebook *codebook, const uint8_t *src, struct gs_err *err);
    /* Numbers of a group for its n weights x, n a multiple of dim. `table` has room for
     * table_floats. Deterministic, allocates nothing. */
    void (*fit)(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                const float *x, const float *h, size_t n, float *table, struct gs_group *out);
    /* The nearest point to x (dim) under h (dim, or NULL): its code and values y (dim). */
    uint64_t (*nearest)(const struct gs_codebook *codebook, const struct gs_group *group,
                        const float *x, const float *h, float *y);
    /* The values y (dim) of a code; any bits below code_bits are a valid code. */
    void (*value)(const struct gs_codebook *codebook, const struct gs_group *group,
                  uint64_t code, float *y);
    /* The value (dim 1) of the first layers of a code, the bits of others being 0; NULL where
     * codes have no layers. */
    void (*value_cut)(const struct gs_codebook *codebook, const struct gs_group *group,
                      uint64_t code, unsigned layers, float *y);
};

/* Facts of a codebook, fixed when it was made. Members embed it first in their own struct. */
struct gs_codebook {
    const struct gs_codebook_kind *kind;
    double values[GS_CODEBOOK_KEYS];
    unsigned dim;
    /* pack_codes codes are written in pack_bits bits: 1 in 4; 5 ternary ones in 8. A code is
     * below `states`; states^pack_codes ≤ 2^pack_bits ≤ 2^64. states = 0 stands for 2^64. */
    uint64_t states;
    unsigned pack_codes, pack_bits;
    bool has_scale, has_zero;   /* the group stores them, each by its rule */
    unsigned zero_bits;         /* of an integer zero point; 0 with has_zero: by the scale's rule */
    unsigned choice_bits;
    /* Codes may be cut (dim and pack_codes 1): their lowest layer_bits[0] bits stand for a coarse
     * weight, the next layer_bits[1] refine it, and so on; layer_serves: of how many bits a weight
     * of so many layers is. layers 0: they may not. */
    unsigned layers;
    uint8_t layer_bits[GS_CODEBOOK_LAYERS], layer_serves[GS_CODEBOOK_LAYERS];
    bool approximate;           /* `nearest` searches: it finds a near point, mostly the nearest */
    size_t table_floats;        /* floats of a group's own table, each stored as f16 */
    uint64_t shared_bits;       /* of what is learned for the whole matrix; known before it is */
    double gaussian_mse;        /* (ŵ − w)² of unit Gaussian weights with the best single scale,
                                   where theory or the paper gives it; 0 = not known */
};

/* Kinds compiled in; NULL past the end. */
const struct gs_codebook_kind *gs_codebook_at(size_t index);

/* NULL if there is none of this name. */
const struct gs_codebook_kind *gs_codebook_find(const char *name);

/* "float:exponent=2,bits=4": a name and the keys that differ from their defaults; a colon does
 * for a comma. The message of a failure names the key, its range, or the nearest valid name. */
int gs_codebook_create(const char *text, struct gs_codebook **out, struct gs_err *err)
    GS_MUST_USE;
void gs_codebook_destroy(struct gs_codebook **codebook);

/* Does nothing for kinds that learn nothing. */
int gs_codebook_learn(struct gs_codebook *codebook, const struct gs_codebook_data *data,
                      struct gs_err *err) GS_MUST_USE;

/* What was learned, to bytes and back: (shared_bits + 7) / 8 of them, none where nothing is. */
void gs_codebook_write(const struct gs_codebook *codebook, uint8_t *dst);
int gs_codebook_read(struct gs_codebook *codebook, const uint8_t *src, struct gs_err *err)
    GS_MUST_USE;

/* See the members of struct gs_codebook_kind. */
void gs_codebook_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                     const float *x, const float *h, size_t n, float *table,
                     struct gs_group *out);
uint64_t gs_codebook_nearest(const struct gs_codebook *codebook, const struct gs_group *group,
                             const float *x, const float *h, float *y);
void gs_codebook_value(const struct gs_codebook *codebook, const struct gs_group *group,
                       uint64_t code, float *y);

/* Of the first `layers` layers of a code, 1 to all of them. */
void gs_codebook_value_cut(const struct gs_codebook *codebook, const struct gs_group *group,
                           uint64_t code, unsigned layers, float *y);

/* Bits of one group's numbers with scales stored by `rule`. */
uint64_t gs_codebook_group_bits(const struct gs_codebook *codebook,
                                const struct gs_scale_rule *rule);

/* Bits of the codes of n weights that are packed together (the last word whole). */
uint64_t gs_codebook_code_bits(const struct gs_codebook *codebook, uint64_t n);

/* Writes and reads n / dim codes, gs_codebook_code_bits(n) bits from the lowest bit of the
 * first byte on, rounded up to whole bytes. Codes out of range are cut when reading. */
void gs_codebook_pack(const struct gs_codebook *codebook, const uint64_t *codes, size_t n,
                      uint8_t *dst);
void gs_codebook_unpack(const struct gs_codebook *codebook, const uint8_t *src, size_t n,
                        uint64_t *codes);

/* The same for one layer of n codes, layer_bits each. Reading adds the layer to codes. */
void gs_codebook_pack_layer(const struct gs_codebook *codebook, unsigned layer,
                            const uint64_t *codes, size_t n, uint8_t *dst);
void gs_codebook_unpack_layer(const struct gs_codebook *codebook, unsigned layer,
                              const uint8_t *src, size_t n, uint64_t *codes);

/* Scale rules compiled in ("f32", "f16", "bf16", "e8m0", "e4m3"); NULL past the end. */
const struct gs_scale_rule *gs_scale_rule_at(size_t index);
const struct gs_scale_rule *gs_scale_rule_find(const char *name);

#endif
