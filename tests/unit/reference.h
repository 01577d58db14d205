/* SPDX-License-Identifier: MIT
 * The layers of a transformer in double precision, written for clarity and apart from
 * src/model: what gradients are differentiated against. Shapes as in model/backward.h. */
#ifndef GS_TEST_REFERENCE_H
#define GS_TEST_REFERENCE_H

#include <math.h>
#include <stdlib.h>

#include "model/backward.h"

/* y (N, rows) = x Wᵀ + b */
static inline void ref_linear(const double *x, const double *w, const double *b, size_t N,
                              size_t rows, size_t cols, double *y)
{
    for (size_t t = 0; t < N; t++)
        for (size_t r = 0; r < rows; r++) {
            double sum = b ? b[r] : 0;
            for (size_t i = 0; i < cols; i++)
                sum += x[t * cols + i] * w[r * cols + i];
            y[t * rows + r] = sum;
        }
}

static inline void ref_norm(enum gs_norm_kind kind, const double *x, const double *weight,
                            const double *bias, size_t rows, size_t n, double eps, double *y)
{
    for (size_t r = 0; r < rows; r++, x += n, y += n) {
        double mean = 0, var = 0;
        for (size_t i = 0; kind == GS_NORM_LAYER && i < n; i++)
            mean += x[i] / (double)n;
        for (size_t i = 0; i < n; i++)
            var += (x[i] - mean) * (x[i] - mean) / (double)n;
        for (size_t i = 0; i < n; i++)
            y[i] = (x[i] - mean) / sqrt(var + eps) * weight[i] + (bias ? bias[i] : 0);
    }
}

static inline double ref_activation(enum gs_activation act, double x)
{
    if (act == GS_ACT_SILU)
        return x / (1 + exp(-x));
    if (act == GS_ACT_GELU_ERF)
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

static inline double ref_cap(double cap, double x)
{
    return cap != 0 ? cap * tanh(x / cap) : x;
}

/* In place; freq (n_freq) radians a position, scale on cosine and sine. */
static inline void ref_rope(enum gs_rope_kind kind, const double *freq, size_t n_freq,
                            double scale, size_t B, size_t T, size_t heads, size_t D, double *x)
{
    for (size_t b = 0; b < B; b++)
        for (size_t t = 0; t < T; t++)
            for (size_t h = 0; h < heads; h++, x += D)
                for (size_t i = 0; kind != GS_ROPE_NONE && i < n_freq; i++) {
                    size_t p = kind == GS_ROPE_HALVES ? i : 2 * i;
                    size_t q = kind == GS_ROPE_HALVES ? i + n_freq : 2 * i + 1;
                    double c = cos((double)t * freq[i]) * scale;
                    double s = sin((double)t * freq[i]) * scale, a = x[p];
                    x[p] = a * c - x[q] * s;
                    x[q] = a * s + x[q] * c;
                }
}

/* One query: its soft-max over positions lo … t of a text. */
static inline void ref_attend(const struct gs_attention *a, const struct gs_heads *n,
                              const double *q, const double *k, const double *v, size_t t,
                              double *y)
{
    size_t lo = a->window && t >= a->window ? t + 1 - a->window : 0;
    double sum = 0, *p = malloc((t + 1) * sizeof *p);

    for (size_t s = lo; s <= t; s++) {
        double dot = 0;
        for (size_t d = 0; d < n->D; d++)
            dot += q[d] * k[s * n->G * n->D + d];
        p[s] = exp(ref_cap((double)a->softcap, dot * (double)a->scale));
        sum += p[s];
    }
    for (size_t d = 0; d < n->Dv; d++)
        y[d] = 0;
    for (size_t s = lo; s <= t; s++)
        for (size_t d = 0; d < n->Dv; d++)
            y[d] += p[s] / sum * v[s * n->G * n->Dv + d];
    free(p);
}

static inline void ref_attention(const struct gs_attention *a, const struct gs_heads *n,
                                 size_t B, size_t T, const double *q, const double *k,
                                 const double *v, double *y)
{
    for (size_t b = 0; b < B; b++)
        for (size_t t = 0; t < T; t++)
            for (size_t h = 0; h < n->H; h++) {
                size_t g = h / (n->H / n->G), row = (b * T + t) * n->H + h;
                ref_attend(a, n, q + row * n->D, k + (b * T * n->G + g) * n->D,
                           v + (b * T * n->G + g) * n->Dv, t, y + row * n->Dv);
            }
}

/* log Σ exp over those of x whose `keep` is set (NULL: all). */
static inline double ref_log_sum(const double *x, const char *keep, size_t n)
{
    double max = -INFINITY, sum = 0;

    for (size_t i = 0; i < n; i++)
        if (!keep || keep[i])
            max = fmax(max, x[i]);
    for (size_t i = 0; i < n; i++)
        if (!keep || keep[i])
            sum += exp(x[i] - max);
    return max + log(sum);
}

#endif
