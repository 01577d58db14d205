/* SPDX-License-Identifier: MIT
 * Rows of the K types and of ternary weights times one vector (dot_avx512vbmi.h). Bits that are
 * kept apart from the others come in by a rotation to their place and a select. */
#include "kernels/dot_avx512vbmi.h"

/* ---- Q4_K, Q5_K --------------------------------------------------------------------------- */

/* Dwords of two registers with the nibbles of each group's first step; the other steps are the
 * next dwords. Runs of 64 weights: 8 dwords, low nibbles for groups 0 and 1. */
static GS_ALWAYS_INLINE __m512i k4_order(void)
{
    return LANES(0, 4, 0, 4, 8, 12, 8, 12, 16, 20, 16, 20, 24, 28, 24, 28);
}

/* Scales and minima of 6 bits, packed in 12 bytes (blocks.h). */
static GS_ALWAYS_INLINE void k4_scales(const uint8_t *halves, const uint8_t scales[12],
                                       struct piece *p)
{
    uint32_t a = (uint32_t)dword_at(scales), b = (uint32_t)dword_at(scales + 4);
    uint32_t c = (uint32_t)dword_at(scales + 8);
    uint64_t s = (a & 0x3f3f3f3fu) |
                 (uint64_t)((c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u)) << 32;
    uint64_t t = (b & 0x3f3f3f3fu) |
                 (uint64_t)((c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u)) << 32;
    const __m512i first = PAIRS(0, 1, 2, 3, 4, 5, 6, 7);
    const __m512i second = PAIRS(8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i half = LANES(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    __m512 v = _mm512_cvtepi32_ps(
        _mm512_cvtepu8_epi32(_mm_set_epi64x((long long)t, (long long)s)));
    __m128 both = _mm_cvtph_ps(_mm_cvtsi32_si128(dword_at(halves)));

    v = _mm512_mul_ps(_mm512_permutexvar_ps(half, _mm512_castps128_ps512(both)), v);
    p->d = _mm512_permutexvar_ps(first, v);
    p->m = _mm512_permutexvar_ps(second, v);
}

static GS_ALWAYS_INLINE void load_q4_k(const struct gs_block_q4_k *b, struct piece *p)
{
    const __m512i field = leave_in_place(p, PAIRS(0, 4, 0, 4, 0, 4, 0, 4), 15);
    __m512i low = _mm512_loadu_si512(b->qs), high = _mm512_loadu_si512(b->qs + 64);

    k4_scales(b->d, b->scales, p);
    GS_UNROLL for (int s = 0; s < 4; s++) {
        __m512i order = _mm512_add_epi32(k4_order(), _mm512_set1_epi32(s));
        p->u[s] = _mm512_and_si512(_mm512_permutex2var_epi32(low, order, high), field);
    }
}
DOT_PIECES(q4_k, load_q4_k)

static GS_ALWAYS_INLINE void load_q5_k(const struct gs_block_q5_k *b, struct piece *p)
{
    const __m512i shift = PAIRS(0, 4, 0, 4, 0, 4, 0, 4);
    const __m512i turn = PAIRS(4, 3, 2, 1, 0, -1, -2, -3); /* bit g / 2 to bit 4 */
    __m512i low = _mm512_loadu_si512(b->qs), high = _mm512_loadu_si512(b->qs + 64);
    __m512i fifth = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)b->qh));

    k4_scales(b->d, b->scales, p);
    GS_UNROLL for (int s = 0; s < 4; s++) {
        __m512i step = _mm512_set1_epi32(s);
        __m512i q = _mm512_permutex2var_epi32(low, _mm512_add_epi32(k4_order(), step), high);
        __m512i top = LANES(0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4);
        top = _mm512_permutexvar_epi32(_mm512_add_epi32(top, step), fifth);
        q = select_bits(bytes64(15), _mm512_srlv_epi32(q, shift), _mm512_rolv_epi32(top, turn));
        p->u[s] = _mm512_and_si512(q, bytes64(31));
    }
}
DOT_PIECES(q5_k, load_q5_k)

