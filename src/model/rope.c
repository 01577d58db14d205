/* SPDX-License-Identifier: MIT
 * Rotary position embedding (Su et al., arXiv:2104.09864) and its scalings.
 *
 * Pair i of a head turns by position · freq[i], freq[i] = base^(−2i/d) for d = rope_dims:
 *
 *   x[a]' = x[a] cos − x[b] sin        interleaved: (a, b) = (2i, 2i+1)
 *   x[b]' = x[a] sin + x[b] cos        halves:      (a, b) = (i, i + d/2)
 *
 *   linear     freq / factor                                       (arXiv:2306.15595)
 *   yarn       between freq (fast pairs) and freq / factor (slow), and cosine and sine times
 *              1 + 0.1 ln(factor)                                  (arXiv:2309.00071)
 *   llama-3    freq / rope_freqs[i]
 *   longrope   freq / rope_factors_long[i] in a context longer than the original one, else
 *              / rope_factors_short[i]; cosine and sine times attn_factor (arXiv:2402.13753)
 *
 * Angles are computed in double and rounded once, as cosine and sine. */
#include "model/layers.h"

#include <math.h>

#define PI 3.14159265358979323846

/* The pair whose wavelength fits `turns` times into the original context. */
static double yarn_pair(const struct gs_config *c, double turns)
{
    return c->rope_dims * log(c->rope_ctx_orig / (turns * 2 * PI)) / (2 * log(c->rope_base));
}

/* Share of the unscaled frequency in pair i: 1 for fast pairs, 0 for slow ones. */
static double yarn_share(const struct gs_config *c, size_t i)
{
    double low = fmax(0, floor(yarn_pair(c, c->rope_beta_fast)));
    double high = fmin(c->rope_dims - 1, ceil(yarn_pair(c, c->rope_beta_slow)));
    double ramp = ((double)i - low) / fmax(0.001, high - low);

    return 1 - fmin(1, fmax(0, ramp));
}

static const float *pair_factors(const struct gs_config *c, const struct gs_model_weights *m,
                                 uint32_t ctx)
{
    if (m->rope_freqs)
        return m->rope_freqs;
    return ctx > c->rope_ctx_orig ? m->rope_long : m->rope_short;
}

double gs_rope_frequencies(const struct gs_config *c, const struct gs_model_weights *m,
                           bool windowed, uint32_t ctx, double *freq)
{
    bool local = windowed && c->rope_base_local != 0;
    bool yarn = !local && c->rope_scaling == GS_ROPE_YARN;
    double base = local ? c->rope_base_local : c->rope_base;
    double factor = local ? 1 : c->rope_factor;
    const float *factors = pair_factors(c, m, ctx);

    for (size_t i = 0; i < c->rope_dims / 2; i++) {
        double share = yarn ? yarn_share(c, i) : 0;
        double f = pow(base, -2.0 * (double)i / c->rope_dims);
        if (factors)
            f /= factors[i];
        freq[i] = f * (share + (1 - share) / factor);
    }
    double scale = c->rope_attn_factor;
    return yarn && factor > 1 ? scale * (1 + 0.1 * log(factor)) : scale;
}

struct angles {
    const double *freq;
    size_t n_freq, first;
    double scale;
    float *table;
};

static void compute_angles(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct angles *a = ctx;

    for (size_t t = begin; t < end; t++)
        for (size_t i = 0; i < a->n_freq; i++) {
            double angle = (double)(a->first + t) * a->freq[i];
            float *pair = a->table + 2 * (t * a->n_freq + i);
            pair[0] = (float)(cos(angle) * a->scale);
            pair[1] = (float)(sin(angle) * a->scale);
        }
}

void gs_rope_angles(const struct gs_run *run, const double *freq, size_t n_freq, double scale,
                    size_t first, size_t T, float *table)
{
    struct angles a = {.freq = freq, .n_freq = n_freq, .first = first, .scale = scale,
                       .table = table};

    gs_team_run(run->team, T, 16, compute_angles, &a);
}

struct rope {
    const float *table;
    size_t n_freq, heads, D;
    size_t step, apart; /* from one pair to the next, between the two of a pair */
    float *x, sign;     /* sign −1 turns back */
};

static void rotate_tokens(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct rope *r = ctx;

    for (size_t t = begin; t < end; t++) {
        const float *table = r->table + 2 * t * r->n_freq;
        for (size_t h = 0; h < r->heads; h++) {
            float *x = r->x + (t * r->heads + h) * r->D;
            for (size_t i = 0; i < r->n_freq; i++) {
                float *a = x + i * r->step, *b = a + r->apart;
                float c = table[2 * i], s = r->sign * table[2 * i + 1], x0 = *a, x1 = *b;
                *a = x0 * c - x1 * s;
                *b = x0 * s + x1 * c;
            }
        }
    }
}

static void rotate(const struct gs_run *run, enum gs_rope_kind kind, const float *table,
                   size_t n_freq, size_t T, size_t heads, size_t D, float sign, float *x)
{
    bool interleaved = kind == GS_ROPE_INTERLEAVED;
    struct rope r = {.table = table, .n_freq = n_freq, .heads = heads, .D = D,
                     .step = interleaved ? 2 : 1, .apart = interleaved ? 1 : n_freq, .x = x,
                     .sign = sign};

    gs_team_run(run->team, T, 8, rotate_tokens, &r);
}

void gs_rope_forward(const struct gs_run *run, enum gs_rope_kind kind, const float *table,
                     size_t n_freq, size_t T, size_t heads, size_t D, float *x)
{
    rotate(run, kind, table, n_freq, T, heads, D, 1, x);
}

/* The transpose of a rotation turns back; the factor on cosine and sine stays. */
void gs_rope_backward(const struct gs_run *run, enum gs_rope_kind kind, const float *table,
                      size_t n_freq, size_t T, size_t heads, size_t D, float *G)
{
    rotate(run, kind, table, n_freq, T, heads, D, -1, G);
}
