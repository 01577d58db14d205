/* SPDX-License-Identifier: MIT
 * Rows of types with grids times one vector (dot_avx512vbmi.h).
 *
 *   indices ─ lookup ─▶ packed points ─ VPMULTISHIFTQB ─▶ bytes ‥‥‥level ─┐ select
 *   signs ──────────────────────────── VPMULTISHIFTQB ─▶ bytes ‥‥sign‥‥‥ ─┘──▶ VPERMB ─▶ u
 *
 * A multishift takes any 8 bits for each byte, so a field comes to the byte's low end with
 * bits of others above it; VPERMB looks at six bits, of which a table of 64 repeats what the
 * field and the sign decide. Grids of 256 and 512 points are looked up in registers, larger
 * ones are gathered. */
#include "kernels/dot_avx512vbmi.h"

/* ---- signs -------------------------------------------------------------------------------- */

/* The eighth sign bit, which makes the number of minuses even: a bit matrix for GF2P8AFFINEQB
 * whose other rows keep the seven bits. */
static GS_ALWAYS_INLINE __m512i even_signs(__m512i bits7)
{
    const long long rows = 0x010204081020407f;

    return _mm512_gf2p8affine_epi64_epi8(bits7, _mm512_set1_epi64(rows), 0);
}

/* Four times 7 bits of every dword, for two groups: two bytes of signs a lane. */
static GS_ALWAYS_INLINE __m512i signs_of_runs(__m512i dwords)
{
    const long long fields = 0x0000150e00000700;

    return even_signs(_mm512_multishift_epi64_epi8(_mm512_set1_epi64(fields), dwords));
}

/* ---- points of eight coordinates ---------------------------------------------------------- */

/* Step s of words with 2 bits a coordinate, two points a lane. */
static GS_ALWAYS_INLINE __m512i level_bits2(__m512i points, int s)
{
    const long long fields = 0x2624222006040200;

    return _mm512_multishift_epi64_epi8(_mm512_set1_epi64(fields + s * 0x0808080808080808),
                                        points);
}

/* Bit 2 of each byte of step s: its sign. */
static GS_ALWAYS_INLINE __m512i sign_bits2(__m512i signs, int s)
{
    const long long fields = 0x21201f1e01003f3e;

    return _mm512_multishift_epi64_epi8(_mm512_set1_epi64(fields + s * 0x0404040404040404),
                                        signs);
}

/* 43 ± level by two bits and a sign. */
static GS_ALWAYS_INLINE void put_iq2(__m512i points, __m512i signs, struct piece *p)
{
    const __m512i table = _mm512_set1_epi64(0x2b0012232b564433);

    GS_UNROLL for (int s = 0; s < 4; s++) {
        __m512i index = select_bits(bytes64(3), level_bits2(points, s), sign_bits2(signs, s));
        p->u[s] = _mm512_permutexvar_epi8(index, table);
    }
}

/* d · (s + 1/2) · factor, of which the last two are exact, and its minimum. */
static GS_ALWAYS_INLINE void put_half_steps(const uint8_t *d, __m512i s, float factor, float top,
                                            struct piece *p)
{
    __m512 v = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s), _mm512_set1_ps(factor),
                               _mm512_set1_ps(factor / 2));

    p->d = _mm512_mul_ps(half16(d), v);
    p->m = _mm512_mul_ps(_mm512_set1_ps(top), p->d);
}

/* A nibble for every group. */
static GS_ALWAYS_INLINE __m512i nibbles16(const uint8_t scales[8])
{
    const __m512i fields = LANES(0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60);
    __m512i v = _mm512_multishift_epi64_epi8(fields, _mm512_set1_epi64(qword_at(scales)));

    return _mm512_and_si512(v, _mm512_set1_epi32(15));
}

/* ---- lookups ------------------------------------------------------------------------------ */

