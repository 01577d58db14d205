/* SPDX-License-Identifier: MIT */
#include "codebook/scalar.h"

#include "core/alloc.h"

int gs_scalar_create(const float *by_code, unsigned states, enum gs_zero zero,
                     struct gs_codebook **out, struct gs_err *err)
{
    struct gs_scalar *scalar = gs_alloc(1, sizeof *scalar);

    if (!scalar)
        return gs_fail_nomem(err, "codebook");
    gs_points_set(&scalar->points, by_code, states);
    scalar->zero = zero;
    scalar->base.states = states;
    scalar->base.has_scale = true;
    scalar->base.has_zero = zero != GS_ZERO_NONE;
    scalar->base.gaussian_mse = gs_points_gaussian_mse(&scalar->points, zero);
    *out = &scalar->base;
    return GS_OK;
}

void gs_scalar_pack_tightly(struct gs_codebook *codebook)
{
    uint64_t product = 1;

    codebook->pack_codes = codebook->pack_bits = 0;
    for (unsigned codes = 1; (product *= codebook->states) <= 256; codes++) {
        unsigned bits = 64 - (unsigned)__builtin_clzll(product - 1);
        if (codes == 1 || bits * codebook->pack_codes < codebook->pack_bits * codes) {
            codebook->pack_codes = codes;
            codebook->pack_bits = bits;
        }
    }
}

void gs_scalar_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                   const float *x, const float *h, size_t n, float *table,
                   struct gs_group *out)
{
    const struct gs_scalar *scalar = (const struct gs_scalar *)codebook;

    (void)table;
    if (scalar->by_range)
        gs_points_fit_range(&scalar->points, scalar->zero, rule, x, n, out);
    else
        gs_points_fit(&scalar->points, scalar->zero, rule, x, h, n, out);
}

uint64_t gs_scalar_nearest(const struct gs_codebook *codebook, const struct gs_group *group,
                           const float *x, const float *h, float *y)
{
    const struct gs_scalar *scalar = (const struct gs_scalar *)codebook;

    (void)h; /* one weight: its importance changes nothing */
    return gs_points_nearest(&scalar->points, group->scale, group->zero, *x, y);
}

void gs_scalar_value(const struct gs_codebook *codebook, const struct gs_group *group,
                     uint64_t code, float *y)
{
    const struct gs_scalar *scalar = (const struct gs_scalar *)codebook;

    *y = gs_points_value(&scalar->points, group->scale, group->zero, code);
}
