/* SPDX-License-Identifier: MIT
 * Residual expansion: a sum of uniform terms, each for what the ones before it left.
 *
 *     ŵ = s · (q₁ + q₂ / 2^b + q₃ / 4^b + …),      −2^(b−1) ≤ q < 2^(b−1)
 *
 * A residual of q₁ is at most s/2 in size, which is what b bits of steps s / 2^b span, so terms
 * have a fixed ratio and one scale is enough. All sums are different multiples of the last step
 * without a gap: the nearest one comes from one division. The code holds q₁ in its lowest bits,
 * in two's complement; a reader that stops after some terms reads zeros for the rest. */
#include <math.h>

#include "codebook/members.h"
#include "codebook/points.h"
#include "core/alloc.h"

enum { KEY_BITS, KEY_TERMS };

static const struct gs_codebook_key residual_keys[] = {
    {"bits", "bits of a term", 2, 8, 2, true},
    {"terms", "number of terms", 1, 8, 2, true},
    {0},
};

struct residual {
    struct gs_codebook base;
    unsigned bits, terms;
    int64_t low, high;       /* sums in units of the last step */
    struct gs_points points; /* the sums of as many terms as fit in 8 bits, in units of theirs */
    float unit;              /* the last step, of the first's */
};

/* −2^(b−1) in each of the first terms, in units of the last of them. */
static int64_t least_sum(unsigned bits, unsigned terms)
{
    int64_t sum = 0;

    for (unsigned i = 0; i < terms; i++)
        sum = (sum << bits) + (INT64_C(1) << (bits - 1));
    return -sum;
}

static int residual_create(const struct gs_codebook_kind *kind, const double *values,
                           struct gs_codebook **out, struct gs_err *err)
{
    unsigned bits = (unsigned)values[KEY_BITS], terms = (unsigned)values[KEY_TERMS];
    unsigned fitted = GS_MIN(terms, 8 / bits), states = 1u << (bits * fitted);
    float points[GS_POINTS];

    if (bits * terms > 16)
        return gs_fail(err, GS_E_ARG, "codebook %s: terms: %u of %u bits are more than 16 bits "
                       "a weight", kind->name, terms, bits);
    struct residual *self = gs_alloc(1, sizeof *self);
    if (!self)
        return gs_fail_nomem(err, "codebook");
    for (unsigned i = 0; i < states; i++)
        points[i] = (float)(least_sum(bits, fitted) + (int64_t)i);
    gs_points_set(&self->points, points, states);
    self->bits = bits;
    self->terms = terms;
    self->low = least_sum(bits, terms);
    self->high = self->low + (INT64_C(1) << (bits * terms)) - 1;
    self->unit = ldexpf(1, -(int)(bits * (terms - 1)));
    self->base.states = UINT64_C(1) << (bits * terms);
    self->base.has_scale = true;
    self->base.layers = terms;
    for (unsigned i = 0; i < terms; i++) {
        self->base.layer_bits[i] = (uint8_t)bits;
        self->base.layer_serves[i] = (uint8_t)(bits * (i + 1));
    }
    if (terms == fitted)
        self->base.gaussian_mse = gs_points_gaussian_mse(&self->points, GS_ZERO_NONE);
    *out = &self->base;
    return GS_OK;
}

static void residual_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                         const float *x, const float *h, size_t n, float *table,
                         struct gs_group *out)
{
    const struct residual *self = (const struct residual *)codebook;
    unsigned fitted = GS_MIN(self->terms, 8 / self->bits);

    (void)table;
    if (self->terms == fitted)
        gs_points_fit(&self->points, GS_ZERO_NONE, rule, x, h, n, out);
    else /* at more than 8 bits nothing is worth clipping */
        gs_points_fit_range(&self->points, GS_ZERO_NONE, rule, x, n, out);
    /* From steps of the last fitted term to the first's. */
    out->scale = rule->round(ldexpf(out->scale, (int)(self->bits * (fitted - 1))));
}

static float sum_value(const struct residual *self, float scale, int64_t sum)
{
    return scale * ((float)sum * self->unit);
}

static uint64_t residual_nearest(const struct gs_codebook *codebook,
                                 const struct gs_group *group, const float *x, const float *h,
                                 float *y)
{
    const struct residual *self = (const struct residual *)codebook;
    double t = group->scale != 0 ? (double)*x / group->scale / self->unit : 0;
    int64_t sum = (int64_t)floor(fmin(fmax(t, (double)self->low), (double)self->high) + 0.5);
    uint64_t code = 0, mask = (UINT64_C(1) << self->bits) - 1;
    int64_t half = INT64_C(1) << (self->bits - 1);

    (void)h;
    sum = GS_MIN(sum, self->high);
    *y = sum_value(self, group->scale, sum);
    for (unsigned i = self->terms; i-- > 0;) { /* the last term is the lowest digit */
        int64_t digit = (int64_t)((uint64_t)(sum + half) & mask) - half;
        code = code << self->bits | ((uint64_t)digit & mask);
        sum = (sum - digit) / (INT64_C(1) << self->bits);
    }
    return code;
}

static void residual_value(const struct gs_codebook *codebook, const struct gs_group *group,
                           uint64_t code, float *y)
{
    const struct residual *self = (const struct residual *)codebook;
    int64_t sum = 0, mask = (INT64_C(1) << self->bits) - 1;
    int64_t half = INT64_C(1) << (self->bits - 1);

    for (unsigned i = 0; i < self->terms; i++) {
        int64_t digit = (((int64_t)(code >> (self->bits * i)) & mask) ^ half) - half;
        sum = sum * (INT64_C(1) << self->bits) + digit;
    }
    *y = sum_value(self, group->scale, sum);
}

/* Terms that are not there are 0. */
static void residual_value_cut(const struct gs_codebook *codebook, const struct gs_group *group,
                               uint64_t code, unsigned layers GS_UNUSED, float *y)
{
    residual_value(codebook, group, code, y);
}

const struct gs_codebook_kind gs_codebook_residual = {
    .name = "residual",
    .paper = "Yvinec et al., REx: data-free residual quantization error expansion, "
             "arXiv:2203.14645",
    .keys = residual_keys,
    .create = residual_create,
    .fit = residual_fit,
    .nearest = residual_nearest,
    .value = residual_value,
    .value_cut = residual_value_cut,
};
