/* SPDX-License-Identifier: MIT
 * Rows of types with blocks of fewer than 256 weights, and of IQ4_XS, times one vector
 * (dot_avx512vbmi.h): several blocks are a piece. */
#include "kernels/dot_avx512vbmi.h"

/* Halves of 16 bytes: step s of all groups, both nibbles of every byte. */
static GS_ALWAYS_INLINE __m512i whole_bytes(__m512i first, __m512i second, int s)
{
    const __m512i order = PAIRS(0, 4, 8, 12, 16, 20, 24, 28);

    return _mm512_permutex2var_epi32(first, _mm512_add_epi32(order, _mm512_set1_epi32(s)),
                                     second);
}

/* By how many bits a group's nibbles are too high in these. */
static GS_ALWAYS_INLINE __m512i nibble_shift(void)
{
    return LANES(0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4);
}

/* The same with each group's nibbles in the low bits; the bits above them are others'. */
static GS_ALWAYS_INLINE __m512i half_bytes(__m512i first, __m512i second, int s)
{
    return _mm512_srlv_epi32(whole_bytes(first, second, s), nibble_shift());
}

/* A table of 16 bytes for VPERMB with nibbles that have other bits above them. */
static GS_ALWAYS_INLINE __m512i nibble_table(const int8_t *values, int add)
{
    __m128i v = _mm_loadu_si128((const void *)values);

    return _mm512_broadcast_i32x4(_mm_add_epi8(v, _mm_set1_epi8((char)add)));
}

/* Where half_words finds the first words of eight blocks of w words, each for two groups. */
#define TWICE(word) ((word) * 0x10001)
#define BLOCK_WORDS(w)                                                                         \
    LANES(0, TWICE(w), TWICE(2 * w), TWICE(3 * w), TWICE(4 * w), TWICE(5 * w), TWICE(6 * w),   \
          TWICE(7 * w), 0, 0, 0, 0, 0, 0, 0, 0)

/* Words of 128 bytes as f16. */
static GS_ALWAYS_INLINE __m512 half_words(const void *blocks, __m512i order)
{
    const uint8_t *p = blocks;
    __m512i v = _mm512_permutex2var_epi16(_mm512_loadu_si512(p), order,
                                          _mm512_loadu_si512(p + 64));

    return _mm512_cvtph_ps(_mm512_castsi512_si256(v));
}

static GS_ALWAYS_INLINE void load_q4_0(const struct gs_block_q4_0 *b, struct piece *p)
{
    const __m512i field = leave_in_place(p, nibble_shift(), 15);
    __m512i first = quarters(b[0].qs, sizeof *b), second = quarters(b[4].qs, sizeof *b);

    p->d = half_words(b, BLOCK_WORDS(9));
    p->m = _mm512_mul_ps(p->d, _mm512_set1_ps(8));
    GS_UNROLL for (int s = 0; s < 4; s++)
        p->u[s] = _mm512_and_si512(whole_bytes(first, second, s), field);
}
DOT_BLOCKS(q4_0, 32, load_q4_0)

static GS_ALWAYS_INLINE void load_iq4_nl(const struct gs_block_iq4_nl *b, struct piece *p)
{
    const __m512i table = nibble_table(gs_iq4_values, 128);
    __m512i first = quarters(b[0].qs, sizeof *b), second = quarters(b[4].qs, sizeof *b);

    p->d = half_words(b, BLOCK_WORDS(9));
    p->m = _mm512_mul_ps(p->d, _mm512_set1_ps(128));
    GS_UNROLL for (int s = 0; s < 4; s++)
        p->u[s] = _mm512_permutexvar_epi8(half_bytes(first, second, s), table);
}
DOT_BLOCKS(iq4_nl, 32, load_iq4_nl)

