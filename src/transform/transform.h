/* SPDX-License-Identifier: MIT
 * Transforms: the basis in which weights are rounded.
 *
 * A transform is an invertible matrix T (n, n). A linear layer y = W x keeps its function when
 * its input is taken through T and its weights through the inverse, or its output alike:
 *
 *     y = (W T⁻¹)(T x)             input side:   rows of W by DUAL, x by FORWARD, H ← T H Tᵀ
 *     T y = (T W) x                output side:  columns of W by FORWARD, y back by INVERSE
 *
 * Here T = M · diag(factor), with M the identity or a fixed orthogonal matrix, so that a channel
 * scaling in front of a rotation costs nothing: it is folded into the vector that holds the
 * random signs anyway. The factor is what a file carries; its values are exact in f16.
 *
 * A kind is one `static const struct` in the list of transform.c; tests walk the list. */
#ifndef GS_TRANSFORM_TRANSFORM_H
#define GS_TRANSFORM_TRANSFORM_H

#include "core/team.h"

enum gs_transform_op {
    GS_TRANSFORM_FORWARD,     /* x ← T x */
    GS_TRANSFORM_INVERSE,     /* x ← T⁻¹ x */
    GS_TRANSFORM_DUAL,        /* x ← T⁻ᵀ x */
    GS_TRANSFORM_DUAL_INVERSE /* x ← Tᵀ x */
};

struct gs_transform;

struct gs_diagonal_rule;

/* What a transform is made from; a kind reads what it needs. */
struct gs_transform_fit {
    uint64_t seed, stream;    /* random signs */
    const struct gs_diagonal_rule *rule; /* of a diagonal; NULL: QuIP's */
    const double *h_diagonal; /* (n) H_ii, the second moments of x */
    const double *w_squares;  /* (n) Σ_r W_ri² over all rows of all weights that read x */
    const double *x_most;     /* (n) max |x_i|; here and below NULL where a rule needs none */
    const double *w_most;     /* (n) max_r |W_ri| */
    const double *source;     /* (n) the same of what makes x_i: a row of weights, a norm's
                                 weight */
};

/* How a diagonal is chosen: W ← W · diag(t), x ← x / t with t_i = (over_i / under_i)^(1/2^roots),
 * both of struct gs_transform_fit. */
struct gs_diagonal_rule {
    const char *name, *paper;
    size_t over, under; /* offsets of `const double *`; under SIZE_MAX: ones */
    unsigned roots;
    bool needs_most;    /* x_most */
    bool needs_source;
};

/* Rules compiled in: "quip", "smooth", "repq", "equalize"; NULL past the end, and by name. */
const struct gs_diagonal_rule *gs_diagonal_rule_at(size_t index);
const struct gs_diagonal_rule *gs_diagonal_rule_find(const char *name);

struct gs_transform_kind {
    const char *name, *paper;
    bool needs_fit; /* h_diagonal and w_squares */
    int (*fit)(struct gs_transform *t, const struct gs_transform_fit *fit,
               struct gs_err *err);
    void (*apply_f32)(const struct gs_transform *t, enum gs_transform_op op, float *x,
                      float *work);
    void (*apply_f64)(const struct gs_transform *t, enum gs_transform_op op, double *x,
                      double *work);
    /* Largest order of a Hadamard block that this kind uses for n channels; NULL: none. */
    size_t (*order)(size_t n);
    /* For kinds with more than signs and a Hadamard matrix; NULL otherwise. `prepare` makes
     * what depends on n alone, `clear` frees it (also after prepare failed). work: work_bytes,
     * which apply needs, too. */
    int (*prepare)(struct gs_transform *t, struct gs_err *err);
    void (*clear)(struct gs_transform *t);
    size_t (*work_bytes)(const struct gs_transform *t);
    void (*hessian_diagonal)(const struct gs_transform *t, double *diagonal, double *work);
    /* What a kind makes of factors that were read; fails for those that cannot be its own. A kind
     * that has it gives them a meaning of its own: nothing can be folded into them. */
    int (*arrange)(struct gs_transform *t, struct gs_err *err);
};

/* Kinds compiled in; NULL past the end. */
const struct gs_transform_kind *gs_transform_at(size_t index);

/* NULL if there is none of this name. */
const struct gs_transform_kind *gs_transform_find(const char *name);

int gs_transform_create(const struct gs_transform_kind *kind, size_t n,
                        const struct gs_transform_fit *fit, struct gs_transform **out,
                        struct gs_err *err) GS_MUST_USE;

/* From a file: `factor` (n) finite and not zero, or NULL for all ones. */
int gs_transform_load(const struct gs_transform_kind *kind, size_t n, const float *factor,
                      struct gs_transform **out, struct gs_err *err) GS_MUST_USE;

void gs_transform_destroy(struct gs_transform **t);

const struct gs_transform_kind *gs_transform_kind_of(const struct gs_transform *t);
size_t gs_transform_size(const struct gs_transform *t);

/* (n), every value exact in f16, borrowed; NULL where the kind has none. */
const float *gs_transform_factor(const struct gs_transform *t);
/* The same where they are real numbers that may learn; NULL too where they mean something else. */
const float *gs_transform_gain(const struct gs_transform *t);

/* T ← T · diag(scale of `inner`), rounded to f16: QuIP's rescale in front of a rotation.
 * Both of one size; `inner` is diagonal, `t` is any kind with a factor. */
int gs_transform_fold(struct gs_transform *t, const struct gs_transform *inner,
                      struct gs_err *err) GS_MUST_USE;

/* Bytes of scratch for gs_transform_apply; 64-aligned. */
size_t gs_transform_work_bytes(const struct gs_transform *t);

/* Applies to `count` vectors (n) that lie `stride` floats apart, in place, in this thread;
 * allocates nothing. */
void gs_transform_apply(const struct gs_transform *t, enum gs_transform_op op, float *x,
                        size_t count, size_t stride, void *work);

/* The same over a team: to the rows of x (rows, n), or to the columns of x (n, cols). */
int gs_transform_rows(const struct gs_transform *t, enum gs_transform_op op,
                      struct gs_team *team, float *x, size_t rows, size_t stride,
                      struct gs_err *err) GS_MUST_USE;
int gs_transform_columns(const struct gs_transform *t, enum gs_transform_op op,
                         struct gs_team *team, float *x, size_t cols, size_t stride,
                         struct gs_err *err) GS_MUST_USE;

/* H ← T H Tᵀ for a symmetric h (n, n), both triangles; exactly symmetric on return. */
int gs_transform_hessian(const struct gs_transform *t, struct gs_team *team, double *h,
                         struct gs_err *err) GS_MUST_USE;

/* diag(T diag(h) Tᵀ): what is left of a diagonal H when only its diagonal is kept; exact for
 * transforms without rotation, a mean over each Hadamard block otherwise. */
int gs_transform_hessian_diagonal(const struct gs_transform *t, double *diagonal,
                                  struct gs_err *err) GS_MUST_USE;

#endif
