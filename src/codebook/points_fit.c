/* SPDX-License-Identifier: MIT
 * The scale and zero of a group: clipped ranges, then least squares.
 *
 * For fixed points q_i of the weights w_i, ŵ = s · (q − z) has the squared error
 *
 *     Σ h (w − s (q − z))²  =  F − 2 s (D − z E) + s² (C − 2 z B + z² A)
 *
 *     A = Σ h      B = Σ h q      C = Σ h q²      D = Σ h q w      E = Σ h w      F = Σ h w²
 *
 * which is a parabola in s (and in s·z): six sums tell the best s, the best z, and the error of
 * any rounded ones. So one pass over the group both judges a candidate and improves it. Points
 * are assigned anew with the improved numbers, in turns, as in Lloyd's algorithm; many first
 * candidates are there because that only finds the nearest minimum. What is counted is always
 * the error with numbers that the rule can store. */
#include "codebook/points.h"

#include <assert.h>
#include <math.h>

/* Weights whose points are found together; sums run in LANES, so that compilers may use wide
 * registers and the order of summation is the same for all of them. */
enum { CHUNK = 64, LANES = 8 };

/* Candidates on the way from the widest range to the narrowest, around the best of them, and
 * turns of least squares. Each costs one pass over the group. */
enum { COARSE = 22, COARSE_OF_MANY = 48, FINE = 3, TURNS = 6 };

/* No scale below: its inverse would not be a float. */
#define LEAST_SCALE 0x1p-126f

struct sums {
    double a, b, c, d, e, f;
};

struct fit {
    const struct gs_points *points;
    enum gs_zero zero;
    const struct gs_scale_rule *rule;
    const float *x, *h; /* h NULL: ones */
    size_t n;
    double energy;      /* Σ h w² */
    float scale, zero_point; /* the best so far, and its error */
    double error;
};

/* Points of the chunk's t, which is already in units of points. */
static void assign(const struct gs_points *points, const float t[CHUNK], float q[CHUNK])
{
    float last = (float)(points->n - 1), first = points->value[0];

    if (points->even) {
        for (int i = 0; i < CHUNK; i++) {
            float k = t[i] - first;
            k = k > 0 ? k : 0;
            k = k < last ? k : last;
            q[i] = (float)(int)(k + 0.5f) + first;
        }
    } else if (points->n <= 20) { /* counting is faster than branches, in wide registers */
        int index[CHUNK] = {0};
        for (unsigned p = 0; p + 1 < points->n; p++)
            for (int i = 0; i < CHUNK; i++)
                index[i] += points->middle[p] < t[i];
        for (int i = 0; i < CHUNK; i++)
            q[i] = points->value[index[i]];
    } else {
        unsigned at[CHUNK] = {0}; /* gs_points_index, all of them at once */
        for (unsigned step = points->first_step; step > 0; step /= 2)
            for (int i = 0; i < CHUNK; i++)
                at[i] += step & -(unsigned)(points->middle[at[i] + step - 1] < t[i]);
        for (int i = 0; i < CHUNK; i++)
            q[i] = points->value[at[i]];
    }
}

static double fold(const double lane[LANES])
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static struct sums sum_up(const struct fit *fit, float scale, float zero)
{
    double a[LANES] = {0}, b[LANES] = {0}, c[LANES] = {0}, d[LANES] = {0}, e[LANES] = {0};
    float inverse = 1 / scale;
    float w[CHUNK], h[CHUNK], t[CHUNK], q[CHUNK];

    for (size_t at = 0; at < fit->n; at += CHUNK) {
        size_t n = GS_MIN(fit->n - at, CHUNK);
        for (size_t i = 0; i < CHUNK; i++) { /* what is past the end weighs nothing */
            w[i] = i < n ? fit->x[at + i] : 0;
            h[i] = i >= n ? 0 : fit->h ? fit->h[at + i] : 1;
            t[i] = w[i] * inverse + zero;
        }
        assign(fit->points, t, q);
        for (int i = 0; i < CHUNK; i += LANES)
            for (int k = 0; k < LANES; k++) {
                double hq = (double)h[i + k] * q[i + k];
                c[k] += hq * q[i + k];
                d[k] += hq * w[i + k];
            }
        if (fit->zero == GS_ZERO_NONE)
            continue;
        for (int i = 0; i < CHUNK; i += LANES)
            for (int k = 0; k < LANES; k++) {
                a[k] += h[i + k];
                b[k] += (double)h[i + k] * q[i + k];
                e[k] += (double)h[i + k] * w[i + k];
            }
    }
    return (struct sums){fold(a), fold(b), fold(c), fold(d), fold(e), fit->energy};
}