static GS_ALWAYS_INLINE void load_iq4_xs(const struct gs_block_iq4_xs *b, struct piece *p)
{
    const __m512i table = nibble_table(gs_iq4_values, 128);
    const __m512i nibble = PAIRS(0, 4, 8, 12, 16, 20, 24, 28);
    const __m512i two = PAIRS(0, 2, 4, 6, 8, 10, 12, 14);
    __m512i first = _mm512_loadu_si512(b->qs), second = _mm512_loadu_si512(b->qs + 64);
    __m512i low = _mm512_srlv_epi32(_mm512_set1_epi32(dword_at(b->scales_l)), nibble);
    int bits = b->scales_h[0] | b->scales_h[1] << 8;
    __m512i high = _mm512_srlv_epi32(_mm512_set1_epi32(bits << 4), two);

    low = _mm512_and_si512(low, _mm512_set1_epi32(15));
    high = _mm512_and_si512(high, _mm512_set1_epi32(48));
    low = _mm512_sub_epi32(_mm512_or_si512(low, high), _mm512_set1_epi32(32));
    p->d = _mm512_mul_ps(half16(b->d), _mm512_cvtepi32_ps(low));
    p->m = _mm512_mul_ps(p->d, _mm512_set1_ps(128));
    GS_UNROLL for (int s = 0; s < 4; s++)
        p->u[s] = _mm512_permutexvar_epi8(half_bytes(first, second, s), table);
}
DOT_PIECES(iq4_xs, load_iq4_xs)

/* From dwords with d and −m of eight blocks. */
static GS_ALWAYS_INLINE void put_pairs(__m512i dwords, struct piece *p)
{
    const __m512i even = PAIRS(0, 2, 4, 6, 8, 10, 12, 14);
    __m512 v = _mm512_cvtph_ps(_mm512_castsi512_si256(dwords));

    p->d = _mm512_permutexvar_ps(even, v);
    p->m = _mm512_permutexvar_ps(_mm512_add_epi32(even, _mm512_set1_epi32(1)), v);
    p->m = _mm512_xor_ps(p->m, _mm512_set1_ps(-0.0f));
}

static GS_ALWAYS_INLINE void load_q4_1(const struct gs_block_q4_1 *b, struct piece *p)
{
    const __m512i order = LANES(0, 5, 10, 15, 16, 21, 26, 31, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m512i field = leave_in_place(p, nibble_shift(), 15);
    __m512i first = quarters(b[0].qs, sizeof *b), second = quarters(b[4].qs, sizeof *b);

    put_pairs(_mm512_permutex2var_epi32(_mm512_loadu_si512(b), order, _mm512_loadu_si512(b + 4)),
              p);
    GS_UNROLL for (int s = 0; s < 4; s++)
        p->u[s] = _mm512_and_si512(whole_bytes(first, second, s), field);
}
DOT_BLOCKS(q4_1, 32, load_q4_1)

/* Nibbles with fifth bits, of which each lane has its block's 32. */
static GS_ALWAYS_INLINE void put_fifths(__m512i first, __m512i second, __m512i fifths,
                                        struct piece *p)
{
    GS_UNROLL for (int s = 0; s < 4; s++) {
        /* Byte i of an even lane wants bit 4 s + i of 32 in its bit 4, of an odd lane bit
         * 16 + 4 s + i: VPMULTISHIFTQB takes 8 bits from 4 bits before it. */
        const long long base = 0x0f0e0d0c3f3e3d3c, step = 0x0404040404040404;
        __m512i top = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(base + s * step), fifths);
        __m512i q = select_bits(bytes64(15), half_bytes(first, second, s), top);
        p->u[s] = _mm512_and_si512(q, bytes64(31));
    }
}

static GS_ALWAYS_INLINE void load_q5_0(const struct gs_block_q5_0 *b, struct piece *p)
{
    const __m512i bits = PAIRS(0x20001, 0xa0009, 0x120011, 0x1a0019, 0x220021, 0x2a0029,
                               0x320031, 0x3a0039); /* words 1 and 2 of quarters */
    __m512i head0 = quarters(b[0].d, sizeof *b), head1 = quarters(b[4].d, sizeof *b);
    __m512i first = quarters(b[0].qs, sizeof *b), second = quarters(b[4].qs, sizeof *b);

    p->d = _mm512_cvtph_ps(
        _mm512_castsi512_si256(_mm512_permutex2var_epi16(head0, BLOCK_WORDS(8), head1)));
    p->m = _mm512_mul_ps(p->d, _mm512_set1_ps(16));
    put_fifths(first, second, _mm512_permutex2var_epi16(head0, bits, head1), p);
}
DOT_BLOCKS(q5_0, 32, load_q5_0)