/* ---- Q6_K --------------------------------------------------------------------------------- */

static GS_ALWAYS_INLINE void load_q6_k(const struct gs_block_q6_k *b, struct piece *p)
{
    const __m512i order =
        LANES(0, 4, 8, 12, 0, 4, 8, 12, 16, 20, 24, 28, 16, 20, 24, 28);
    /* Upper bits: every other field of their bytes, from 16 on the others. What stands beside a
     * field that is turned to bits 4 and 5 then comes to bits 0 and 1, where nibbles are taken. */
    const __m512i high = LANES(0, 4, 16, 20, 0, 4, 16, 20, 8, 12, 24, 28, 8, 12, 24, 28);
    const __m512i shift = PAIRS(0, 0, 4, 4, 0, 0, 4, 4);
    const __m512i turn = PAIRS(4, 2, 0, -2, 4, 2, 0, -2); /* bits 2k to bits 4 and 5 */
    __m512i low0 = _mm512_loadu_si512(b->ql), low1 = _mm512_loadu_si512(b->ql + 64);
    __m512i top2 = _mm512_loadu_si512(b->qh);
    __m512i even = _mm512_and_si512(top2, bytes64(0x33));
    __m512i odd = _mm512_and_si512(top2, bytes64(0xcc));

    p->d = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)b->scales)));
    p->d = _mm512_mul_ps(half16(b->d), p->d);
    p->m = _mm512_mul_ps(p->d, _mm512_set1_ps(32));
    GS_UNROLL for (int s = 0; s < 4; s++) {
        __m512i step = _mm512_set1_epi32(s);
        __m512i q = _mm512_permutex2var_epi32(low0, _mm512_add_epi32(order, step), low1);
        __m512i top = _mm512_permutex2var_epi32(even, _mm512_add_epi32(high, step), odd);
        p->u[s] = select_bits(bytes64(15), _mm512_srlv_epi32(q, shift),
                              _mm512_rolv_epi32(top, turn));
    }
}
DOT_PIECES(q6_k, load_q6_k)

/* ---- two bits: Q2_K, Q3_K, TQ2_0 ---------------------------------------------------------- */

/* Where fields of 2 bits begin in what two_bits returns. */
static GS_ALWAYS_INLINE __m512i two_bits_shift(void)
{
    return PAIRS(0, 2, 4, 6, 0, 2, 4, 6);
}

/* Step s of fields of 2 bits in 64 bytes, with the others of their bytes. */
static GS_ALWAYS_INLINE __m512i two_bits(__m512i qs, int s)
{
    const __m512i order = LANES(0, 4, 0, 4, 0, 4, 0, 4, 8, 12, 8, 12, 8, 12, 8, 12);

    return _mm512_permutexvar_epi32(_mm512_add_epi32(order, _mm512_set1_epi32(s)), qs);
}

static GS_ALWAYS_INLINE void load_q2_k(const struct gs_block_q2_k *b, struct piece *p)
{
    __m512i scales = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)b->scales));
    const __m512i field = leave_in_place(p, two_bits_shift(), 3);
    __m512i qs = _mm512_loadu_si512(b->qs), low = _mm512_set1_epi32(15);

    p->d = _mm512_cvtepi32_ps(_mm512_and_si512(scales, low));
    p->d = _mm512_mul_ps(half16(b->d), p->d);
    p->m = _mm512_cvtepi32_ps(_mm512_srli_epi32(scales, 4));
    p->m = _mm512_mul_ps(half16(b->dmin), p->m);
    GS_UNROLL for (int s = 0; s < 4; s++)
        p->u[s] = _mm512_and_si512(two_bits(qs, s), field);
}
DOT_PIECES(q2_k, load_q2_k)

