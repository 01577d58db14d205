/* SPDX-License-Identifier: MIT
 * Viterbi search with 16 costs a vector. The body is viterbi_tmpl.inc. */
#include <assert.h>
#include <immintrin.h>

#include "kernels/viterbi.h"

typedef __m256i vec;
#define LANES 16

static inline vec v_load(const void *p) { return _mm256_loadu_si256(p); }
static inline vec v_set(int16_t x) { return _mm256_set1_epi16(x); }
static inline vec v_and(vec a, vec b) { return _mm256_and_si256(a, b); }
static inline vec v_andnot(vec a, vec b) { return _mm256_andnot_si256(a, b); }
static inline vec v_or(vec a, vec b) { return _mm256_or_si256(a, b); }
static inline vec v_min(vec a, vec b) { return _mm256_min_epu16(a, b); }
static inline vec v_adds(vec a, vec b) { return _mm256_adds_epu16(a, b); }
static inline vec v_subs(vec a, vec b) { return _mm256_subs_epu16(a, b); }
static inline vec v_mulhi(vec a, vec b) { return _mm256_mulhi_epu16(a, b); }

/* |a − b|, the difference cut to 16 bits signed. */
static inline vec v_distance(vec a, vec b)
{
    return _mm256_abs_epi16(_mm256_subs_epi16(a, b));
}

/* The bits of `a` at the set bits of `mask`, close together. */
static inline unsigned v_extract_bits(unsigned a, unsigned mask) { return _pext_u32(a, mask); }

static inline vec v_shift_left(vec a, unsigned n)
{
    return _mm256_sll_epi16(a, _mm_cvtsi32_si128((int)n));
}

/* Exchanges lanes whose numbers differ in bit `bit`, by what v_make_swap made for it: halves
 * of 32 bits by bytes, all else by 32 bits. */
static inline vec v_swap(vec a, vec swap, unsigned bit)
{
    return bit ? _mm256_permutevar8x32_epi32(a, swap) : _mm256_shuffle_epi8(a, swap);
}

static inline vec v_make_swap(unsigned bit)
{
    vec quads = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    vec bytes = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));

    return bit ? _mm256_xor_si256(quads, _mm256_set1_epi32(1 << (bit - 1))) : bytes;
}

#include "kernels/viterbi_tmpl.inc"

void gs_viterbi_avx2(const struct gs_trellis *t, const float *x, size_t tiles, uint8_t *codes,
                     size_t codes_stride, void *work)
{
    viterbi(t, x, tiles, codes, codes_stride, work,
            t->window <= 10 ? 0 : t->window <= 14 ? 3 : 4);
}