/* The zero that can be stored and is nearest to z. */
static float round_zero(const struct fit *fit, double z)
{
    const struct gs_points *points = fit->points;

    if (fit->zero == GS_ZERO_NONE)
        return 0;
    if (fit->zero == GS_ZERO_REAL)
        return fit->rule->round((float)z);
    z = fmin(fmax(z, points->value[0]), points->value[points->n - 1]);
    return (float)floor(z + 0.5);
}

/* Least squares for fixed points; false where all of them are equal to the zero. */
static bool solve(const struct fit *fit, const struct sums *m, float *scale, float *zero)
{
    double z = 0, det = m->a * m->c - m->b * m->b;

    if (fit->zero != GS_ZERO_NONE) {
        double s = det > 0 ? (m->a * m->d - m->b * m->e) / det : 0;
        if (!(fabs(s) > 0)) /* all points are equal: no line through one */
            return false;
        z = (m->b - m->e / s) / m->a;
        *zero = round_zero(fit, z);
        z = *zero;
    }
    double square = m->c - 2 * z * m->b + z * z * m->a;
    if (!(square > 0))
        return false;
    *scale = fit->rule->round((float)((m->d - z * m->e) / square));
    return fabsf(*scale) >= LEAST_SCALE;
}

static double error_of(const struct sums *m, double s, double z)
{
    return m->f - 2 * s * (m->d - z * m->e) + s * s * (m->c - 2 * z * m->b + z * z * m->a);
}

/* Judges the points that (scale, zero) gives, with the numbers that suit them best. Returns
 * whether that is the best so far. */
static bool try(struct fit *fit, float scale, float zero)
{
    if (!(fabsf(scale) >= LEAST_SCALE))
        return false;
    struct sums m = sum_up(fit, scale, zero);
    bool better = false;

    for (int i = 0; i < 2; i++) { /* as given, then improved */
        double error = error_of(&m, scale, zero);
        if (error < fit->error) {
            fit->error = error;
            fit->scale = scale;
            fit->zero_point = zero;
            better = true;
        }
        if (!solve(fit, &m, &scale, &zero))
            break;
    }
    return better;
}

/* ---- ranges ------------------------------------------------------------------------------- */

struct range {
    double low, high, center; /* of the weights; the mean */
    double deviation;         /* from the center (0 without a zero) */
};

static struct range find_range(enum gs_zero zero, const float *x, const float *h, size_t n)
{
    struct range range = {.low = x[0], .high = x[0]};
    double sum = 0, squares = 0, weight = 0;

    for (size_t i = 0; i < n; i++) {
        double k = h ? h[i] : 1;
        range.low = fmin(range.low, x[i]);
        range.high = fmax(range.high, x[i]);
        sum += k * x[i];
        squares += k * x[i] * x[i];
        weight += k;
    }
    range.center = zero == GS_ZERO_REAL ? sum / weight : 0;
    range.deviation = sqrt(fmax(squares / weight - range.center * range.center, 0));
    if (zero == GS_ZERO_NONE) {
        /* Half the span of the points, so that −8 … 7 takes [−7.5, 7.5]. */
        range.high = fmax(fabs(range.low), fabs(range.high));
        range.low = -range.high;
    } else if (zero == GS_ZERO_INTEGER || range.high - range.low < 1e-6 * fabs(range.high)) {
        range.low = fmin(range.low, 0);
        range.high = fmax(range.high, 0);
    }
    return range;
}

static float span_of(const struct gs_points *points)
{
    float span = points->value[points->n - 1] - points->value[0];

    return span > 0 ? span : 1;
}

