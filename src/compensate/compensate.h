/* SPDX-License-Identifier: MIT
 * Compensation: what a grid cannot carry, stored beside it.
 *
 *   W (rows, cols)  ≈  Ŵ  +  S  +  A B          y = Ŵ x + S x + A (B x) + b
 *                      │     │     └ low rank (rows, r)(r, cols): LoRC, SVDQuant
 *                      │     └ sparse outliers: SqueezeLLM, SpQR, CherryQ (sparse.h)
 *                      └ codes of a grid or a codebook       b: bias, affine correction
 *
 * H (cols, cols) are the second moments of the layer's inputs; the error of a correction is the
 * proxy loss tr(E H Eᵀ), E what is left of W. Everything here is exact about what a file holds:
 * values are those that reading gives back, bits are those that writing takes.
 *
 * Ways to choose outliers are `static const struct gs_outlier_rule` in one list; ways to store
 * factors are `static const struct gs_factor_format` in another. Tests walk the lists. */
#ifndef GS_COMPENSATE_COMPENSATE_H
#define GS_COMPENSATE_COMPENSATE_H

#include "core/cursor.h"
#include "core/team.h"

/* ---- outliers ---- */

/* A matrix whose outliers are to be chosen, before it is rounded. */
struct gs_outlier_data {
    const float *w; /* (rows, cols), finite */
    size_t rows, cols, stride;
    const float *fisher;  /* (rows, cols; same stride): mean squared gradients; or NULL */
    const double *h;      /* (cols): H_jj; NULL stands for ones */
    const double *pivots; /* (cols): what the square of an error in a column costs once the
                             columns that follow make up for it, 1/U_jj² of SpQR, which is D_jj of
                             H = L D Lᵀ in blocks of one; NULL stands for h */
};

/* Zero stands for a rule's own default. */
struct gs_outlier_options {
    double share;     /* of all weights, 0 to 0.5; of a row for `cherry`; `leave-one-out`: at
                         most */
    double range;     /* `fisher`: also what lies this many times the distance between the
                         quartiles beyond them; negative = none */
    double threshold; /* `leave-one-out`: SpQR's τ */
    unsigned bits, group; /* `leave-one-out`: of the uniform grid whose fit is tried */
};

struct gs_outlier_rule {
    const char *name, *paper;
    struct gs_outlier_options defaults;
    int (*mark)(const struct gs_outlier_data *data, const struct gs_outlier_options *options,
                struct gs_team *team, uint8_t *mask, struct gs_err *err);
};

/* Rules compiled in: "magnitude", "fisher", "leave-one-out", "cherry"; NULL past the end. */
const struct gs_outlier_rule *gs_outlier_rule_at(size_t index);

/* NULL if there is none of this name. */
const struct gs_outlier_rule *gs_outlier_rule_find(const char *name);

/* mask (rows, cols) becomes 1 for outliers, 0 for others; options NULL: all defaults. Options
 * out of range fail with GS_E_ARG. */
int gs_outliers_mark(const struct gs_outlier_rule *rule, const struct gs_outlier_data *data,
                     const struct gs_outlier_options *options, struct gs_team *team,
                     uint8_t *mask, struct gs_err *err) GS_MUST_USE;

/* ---- low rank ---- */

/* H for what follows: in full, its diagonal, or the identity (both NULL). */
struct gs_moments {
    const double *full;     /* (n, n), both triangles */
    const double *diagonal; /* (n) */
};

/* How the numbers of a factor are stored: vector by vector (columns of A, rows of B), each with
 * an f32 scale. */
struct gs_factor_format {
    const char *name; /* "f16", "int8", "sign" */
    unsigned bits;    /* 16, 8 or 1 */
    float (*scale)(const float *v, size_t n);
    uint16_t (*code)(float v);  /* of a number over its scale: the nearest */
    float (*value)(uint16_t code);
};

const struct gs_factor_format *gs_factor_format_at(size_t index);
const struct gs_factor_format *gs_factor_format_find(const char *name);

struct gs_low_rank {
    size_t rows, cols, rank;
    const struct gs_factor_format *format;
    float *a; /* (rank, rows): the columns of A */
    float *b; /* (rank, cols): the rows of B */
};

