/* SPDX-License-Identifier: MIT
 * exp and the activations in f32: the definition, operation by operation.
 *
 * Every level computes these with the same roundings, so a vector lane and this scalar
 * code give the same bits. Largest errors against double (test_kernels repeats this):
 *
 *   gs_exp         0.9 ulp, also where the result is subnormal; exp(−inf) = 0, exp(inf) = inf
 *   gs_silu        2 ulp down to x = −87; about −88.8 and below it is −0
 *   gs_gelu_tanh   1.5e-7 · max(1, |x|)
 *   gs_gelu_erf    4e-7 of the result down to x = −12, near the end of f32's normals
 *
 * NaN gives NaN, and so does −inf in the activations (0 · inf in their formulas).
 *
 * exp:  x = k ln 2 + r with |r| ≤ ln 2 / 2 (Cody and Waite: ln 2 in two parts), e^r by a
 *       polynomial of degree 6 (minimax, 3e-9), times 2^k in two steps so that subnormal
 *       results are rounded once.
 * tanh: 0.5 (1 + tanh u) = 1 / (1 + e^(−2u)), so gelu_tanh needs no tanh.
 * erf:  0.5 (1 + erf(x/√2)) is the normal distribution function. With a = |x|,
 *       Φ(−a) = e^(−a²/2) G(t) / (a + 5/2), t = (a − 5/2) / (a + 5/2), G a polynomial of
 *       degree 9 (minimax on 0 ≤ a ≤ 15, 1.5e-8). */
#ifndef GS_KERNELS_MATH_H
#define GS_KERNELS_MATH_H

#include <math.h>

#include "core/half.h"

#define GS_EXP_MAX 89.0f   /* beyond: infinity */
#define GS_EXP_MIN -104.0f /* below: zero */
#define GS_EXP_LOG2E 0x1.715476p+0f
#define GS_EXP_ROUND 0x1.8p+23f /* adding this leaves the nearest integer in the low bits */
#define GS_EXP_LN2_HIGH 0x1.62e430p-1f
#define GS_EXP_LN2_LOW -0x1.05c610p-29f
#define GS_EXP_C2 0x1.fffffcp-2f
#define GS_EXP_C3 0x1.555492p-3f
#define GS_EXP_C4 0x1.5558f2p-5f
#define GS_EXP_C5 0x1.1239e2p-7f
#define GS_EXP_C6 0x1.6a2434p-10f

#define GS_GELU_LINEAR 0x1.988454p+0f /* 2 √(2/π) */
#define GS_GELU_CUBIC 0x1.2444f2p-4f  /* 0.044715 of it */

#define GS_PHI_MAX 20.0f
#define GS_PHI_DENSITY 0x1.988454p-2f /* 1 / √(2π) */
#define GS_PHI_SHIFT 2.5f
#define GS_PHI_C0 0x1.69cee6p-1f
#define GS_PHI_C1 -0x1.bc19c2p-2f
#define GS_PHI_C2 0x1.0e4f30p-3f
#define GS_PHI_C3 0x1.2ea424p-7f
#define GS_PHI_C4 -0x1.0c78a4p-6f
#define GS_PHI_C5 -0x1.a3a5e4p-10f
#define GS_PHI_C6 0x1.4ad126p-9f
#define GS_PHI_C7 0x1.66d45cp-11f
#define GS_PHI_C8 -0x1.46c2cap-12f
#define GS_PHI_C9 -0x1.4aba08p-13f

/* The comparisons let NaN pass. All of these are free of branches, so that a compiler
 * turns loops over them into vectors. */
static inline float gs_exp(float x)
{
    x = GS_EXP_MAX < x ? GS_EXP_MAX : x;
    x = GS_EXP_MIN > x ? GS_EXP_MIN : x;
    float t = fmaf(x, GS_EXP_LOG2E, GS_EXP_ROUND);
    float n = t - GS_EXP_ROUND;
    float r = fmaf(n, -GS_EXP_LN2_HIGH, x);
    r = fmaf(n, -GS_EXP_LN2_LOW, r);
    float p = fmaf(GS_EXP_C6, r, GS_EXP_C5);
    p = fmaf(p, r, GS_EXP_C4);
    p = fmaf(p, r, GS_EXP_C3);
    p = fmaf(p, r, GS_EXP_C2);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    /* k in −150 … 129; for NaN any number, as p is NaN. */
    int32_t k = (int32_t)(gs_f32_bits(t) - gs_f32_bits(GS_EXP_ROUND));
    int32_t half = k >> 1;
    p *= gs_f32_from_bits((uint32_t)(half + 127) << 23);
    return p * gs_f32_from_bits((uint32_t)(k - half + 127) << 23);
}

/* x / (1 + e^(−x)) */
static inline float gs_silu(float x)
{
    return x / (1.0f + gs_exp(-x));
}

/* 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))) */
static inline float gs_gelu_tanh(float x)
{
    float u = x * fmaf(GS_GELU_CUBIC, x * x, GS_GELU_LINEAR);
    return x / (1.0f + gs_exp(-u));
}

/* 0.5 (1 + erf(x / √2)), and e^(−x²/2) */
static inline float gs_phi(float x, float *density)
{
    float a = fabsf(x);
    a = GS_PHI_MAX < a ? GS_PHI_MAX : a;
    float square = a * a;
    float lost = fmaf(a, a, -square); /* the exact square is square + lost */
    float e = gs_exp(-0.5f * square);
    e = fmaf(-0.5f * lost, e, e);
    float inverse = 1.0f / (a + GS_PHI_SHIFT);
    float t = (a - GS_PHI_SHIFT) * inverse;
    float g = fmaf(GS_PHI_C9, t, GS_PHI_C8);
    g = fmaf(g, t, GS_PHI_C7);
    g = fmaf(g, t, GS_PHI_C6);
    g = fmaf(g, t, GS_PHI_C5);
    g = fmaf(g, t, GS_PHI_C4);
    g = fmaf(g, t, GS_PHI_C3);
    g = fmaf(g, t, GS_PHI_C2);
    g = fmaf(g, t, GS_PHI_C1);
    g = fmaf(g, t, GS_PHI_C0);
    float below = e * (g * inverse), above = 1.0f - below; /* Φ(−a), Φ(a) */
    *density = e;
    return x < 0.0f ? below : above;
}

/* 0.5 x (1 + erf(x / √2)) */
static inline float gs_gelu_erf(float x)
{
    float density;

    return x * gs_phi(x, &density);
}

/* Derivatives. Far out they are 0 and 1; x is clamped there, so that no infinity meets a
 * zero. */
static inline float gs_silu_slope(float x)
{
    x = 87.0f < x ? 87.0f : x;
    x = -87.0f > x ? -87.0f : x;
    float s = 1.0f / (1.0f + gs_exp(-x));
    return s * fmaf(x, 1.0f - s, 1.0f);
}

static inline float gs_gelu_tanh_slope(float x)
{
    x = 20.0f < x ? 20.0f : x;
    x = -20.0f > x ? -20.0f : x;
    float square = x * x;
    float u = x * fmaf(GS_GELU_CUBIC, square, GS_GELU_LINEAR);
    float s = 1.0f / (1.0f + gs_exp(-u));
    float slope = fmaf(3.0f * GS_GELU_CUBIC, square, GS_GELU_LINEAR);
    return fmaf(s * (1.0f - s), x * slope, s);
}

static inline float gs_gelu_erf_slope(float x)
{
    float density;
    float phi = gs_phi(x, &density);

    return fmaf(GS_PHI_DENSITY * density, x, phi);
}

#endif
