/* SPDX-License-Identifier: MIT
 * One row of codes times one vector (int8.h), for AVX-512 with VBMI and VNNI: what the types
 * share. Only *_avx512vbmi.c files include this.
 *
 * A piece of 256 weights is turned as it is unpacked, as activations are in their lanes:
 * lane g of u[s] holds weights 16 g + 4 s … + 3. Four VPDPBUSD then give the sums of its 16
 * groups side by side, in the order of the 16 chains. What a type adds is how to get there:
 * mostly one permutation of packed dwords, one shift by lanes and one mask for each s. */
#ifndef GS_KERNELS_DOT_AVX512VBMI_H
#define GS_KERNELS_DOT_AVX512VBMI_H

#include <immintrin.h>
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/grids.h"
#include "kernels/viterbi.h"

#define PIECE 256u

struct piece {
    __m512i u[4];
    __m512 d, m;   /* of group g in lane g */
    bool in_place; /* u is still `shift` bits too high, as it was packed, and so are the sums: */
    __m512i shift; /* one shift mends them where the codes would take four */
};

/* A constant for each lane g, given as eight for pairs of groups or for even and odd ones. */
#define PAIRS(a, b, c, d, e, f, g, h)                                                          \
    _mm512_setr_epi32(a, a, b, b, c, c, d, d, e, e, f, f, g, g, h, h)
#define LANES(...) _mm512_setr_epi32(__VA_ARGS__)

static GS_ALWAYS_INLINE __m512i bytes64(int v)
{
    return _mm512_set1_epi8((char)v);
}

/* The f16 at p in every lane. */
static GS_ALWAYS_INLINE __m512 half16(const uint8_t *p)
{
    short bits;

    memcpy(&bits, p, 2);
    return _mm512_cvtph_ps(_mm256_set1_epi16(bits));
}

static GS_ALWAYS_INLINE int dword_at(const void *p)
{
    int v;

    memcpy(&v, p, 4);
    return v;
}

static GS_ALWAYS_INLINE long long qword_at(const void *p)
{
    long long v;

    memcpy(&v, p, 8);
    return v;
}

/* Bits of `a` where the mask has ones, else of `b`. */
static GS_ALWAYS_INLINE __m512i select_bits(__m512i mask, __m512i a, __m512i b)
{
    return _mm512_ternarylogic_epi32(mask, a, b, 0xca);
}

/* 16 bytes at each of four places. */
static GS_ALWAYS_INLINE __m512i quarters(const uint8_t *p, size_t step)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const void *)p));

    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(p + step)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(p + 2 * step)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(p + 3 * step)), 3);
}

/* The codes are fields of `mask` that begin `shift` bits up, lane by lane: returns what is to be
 * kept of the words that hold them. */
static GS_ALWAYS_INLINE __m512i leave_in_place(struct piece *p, __m512i shift, int mask)
{
    p->in_place = true;
    p->shift = shift;
    return _mm512_sllv_epi32(bytes64(mask), shift);
}

/* The sums of the groups of a piece, for lanes of activations. */
static GS_ALWAYS_INLINE __m512i piece_sums(const struct piece *p, const int8_t *lanes)
{
    __m512i high = _mm512_setzero_si512(), low = high;

    GS_UNROLL for (size_t s = 0; s < 4; s++) {
        high = _mm512_dpbusd_epi32(high, p->u[s], _mm512_loadu_si512(lanes + 64 * s));
        low = _mm512_dpbusd_epi32(low, p->u[s], _mm512_loadu_si512(lanes + 256 + 64 * s));
    }
    low = _mm512_add_epi32(_mm512_slli_epi32(high, 8), low);
    return p->in_place ? _mm512_srav_epi32(low, p->shift) : low;
}

