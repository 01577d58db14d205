/* SPDX-License-Identifier: MIT
 * Byte layouts of ggml's block types, as stock GGUF files hold them.
 *
 * Every field is made of bytes, so a struct has no padding and no alignment and may lie
 * over any address of a mapped file. Multi-byte numbers are little-endian. Fields that
 * are called d, m or dmin are f16. `W` below is the number of weights in a block, w its
 * weights in order, q the small integer that stands for a weight. "halves" means: byte j
 * of a run of n bytes carries weight j in its low and weight n + j in its high nibble.
 *
 *   type      W    weight
 *   Q4_0      32   d (q − 8)            halves of 16 bytes
 *   Q4_1      32   d q + m              halves of 16 bytes
 *   Q5_0      32   d (q − 16)           as Q4_0, fifth bit of w[j] is bit j of qh
 *   Q5_1      32   d q + m              as Q4_1, fifth bit of w[j] is bit j of qh
 *   Q8_0      32   d q
 *   Q8_1      32   d q                  s = d Σ q, for dot products only
 *   Q1_0     128   d or −d              bit j of qs set: d
 *   Q2_0      64   d (q − 1)            four weights a byte, low bits first
 *   MXFP4     32   2^(e−128) v[q]       halves of 16 bytes; v = twice E2M1 (gs_fp4_values)
 *   NVFP4     64   d[i] v[q]            four runs of 16 weights, halves of 8 bytes;
 *                                       d[i] = half of the unsigned E4M3 number
 *   IQ4_NL    32   d v[q]               halves of 16 bytes; v = gs_iq4_values
 *
 * All others have W = 256: d covers the block, small scales cover runs of 16 or 32. */
#ifndef GS_KERNELS_BLOCKS_H
#define GS_KERNELS_BLOCKS_H

#include "core/half.h"

struct gs_block_q4_0 { uint8_t d[2], qs[16]; };
struct gs_block_q4_1 { uint8_t d[2], m[2], qs[16]; };
struct gs_block_q5_0 { uint8_t d[2], qh[4], qs[16]; };
struct gs_block_q5_1 { uint8_t d[2], m[2], qh[4], qs[16]; };
struct gs_block_q8_0 { uint8_t d[2]; int8_t qs[32]; };
struct gs_block_q8_1 { uint8_t d[2], s[2]; int8_t qs[32]; };
struct gs_block_q1_0 { uint8_t d[2], qs[16]; };
struct gs_block_q2_0 { uint8_t d[2], qs[16]; };
struct gs_block_mxfp4 { uint8_t e, qs[16]; };
struct gs_block_nvfp4 { uint8_t d[4], qs[32]; };
struct gs_block_iq4_nl { uint8_t d[2], qs[16]; };

/* w = d (scale & 15) q − dmin (scale >> 4), a scale for every 16. Two runs of 128 weights
 * with 32 bytes each: bits 2k, 2k+1 of byte j are weight 32k + j. */
struct gs_block_q2_k { uint8_t scales[16], qs[64], d[2], dmin[2]; };

/* w = d (scale − 32) (q − 4), q's low bits as in Q2_K, its third bit in hmask: bit 4r + k
 * of byte j belongs to weight 128r + 32k + j. Sixteen 6-bit scales: low nibbles as halves
 * of bytes 0–7, high bits of scale 4k + i in bits 2k, 2k+1 of byte 8 + i. */
struct gs_block_q3_k { uint8_t hmask[32], qs[64], scales[12], d[2]; };

/* w = d scale q − dmin min for every 32, 8 scales and 8 mins of 6 bits: see
 * gs_k4_scale_min. Four runs of 64 weights, each halves of 32 bytes. */
struct gs_block_q4_k { uint8_t d[2], dmin[2], scales[12], qs[128]; };

/* As Q4_K; the fifth bit of weight 32k + j is bit k of qh[j]. */
struct gs_block_q5_k { uint8_t d[2], dmin[2], scales[12], qh[32], qs[128]; };

/* w = d scale (q − 32), a scale for every 16. Two runs r of 128 weights; of weight
 * 32k + j (k < 4) the low nibble is the low (k < 2) or high half of ql[64r + 32(k & 1) + j],
 * the high two bits are bits 2k, 2k+1 of qh[32r + j]. */
struct gs_block_q6_k { uint8_t ql[128], qh[64]; int8_t scales[16]; uint8_t d[2]; };

/* w = d q with d in f32; sums are of 16 weights each, for dot products only. */
struct gs_block_q8_k { uint8_t d[4]; int8_t qs[256]; uint8_t sums[32]; };