/* The A B of `rank` (cut to the smaller side) nearest to e (rows, cols) under H. Plain (LoRC,
 * arXiv:2303.08302, eq. 2) where moments is NULL; else whitened: the truncated decomposition
 * P Σ Qᵀ of E L, H = L Lᵀ. No factor L is taken: P are the eigenvectors of E H Eᵀ, and the best
 * B for any A is A⁺ E, whatever H is, so a singular H is no difficulty. The factors are what
 * the format gives back; B is fitted to the stored A. */
int gs_low_rank_create(const float *e, size_t stride, size_t rows, size_t cols, size_t rank,
                       const struct gs_moments *moments, const struct gs_factor_format *format,
                       struct gs_team *team, struct gs_low_rank **out, struct gs_err *err)
    GS_MUST_USE;
void gs_low_rank_destroy(struct gs_low_rank **low);

/* Rounds target (rows, cols; `stride` = cols), leaves the codes wherever it keeps them and
 * tells the values in `rounded` and the proxy loss. The same target gives the same result. */
typedef int (*gs_low_rank_round_fn)(void *ctx, const float *target, float *rounded, double *loss,
                                    struct gs_err *err);

/* W ≈ Ŵ + A B with both parts fitted in turn (SVDQuant, arXiv:2411.05007, and LoftQ,
 * arXiv:2310.08659):   A B ← W − Ŵ,   Ŵ ← round(W − A B),   `steps` times. `weights_first`
 * begins with A B ← W, as SVDQuant does, else with Ŵ ← round(W). The best of all steps is kept:
 * the last call of `round` was for it. rounded (rows, cols) is its Ŵ; loss (may be NULL) its
 * loss. */
int gs_low_rank_alternate(const float *w, size_t rows, size_t cols, size_t rank, int steps,
                          bool weights_first, const struct gs_moments *moments,
                          const struct gs_factor_format *format, gs_low_rank_round_fn round,
                          void *ctx, struct gs_team *team, float *rounded,
                          struct gs_low_rank **out, double *loss, struct gs_err *err)
    GS_MUST_USE;

/* y (rows, cols; `stride` apart) += factor · A B. */
void gs_low_rank_add(const struct gs_low_rank *low, float factor, struct gs_team *team,
                     float *y, size_t stride);

/* y (T, rows) += A (B x), x (T, cols); work: T · rank floats. */
void gs_low_rank_mul(const struct gs_low_rank *low, const float *x, size_t T,
                     struct gs_team *team, float *work, float *y);

/* Bytes as written, which is everything a file needs beside rows, cols, rank and the format:
 * for each component the scale and codes of its column of A, then those of its row of B. */
uint64_t gs_low_rank_bytes(const struct gs_low_rank *low);
void gs_low_rank_write(const struct gs_low_rank *low, uint8_t *dst);

/* Takes gs_low_rank_bytes from the cursor; nothing is taken from memory before it is known that
 * they are there. Scales must be finite. */
int gs_low_rank_read(struct gs_cursor *cursor, size_t rows, size_t cols, size_t rank,
                     const struct gs_factor_format *format, struct gs_low_rank **out,
                     struct gs_err *err) GS_MUST_USE;

/* ---- bias ---- */

/* The bias that takes the mean out of the output error (DFQ, arXiv:1906.04721, section 4.2):
 * db (rows) = E · mean, E = W − Ŵ (rows, cols), mean (cols) of the inputs. */
void gs_bias_correct(const float *e, size_t stride, size_t rows, size_t cols,
                     const double *mean, struct gs_team *team, float *db);

/* Gain g and bias c of each row with least E‖w x − (g ŵ x + c)‖²:
 *     g = cov(w x, ŵ x) / var(ŵ x),   c = (w − g ŵ) · mean,
 * cov(u x, v x) = u H vᵀ − (u·mean)(v·mean). mean NULL: no bias, H as it is. A row whose
 * output does not vary keeps g = 1. w and what (rows, cols) share `stride`. */
int gs_affine_correct(const float *w, const float *what, size_t stride, size_t rows, size_t cols,
                      const struct gs_moments *moments, const double *mean,
                      struct gs_team *team, float *gain, float *bias, struct gs_err *err)
    GS_MUST_USE;

#endif
