/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE /* sched_getaffinity, CPU_COUNT */
#include "core/cpu.h"

#include <sched.h>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)

#include <cpuid.h>

/* clang 14 has no name for it in __builtin_cpu_supports. */
static bool has_f16c(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

uint32_t gs_cpu_flags(void)
{
    uint32_t flags = 0;

    __builtin_cpu_init(); /* asks the operating system for its register state too */
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        has_f16c() && __builtin_cpu_supports("bmi2"))
        flags |= GS_CPU_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd"))
        flags |= GS_CPU_AVX512;
    if (__builtin_cpu_supports("avx512vnni"))
        flags |= GS_CPU_VNNI;
    if (__builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2"))
        flags |= GS_CPU_VBMI;
    if (__builtin_cpu_supports("gfni"))
        flags |= GS_CPU_GFNI;
    if (__builtin_cpu_supports("avx512bf16"))
        flags |= GS_CPU_BF16;
    return flags;
}

#elif defined(__aarch64__)

uint32_t gs_cpu_flags(void)
{
    uint32_t flags = GS_CPU_NEON; /* part of the base architecture */
#if defined(__linux__)
    if (getauxval(AT_HWCAP) & (1ul << 20)) /* HWCAP_ASIMDDP */
        flags |= GS_CPU_DOTPROD;
#endif
    return flags;
}

#else

uint32_t gs_cpu_flags(void)
{
    return 0;
}

#endif

int gs_cpu_count(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return GS_MAX(n, 1);
}
