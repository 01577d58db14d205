/* SPDX-License-Identifier: MIT
 * Viterbi search with 32 costs a vector. The body is viterbi_tmpl.inc. */
#include <assert.h>
#include <immintrin.h>

#include "kernels/viterbi.h"

typedef __m512i vec;
#define LANES 32

static inline vec v_load(const void *p) { return _mm512_loadu_si512(p); }
static inline vec v_set(int16_t x) { return _mm512_set1_epi16(x); }
static inline vec v_and(vec a, vec b) { return _mm512_and_si512(a, b); }
static inline vec v_andnot(vec a, vec b) { return _mm512_andnot_si512(a, b); }
static inline vec v_or(vec a, vec b) { return _mm512_or_si512(a, b); }
static inline vec v_min(vec a, vec b) { return _mm512_min_epu16(a, b); }
static inline vec v_adds(vec a, vec b) { return _mm512_adds_epu16(a, b); }
static inline vec v_subs(vec a, vec b) { return _mm512_subs_epu16(a, b); }
static inline vec v_mulhi(vec a, vec b) { return _mm512_mulhi_epu16(a, b); }

/* |a − b|, the difference cut to 16 bits signed. */
static inline vec v_distance(vec a, vec b)
{
    return _mm512_abs_epi16(_mm512_subs_epi16(a, b));
}

/* The bits of `a` at the set bits of `mask`, close together. */
static inline unsigned v_extract_bits(unsigned a, unsigned mask) { return _pext_u32(a, mask); }

static inline vec v_shift_left(vec a, unsigned n)
{
    return _mm512_sll_epi16(a, _mm_cvtsi32_si128((int)n));
}

/* Exchanges lanes whose numbers differ in bit `bit`, by what v_make_swap made for it. */
static inline vec v_swap(vec a, vec swap, unsigned bit)
{
    (void)bit;
    return _mm512_permutexvar_epi16(swap, a);
}

static inline vec v_make_swap(unsigned bit)
{
    GS_ALIGNED(64) static const uint8_t lane[32] = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
        16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
    vec index = _mm512_cvtepu8_epi16(_mm256_load_si256((const void *)lane));

    return _mm512_xor_si512(index, v_set((int16_t)(1 << bit)));
}

#include "kernels/viterbi_tmpl.inc"

void gs_viterbi_avx512(const struct gs_trellis *t, const float *x, size_t tiles,
                       uint8_t *codes, size_t codes_stride, void *work)
{
    viterbi(t, x, tiles, codes, codes_stride, work,
            t->window <= 10 ? 0 : t->window <= 14 ? 3 : 5);
}
