/* SPDX-License-Identifier: MIT */
#include "codebook/exponent.h"

#include <math.h>

#include "core/alloc.h"
#include "core/half.h"

enum { BIAS = 127, MOST = 254 }; /* 255 is NaN */

int gs_exponent_create(const float *by_code, unsigned states, int largest, bool ceiling,
                       bool search, struct gs_codebook **out, struct gs_err *err)
{
    struct gs_exponent *self = gs_alloc(1, sizeof *self);

    if (!self)
        return gs_fail_nomem(err, "codebook");
    gs_points_set(&self->points, by_code, states);
    self->largest = largest;
    self->ceiling = ceiling;
    self->search = search;
    self->base.states = states;
    self->base.choice_bits = 8;
    self->base.gaussian_mse = 1;
    for (int e = -20; e <= 20; e++)
        self->base.gaussian_mse = fmin(self->base.gaussian_mse, gs_points_gaussian_at(
            &self->points, ldexp(1, e - largest), 0));
    *out = &self->base;
    return GS_OK;
}

static uint32_t stored(int exponent)
{
    return (uint32_t)GS_MIN(GS_MAX(exponent + BIAS, 0), MOST);
}

/* Reading cuts what would take the largest point past the largest float. */
static float power(const struct gs_exponent *self, uint32_t choice)
{
    uint32_t most = (uint32_t)(MOST - GS_MAX(self->largest, 0));

    choice = GS_MIN(choice, most);
    return choice ? gs_f32_from_bits(choice << 23) : 0x1p-127f;
}

static double error_of(const struct gs_exponent *self, uint32_t choice, const float *x,
                       const float *h, size_t n)
{
    double sum = 0;
    float y;

    for (size_t i = 0; i < n; i++) {
        gs_points_nearest(&self->points, power(self, choice), 0, x[i], &y);
        sum += (h ? h[i] : 1) * ((double)x[i] - y) * ((double)x[i] - y);
    }
    return sum;
}

void gs_exponent_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                     const float *x, const float *h, size_t n, float *table,
                     struct gs_group *out)
{
    const struct gs_exponent *self = (const struct gs_exponent *)codebook;
    float most = 0;
    int exponent;

    (void)rule;
    (void)table;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    if (most == 0) /* the least scale; 0 in all kinds that have it */
        return;
    float mantissa = frexpf(most, &exponent); /* most = mantissa · 2^exponent, mantissa < 1 */
    if (!self->ceiling || mantissa == 0.5f)
        exponent--;
    uint32_t by_rule = stored(exponent - self->largest), best = by_rule;
    if (self->search) {
        double least = error_of(self, by_rule, x, h, n);
        for (int step = -1; step <= 1; step += 2) {
            uint32_t choice = stored(exponent - self->largest + step);
            double error = error_of(self, choice, x, h, n);
            if (error < least) {
                least = error;
                best = choice;
            }
        }
    }
    out->choice = best;
}

uint64_t gs_exponent_nearest(const struct gs_codebook *codebook, const struct gs_group *group,
                             const float *x, const float *h, float *y)
{
    const struct gs_exponent *self = (const struct gs_exponent *)codebook;

    (void)h;
    return gs_points_nearest(&self->points, power(self, group->choice), 0, *x, y);
}

void gs_exponent_value(const struct gs_codebook *codebook, const struct gs_group *group,
                       uint64_t code, float *y)
{
    const struct gs_exponent *self = (const struct gs_exponent *)codebook;

    *y = gs_points_value(&self->points, power(self, group->choice), 0, code);
}
