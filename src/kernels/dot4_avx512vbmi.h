/* SPDX-License-Identifier: MIT
 * Products of bytes, four to a 32-bit lane. Only *_avx512vbmi.c files include this. */
#ifndef GS_KERNELS_DOT4_AVX512VBMI_H
#define GS_KERNELS_DOT4_AVX512VBMI_H

#include <immintrin.h>
#include <string.h>

#include "core/attr.h"

/* Four activations in every 32-bit lane. */
static GS_ALWAYS_INLINE __m512i four_wide(const int8_t *x)
{
    int32_t v;

    memcpy(&v, x, sizeof v);
    return _mm512_set1_epi32(v);
}

/* Each lane of sum += Σ u · v over its four bytes, u without sign. Not the intrinsic: where most
 * registers are sums in a loop, gcc 12 gives each a second place on the stack and stores it there
 * every time round, at half the speed. */
static GS_ALWAYS_INLINE void add_dot4(__m512i *sum, __m512i u, __m512i v)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(u), "v"(v));
}

#endif
