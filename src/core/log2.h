/* SPDX-License-Identifier: MIT
 * Logarithms in integers, for decisions that must be the same on every machine. */
#ifndef GS_CORE_LOG2_H
#define GS_CORE_LOG2_H

#include "core/attr.h"

/* log2 n in 1/256, rounded down, n > 0: the integer part, then a bit of the fraction for each
 * squaring. */
static inline uint32_t gs_log2_fixed(uint32_t n)
{
    uint32_t whole = 31 - (uint32_t)__builtin_clz(n), out = whole << 8;
    uint64_t x = (uint64_t)n << (31 - whole); /* in [1, 2) with 31 bits behind the point */

    for (uint32_t bit = 128; bit; bit >>= 1) {
        x = x * x >> 31;
        if (x >> 32) {
            x >>= 1;
            out |= bit;
        }
    }
    return out;
}

#endif