/* Bytes by an index of 8 bits: two halves of a table, chosen by the highest bit. */
static GS_ALWAYS_INLINE __m512i lookup256(const __m512i table[4], __m512i index)
{
    __m512i low = _mm512_permutex2var_epi8(table[0], index, table[1]);
    __m512i high = _mm512_permutex2var_epi8(table[2], index, table[3]);

    return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(index), high);
}

/* `count` · 64 grid points as two tables of bytes: bits 0 … shift-1 and the bits above. */
static GS_ALWAYS_INLINE void split_grid(const uint16_t *grid, size_t count, unsigned shift,
                                        __m512i *low, __m512i *high)
{
    const __m512i mask = _mm512_set1_epi16((short)((1 << shift) - 1));

    for (size_t i = 0; i < count; i++) {
        __m512i a = _mm512_loadu_si512(grid + 64 * i), b = _mm512_loadu_si512(grid + 64 * i + 32);
        __m256i a0 = _mm512_cvtepi16_epi8(_mm512_and_si512(a, mask));
        __m256i b0 = _mm512_cvtepi16_epi8(_mm512_and_si512(b, mask));
        __m256i a1 = _mm512_cvtepi16_epi8(_mm512_srli_epi16(a, shift));
        __m256i b1 = _mm512_cvtepi16_epi8(_mm512_srli_epi16(b, shift));
        low[i] = _mm512_inserti64x4(_mm512_castsi256_si512(a0), b0, 1);
        high[i] = _mm512_inserti64x4(_mm512_castsi256_si512(a1), b1, 1);
    }
}

/* ---- IQ2_XXS ------------------------------------------------------------------------------ */

/* Tables that a call makes once. */
struct tables {
    __m512i low[8], high[8];
};

static GS_ALWAYS_INLINE void load_iq2_xxs(const struct gs_block_iq2_xxs *b,
                                          const struct tables *t, struct piece *p)
{
    /* Both indices of a lane, each twice: for the low and the high byte of its point. */
    const __m512i order = _mm512_set_epi32(
        0x3b3b3a3a, 0x39393838, 0x33333232, 0x31313030, 0x2b2b2a2a, 0x29292828, 0x23232222,
        0x21212020, 0x1b1b1a1a, 0x19191818, 0x13131212, 0x11111010, 0x0b0b0a0a, 0x09090808,
        0x03030202, 0x01010000);
    __m512i qs = _mm512_loadu_si512(b->qs);
    __m512i rest = _mm512_shuffle_epi32(qs, (_MM_PERM_ENUM)0xf5);
    __m512i index = _mm512_permutexvar_epi8(order, qs);
    __m512i points = _mm512_mask_mov_epi8(lookup256(t->low, index), 0xaaaaaaaaaaaaaaaa,
                                          lookup256(t->high, index));

    put_iq2(points, signs_of_runs(rest), p);
    put_half_steps(b->d, _mm512_srli_epi32(rest, 28), 0.25f, 43, p);
}

/* ---- IQ2_XS, IQ2_S ------------------------------------------------------------------------ */

/* Words by the low nine bits of an index. */
static GS_ALWAYS_INLINE __m512i lookup512(const uint16_t *grid, __m512i index)
{
    __mmask32 bit6 = _mm512_movepi16_mask(_mm512_slli_epi16(index, 9));
    __mmask32 bit7 = _mm512_movepi16_mask(_mm512_slli_epi16(index, 8));
    __mmask32 bit8 = _mm512_movepi16_mask(_mm512_slli_epi16(index, 7));
    __m512i v[8];

    GS_UNROLL for (int i = 0; i < 8; i++)
        v[i] = _mm512_permutex2var_epi16(_mm512_loadu_si512(grid + 64 * i), index,
                                         _mm512_loadu_si512(grid + 64 * i + 32));
    GS_UNROLL for (int i = 0; i < 8; i += 2)
        v[i] = _mm512_mask_mov_epi16(v[i], bit6, v[i + 1]);
    v[0] = _mm512_mask_mov_epi16(v[0], bit7, v[2]);
    v[4] = _mm512_mask_mov_epi16(v[4], bit7, v[6]);
    return _mm512_mask_mov_epi16(v[0], bit8, v[4]);
}

