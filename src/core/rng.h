/* SPDX-License-Identifier: MIT
 * Random numbers: xoshiro256++ (Blackman & Vigna, arXiv:1805.01407), seeded by
 * splitmix64. The same (seed, stream) gives the same numbers on every machine. */
#ifndef GS_CORE_RNG_H
#define GS_CORE_RNG_H

#include "core/attr.h"

struct gs_rng {
    uint64_t s[4];
};

/* `stream` separates independent uses of one seed (a tensor, a tile, a sampler). */
void gs_rng_init(struct gs_rng *rng, uint64_t seed, uint64_t stream);

uint64_t gs_rng_u64(struct gs_rng *rng);

/* Uniform in [0, n), unbiased; n > 0. */
uint64_t gs_rng_below(struct gs_rng *rng, uint64_t n);

/* Uniform in [0, 1): 53 and 24 bits. */
double gs_rng_f64(struct gs_rng *rng);
float gs_rng_f32(struct gs_rng *rng);

/* Standard normal (polar method of Marsaglia). */
double gs_rng_normal(struct gs_rng *rng);

#endif
