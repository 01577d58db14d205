/* SPDX-License-Identifier: MIT
 * For tests of matrices of parts: what a recipe says, in one line. */
#ifndef GS_TEST_PART_CASE_H
#define GS_TEST_PART_CASE_H

#include <stdio.h>

#include "part/part.h"

static inline struct gs_part_spec make_spec(const char *codebook, const char *scale,
                                            unsigned group, const char *rounder)
{
    struct gs_part_spec spec;

    gs_part_default(&spec);
    snprintf(spec.codebook, sizeof spec.codebook, "%s", codebook);
    snprintf(spec.scale, sizeof spec.scale, "%s", scale);
    snprintf(spec.rounder, sizeof spec.rounder, "%s", rounder);
    spec.group = group;
    return spec;
}

/* A matrix that is cut: codes in groups of 32, or `blocks` of signs times a low rank. */
static inline struct gs_part_spec make_cut_spec(const char *codebook, unsigned blocks)
{
    struct gs_part_spec spec = make_spec(codebook, blocks ? "tensor" : "group", blocks ? 0 : 32,
                                         "nearest");

    spec.blocks = blocks;
    spec.low_rank = blocks ? 3 : 0;
    return spec;
}

#endif