static GS_ALWAYS_INLINE void load_iq2_xs(const struct gs_block_iq2_xs *b,
                                         const struct tables *t GS_UNUSED, struct piece *p)
{
    const long long fields = 0x0000392900001909; /* bits 9 … of each word */
    __m512i qs = _mm512_loadu_si512(b->qs);
    __m512i signs = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(fields), qs);

    put_iq2(lookup512(gs_iq2_xs_grid, qs), even_signs(signs), p);
    put_half_steps(b->d, nibbles16(b->scales), 0.25f, 43, p);
}

/* Two points a lane, of `bits` bits of index each, from a table of words. */
static GS_ALWAYS_INLINE __m512i gather2(const uint16_t *grid, __m512i first, __m512i second)
{
    __m512i a = _mm512_i32gather_epi32(first, grid, 2);
    __m512i b = _mm512_i32gather_epi32(second, grid, 2);

    return _mm512_mask_mov_epi16(a, 0xaaaaaaaa, _mm512_slli_epi32(b, 16));
}

/* Two bytes of each lane's group. */
static GS_ALWAYS_INLINE __m512i words16(const uint8_t p[32])
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
}

static GS_ALWAYS_INLINE void load_iq2_s(const struct gs_block_iq2_s *b,
                                        const struct tables *t GS_UNUSED, struct piece *p)
{
    const __m512i top = _mm512_set1_epi32(0x300);
    __m512i qs = words16(b->qs), high = nibbles16(b->qh);
    __m512i first = select_bits(_mm512_set1_epi32(255), qs, _mm512_slli_epi32(high, 8));
    __m512i second = select_bits(top, _mm512_slli_epi32(high, 6), _mm512_srli_epi32(qs, 8));

    first = _mm512_and_si512(first, _mm512_set1_epi32(0x3ff));
    put_iq2(gather2(gs_iq2_s_grid, first, second), words16(b->signs), p);
    put_half_steps(b->d, nibbles16(b->scales), 0.25f, 43, p);
}

/* ---- IQ3_XXS, IQ3_S ----------------------------------------------------------------------- */

/* top ± level: lane g has its four points' first two coordinates in the bytes of `low`, the
 * others in `high`, 3 bits each. */
static GS_ALWAYS_INLINE void put_iq3(__m512i low, __m512i high, __m512i signs, __m512i table,
                                     struct piece *p)
{
    const long long fields = 0x2320232003000300, sign = 0x201f1e1d003f3e3d;

    GS_UNROLL for (int s = 0; s < 4; s++) {
        __m512i shift = _mm512_set1_epi64(fields + s * 0x0808080808080808);
        __m512i v = _mm512_multishift_epi64_epi8(shift, low);
        v = _mm512_mask_multishift_epi64_epi8(v, 0xcccccccccccccccc, shift, high);
        shift = _mm512_set1_epi64(sign + s * 0x0404040404040404);
        v = select_bits(bytes64(7), v, _mm512_multishift_epi64_epi8(shift, signs));
        p->u[s] = _mm512_permutexvar_epi8(v, table);
    }
}

/* Eight levels by three bits, with plus and with minus. */
static GS_ALWAYS_INLINE __m512i iq3_table(const uint8_t levels[8], int top)
{
    __m128i g = _mm_cvtsi64_si128(qword_at(levels)), add = _mm_set1_epi8((char)top);

    return _mm512_broadcast_i32x4(
        _mm_unpacklo_epi64(_mm_add_epi8(add, g), _mm_sub_epi8(add, g)));
}

