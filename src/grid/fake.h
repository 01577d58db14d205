/* SPDX-License-Identifier: MIT
 * Fake quantization: what uniform rounding does to numbers, with a gradient.
 *
 *   u = x / s     q = clamp(round(u) + z, q_min, q_max)     y = s (q − z)
 *
 * round() has no useful slope, so it is taken for the identity (straight-through, Bengio et
 * al., arXiv:1308.3432): with m = 1 where round(u) + z is within the codes, 0 outside,
 *
 *   dx = G m     ds = Σ G ((q − z) − m x / s)     dz = Σ G (m − 1) s
 *
 * That is the exact gradient of y with the remainders round(u) − u, the masks and the places
 * of the extremes held fixed, and tests compare with that. Rounding is to even, as in the
 * papers' code. A group of numbers shares s and z: `group` columns of a row, or a whole row.
 *
 * Static scales (LSQ, arXiv:1902.08153) are parameters: s and z of every group. Dynamic ones
 * come from the numbers, with learned clipping (LWC of OmniQuant, arXiv:2308.13137):
 *
 *   hi = σ(α) max x    lo = σ(β) min x
 *   asymmetric  s = (hi − lo) / (2^b − 1), z = round(−lo / s), codes 0 … 2^b − 1
 *   symmetric   s = max(|hi|, |lo|) / (2^(b−1) − 1), z = 0, codes −2^(b−1) … 2^(b−1) − 1
 *
 * The papers' programs differ in what they let through; the flags name the differences:
 *
 *                                    grad_scale  clip_mask  zero_ste  with_zero
 *   OmniQuant                            yes        yes        no        no
 *   FlatQuant                            yes        yes        no        yes
 *   SpinQuant, ResQ                      no         no         no        yes
 *   LSQ, MobileQuant (static)             –         yes        yes        – */
#ifndef GS_GRID_FAKE_H
#define GS_GRID_FAKE_H

#include "core/team.h"

struct gs_fake {
    unsigned bits;   /* 2 to 16 */
    size_t group;    /* columns that share a scale; 0: the row */
    bool symmetric;
    bool grad_scale; /* dynamic: differentiate s (and z) through the extremes and clips */
    bool clip_mask;  /* no gradient where a number is clipped; else all pass */
    bool zero_ste;   /* z's rounding is passed straight through too; else z is a constant */
    bool with_zero;  /* dynamic: the range contains 0 */
};

/* Presets by the table above ("omniquant", "flatquant", "spinquant", "lsq"); NULL at the end
 * of the list. */
struct gs_fake_dialect {
    const char *name;
    bool grad_scale, clip_mask, zero_ste, with_zero;
};
const struct gs_fake_dialect *gs_fake_dialect_at(size_t index);

/* Groups of a row of `cols` numbers. */
size_t gs_fake_groups(const struct gs_fake *fake, size_t cols);

/* Parameters or their gradients, one number a group, rows after rows. */
struct gs_fake_params {
    float *scale, *zero;  /* static: both (zero NULL: none, as if 0) */
    float *high, *low;    /* dynamic: α and β; NULL: no clipping, σ = 1 */
};

/* y (rows, cols) of x. p->scale NULL: dynamic. y may be x. */
void gs_fake_forward(const struct gs_fake *fake, struct gs_team *team,
                     const struct gs_fake_params *p, const float *x, size_t rows, size_t cols,
                     float *y);

/* dx (rows, cols) is set; what `grads` points to is added to, NULL members are left out.
 * dx may be G. */
void gs_fake_backward(const struct gs_fake *fake, struct gs_team *team,
                      const struct gs_fake_params *p, const float *x, const float *G,
                      size_t rows, size_t cols, float *dx, const struct gs_fake_params *grads);

/* ---- rounding that is learned ------------------------------------------------------------- */

/* AdaRound (Nagel et al., arXiv:2004.10568): y = s (clamp(⌊x/s⌋ + ρ(v) + z) − z) with
 * ρ(v) = clamp(1.2 σ(v) − 0.1, 0, 1); n numbers of one scale. */
void gs_soft_round_forward(unsigned bits, bool symmetric, float scale, float zero,
                           const float *x, const float *v, size_t n, float *y);
/* dv (n) += G s ρ'(v) where not clipped. */
void gs_soft_round_backward(unsigned bits, bool symmetric, float scale, float zero,
                            const float *x, const float *v, const float *G, size_t n,
                            float *dv);

#endif
