/* SPDX-License-Identifier: MIT
 * Random Hadamard transforms: T = H · diag(factor), factor = random signs, times 1/t where a
 * diagonal rescale was folded in (QuIP#, arXiv:2402.04396, section 3). Applied to both sides
 * of W it makes the weights look Gaussian and spreads the large entries of H: with high
 * probability max |W~_ij| ≤ ‖W‖ √(2 log(4mn/δ) / mn).
 *
 *   T x = H (f ∘ x)    T⁻¹ x = Hᵀx / f    T⁻ᵀ x = H (x / f)    Tᵀ x = f ∘ Hᵀx
 *
 * `hadamard` takes the largest order that the channels allow, `hadamard128` powers of two up
 * to 128: seven additions an element, for speed or where channels must stay near home. */
#include "core/rng.h"
#include "transform/members.h"

static void apply_f32(const struct gs_transform *t, enum gs_transform_op op, float *x,
                      float *work)
{
    bool inverse = op == GS_TRANSFORM_INVERSE || op == GS_TRANSFORM_DUAL_INVERSE;

    if (inverse)
        gs_hadamard_apply_f32(&t->hadamard, true, x, work);
    gs_transform_diagonal.apply_f32(t, op, x, NULL);
    if (!inverse)
        gs_hadamard_apply_f32(&t->hadamard, false, x, work);
}

static void apply_f64(const struct gs_transform *t, enum gs_transform_op op, double *x,
                      double *work)
{
    bool inverse = op == GS_TRANSFORM_INVERSE || op == GS_TRANSFORM_DUAL_INVERSE;

    if (inverse)
        gs_hadamard_apply_f64(&t->hadamard, true, x, work);
    gs_transform_diagonal.apply_f64(t, op, x, NULL);
    if (!inverse)
        gs_hadamard_apply_f64(&t->hadamard, false, x, work);
}

/* One random bit a channel, 64 from a number, lowest first. */
int gs_transform_fit_signs(struct gs_transform *t, const struct gs_transform_fit *fit,
                           struct gs_err *err)
{
    struct gs_rng rng;
    uint64_t bits = 0;

    (void)err;
    gs_rng_init(&rng, fit->seed, fit->stream);
    for (size_t i = 0; i < t->n; i++, bits >>= 1) {
        if (i % 64 == 0)
            bits = gs_rng_u64(&rng);
        t->factor[i] = bits & 1 ? -1.0f : 1.0f;
    }
    return GS_OK;
}

static size_t order_largest(size_t n)
{
    size_t q;

    return gs_hadamard_order(n, 0, &q);
}

static size_t order_128(size_t n)
{
    size_t order = 1;

    while (order < 128 && n % (2 * order) == 0)
        order *= 2;
    return order;
}

const struct gs_transform_kind gs_transform_hadamard = {
    .name = "hadamard",
    .paper = "Tseng et al., QuIP#, arXiv:2402.04396",
    .fit = gs_transform_fit_signs,
    .apply_f32 = apply_f32,
    .apply_f64 = apply_f64,
    .order = order_largest,
};

const struct gs_transform_kind gs_transform_hadamard128 = {
    .name = "hadamard128",
    .paper = "Tseng et al., QuIP#, arXiv:2402.04396, in blocks of up to 128",
    .fit = gs_transform_fit_signs,
    .apply_f32 = apply_f32,
    .apply_f64 = apply_f64,
    .order = order_128,
};
