/* SPDX-License-Identifier: MIT
 * The storage types of tensors: ggml's numbering, block sizes and names.
 *
 * A row of a tensor is a whole number of blocks; a block holds `block` weights in
 * `bytes` bytes. The layouts themselves are in kernels/blocks.h. */
#ifndef GS_CORE_TYPE_H
#define GS_CORE_TYPE_H

#include "core/err.h"

enum gs_type {
    GS_TYPE_F32 = 0,      GS_TYPE_F16 = 1,      GS_TYPE_Q4_0 = 2,     GS_TYPE_Q4_1 = 3,
    GS_TYPE_Q5_0 = 6,     GS_TYPE_Q5_1 = 7,     GS_TYPE_Q8_0 = 8,     GS_TYPE_Q8_1 = 9,
    GS_TYPE_Q2_K = 10,    GS_TYPE_Q3_K = 11,    GS_TYPE_Q4_K = 12,    GS_TYPE_Q5_K = 13,
    GS_TYPE_Q6_K = 14,    GS_TYPE_Q8_K = 15,    GS_TYPE_IQ2_XXS = 16, GS_TYPE_IQ2_XS = 17,
    GS_TYPE_IQ3_XXS = 18, GS_TYPE_IQ1_S = 19,   GS_TYPE_IQ4_NL = 20,  GS_TYPE_IQ3_S = 21,
    GS_TYPE_IQ2_S = 22,   GS_TYPE_IQ4_XS = 23,  GS_TYPE_I8 = 24,      GS_TYPE_I16 = 25,
    GS_TYPE_I32 = 26,     GS_TYPE_I64 = 27,     GS_TYPE_F64 = 28,     GS_TYPE_IQ1_M = 29,
    GS_TYPE_BF16 = 30,    GS_TYPE_TQ1_0 = 34,   GS_TYPE_TQ2_0 = 35,   GS_TYPE_MXFP4 = 39,
    GS_TYPE_NVFP4 = 40,   GS_TYPE_Q1_0 = 41,    GS_TYPE_Q2_0 = 42,    GS_TYPE_COUNT = 43
};

struct gs_type_info {
    const char *name;   /* as ggml writes it: "Q4_K", "F16" */
    uint32_t block;     /* weights a block */
    uint32_t bytes;     /* bytes a block */
    bool quantized;     /* loses precision: neither a float nor an integer type */
};

/* NULL for a number that no stock reader knows (retired or unknown). */
const struct gs_type_info *gs_type_info(uint32_t type);

/* Case-insensitive; negative if unknown. */
int gs_type_find(const char *name);

/* Bytes of a row of n weights; GS_E_FORMAT if n is no multiple of the block. */
int gs_type_row_bytes(enum gs_type type, uint64_t n, uint64_t *bytes, struct gs_err *err)
    GS_MUST_USE;

#endif
