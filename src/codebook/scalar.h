/* SPDX-License-Identifier: MIT
 * Kinds that are one set of points: create makes the table, the rest is here. */
#ifndef GS_CODEBOOK_SCALAR_H
#define GS_CODEBOOK_SCALAR_H

#include "codebook/points.h"

struct gs_scalar {
    struct gs_codebook base;
    enum gs_zero zero;
    bool by_range; /* the fit looks at the range only */
    unsigned learned; /* what a member found for a matrix, in its own words */
    struct gs_points points;
};

/* by_code (states): the points. The caller may change zero facts of `out` afterwards; `zero`
 * has been set in base. */
int gs_scalar_create(const float *by_code, unsigned states, enum gs_zero zero,
                     struct gs_codebook **out, struct gs_err *err) GS_MUST_USE;

/* Several codes in up to 8 bits where that is shorter: 5 of 3 states. */
void gs_scalar_pack_tightly(struct gs_codebook *codebook);

void gs_scalar_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                   const float *x, const float *h, size_t n, float *table,
                   struct gs_group *out);
uint64_t gs_scalar_nearest(const struct gs_codebook *codebook, const struct gs_group *group,
                           const float *x, const float *h, float *y);
void gs_scalar_value(const struct gs_codebook *codebook, const struct gs_group *group,
                     uint64_t code, float *y);

#endif
