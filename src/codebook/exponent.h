/* SPDX-License-Identifier: MIT
 * Kinds whose groups share a power of two, stored as E8M0 in 8 bits of their own (OCP
 * Microscaling Formats 1.0, 5.4.1) whatever the rule of scales:
 *
 *     ŵ = 2^(choice − 127) · point,     choice = 0 … 254
 *
 * The group's size is for the caller: 32 for MX, 16 for block floating point. */
#ifndef GS_CODEBOOK_EXPONENT_H
#define GS_CODEBOOK_EXPONENT_H

#include "codebook/points.h"

struct gs_exponent {
    struct gs_codebook base;
    struct gs_points points;
    int largest;  /* the power that the largest weight of a group is brought to */
    bool ceiling; /* that weight's power: rounded up instead of down */
    bool search;  /* the powers above and below are tried too */
};

int gs_exponent_create(const float *by_code, unsigned states, int largest, bool ceiling,
                       bool search, struct gs_codebook **out, struct gs_err *err) GS_MUST_USE;

void gs_exponent_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                     const float *x, const float *h, size_t n, float *table,
                     struct gs_group *out);
uint64_t gs_exponent_nearest(const struct gs_codebook *codebook, const struct gs_group *group,
                             const float *x, const float *h, float *y);
void gs_exponent_value(const struct gs_codebook *codebook, const struct gs_group *group,
                       uint64_t code, float *y);

#endif
