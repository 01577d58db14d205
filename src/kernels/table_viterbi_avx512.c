/* SPDX-License-Identifier: MIT
 * Viterbi search over a table with 16 tiles in half a vector of the level: twice as many
 * would need twice the memory, and are seldom at hand. The body is table_viterbi_tmpl.inc. */
#include <immintrin.h>

#include "kernels/table_viterbi.h"

typedef __m256i vec;

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

static inline vec v_shift_left(vec a, unsigned n)
{
    return _mm256_sll_epi16(a, _mm_cvtsi32_si128((int)n));
}

/* a with the bits of mask replaced by the tag. */
static inline vec v_retag(vec a, vec mask, vec tag)
{
    return _mm256_ternarylogic_epi64(a, mask, tag, 0xba);
}

#include "kernels/table_viterbi_tmpl.inc"

void gs_table_viterbi_avx512(const struct gs_table_trellis *t, const float *x, size_t tiles,
                           uint16_t *states, void *work)
{
    viterbi(t, x, tiles, states, work);
}
