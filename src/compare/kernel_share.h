/* SPDX-License-Identifier: MIT
 * CrossQuant's diagnostic of activations (Liu et al., arXiv:2410.07505, section 3): their
 * *quantization kernel* is what rounding to b bits makes zero, and its share, says the paper,
 * tells what 8-bit activations cost a model. Entry x_ij of token i is lost where |x_ij| < Δ/2,
 *
 *     by tokens    Δ_i  = t_i / (2^(b−1) − 1)                     t_i = max_j |x_ij|
 *     crosswise    Δ_ij = t_i^α c_j^(1−α) / (2^(b−1) − 1)         c_j = max_i |x_ij|, α = 0.15
 *
 * with b = 8 here. Tokens that are added together are a batch: c_j is theirs. */
#ifndef GS_COMPARE_KERNEL_SHARE_H
#define GS_COMPARE_KERNEL_SHARE_H

#include <stddef.h>
#include <stdint.h>

struct gs_kernel_share {
    uint64_t entries, token, cross; /* all; those lost by either rule */
};

/* x (T, n); columns (n): room. */
void gs_kernel_share_add(struct gs_kernel_share *share, const float *x, size_t T, size_t n,
                         float *columns);

#endif