/* w = d (t − 1), t ternary. A byte b holds five digits of base 3 as a fraction:
 * b ≈ 256/243 · Σ t[k] 3^(4−k), so digit k is the integer part of 3 · frac(b 3^k / 256).
 * Weight k·n + j is digit k of byte j, in runs of n = 32, 16 (qs) and 4 (qh, four digits). */
struct gs_block_tq1_0 { uint8_t qs[48], qh[4], d[2]; };

/* w = d (q − 1); bit order as in Q2_K. */
struct gs_block_tq2_0 { uint8_t qs[64], d[2]; };

/* The IQ types name eight weights (IQ3: four) by an index into a grid of points, see
 * grids.h. "signs" is a bit a weight, set for minus.
 *
 * IQ2_XXS, for every 32 weights 8 bytes: four grid indices; then 32 bits: four times 7
 * bits of signs (the eighth makes their number even), 4 bits s. w = d (s + 1/2) / 4 · ±g. */
struct gs_block_iq2_xxs { uint8_t d[2], qs[64]; };

/* For every 8 weights 16 bits: 9 of index, 7 of signs; a nibble s for every 16. */
struct gs_block_iq2_xs { uint8_t d[2], qs[64], scales[8]; };

/* Index of 10 bits: qs[l] and bits 2(l & 3), +1 of qh[l / 4]; signs in full. */
struct gs_block_iq2_s { uint8_t d[2], qs[32], signs[32], qh[8], scales[8]; };

/* Two indices for every 8 weights; after all indices, for every 32 weights 32 bits as in
 * IQ2_XXS. w = d (s + 1/2) / 2 · ±g. */
struct gs_block_iq3_xxs { uint8_t d[2], qs[64], signs[32]; };

/* Index of 9 bits: qs[l] and bit l & 7 of qh[l / 8]. w = d (1 + 2s) · ±g, a nibble s for
 * every 32. */
struct gs_block_iq3_s { uint8_t d[2], qs[64], qh[8], signs[32], scales[4]; };

/* For every 32 weights 16 bits in qh: four times the high 3 bits of an index of 11 bits,
 * 3 bits s, 1 bit: shift of all weights by −1/8 instead of +1/8. w = d (1 + 2s) (g ± 1/8). */
struct gs_block_iq1_s { uint8_t d[2], qs[32], qh[16]; };

/* For every 8 weights a nibble in qh: 3 high bits of the index and the shift. Four words
 * of 16 bits in scales: four times 3 bits s (one for 16 weights), then a nibble of the f16
 * number d, lowest nibble in the first word. */
struct gs_block_iq1_m { uint8_t qs[32], qh[16], scales[8]; };

/* w = d (s − 32) v[q], every 32 halves of 16 bytes; s has its low nibble in scales_l (low
 * first), its high two bits in scales_h. */
struct gs_block_iq4_xs { uint8_t d[2], scales_h[2], scales_l[4], qs[128]; };

/* Scale and minimum number i < 8 of Q4_K and Q5_K: 6 bits each in 12 bytes. Numbers 0–3
 * are the low bits of bytes i and 4 + i; of number i ≥ 4 the low nibbles share byte 4 + i
 * and the high bits are the top bits of bytes i − 4 and i. */
static inline void gs_k4_scale_min(const uint8_t scales[12], int i, int *scale, int *min)
{
    if (i < 4) {
        *scale = scales[i] & 63;
        *min = scales[i + 4] & 63;
    } else {
        *scale = (scales[i + 4] & 15) | (scales[i - 4] >> 6) << 4;
        *min = (scales[i + 4] >> 4) | (scales[i] >> 6) << 4;
    }
}

/* 2^(e−128): half of the E8M0 number, since the table holds twice E2M1. The two smallest
 * are subnormal. */
static inline float gs_e8m0_half(uint8_t e)
{
    return gs_f32_from_bits(e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23);
}

/* Half of the E4M3 number (bias 7, the sign bit ignored). 0x7f would be NaN and counts
 * as 0; 0xff is read as 480, as the reference decoder does. */
static inline float gs_e4m3_half(uint8_t bits)
{
    int exponent = bits >> 3 & 15, mantissa = bits & 7;

    if (bits == 0x7f)
        return 0.0f;
    if (exponent == 0)
        return (float)mantissa * 0x1p-10f;
    return (float)(8 + mantissa) * gs_f32_from_bits((uint32_t)(exponent - 11 + 127) << 23);
}

#endif
