/* SPDX-License-Identifier: MIT
 * Two codes cut out of the E8 lattice (Gosset's), and their exact nearest points: E8P with
 * 2^16 points and the 256 shortest vectors. What they are for: codebook_e8p.c. Private to
 * src/codebook.
 *
 * E8 = D8 ∪ (D8 + ½), D8 the integer vectors with an even sum. E8P (Tseng et al., QuIP#,
 * arXiv:2402.04396, section 4) takes vectors of D8 + ½ and moves each by +¼ or −¼ in all
 * coordinates:
 *
 *     point = v + shift,   v in D8 + ½ with |v| one of 256 patterns,   shift = ±¼ (1, …, 1)
 *
 * Patterns are the 227 vectors of {½, 3/2, 5/2, 7/2}^8 of squared length 10 at most, and 29 of
 * the 56 of squared length 12 that have five 3/2 and three ½. Which 29 is free: they change
 * the error by 0.1 %; here they are spread evenly over the 56 in lexicographic order.
 *
 * An even sum leaves seven signs free, the eighth follows. So 8 + 7 + 1 bits name a point:
 *
 *     bit 15 … 8  pattern, in ascending order of its digits (coordinate 0 is the highest)
 *     bit 7 … 0   s: coordinate i is negative if bit i is set (for i = 7 in patterns with an
 *                 odd sum: if it is clear), after bit 0 was flipped where s has odd parity;
 *                 shift is −¼ where s has odd parity, +¼ where it has even parity
 *
 * Importances h ≥ 0 (8) weigh the squares of a distance; NULL stands for ones. */
#ifndef GS_CODEBOOK_E8_H
#define GS_CODEBOOK_E8_H

#include "core/attr.h"

enum { GS_E8P_PATTERNS = 256 };

struct gs_e8p {
    GS_ALIGNED(64) float part[8][GS_E8P_PATTERNS]; /* coordinate i of |v|, by pattern */
    GS_ALIGNED(64) float odd[GS_E8P_PATTERNS];     /* 1 where Σ |v|_i is odd, else 0 */
    uint16_t key[GS_E8P_PATTERNS];                 /* two bits a coordinate: |v|_i − ½ */
    uint8_t shared[GS_E8P_PATTERNS + 1];           /* digits that it begins with as the one before */
    uint16_t skip[GS_E8P_PATTERNS][9];             /* the next with other digits 0 … i − 1 */
};

/* Fills in the tables: some 10^5 operations. */
void gs_e8p_init(struct gs_e8p *e);

/* The code of the nearest of all 2^16 points to x (8); x finite. */
unsigned gs_e8p_nearest(const struct gs_e8p *e, const float x[8], const float *h);

/* y (8) = the point of a code, 16 bits: odd multiples of ¼. */
void gs_e8p_value(const struct gs_e8p *e, unsigned code, float y[8]);

/* The 256 short vectors of E8, 8 bits (QuIP# adds them to E8P for a third bit a weight):
 *     0 … 127    (±½)^8 with an even number of minus signs; bit i: the sign of i, i < 7
 *     128 … 239  ±1 at two places i < j: 128 + 4 · rank of (i, j) + sign j · 2 + sign i
 *     240        0
 *     241 … 255  241 + 2i + sign: ±2 at place i; for i = 7 only +2 */
unsigned gs_e8_short_nearest(const float x[8], const float *h);
void gs_e8_short_value(unsigned code, float y[8]);

#endif
