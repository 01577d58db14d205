/* SPDX-License-Identifier: MIT */
#include "core/rng.h"

#include <assert.h>
#include <math.h>

static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

void gs_rng_init(struct gs_rng *rng, uint64_t seed, uint64_t stream)
{
    uint64_t x = seed, y = stream ^ 0x6a09e667f3bcc909u;

    for (int i = 0; i < 4; i++)
        rng->s[i] = splitmix(&x) ^ rotl(splitmix(&y), 17);
    if (!(rng->s[0] | rng->s[1] | rng->s[2] | rng->s[3]))
        rng->s[0] = 1; /* the all-zero state is a fixed point */
}

uint64_t gs_rng_u64(struct gs_rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t result = rotl(s[0] + s[3], 23) + s[0];
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t gs_rng_below(struct gs_rng *rng, uint64_t n)
{
    assert(n > 0);
    uint64_t reject = -n % n; /* 2^64 mod n: the values that would bias */
    for (;;) {
        uint64_t x = gs_rng_u64(rng);
        if (x >= reject)
            return x % n;
    }
}

double gs_rng_f64(struct gs_rng *rng)
{
    return (double)(gs_rng_u64(rng) >> 11) * 0x1p-53;
}

float gs_rng_f32(struct gs_rng *rng)
{
    return (float)(gs_rng_u64(rng) >> 40) * 0x1p-24f;
}

double gs_rng_normal(struct gs_rng *rng)
{
    for (;;) {
        double x = 2 * gs_rng_f64(rng) - 1, y = 2 * gs_rng_f64(rng) - 1;
        double r = x * x + y * y;
        if (r < 1 && r > 0)
            return x * sqrt(-2 * log(r) / r);
    }
}
