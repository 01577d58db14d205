/* SPDX-License-Identifier: MIT
 * Viterbi search with 8 costs a vector. The body is viterbi_tmpl.inc. */
#include <arm_neon.h>
#include <assert.h>

#include "kernels/viterbi.h"

typedef uint16x8_t vec;
#define LANES 8

static inline vec v_load(const void *p) { return vld1q_u16(p); }
static inline vec v_set(int16_t x) { return vdupq_n_u16((uint16_t)x); }
static inline vec v_and(vec a, vec b) { return vandq_u16(a, b); }
static inline vec v_andnot(vec a, vec b) { return vbicq_u16(b, a); }
static inline vec v_or(vec a, vec b) { return vorrq_u16(a, b); }
static inline vec v_min(vec a, vec b) { return vminq_u16(a, b); }
static inline vec v_adds(vec a, vec b) { return vqaddq_u16(a, b); }
static inline vec v_subs(vec a, vec b) { return vqsubq_u16(a, b); }

static inline vec v_mulhi(vec a, vec b)
{
    uint16x8_t low = vreinterpretq_u16_u32(vmull_u16(vget_low_u16(a), vget_low_u16(b)));
    uint16x8_t high = vreinterpretq_u16_u32(vmull_high_u16(a, b));

    return vuzp2q_u16(low, high);
}

/* |a − b|, the difference cut to 16 bits signed. */
static inline vec v_distance(vec a, vec b)
{
    int16x8_t d = vqsubq_s16(vreinterpretq_s16_u16(a), vreinterpretq_s16_u16(b));

    return vreinterpretq_u16_s16(vabsq_s16(d));
}

/* The bits of `a` at the set bits of `mask`, close together: run by run, there are few. */
static inline unsigned v_extract_bits(unsigned a, unsigned mask)
{
    unsigned out = 0, at = 0;

    while (mask) {
        unsigned skip = (unsigned)__builtin_ctz(mask);
        mask >>= skip;
        a >>= skip;
        unsigned run = (unsigned)__builtin_ctz(~mask);
        out |= (a & ((1u << run) - 1)) << at;
        at += run;
        mask >>= run;
        a >>= run;
    }
    return out;
}

static inline vec v_shift_left(vec a, unsigned n)
{
    return vshlq_u16(a, vdupq_n_s16((int16_t)n));
}

/* Exchanges lanes whose numbers differ in bit `bit`, by the byte positions that v_make_swap
 * made for it. */
static inline vec v_swap(vec a, vec swap, unsigned bit)
{
    (void)bit;
    return vreinterpretq_u16_u8(
        vqtbl1q_u8(vreinterpretq_u8_u16(a), vreinterpretq_u8_u16(swap)));
}

static inline vec v_make_swap(unsigned bit)
{
    static const uint8_t number[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

    return vreinterpretq_u16_u8(veorq_u8(vld1q_u8(number), vdupq_n_u8((uint8_t)(2 << bit))));
}

#include "kernels/viterbi_tmpl.inc"

void gs_viterbi_neon(const struct gs_trellis *t, const float *x, size_t tiles, uint8_t *codes,
                     size_t codes_stride, void *work)
{
    viterbi(t, x, tiles, codes, codes_stride, work,
            t->window <= 10 ? 0 : t->window <= 14 ? 2 : 3);
}