static GS_ALWAYS_INLINE void load_iq3_xxs(const struct gs_block_iq3_xxs *b,
                                          const struct tables *t, struct piece *p)
{
    const __m512i runs = PAIRS(0, 1, 2, 3, 4, 5, 6, 7);
    __m512i index = _mm512_loadu_si512(b->qs);
    __m512i rest = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)b->signs));

    rest = _mm512_permutexvar_epi32(runs, rest);
    put_iq3(lookup256(t->low, index), lookup256(t->high, index), signs_of_runs(rest),
            iq3_table(gs_iq3_xxs_levels, 62), p);
    put_half_steps(b->d, _mm512_srli_epi32(rest, 28), 0.5f, 62, p);
}

static GS_ALWAYS_INLINE void load_iq3_s(const struct gs_block_iq3_s *b, const struct tables *t,
                                        struct piece *p)
{
    const __m512i runs = PAIRS(0, 4, 8, 12, 16, 20, 24, 28);
    __m512i index = _mm512_loadu_si512(b->qs);
    __m512i s = _mm512_srlv_epi32(_mm512_set1_epi32(dword_at(b->scales)), runs);
    __mmask64 ninth = (__mmask64)qword_at(b->qh);
    __m512i low = lookup256(t->low, index), high = lookup256(t->high, index);

    low = _mm512_mask_mov_epi8(low, ninth, lookup256(t->low + 4, index));
    high = _mm512_mask_mov_epi8(high, ninth, lookup256(t->high + 4, index));
    put_iq3(low, high, words16(b->signs), iq3_table(gs_iq3_s_levels, 15), p);
    s = _mm512_and_si512(s, _mm512_set1_epi32(15));
    s = _mm512_add_epi32(_mm512_add_epi32(s, s), _mm512_set1_epi32(1));
    p->d = _mm512_mul_ps(half16(b->d), _mm512_cvtepi32_ps(s));
    p->m = _mm512_mul_ps(_mm512_set1_ps(15), p->d);
}

/* ---- IQ1 ---------------------------------------------------------------------------------- */

static GS_ALWAYS_INLINE void load_iq1_s(const struct gs_block_iq1_s *b,
                                        const struct tables *t GS_UNUSED, struct piece *p)
{
    const __m512i turn = LANES(8, 2, 8, 2, 8, 2, 8, 2, 8, 2, 8, 2, 8, 2, 8, 2);
    const __m512i top = _mm512_set1_epi32(0x700), runs = PAIRS(0, 1, 2, 3, 4, 5, 6, 7);
    __m512i qs = words16(b->qs), one = _mm512_set1_epi32(1);
    __m512i qh = _mm512_zextsi256_si512(
        _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)b->qh)));

    /* Lane g: three bits of its points at 6 (g mod 2) and 3 above. */
    qh = _mm512_permutexvar_epi32(runs, qh);
    __m512i bits = _mm512_rolv_epi32(qh, turn);
    __m512i first = _mm512_and_si512(select_bits(top, bits, qs), _mm512_set1_epi32(0x7ff));
    __m512i second = select_bits(top, _mm512_ror_epi32(bits, 3), _mm512_srli_epi32(qs, 8));
    __m512i points = gather2(gs_iq1_grid, first, second);
    __m512i s = _mm512_and_si512(_mm512_srli_epi32(qh, 11), _mm512_set1_epi32(14));

    GS_UNROLL for (int k = 0; k < 4; k++)
        p->u[k] = _mm512_and_si512(level_bits2(points, k), bytes64(3));
    p->d = _mm512_mul_ps(half16(b->d), _mm512_cvtepi32_ps(_mm512_or_si512(s, one)));
    __mmask16 minus = _mm512_test_epi32_mask(qh, _mm512_set1_epi32(0x8000));
    p->m = _mm512_mul_ps(p->d, _mm512_mask_blend_ps(minus, _mm512_set1_ps(0.875f),
                                                    _mm512_set1_ps(1.125f)));
}

