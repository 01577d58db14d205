/* SPDX-License-Identifier: MIT
 * What the kinds of transforms share, and their list. Private to src/transform. */
#ifndef GS_TRANSFORM_MEMBERS_H
#define GS_TRANSFORM_MEMBERS_H

#include "transform/hadamard.h"
#include "transform/transform.h"

struct gs_transform {
    const struct gs_transform_kind *kind;
    size_t n;
    float *factor; /* (n) exact in f16; NULL: T has no diagonal part */
    struct gs_hadamard hadamard;
    struct gs_kronecker *kronecker; /* kronecker.c */
    uint32_t *order; /* (n) permutation.c: the channel at each position */
};

extern const struct gs_transform_kind gs_transform_none;
extern const struct gs_transform_kind gs_transform_diagonal;
extern const struct gs_transform_kind gs_transform_hadamard;
extern const struct gs_transform_kind gs_transform_hadamard128;
extern const struct gs_transform_kind gs_transform_kronecker;
extern const struct gs_transform_kind gs_transform_act_order;

/* factor = random signs by seed and stream. */
int gs_transform_fit_signs(struct gs_transform *t, const struct gs_transform_fit *fit,
                           struct gs_err *err);

/* The nearest value that f16 holds; zero and overflow become the nearest that is neither. */
float gs_transform_round_factor(float v);

#endif
