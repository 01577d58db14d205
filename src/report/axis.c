/* SPDX-License-Identifier: MIT */
#include "report/axis.h"

#include <assert.h>
#include <math.h>

/* Room at each end, of the axis' length. */
#define ROOM 0.06
/* Values of one axis lie within this; those of files are checked against it. */
#define LARGEST 1e300
#define SMALLEST 1e-300

bool gs_axis_shows(const struct gs_axis *axis, double value)
{
    return fabs(value) < LARGEST && (!axis->log || value > SMALLEST);
}

struct gs_axis gs_axis_fit(const double *values, size_t n, bool log)
{
    struct gs_axis s = {.low = INFINITY, .high = -INFINITY, .to = 1, .log = log};

    for (size_t i = 0; i < n; i++) {
        if (!gs_axis_shows(&s, values[i]))
            continue;
        s.low = fmin(s.low, values[i]);
        s.high = fmax(s.high, values[i]);
    }
    if (s.low > s.high) {
        s.low = log ? 0.1 : 0;
        s.high = 1;
        return s;
    }
    /* One value alone has room as if others were near. */
    double least = log ? log10(4) : GS_MAX(0.1 * fabs(s.high), 0.5);
    double low = log ? log10(s.low) : s.low, high = log ? log10(s.high) : s.high;
    double room = fmax((high - low) * ROOM, (least - (high - low)) / 2);
    low -= room;
    high += room;
    s.low = log ? pow(10, low) : low;
    s.high = log ? pow(10, high) : high;
    return s;
}

double gs_axis_at(const struct gs_axis *s, double value)
{
    assert(s->low < s->high);
    double v = fmin(fmax(value, s->low), s->high);
    double part = s->log ? log(v / s->low) / log(s->high / s->low)
                         : (v - s->low) / (s->high - s->low);

    return s->from + part * (s->to - s->from);
}

/* Multiples of `step` within the axis, but for more than `max` of them max + 1. */
static size_t multiples(const struct gs_axis *s, double step, size_t max,
                        double ticks[GS_TICKS])
{
    double first = ceil(s->low / step - 1e-9);
    size_t n = 0;

    for (; (first + (double)n) * step <= s->high + 1e-9 * step; n++) {
        if (n == max)
            return max + 1;
        ticks[n] = (first + (double)n) * step;
    }
    return n;
}

/* The smallest step with so few multiples. Steps grow by less than three, so some are left. */
static size_t linear_ticks(const struct gs_axis *s, size_t want, double ticks[GS_TICKS])
{
    static const double digits[] = {1, 2, 5};
    double power = pow(10, floor(log10((s->high - s->low) / (double)want)));
    size_t n = want + 1;

    for (size_t i = 0; n > want; i++) {
        double step = digits[i % 3] * power;
        power *= i % 3 == 2 ? 10 : 1;
        n = multiples(s, step, want, ticks);
    }
    return n;
}

/* The digits of every so many decades. */
static size_t decades(const struct gs_axis *s, const double *digits, size_t n_digits, int step,
                      size_t max, double ticks[GS_TICKS])
{
    int first = (int)floor(log10(s->low)), last = (int)ceil(log10(s->high));
    size_t n = 0;

    for (int e = first; e <= last; e++) {
        if (e % step)
            continue;
        for (size_t i = 0; i < n_digits; i++) {
            double v = digits[i] * pow(10, e);
            if (v < s->low * (1 - 1e-9) || v > s->high * (1 + 1e-9))
                continue;
            if (n == max)
                return max + 1;
            ticks[n++] = v;
        }
    }
    return n;
}

static size_t log_ticks(const struct gs_axis *s, size_t want, double ticks[GS_TICKS])
{
    static const double digits[] = {1, 2, 5};
    size_t n = decades(s, digits, 3, 1, want, ticks);

    if (n <= 1) /* less than a decade between two of the digits */
        return linear_ticks(s, want, ticks);
    for (int step = 1; n > want; step++)
        n = decades(s, digits, 1, step, want, ticks);
    return n;
}

size_t gs_axis_ticks(const struct gs_axis *s, size_t want, double ticks[GS_TICKS])
{
    assert(want >= 2 && want <= GS_TICKS);
    return s->log ? log_ticks(s, want, ticks) : linear_ticks(s, want, ticks);
}

int gs_ticks_decimals(const double *ticks, size_t n)
{
    double least = INFINITY;

    for (size_t i = 1; i < n; i++)
        least = fmin(least, fabs(ticks[i] - ticks[i - 1]));
    if (!isfinite(least) || least <= 0)
        least = n && fabs(ticks[0]) > 0 ? fabs(ticks[0]) : 1;
    return (int)fmin(fmax(ceil(-log10(least) - 1e-9), 0), 12);
}