/* Sixteen scales of 6 bits, less 32. */
static GS_ALWAYS_INLINE __m512 q3_scales(const uint8_t packed[12])
{
    uint64_t low = (uint64_t)qword_at(packed);
    const __m128i shift = _mm_setr_epi32(0, 2, 4, 6);
    __m128i s = _mm_set_epi64x((long long)(low >> 4), (long long)low);
    __m128i top = _mm_srlv_epi32(_mm_set1_epi32(dword_at(packed + 8)), shift);

    s = _mm_ternarylogic_epi32(_mm_set1_epi8(15), s, _mm_slli_epi32(top, 4), 0xca);
    s = _mm_sub_epi8(_mm_and_si128(s, _mm_set1_epi8(63)), _mm_set1_epi8(32));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(s));
}

static GS_ALWAYS_INLINE void load_q3_k(const struct gs_block_q3_k *b, struct piece *p)
{
    const __m512i turn = PAIRS(2, 1, 0, -1, -2, -3, -4, -5); /* bit g / 2 to bit 2 */
    __m512i qs = _mm512_loadu_si512(b->qs);
    __m512i third = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)b->hmask));

    p->d = _mm512_mul_ps(half16(b->d), q3_scales(b->scales));
    p->m = _mm512_mul_ps(p->d, _mm512_set1_ps(4));
    GS_UNROLL for (int s = 0; s < 4; s++) {
        __m512i top = LANES(0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4);
        top = _mm512_permutexvar_epi32(_mm512_add_epi32(top, _mm512_set1_epi32(s)), third);
        __m512i q = _mm512_srlv_epi32(two_bits(qs, s), two_bits_shift());
        q = select_bits(bytes64(3), q, _mm512_rolv_epi32(top, turn));
        p->u[s] = _mm512_and_si512(q, bytes64(7));
    }
}
DOT_PIECES(q3_k, load_q3_k)

static GS_ALWAYS_INLINE void load_tq2_0(const struct gs_block_tq2_0 *b, struct piece *p)
{
    const __m512i field = leave_in_place(p, two_bits_shift(), 3);
    __m512i qs = _mm512_loadu_si512(b->qs);

    p->d = p->m = half16(b->d);
    GS_UNROLL for (int s = 0; s < 4; s++)
        p->u[s] = _mm512_and_si512(two_bits(qs, s), field);
}
DOT_PIECES(tq2_0, load_tq2_0)

/* ---- TQ1_0 -------------------------------------------------------------------------------- */

/* Digit k of a byte is the high byte of 3 · (byte · 3^k mod 256); lane g has its digit's power.
 * The last group takes digit s of the bytes qh in step s. */
static GS_ALWAYS_INLINE void load_tq1_0(const struct gs_block_tq1_0 *b, struct piece *p)
{
    const __m512i order = LANES(0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 8, 8, 8, 8, 8, 12);
    const __m512i three = _mm512_set1_epi16(3), high = _mm512_set1_epi16((short)0xff00);
    __m512i qs = _mm512_maskz_loadu_epi32(0x1fff, b->qs); /* 48 bytes and qh */

    p->d = p->m = half16(b->d);
    GS_UNROLL for (int s = 0; s < 4; s++) {
        const int last = s == 0 ? 1 : s == 1 ? 3 : s == 2 ? 9 : 27;
        __m512i power = LANES(1, 1, 3, 3, 9, 9, 27, 27, 81, 81, 1, 3, 9, 27, 81, last);
        power = _mm512_or_si512(power, _mm512_slli_epi32(power, 16));
        __m512i at = _mm512_mask_add_epi32(order, 0x7fff, order, _mm512_set1_epi32(s));
        __m512i q = _mm512_permutexvar_epi32(at, qs);
        __m512i even = _mm512_mullo_epi16(q, _mm512_slli_epi16(power, 8));
        __m512i odd = _mm512_mullo_epi16(_mm512_and_si512(q, high), power);
        odd = _mm512_slli_epi16(_mm512_mulhi_epu16(odd, three), 8);
        p->u[s] = _mm512_or_si512(_mm512_mulhi_epu16(even, three), odd);
    }
}
DOT_PIECES(tq1_0, load_tq1_0)
