/* SPDX-License-Identifier: MIT
 * Finite scalar quantization: each weight of a code has a few levels of its own, and a code
 * counts them in a mixed radix (Mentzer et al., arXiv:2309.15505), so that bits a weight may be
 * fractions: 3·3·3·3·3 = 243 < 2^8 are 1.6 bits, 5·5·5 < 2^7 are 7/3, 8·6·5 < 2^8 are 8/3.
 *
 *     code = i_1 + L_1 · (i_2 + L_2 · (i_3 + …)),   0 ≤ i_d < L_d
 *     w_d ≈ scale · step(L_d) · (i_d − (L_d − 1) / 2)
 *
 * The paper bounds what an encoder gives by tanh and learns the encoder; for weights there is
 * none, and the bound is the outermost level. step(L) is the best for L equally distant levels
 * of a unit Gaussian (Max, 1960), so that one scale suits all numbers of levels. */
#include "codebook/members.h"

#include <math.h>

#include "codebook/scale_fit.h"
#include "core/alloc.h"

enum { WEIGHTS_MAX = 5, LEVELS_MAX = 16 };

/* By L − 2; by ternary search over the closed form. */
static const struct { float step; double mse; } steps[LEVELS_MAX - 1] = {
    {1.59576913f, 0.36338023}, {1.22400637f, 0.19017404}, {0.99568667f, 0.11884605},
    {0.84298626f, 0.08217766}, {0.73343260f, 0.06065659}, {0.65076969f, 0.04685997},
    {0.58601946f, 0.03743966}, {0.53382222f, 0.03069586}, {0.49077799f, 0.02568707},
    {0.45462314f, 0.02185565}, {0.42379045f, 0.01885329}, {0.39715919f, 0.01645277},
    {0.37390588f, 0.01450049}, {0.35341132f, 0.01288939}, {0.33520061f, 0.01154288},
};

struct fsq_book {
    struct gs_codebook base;
    unsigned levels[WEIGHTS_MAX];
    float step[WEIGHTS_MAX];
};

static const struct fsq_book *book_of(const struct gs_codebook *codebook)
{
    return (const struct fsq_book *)codebook;
}

static int fsq_create(const struct gs_codebook_kind *kind, const double *values,
                      struct gs_codebook **out, struct gs_err *err)
{
    struct fsq_book facts = {.base.states = 1, .base.has_scale = true};
    double mse = 0;

    for (unsigned i = 0; i < WEIGHTS_MAX; i++) {
        unsigned levels = (unsigned)values[i];
        if (levels == 1)
            return gs_fail(err, GS_E_ARG, "codebook %s: %s: 1 level says nothing; take 2 or "
                           "more, or 0 for a shorter code", kind->name, kind->keys[i].name);
        if (levels == 0)
            continue;
        unsigned d = facts.base.dim++;
        facts.levels[d] = levels;
        facts.step[d] = steps[levels - 2].step;
        facts.base.states *= levels;
        mse += steps[levels - 2].mse;
    }
    if (!facts.base.dim)
        return gs_fail(err, GS_E_ARG, "codebook %s: no weight has levels", kind->name);
    struct fsq_book *book = gs_alloc(1, sizeof *book);
    if (!book)
        return gs_fail_nomem(err, "codebook");
    *book = facts;
    book->base.gaussian_mse = mse / facts.base.dim;
    *out = &book->base;
    return GS_OK;
}

static void fsq_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                    const float *x, const float *h, size_t n, float *table,
                    struct gs_group *out)
{
    (void)table;
    gs_scale_fit(codebook, rule, x, h, n, 1, out);
}

static void fsq_value(const struct gs_codebook *codebook, const struct gs_group *group,
                      uint64_t code, float *y)
{
    const struct fsq_book *book = book_of(codebook);

    for (unsigned d = 0; d < codebook->dim; d++, code /= book->levels[d - 1]) {
        float level = (float)(code % book->levels[d]) - 0.5f * (float)(book->levels[d] - 1);
        y[d] = group->scale * (book->step[d] * level);
    }
}

/* Weights of a code are independent, so importances do not matter. */
static uint64_t fsq_nearest(const struct gs_codebook *codebook, const struct gs_group *group,
                            const float *x, const float *h, float *y)
{
    const struct fsq_book *book = book_of(codebook);
    float inverse = group->scale > 0 ? 1 / group->scale : 0;
    uint64_t code = 0;

    (void)h;
    for (unsigned d = codebook->dim; d-- > 0;) {
        float most = (float)(book->levels[d] - 1);
        float at = floorf(x[d] * inverse / book->step[d] + 0.5f * most + 0.5f);
        code = code * book->levels[d] + (at > 0 ? (uint64_t)GS_MIN(at, most) : 0);
    }
    fsq_value(codebook, group, code, y);
    return code;
}

static const struct gs_codebook_key keys[] = {
    {"l1", "levels of the first weight of a code", 0, LEVELS_MAX, 3, true},
    {"l2", "levels of the second; 0: codes are shorter", 0, LEVELS_MAX, 3, true},
    {"l3", "of the third", 0, LEVELS_MAX, 3, true},
    {"l4", "of the fourth", 0, LEVELS_MAX, 3, true},
    {"l5", "of the fifth", 0, LEVELS_MAX, 3, true},
    {0},
};

const struct gs_codebook_kind gs_codebook_fsq = {
    .name = "fsq",
    .paper = "Mentzer et al., Finite scalar quantization, arXiv:2309.15505",
    .keys = keys,
    .create = fsq_create,
    .fit = fsq_fit,
    .nearest = fsq_nearest,
    .value = fsq_value,
};
