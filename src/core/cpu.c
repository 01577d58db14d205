/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE /* sched_getaffinity, CPU_COUNT */
#include "core/cpu.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

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

/* Is there a lower processor of `set` on the same core? The system's list reads "0-1,8". */
static bool shares_core(int cpu, const cpu_set_t *set)
{
    char path[80], list[256] = "", *p = list;
    bool shares = false;

    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
             cpu);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    if (!fgets(list, sizeof list, f))
        *list = 0;
    fclose(f);
    while (*p >= '0' && *p <= '9') {
        long first = strtol(p, &p, 10), last = *p == '-' ? strtol(p + 1, &p, 10) : first;
        for (long i = GS_MAX(first, 0); i <= last && i < cpu; i++)
            shares = shares || (i < CPU_SETSIZE && CPU_ISSET((size_t)i, set));
        p += *p == ',';
    }
    return shares;
}

size_t gs_cpu_cores(int *cpu, size_t n)
{
    cpu_set_t set;
    size_t found = 0;

    if (sched_getaffinity(0, sizeof set, &set))
        return 0;
    for (int i = 0; i < CPU_SETSIZE && found < n; i++)
        if (CPU_ISSET((size_t)i, &set) && !shares_core(i, &set))
            cpu[found++] = i;
    return found;
}

void gs_cpu_pin(const int *cpu, size_t n)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (size_t i = 0; i < n; i++)
        CPU_SET((size_t)cpu[i], &set);
    (void)sched_setaffinity(0, sizeof set, &set); /* if not, it runs where it did */
}