/* The range [low, high] on the points from the first to the last. */
static void stretch(const struct fit *fit, double low, double high, float *scale, float *zero)
{
    *scale = fit->rule->round((float)((high - low) / span_of(fit->points)));
    *zero = *scale != 0 ? round_zero(fit, fit->points->value[0] - low / *scale) : 0;
}

void gs_points_fit_range(const struct gs_points *points, enum gs_zero zero,
                         const struct gs_scale_rule *rule, const float *x, size_t n,
                         struct gs_group *out)
{
    struct fit fit = {.points = points, .zero = zero, .rule = rule};
    struct range range = find_range(zero, x, NULL, n);

    stretch(&fit, range.low, range.high, &out->scale, &out->zero);
}

/* A range shrunk (or grown) about the center by p. */
static bool try_range(struct fit *fit, const struct range *range, double p)
{
    float scale, zero;

    stretch(fit, range->center + p * (range->low - range->center),
            range->center + p * (range->high - range->center), &scale, &zero);
    bool better = try(fit, scale, zero);
    if (fit->zero == GS_ZERO_NONE && !fit->points->mirrored && fit->rule->round(-1) < 0)
        better |= try(fit, -scale, 0);
    return better;
}

/* Which weights fall off makes a difference where the range has two ends. */
static void try_ends(struct fit *fit, const struct range *range, double p)
{
    for (int i = 0; i <= 4; i++) {
        float scale, zero;
        double off = (1 - p) * (range->high - range->low);
        stretch(fit, range->low + off * i / 4, range->high - off * (4 - i) / 4, &scale, &zero);
        try(fit, scale, zero);
    }
}

static void search(struct fit *fit, const struct range *range)
{
    double width = range->high - range->low;
    /* Two points lie best 1.6 deviations apart, more points wider; so no search need go below
     * that, and with few outliers it must go a long way. */
    double least = fit->points->narrow > 0 ? fit->points->narrow
                 : range->deviation > 0 ? fmin(0.3, 1.2 * range->deviation / width) : 0.3;
    /* Fine points leave errors that are as good as random in the scale, so that the error of a
     * group of 100 weights varies by several percent: trying more of them pays. */
    int steps = fit->points->n > 20 ? COARSE_OF_MANY : COARSE;
    double most = fit->points->wide, step = pow(most / least, 1.0 / (steps - 1)), best = most;

    for (int i = 0; i < steps; i++) {
        double p = most * pow(step, -i);
        if (try_range(fit, range, p))
            best = p;
    }
    for (int i = -FINE; i <= FINE; i++)
        if (i != 0)
            try_range(fit, range, best * pow(step, (double)i / (FINE + 1)));
    if (fit->zero != GS_ZERO_NONE) {
        try_ends(fit, range, 0.5 * (1 + best));
        try_ends(fit, range, best);
    }
    for (int i = 0; i < TURNS; i++)
        if (!try(fit, fit->scale, fit->zero_point))
            break;
}

double gs_points_fit(const struct gs_points *points, enum gs_zero zero,
                     const struct gs_scale_rule *rule, const float *x, const float *h, size_t n,
                     struct gs_group *out)
{
    struct fit fit = {.points = points, .zero = zero, .rule = rule, .x = x, .h = h, .n = n};
    double weight = 0;

    for (size_t i = 0; h && i < n; i++)
        weight += h[i];
    if (!(weight > 0)) /* nothing matters: then everything does equally */
        fit.h = NULL;
    for (size_t i = 0; i < n; i++)
        fit.energy += (fit.h ? (double)fit.h[i] : 1) * x[i] * x[i];

    struct range range = find_range(zero, x, fit.h, n);
    /* What remains if no candidate is better: the range as it is, or all zeros. */
    stretch(&fit, range.low, range.high, &fit.scale, &fit.zero_point);
    fit.error = INFINITY;
    if (range.high > range.low)
        search(&fit, &range);
    out->scale = fit.scale;
    out->zero = fit.zero_point;
    return fit.error < INFINITY ? fmax(fit.error, 0) : fit.energy;
}
