/* SPDX-License-Identifier: MIT
 * Viterbi search over a table with 16 tiles in two vectors. The body is table_viterbi_tmpl.inc. */
#include <arm_neon.h>

#include "kernels/table_viterbi.h"

typedef uint16x8x2_t vec;

/* f of both halves. */
#define BOTH(f, a, b) ((vec){{f((a).val[0], (b).val[0]), f((a).val[1], (b).val[1])}})

static inline vec v_set(int16_t x)
{
    return (vec){{vdupq_n_u16((uint16_t)x), vdupq_n_u16((uint16_t)x)}};
}

static inline vec v_and(vec a, vec b) { return BOTH(vandq_u16, a, b); }
static inline vec v_andnot(vec a, vec b) { return BOTH(vbicq_u16, b, a); }
static inline vec v_or(vec a, vec b) { return BOTH(vorrq_u16, a, b); }
static inline vec v_min(vec a, vec b) { return BOTH(vminq_u16, a, b); }
static inline vec v_adds(vec a, vec b) { return BOTH(vqaddq_u16, a, b); }
static inline vec v_subs(vec a, vec b) { return BOTH(vqsubq_u16, a, b); }

static inline uint16x8_t mulhi(uint16x8_t a, uint16x8_t b)
{
    uint16x8_t low = vreinterpretq_u16_u32(vmull_u16(vget_low_u16(a), vget_low_u16(b)));
    uint16x8_t high = vreinterpretq_u16_u32(vmull_high_u16(a, b));

    return vuzp2q_u16(low, high);
}

static inline vec v_mulhi(vec a, vec b) { return BOTH(mulhi, a, b); }

/* |a − b|, the difference cut to 16 bits signed; of −32768 it is 32768. */
static inline uint16x8_t distance(uint16x8_t a, uint16x8_t b)
{
    int16x8_t d = vqsubq_s16(vreinterpretq_s16_u16(a), vreinterpretq_s16_u16(b));

    return vreinterpretq_u16_s16(vabsq_s16(d));
}

static inline vec v_distance(vec a, vec b) { return BOTH(distance, a, b); }

static inline vec v_shift_left(vec a, unsigned n)
{
    int16x8_t by = vdupq_n_s16((int16_t)n);

    return (vec){{vshlq_u16(a.val[0], by), vshlq_u16(a.val[1], by)}};
}

/* a with the bits of mask replaced by the tag. */
static inline vec v_retag(vec a, vec mask, vec tag)
{
    return v_or(v_andnot(mask, a), tag);
}

#include "kernels/table_viterbi_tmpl.inc"

void gs_table_viterbi_neon(const struct gs_table_trellis *t, const float *x, size_t tiles,
                           uint16_t *states, void *work)
{
    viterbi(t, x, tiles, states, work);
}
