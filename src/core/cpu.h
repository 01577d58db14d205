/* SPDX-License-Identifier: MIT
 * What this processor (and its operating system) can do, found once. */
#ifndef GS_CORE_CPU_H
#define GS_CORE_CPU_H

#include "core/attr.h"

enum gs_cpu_flag {
    GS_CPU_AVX2 = 1u << 0,   /* with FMA, F16C, BMI2: Haswell and later */
    GS_CPU_AVX512 = 1u << 1, /* F, BW, DQ, VL, CD: Skylake-X and later */
    GS_CPU_VNNI = 1u << 2,   /* AVX512-VNNI */
    GS_CPU_VBMI = 1u << 3,   /* AVX512-VBMI and VBMI2 */
    GS_CPU_GFNI = 1u << 4,
    GS_CPU_BF16 = 1u << 5,   /* AVX512-BF16 */
    GS_CPU_NEON = 1u << 8,
    GS_CPU_DOTPROD = 1u << 9
};

/* Bits of enum gs_cpu_flag. */
uint32_t gs_cpu_flags(void);

/* Processors that this thread may run on (affinity), at least 1. */
int gs_cpu_count(void);

/* One processor of each core that it may run on, at most n of them, ascending; their number.
 * Where the system does not tell which share a core, each counts as one. */
size_t gs_cpu_cores(int *cpu, size_t n);

/* Lets this thread run on these processors only. */
void gs_cpu_pin(const int *cpu, size_t n);

#endif