/* A piece and its sums into the chains of `groups`; the others stay as they are. */
static GS_ALWAYS_INLINE __m512 add_sums(const struct piece *p, __m512i sums,
                                        const struct gs_int8 *x, size_t i, __mmask16 groups,
                                        __m512 chain)
{
    const __m512i block = LANES(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const float *scale = x->scale + 4 * i;
    __m512 group = _mm512_maskz_loadu_ps(groups, x->group + 16 * i), d;

    if (groups == 0xffff)
        d = _mm512_castps128_ps512(_mm_loadu_ps(scale));
    else /* the blocks that there are */
        d = _mm512_maskz_loadu_ps((__mmask16)_pext_u32(groups, 0x1111), scale);
    d = _mm512_mul_ps(_mm512_permutexvar_ps(block, d), p->d);
    chain = _mm512_mask3_fnmadd_ps(p->m, group, chain, groups);
    return _mm512_mask3_fmadd_ps(d, _mm512_cvtepi32_ps(sums), chain, groups);
}

static GS_ALWAYS_INLINE float fold16(__m512 v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* Asks for the lines of a piece of `bytes` that comes up about 4 KiB later: rows follow each
 * other in memory, so one row's end reaches into the next. */
static GS_ALWAYS_INLINE void prefetch_piece(const uint8_t *p, size_t bytes)
{
    GS_UNROLL for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)p + 4096 + i, _MM_HINT_T0);
}

/* codes_dot of a type whose blocks are whole pieces: `load` fills in a piece from one. */
#define DOT_PIECES(name, load)                                                                 \
    void gs_codes_dot_##name##_avx512vbmi(const void *w, size_t row_bytes, size_t rows,        \
                                          size_t n, const struct gs_int8 *x, float *y)         \
    {                                                                                          \
        for (size_t r = 0; r < rows; r++) {                                                    \
            const struct gs_block_##name *b =                                                  \
                (const void *)((const uint8_t *)w + r * row_bytes);                            \
            __m512 chain = _mm512_setzero_ps();                                                \
            for (size_t i = 0; i < n / PIECE; i++, b++) {                                      \
                struct piece p = {.in_place = false};                                          \
                prefetch_piece((const uint8_t *)b, sizeof *b);                                 \
                load(b, &p);                                                                   \
                chain = add_sums(&p, piece_sums(&p, x->lanes + 512 * i), x, i, 0xffff, chain); \
            }                                                                                  \
            y[r] = fold16(chain);                                                              \
        }                                                                                      \
    }

/* The same for blocks of `width` weights; the last blocks of a row are filled up with zeros. */
#define DOT_BLOCKS(name, width, load)                                                          \
    void gs_codes_dot_##name##_avx512vbmi(const void *w, size_t row_bytes, size_t rows,        \
                                          size_t n, const struct gs_int8 *x, float *y)         \
    {                                                                                          \
        for (size_t r = 0; r < rows; r++) {                                                    \
            const struct gs_block_##name *b =                                                  \
                (const void *)((const uint8_t *)w + r * row_bytes);                            \
            struct gs_block_##name rest[PIECE / width];                                        \
            __m512 chain = _mm512_setzero_ps();                                                \
            struct piece p = {.in_place = false};                                              \
            size_t i = 0;                                                                      \
            for (; i < n / PIECE; i++, b += PIECE / width) {                                   \
                prefetch_piece((const uint8_t *)b, sizeof rest);                               \
                load(b, &p);                                                                   \
                chain = add_sums(&p, piece_sums(&p, x->lanes + 512 * i), x, i, 0xffff, chain); \
            }                                                                                  \
            if (n % PIECE) {                                                                   \
                memset(rest, 0, sizeof rest);                                                  \
                memcpy(rest, b, n % PIECE / width * sizeof *b);                                \
                load(rest, &p);                                                                \
                chain = add_sums(&p, piece_sums(&p, x->lanes + 512 * i), x, i,                 \
                                 (__mmask16)((1u << n % PIECE / 16) - 1), chain);              \
            }                                                                                  \
            y[r] = fold16(chain);                                                              \
        }                                                                                      \
    }

#endif
