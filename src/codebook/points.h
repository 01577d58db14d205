/* SPDX-License-Identifier: MIT
 * What codebooks of single weights share: a sorted table of points, the nearest of them, and
 * the scale and zero that fit a group best.
 *
 *     codes   0 … states − 1, as the format numbers them          value of a code
 *               │ sorted, equal ones once                            ▲
 *     points  value[0] < value[1] < … < value[n − 1],  code[i] ──────┘
 *
 *     w ≈ scale · (point − zero)
 *
 * A kind of this sort is mostly its table: see codebook_float.c. */
#ifndef GS_CODEBOOK_POINTS_H
#define GS_CODEBOOK_POINTS_H

#include "codebook/codebook.h"

#define GS_POINTS 256

struct gs_points {
    unsigned n, states;
    bool even;      /* the points are at distance 1 of each other */
    bool mirrored;  /* with p there is −p: the sign of a scale is of no use */
    /* A scale is searched from narrow to wide times the one that takes the largest weight to
     * the farthest point. gs_points_set sets 0, which stands for what the weights' deviation
     * suggests, and 1.1 or 1.5. */
    float narrow, wide;
    float value[GS_POINTS];
    float middle[GS_POINTS]; /* between i and i + 1; past the last, infinity */
    unsigned first_step;     /* largest power of two below n, or 0: see gs_points_index */
    uint8_t code[GS_POINTS];
    float of[GS_POINTS];     /* value of a code */
};

/* by_code (states): at least one point, all finite; equal ones are known by the lowest code. */
void gs_points_set(struct gs_points *points, const float *by_code, unsigned states);

/* Middles below t, that is, the index of the point nearest to t: a binary search without
 * branches, for nobody can predict them. */
static inline unsigned gs_points_index(const struct gs_points *points, float t)
{
    unsigned at = 0;

    for (unsigned step = points->first_step; step > 0; step /= 2)
        at += step & -(unsigned)(points->middle[at + step - 1] < t);
    return at;
}

/* The code nearest to x and its value; among all points, in single precision. */
unsigned gs_points_nearest(const struct gs_points *points, float scale, float zero, float x,
                           float *y);

static inline float gs_points_value(const struct gs_points *points, float scale, float zero,
                                    uint64_t code)
{
    return scale * (points->of[GS_MIN(code, points->states - 1)] - zero);
}

/* Which zero a fit may choose. */
enum gs_zero {
    GS_ZERO_NONE,    /* 0 */
    GS_ZERO_INTEGER, /* a whole number from the least point to the largest: w = 0 is a point */
    GS_ZERO_REAL     /* any number that the scale's rule holds */
};

/* Sets scale and zero of out from the group's range alone, without regard to its weights:
 * the largest weight lands on the farthest point. */
void gs_points_fit_range(const struct gs_points *points, enum gs_zero zero,
                         const struct gs_scale_rule *rule, const float *x, size_t n,
                         struct gs_group *out);

/* Sets scale and zero of out for the least Σ h (w − ŵ)², as stored by the rule: clipped ranges
 * are tried, then assignment and weighted least squares alternate from the best. Returns that
 * sum. */
double gs_points_fit(const struct gs_points *points, enum gs_zero zero,
                     const struct gs_scale_rule *rule, const float *x, const float *h, size_t n,
                     struct gs_group *out);

/* The error of unit Gaussian weights with this scale and zero, in closed form. */
double gs_points_gaussian_at(const struct gs_points *points, double scale, double zero);

/* The same with the best single scale (and zero halfway between the
 * outer points for GS_ZERO_REAL). */
double gs_points_gaussian_mse(const struct gs_points *points, enum gs_zero zero);

#endif
