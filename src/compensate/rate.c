/* SPDX-License-Identifier: MIT
 * Probabilities are counts, (ones + ½) / (seen + 1), halved together when they grow large, so
 * that a model follows what changes slowly. Costs are log2 (seen + 1) / (count + ½), differences
 * of integer logarithms, renewed when a decision is learnt. */
#include "compensate/rate.h"

#include <math.h>
#include <string.h>

#include "core/log2.h"

#define ZERO 0
#define SIGN 1
#define MAGNITUDE 2
#define MAGNITUDES (GS_RATE_FLAGS - MAGNITUDE)
#define SEEN_MAX 4096

void gs_rate_init(struct gs_rate *rate)
{
    memset(rate, 0, sizeof *rate);
    for (unsigned i = 0; i < 3 * GS_RATE_FLAGS * 2; i++)
        rate->bits[i / 2 / GS_RATE_FLAGS][i / 2 % GS_RATE_FLAGS][i % 2] = 256;
}

static unsigned context(int32_t previous)
{
    return previous == 0 ? 0 : previous > 0 ? 1 : 2;
}

static void see(struct gs_rate *rate, unsigned c, unsigned flag, bool one)
{
    uint16_t *seen = &rate->seen[c][flag], *ones = &rate->ones[c][flag];

    *ones = (uint16_t)(*ones + one);
    if (++*seen == SEEN_MAX) {
        *seen /= 2;
        *ones /= 2;
    }
    uint32_t all = gs_log2_fixed(2 * *seen + 2u);
    rate->bits[c][flag][0] = (uint16_t)(all - gs_log2_fixed(2 * (*seen - *ones) + 1u));
    rate->bits[c][flag][1] = (uint16_t)(all - gs_log2_fixed(2 * *ones + 1u));
}

static uint32_t magnitude_of(int32_t q)
{
    return q < 0 ? 0 - (uint32_t)q : (uint32_t)q;
}

uint32_t gs_rate_bits(const struct gs_rate *rate, int32_t previous, int32_t q)
{
    unsigned c = context(previous);
    uint32_t magnitude = magnitude_of(q), bits = rate->bits[c][ZERO][q == 0];

    if (!magnitude)
        return bits;
    bits += rate->bits[c][SIGN][q < 0];
    for (uint32_t k = 1; k <= MAGNITUDES; k++) {
        bits += rate->bits[c][MAGNITUDE + k - 1][magnitude > k];
        if (magnitude <= k)
            return bits;
    }
    uint32_t rest = magnitude - MAGNITUDES; /* at least 1 */
    return bits + (2 * (31 - (uint32_t)__builtin_clz(rest)) + 1) * 256;
}

void gs_rate_learn(struct gs_rate *rate, int32_t previous, int32_t q)
{
    unsigned c = context(previous);
    uint32_t magnitude = magnitude_of(q);

    see(rate, c, ZERO, q == 0);
    if (!magnitude)
        return;
    see(rate, c, SIGN, q < 0);
    for (uint32_t k = 1; k <= MAGNITUDES; k++) {
        see(rate, c, MAGNITUDE + k - 1, magnitude > k);
        if (magnitude <= k)
            return;
    }
}

/* Candidates: the nearest code, the two on its side of zero before it, and zero. A code farther
 * from zero than the nearest is neither closer nor, with magnitudes that fall off, cheaper. */
int32_t gs_rate_round(const struct gs_rate *rate, int32_t previous, float x, float h,
                      float lambda, int32_t most)
{
    float bounded = fmaxf(-(float)most, fminf((float)most, x));
    int32_t nearest = (int32_t)rintf(bounded), step = nearest < 0 ? -1 : 1, best = nearest;
    double least = INFINITY;

    for (int k = 0; k < 4; k++) {
        int32_t q = k == 3 ? 0 : nearest - k * step;
        if (k && k < 3 && (nearest == 0 || q * step < 0))
            continue;
        double e = (double)x - (double)q;
        double sum = (double)h * e * e +
                     (double)lambda * (double)gs_rate_bits(rate, previous, q) / 256;
        if (sum < least) {
            least = sum;
            best = q;
        }
    }
    return best;
}

uint64_t gs_rate_round_row(struct gs_rate *rate, const float *w, const float *h, size_t n,
                           float step, float lambda, int32_t most, int32_t *codes)
{
    int32_t previous = 0;
    uint64_t bits = 0;

    for (size_t i = 0; i < n; i++) {
        int32_t q = gs_rate_round(rate, previous, w[i] / step, h ? h[i] : 1, lambda, most);
        bits += gs_rate_bits(rate, previous, q);
        gs_rate_learn(rate, previous, q);
        previous = codes[i] = q;
    }
    return bits;
}