static GS_ALWAYS_INLINE void load_q5_1(const struct gs_block_q5_1 *b, struct piece *p)
{
    const __m512i order = LANES(0, 4, 8, 12, 16, 20, 24, 28, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m512i bits = PAIRS(1, 5, 9, 13, 17, 21, 25, 29);
    __m512i head0 = quarters(b[0].d, sizeof *b), head1 = quarters(b[4].d, sizeof *b);
    __m512i first = quarters(b[0].qs, sizeof *b), second = quarters(b[4].qs, sizeof *b);

    put_pairs(_mm512_permutex2var_epi32(head0, order, head1), p);
    put_fifths(first, second, _mm512_permutex2var_epi32(head0, bits, head1), p);
}
DOT_BLOCKS(q5_1, 32, load_q5_1)

/* ---- Q8_0 --------------------------------------------------------------------------------- */

/* Two blocks, four groups: their dwords are turned, first those of pairs of registers. */
static GS_ALWAYS_INLINE void load_q8_0(const struct gs_block_q8_0 *b, struct piece *p)
{
    const __m512i even = LANES(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(2));
    __m512i v[4], a[4];
    const __m512i four = LANES(0, TWICE(17), TWICE(34), TWICE(51), 0, TWICE(17), TWICE(34),
                               TWICE(51), 0, 0, 0, 0, 0, 0, 0, 0);

    p->d = _mm512_mask_blend_ps(0xff00, half_words(b, four), half_words(b + 4, four));
    p->m = _mm512_mul_ps(p->d, _mm512_set1_ps(128));
    GS_UNROLL for (int i = 0; i < 4; i++) {
        v[i] = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)b[2 * i].qs));
        v[i] = _mm512_inserti64x4(v[i], _mm256_loadu_si256((const void *)b[2 * i + 1].qs), 1);
        v[i] = _mm512_xor_si512(v[i], bytes64(128));
    }
    GS_UNROLL for (int i = 0; i < 2; i++) {
        a[i] = _mm512_permutex2var_epi32(v[2 * i], even, v[2 * i + 1]);
        a[2 + i] = _mm512_permutex2var_epi32(v[2 * i], odd, v[2 * i + 1]);
    }
    GS_UNROLL for (int i = 0; i < 2; i++) {
        p->u[2 * i] = _mm512_inserti64x4(a[2 * i], _mm512_castsi512_si256(a[2 * i + 1]), 1);
        p->u[2 * i + 1] = _mm512_shuffle_i64x2(a[2 * i], a[2 * i + 1], 0xee);
    }
}
DOT_BLOCKS(q8_0, 32, load_q8_0)

/* ---- MXFP4 -------------------------------------------------------------------------------- */

static GS_ALWAYS_INLINE void load_mxfp4(const struct gs_block_mxfp4 *b, struct piece *p)
{
    const __m512i table = nibble_table(gs_fp4_values, 12);
    const __m512i order = PAIRS(0, 17, 34, 51, 68, 85, 102, 119), two = _mm512_set1_epi32(2);
    __m512i first = quarters(b[0].qs, sizeof *b), second = quarters(b[4].qs, sizeof *b);
    __m512i e = _mm512_maskz_permutex2var_epi8(0x1111111111111111, _mm512_loadu_si512(b), order,
                                               _mm512_loadu_si512((const uint8_t *)b + 64));
    /* 2^(e − 128); the two smallest are subnormal. */
    __m512i bits = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);

    bits = _mm512_mask_sllv_epi32(bits, _mm512_cmplt_epi32_mask(e, two),
                                  _mm512_set1_epi32(0x200000), e);
    p->d = _mm512_castsi512_ps(bits);
    p->m = _mm512_mul_ps(p->d, _mm512_set1_ps(12));
    GS_UNROLL for (int s = 0; s < 4; s++)
        p->u[s] = _mm512_permutexvar_epi8(half_bytes(first, second, s), table);
}
DOT_BLOCKS(mxfp4, 32, load_mxfp4)

