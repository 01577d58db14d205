/* SPDX-License-Identifier: MIT
 * E8P: a lattice code of 2 bits a weight, and with a second stage of 3 or 4 (Tseng et al.,
 * QuIP#, arXiv:2402.04396; the code itself is in e8.h).
 *
 *     2 bits    w ≈ scale · Q(x)                             code: 16 bits for 8 weights
 *     3 bits    w ≈ scale · (Q(x) + S(r (x − Q(x))) / r)     Q | S << 16, S: short vectors of E8
 *     4 bits    w ≈ scale · (Q(x) + Q(r (x − Q(x))) / r)     Q | Q' << 16
 *
 * with x = w / scale and a fixed r. At 2 bits the nearest point is exact. Residual codes take
 * the nearest point of one stage after the other, which is not always the nearest of all sums.
 *
 * On unit Gaussian weights the best scale is 1 / 1.037 at 2 bits, 1 / 0.98 with r = 2.0 at 3,
 * 1 / 0.89 with r = 3.9 at 4. (QuIP# as released uses 1.03 and 3.45 at 4 bits, which costs 16 %
 * more error and so falls behind Lloyd and Max's scalar code.) */
#include "codebook/e8.h"
#include "codebook/members.h"
#include "codebook/scale_fit.h"
#include "core/alloc.h"

enum stage { NONE, SHORT, FULL };

/* By bits − 2. */
static const struct plan {
    enum stage second;
    unsigned code_bits;
    float residual;      /* r */
    double unit, mse;    /* best scale and its error for unit Gaussian weights */
} plans[] = {
    {NONE, 16, 1.0f, 1 / 1.037, 0.09137},
    {SHORT, 24, 2.0f, 1 / 0.98, 0.02947},
    {FULL, 32, 3.9f, 1 / 0.89, 0.00834},
};

struct e8p_book {
    struct gs_codebook base;
    const struct plan *plan;
    struct gs_e8p e8p;
};

static const struct e8p_book *book_of(const struct gs_codebook *codebook)
{
    return (const struct e8p_book *)codebook;
}

static int e8p_create(const struct gs_codebook_kind *kind, const double *values,
                      struct gs_codebook **out, struct gs_err *err)
{
    const struct plan *plan = &plans[(int)values[0] - 2];
    struct e8p_book *book = gs_alloc(1, sizeof *book);

    (void)kind;
    if (!book)
        return gs_fail_nomem(err, "codebook");
    book->plan = plan;
    gs_e8p_init(&book->e8p);
    book->base.dim = 8;
    book->base.states = UINT64_C(1) << plan->code_bits;
    book->base.has_scale = true;
    book->base.approximate = plan->second != NONE;
    book->base.gaussian_mse = plan->mse;
    *out = &book->base;
    return GS_OK;
}

static void e8p_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                    const float *x, const float *h, size_t n, float *table,
                    struct gs_group *out)
{
    (void)table;
    gs_scale_fit(codebook, rule, x, h, n, book_of(codebook)->plan->unit, out);
}

static void e8p_value(const struct gs_codebook *codebook, const struct gs_group *group,
                      uint64_t code, float *y)
{
    const struct e8p_book *book = book_of(codebook);
    float rest[8] = {0};

    gs_e8p_value(&book->e8p, (unsigned)code & 0xffff, y);
    if (book->plan->second == SHORT)
        gs_e8_short_value((unsigned)(code >> 16), rest);
    else if (book->plan->second == FULL)
        gs_e8p_value(&book->e8p, (unsigned)(code >> 16), rest);
    for (unsigned i = 0; i < 8; i++)
        y[i] = group->scale * (y[i] + rest[i] / book->plan->residual);
}

static uint64_t e8p_nearest(const struct gs_codebook *codebook, const struct gs_group *group,
                            const float *x, const float *h, float *y)
{
    const struct e8p_book *book = book_of(codebook);
    float inverse = group->scale > 0 ? 1 / group->scale : 0, scaled[8], first[8];
    uint64_t code;

    for (unsigned i = 0; i < 8; i++)
        scaled[i] = x[i] * inverse;
    code = gs_e8p_nearest(&book->e8p, scaled, h);
    if (book->plan->second != NONE) {
        gs_e8p_value(&book->e8p, (unsigned)code, first);
        for (unsigned i = 0; i < 8; i++)
            scaled[i] = (scaled[i] - first[i]) * book->plan->residual;
        code |= (uint64_t)(book->plan->second == SHORT
                               ? gs_e8_short_nearest(scaled, h)
                               : gs_e8p_nearest(&book->e8p, scaled, h)) << 16;
    }
    e8p_value(codebook, group, code, y);
    return code;
}

static const struct gs_codebook_key keys[] = {
    {"bits", "bits a weight; 3 and 4 add a second stage", 2, 4, 2, true},
    {NULL, NULL, 0, 0, 0, false},
};

const struct gs_codebook_kind gs_codebook_e8p = {
    .name = "e8p",
    .paper = "Tseng et al., QuIP#, arXiv:2402.04396",
    .keys = keys,
    .create = e8p_create,
    .fit = e8p_fit,
    .nearest = e8p_nearest,
    .value = e8p_value,
};
