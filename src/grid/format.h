/* SPDX-License-Identifier: MIT
 * ggml's block types as formats to round to: what a block's numbers are, and how good ones are
 * found.
 *
 *   block (≤ 256 weights)   d, dmin        f16 numbers
 *   └ run (8 … 256)         s, m, variant  small integers; a = d · multiplier(s), b = dmin · m
 *     └ code (1 or 8)       a point v of a fixed set
 *
 *     weight = a · v − b       both operations rounded to f32, as the decoders do
 *
 * Every type is one description of this kind: nothing below knows more of Q4_K than its
 * numbers, except for the function that lays the bits out (kernels/blocks.h). Types whose
 * scale is one f16 have one run a block and the multiplier 1; types without minima have b = 0;
 * types with a float of a few bits as the scale have no d (it is 1) and a table of multipliers.
 * A type is one row in a family's file and one line in the list of format.c.
 *
 * Errors are measured with a weight h a column: Σ h (x − weight)². */
#ifndef GS_GRID_FORMAT_H
#define GS_GRID_FORMAT_H

#include "core/type.h"

#define GS_FORMAT_BLOCK 256 /* most weights a block */
#define GS_FORMAT_RUNS 16   /* most runs a block */
#define GS_POINT_DIM 8      /* most weights a code */
#define GS_NO_CODE UINT32_MAX

/* The numbers of one block but its codes. */
struct gs_block_scales {
    float d, dmin; /* values that an f16 has; d = 1 where the type has none */
    uint8_t s[GS_FORMAT_RUNS], m[GS_FORMAT_RUNS], variant[GS_FORMAT_RUNS];
};

/* A run while it is being rounded. */
struct gs_point_run {
    float a, b;
    unsigned variant;
};

/* Rounding with feedback within a row of columns, from the last of a run to its first:
 *     x_j = w_j + c_j,  y_j = point,  e_j = w_j − y_j,  c_i += e_j L_ji for i < j
 * where a code of 8 weights takes its 8 columns at once and L has identity blocks there.
 * Columns are counted from the first that feedback reaches. */
struct gs_feedback {
    float *w;          /* in: W; out: e */
    float *c;          /* feedback that came so far; is changed */
    const float *l;    /* L_ji at l[j · l_stride + i] */
    size_t l_stride;
    const float *d;    /* D: (columns, dim): row j holds D_ij for the columns i of its code */
    const uint32_t *hint; /* codes that may be near, to save time; or NULL */
    double limit;      /* > 0: once the loss is above it, the rest may be left undone */
};

/* Several (a, b) for one run at a time: a number in each lane, so that the compiler's vectors hold
 * candidates instead of weights and nothing has to be summed across. */
#define GS_POINT_LANES 8

struct gs_point_lanes {
    float a[GS_POINT_LANES], b[GS_POINT_LANES];
    float error[GS_POINT_LANES];                     /* Σ h (x − a v + b)² */
    float vv[GS_POINT_LANES], v[GS_POINT_LANES], vx[GS_POINT_LANES]; /* Σ h v², Σ h v, Σ h v x */
};

/* A set of points of `dim` weights that a code names. */
struct gs_points {
    unsigned dim;      /* 1 or 8 */
    unsigned variants; /* sets among which a run chooses */
    unsigned steps;    /* levels on an axis, about: how finely scales are searched */
    float low, high;   /* extremes on an axis */
    const struct gs_points *outline; /* codes of 8: those of 1 on the same levels; else NULL */
    const void *data;

    /* Nearest points to (x + b) / a for n weights x; v (n) their values; codes (n / dim) may
     * be NULL. Returns Σ h (x − a v + b)². */
    float (*nearest)(const struct gs_points *points, struct gs_point_run run, size_t n,
                     const float *x, const float *h, float *v, uint32_t *codes);
    /* The same with feedback for columns [first, first + n); y takes a v − b. Returns
     * Σ (x − y) D (x − y). */
    double (*feedback)(const struct gs_points *points, struct gs_point_run run, size_t first,
                       size_t n, const struct gs_feedback *f, float *y, uint32_t *codes);
    /* Codes of 8, else NULL: the point v nearest to x / a; `hint` is a code that may be near, which
     * saves time, or GS_NO_CODE. */
    uint32_t (*search)(const struct gs_points *points, struct gs_point_run run, const float *x,
                       const float *h, uint32_t hint, float *v);
    /* Codes of 1, else NULL: nearest points for all lanes, from a and b to the sums. */
    void (*nearest_lanes)(const struct gs_points *points, size_t n, const float *x,
                          const float *h, struct gs_point_lanes *lanes);
    /* The same for `feedback` over a run alone, columns [0, n); f->w and f->c are only read. The
     * losses go to lanes->error. */
    void (*feedback_lanes)(const struct gs_points *points, size_t n, const struct gs_feedback *f,
                           struct gs_point_lanes *lanes);
    /* The values of a code. */
    void (*value)(const struct gs_points *points, unsigned variant, uint32_t code, float *v);
};

struct gs_format {
    enum gs_type type;
    unsigned block, run;
    const struct gs_points *points;
    /* Multipliers of run scales, ascending: scale_at(s), or first + step · s; s < scales. */
    unsigned scales;
    float first, step;
    float (*scale_at)(unsigned s);
    bool fixed_d;      /* there is no d */
    int d_at;          /* byte of a block where d lies, dmin right behind it; < 0: in pieces */
    unsigned mins;     /* 0: b = 0; 1: b = dmin, of any sign; else b = dmin · m, m < mins */
    void (*pack)(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst);
};

/* Kinds compiled in, by falling bits a weight; NULL past the end. */
const struct gs_format *gs_format_at(size_t index);

/* NULL if nothing is rounded to this type. */
const struct gs_format *gs_format_find(enum gs_type type);

/* d and dmin of a packed block can be read and replaced, all else staying. */
static inline bool gs_format_has_d(const struct gs_format *f)
{
    return !f->fixed_d && f->d_at >= 0;
}

/* Numbers of a packed block. dmin is 0, and ignored, where the type has none; both are rounded
 * to f16. */
void gs_format_get_d(const struct gs_format *f, const uint8_t *block, float *d, float *dmin);
void gs_format_put_d(const struct gs_format *f, float d, float dmin, uint8_t *block);

/* Codes in a block and in a run. */
static inline size_t gs_format_codes(const struct gs_format *f, size_t weights)
{
    return weights / f->points->dim;
}

float gs_format_multiplier(const struct gs_format *f, unsigned s);
struct gs_point_run gs_format_run(const struct gs_format *f, const struct gs_block_scales *scales,
                            unsigned run);

/* Scales and minima for a block of weights x with importances h ≥ 0 (all finite; all 0 counts
 * as all 1), such that nearest codes leave a small error. Deterministic, no allocation. */
void gs_format_fit(const struct gs_format *f, const float *x, const float *h,
                   struct gs_block_scales *out);

/* Nearest codes under given scales, the values that they stand for in y (block); returns the
 * error. */
double gs_format_nearest(const struct gs_format *f, const struct gs_block_scales *scales,
                         const float *x, const float *h, uint32_t *codes, float *y);

/* Fits and writes n weights (whole blocks). y (n) takes what a decoder will read, or is NULL. */
void gs_format_encode(const struct gs_format *f, const float *x, const float *h, size_t n,
                      uint8_t *dst, float *y);

/* An f16 number near v: the largest ones instead of infinity. */
float gs_format_f16(float v);

#endif