static GS_ALWAYS_INLINE void load_iq1_m(const struct gs_block_iq1_m *b,
                                        const struct tables *t GS_UNUSED, struct piece *p)
{
    const __m512i turn = LANES(0, 3, 6, 9, 16, 19, 22, 25, 0, 3, 6, 9, 16, 19, 22, 25);
    const __m512i half = LANES(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m512i top = _mm512_set1_epi32(0x700), two = bytes64(2);
    uint64_t words = (uint64_t)qword_at(b->scales);
    unsigned d16 = (unsigned)(words >> 12 & 15) | (unsigned)(words >> 24 & 0xf0) |
                   (unsigned)(words >> 36 & 0xf00) | (unsigned)(words >> 48 & 0xf000);
    __m512i qs = words16(b->qs);
    __m512i qh = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)b->qh));
    __m512i first = select_bits(top, _mm512_slli_epi32(qh, 8), qs);
    __m512i second = select_bits(top, _mm512_slli_epi32(qh, 4), _mm512_srli_epi32(qs, 8));
    __m512i points, s;

    first = _mm512_and_si512(first, _mm512_set1_epi32(0x7ff));
    points = gather2(gs_iq1_grid, first, second);
    __mmask16 minus[2] = {_mm512_test_epi32_mask(qh, _mm512_set1_epi32(8)),
                          _mm512_test_epi32_mask(qh, _mm512_set1_epi32(128))};
    GS_UNROLL for (int k = 0; k < 4; k++) {
        __m512i add = _mm512_maskz_mov_epi32((__mmask16)~minus[k / 2], two);
        __m512i level = _mm512_and_si512(level_bits2(points, k), bytes64(3));
        p->u[k] = _mm512_add_epi8(_mm512_slli_epi32(level, 3), add);
    }
    s = _mm512_permutexvar_epi32(half, _mm512_castsi128_si512(_mm_cvtsi64_si128((long long)words)));
    s = _mm512_and_si512(_mm512_srlv_epi32(s, turn), _mm512_set1_epi32(7));
    s = _mm512_add_epi32(_mm512_add_epi32(s, s), _mm512_set1_epi32(1));
    p->d = _mm512_mul_ps(_mm512_cvtph_ps(_mm256_set1_epi16((short)d16)), _mm512_cvtepi32_ps(s));
    p->d = _mm512_mul_ps(p->d, _mm512_set1_ps(0.125f));
    p->m = _mm512_mul_ps(_mm512_set1_ps(9), p->d);
}

/* ---- rows --------------------------------------------------------------------------------- */

/* codes_dot of a type with tables that `prepare` makes. */
#define DOT_GRID(name, prepare)                                                                \
    void gs_codes_dot_##name##_avx512vbmi(const void *w, size_t row_bytes, size_t rows,        \
                                          size_t n, const struct gs_int8 *x, float *y)         \
    {                                                                                          \
        struct tables t;                                                                       \
        prepare;                                                                               \
        for (size_t r = 0; r < rows; r++) {                                                    \
            const struct gs_block_##name *b =                                                  \
                (const void *)((const uint8_t *)w + r * row_bytes);                            \
            __m512 chain = _mm512_setzero_ps();                                                \
            for (size_t i = 0; i < n / PIECE; i++, b++) {                                      \
                struct piece p = {.in_place = false};                                          \
                prefetch_piece((const uint8_t *)b, sizeof *b);                                 \
                load_##name(b, &t, &p);                                                        \
                chain = add_sums(&p, piece_sums(&p, x->lanes + 512 * i), x, i, 0xffff, chain); \
            }                                                                                  \
            y[r] = fold16(chain);                                                              \
        }                                                                                      \
    }

DOT_GRID(iq2_xxs, split_grid(gs_iq2_xxs_grid, 4, 8, t.low, t.high))
DOT_GRID(iq2_xs, )
DOT_GRID(iq2_s, )
DOT_GRID(iq3_xxs, split_grid(gs_iq3_xxs_grid, 4, 6, t.low, t.high))
DOT_GRID(iq3_s, split_grid(gs_iq3_s_grid, 8, 6, t.low, t.high))
DOT_GRID(iq1_s, )
DOT_GRID(iq1_m, )