static GS_ALWAYS_INLINE void load_nvfp4(const struct gs_block_nvfp4 *b, struct piece *p)
{
    const __m512i table = nibble_table(gs_fp4_values, 12), seven = _mm512_set1_epi32(127);
    const __m512i even = LANES(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    __m512i v[2], q[2];
    __m128i e = _mm_setr_epi32(dword_at(b[0].d), dword_at(b[1].d), dword_at(b[2].d),
                               dword_at(b[3].d));

    /* E4M3 shifted to the place of an f16 is 2^-7 of half the number; 0x7f counts as 0. */
    __m512i bits = _mm512_cvtepu8_epi32(e);
    __mmask16 fine = _mm512_cmpneq_epi32_mask(bits, seven);
    bits = _mm512_slli_epi32(_mm512_maskz_and_epi32(fine, bits, seven), 7);
    p->d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(bits));
    p->d = _mm512_mul_ps(p->d, _mm512_set1_ps(128));
    p->m = _mm512_mul_ps(p->d, _mm512_set1_ps(12));
    GS_UNROLL for (int i = 0; i < 2; i++)
        q[i] = _mm512_inserti64x4(
            _mm512_castsi256_si512(_mm256_loadu_si256((const void *)b[2 * i].qs)),
            _mm256_loadu_si256((const void *)b[2 * i + 1].qs), 1);
    /* Halves of 8 bytes: low nibbles are the first two steps, high ones the others. */
    v[0] = _mm512_permutex2var_epi32(q[0], even, q[1]);
    v[1] = _mm512_permutex2var_epi32(q[0], _mm512_or_si512(even, _mm512_set1_epi32(1)), q[1]);
    GS_UNROLL for (int s = 0; s < 4; s++)
        p->u[s] = _mm512_permutexvar_epi8(_mm512_srli_epi32(v[s % 2], s / 2 * 4), table);
}
DOT_BLOCKS(nvfp4, 64, load_nvfp4)

/* ---- one and two bits --------------------------------------------------------------------- */

static GS_ALWAYS_INLINE void load_q1_0(const struct gs_block_q1_0 *b, struct piece *p)
{
    /* Byte i of step s is bit 4 s + i of 32 in an even lane, 16 further in an odd one. */
    const long long base = 0x1312111003020100, step = 0x0404040404040404;
    const __m512i pairs = PAIRS(0, 1, 2, 3, 4, 5, 6, 7);
    __m512i qs = _mm512_castsi128_si512(_mm_loadu_si128((const void *)b[0].qs));
    __m512 second = half16(b[1].d);

    qs = _mm512_inserti32x4(qs, _mm_loadu_si128((const void *)b[1].qs), 1);
    qs = _mm512_permutexvar_epi32(pairs, qs);
    p->m = _mm512_mask_blend_ps(0xff00, half16(b[0].d), second);
    p->d = _mm512_add_ps(p->m, p->m);
    GS_UNROLL for (int s = 0; s < 4; s++)
        p->u[s] = _mm512_and_si512(
            _mm512_multishift_epi64_epi8(_mm512_set1_epi64(base + s * step), qs), bytes64(1));
}
DOT_BLOCKS(q1_0, 128, load_q1_0)

static GS_ALWAYS_INLINE void load_q2_0(const struct gs_block_q2_0 *b, struct piece *p)
{
    /* Four weights a byte: a lane's dword has all of its group. */
    const long long base = 0x2624222006040200, step = 0x0808080808080808;
    const __m512i words = LANES(0, 0, TWICE(9), TWICE(9), TWICE(18), TWICE(18), TWICE(27),
                                TWICE(27), 0, 0, 0, 0, 0, 0, 0, 0);
    __m512i qs = quarters(b[0].qs, sizeof *b);
    __m512i d = _mm512_permutexvar_epi16(words, _mm512_loadu_si512(b));

    p->d = p->m = _mm512_cvtph_ps(_mm512_castsi512_si256(d));
    GS_UNROLL for (int s = 0; s < 4; s++)
        p->u[s] = _mm512_and_si512(
            _mm512_multishift_epi64_epi8(_mm512_set1_epi64(base + s * step), qs), bytes64(3));
}
DOT_BLOCKS(q2_0, 64, load_q2_0)
