/* SPDX-License-Identifier: MIT
 * Outliers by rank: the share of the matrix, or of each row, with the largest scores.
 *
 *   magnitude   |w|
 *   fisher      F_ij (SqueezeLLM, arXiv:2306.07629, section 4.2); without gradients h_jj w²,
 *               what the loss grows by if the weight is lost. Then also what lies beyond
 *               max(|Q1 − r·IQR|, |Q3 + r·IQR|), Q1 and Q3 the quartiles of all weights
 *   cherry      as fisher, the same number in each row (CherryQ, arXiv:2404.02837): n / 256, a
 *               multiple of 8 where that is 8 or more
 *
 * The score at a rank is found by its bits, not by sorting: ordered as unsigned integers, four
 * passes of 256 counters narrow it to one value, with no memory. Of equal scores the first in
 * the matrix are taken. Nothing depends on the threads. */
#include <math.h>

#include "compensate/members.h"
#include "core/half.h"

typedef float (*score_fn)(const struct gs_outlier_data *data, size_t r, size_t c);

static float score_magnitude(const struct gs_outlier_data *d, size_t r, size_t c)
{
    return fabsf(d->w[r * d->stride + c]);
}

static float score_fisher(const struct gs_outlier_data *d, size_t r, size_t c)
{
    double w = (double)d->w[r * d->stride + c];

    /* squares in low precision have been seen to come out below zero */
    if (d->fisher)
        return fmaxf(d->fisher[r * d->stride + c], 0);
    return (float)fmin((d->h ? d->h[c] : 1) * w * w, 1e38);
}

static float score_weight(const struct gs_outlier_data *d, size_t r, size_t c)
{
    return d->w[r * d->stride + c];
}

/* Bits in the order of the numbers: −∞ … −0 < +0 … ∞. */
static uint32_t ordered(float f)
{
    uint32_t u = gs_f32_bits(f);

    return u & 0x80000000 ? ~u : u | 0x80000000;
}

static float unordered(uint32_t u)
{
    return gs_f32_from_bits(u & 0x80000000 ? u & 0x7fffffff : ~u);
}

/* The scores of rows [r0, r1). */
struct ranking {
    const struct gs_outlier_data *data;
    score_fn score;
    size_t r0, r1;
};

/* Of the scores whose bits above the 8 at `shift` are `prefix`, the one with `*above` before it
 * in descending order: those 8 bits of it; *above loses the scores that they exclude. */
static uint32_t digit_at(const struct ranking *k, unsigned shift, uint32_t prefix,
                         uint64_t *above)
{
    uint64_t counts[256] = {0};
    uint32_t digit = 255;

    for (size_t r = k->r0; r < k->r1; r++)
        for (size_t c = 0; c < k->data->cols; c++) {
            uint32_t u = ordered(k->score(k->data, r, c));
            if ((uint64_t)u >> (shift + 8) == prefix)
                counts[u >> shift & 255]++;
        }
    for (; digit && counts[digit] <= *above; digit--)
        *above -= counts[digit];
    return digit;
}

/* The score with *above others before it in descending order; then *above counts only those
 * of them that are equal to it. */
static uint32_t at_rank(const struct ranking *k, uint64_t *above)
{
    uint32_t u = 0;

    for (int shift = 24; shift >= 0; shift -= 8)
        u = u << 8 | digit_at(k, (unsigned)shift, u, above);
    return u;
}

/* Marks the n largest scores of the rows. */
static void mark_largest(const struct ranking *k, uint64_t n, uint8_t *mask)
{
    uint64_t equal = n - 1;

    if (!n)
        return;
    uint32_t limit = at_rank(k, &equal);
    equal++;
    for (size_t r = k->r0; r < k->r1; r++)
        for (size_t c = 0; c < k->data->cols; c++) {
            uint32_t u = ordered(k->score(k->data, r, c));
            if (u > limit || (u == limit && equal && equal--))
                mask[r * k->data->cols + c] = 1;
        }
}

void gs_outlier_mark_largest(const float *scores, size_t rows, size_t cols, uint64_t n,
                             uint8_t *mask)
{
    const struct gs_outlier_data data = {.w = scores, .rows = rows, .cols = cols, .stride = cols};
    const struct ranking k = {.data = &data, .score = score_weight, .r1 = rows};

    mark_largest(&k, n, mask);
}

static void mark_share(const struct gs_outlier_data *data, score_fn score, double share,
                       uint8_t *mask)
{
    struct ranking k = {.data = data, .score = score, .r1 = data->rows};

    mark_largest(&k, (uint64_t)(share * (double)data->rows * (double)data->cols), mask);
}

static int mark_magnitude(const struct gs_outlier_data *data, const struct gs_outlier_options *o,
                          struct gs_team *team, uint8_t *mask, struct gs_err *err)
{
    (void)team;
    (void)err;
    mark_share(data, score_magnitude, o->share, mask);
    return GS_OK;
}

/* What lies `range` interquartile distances beyond the quartiles. */
static void mark_range(const struct gs_outlier_data *data, double range, uint8_t *mask)
{
    struct ranking k = {.data = data, .score = score_weight, .r1 = data->rows};
    uint64_t n = (uint64_t)data->rows * data->cols, upper = n / 4, lower = n - 1 - n / 4;

    if (!n)
        return;
    double q3 = (double)unordered(at_rank(&k, &upper));
    double q1 = (double)unordered(at_rank(&k, &lower));
    double limit = fmax(fabs(q1 - range * (q3 - q1)), fabs(q3 + range * (q3 - q1)));
    for (size_t r = 0; r < data->rows; r++)
        for (size_t c = 0; c < data->cols; c++)
            if (fabs((double)data->w[r * data->stride + c]) > limit)
                mask[r * data->cols + c] = 1;
}

static int mark_fisher(const struct gs_outlier_data *data, const struct gs_outlier_options *o,
                       struct gs_team *team, uint8_t *mask, struct gs_err *err)
{
    (void)team;
    (void)err;
    mark_share(data, score_fisher, o->share, mask);
    if (o->range >= 0)
        mark_range(data, o->range, mask);
    return GS_OK;
}

struct cherry_job {
    const struct gs_outlier_data *data;
    uint64_t count; /* of a row */
    uint8_t *mask;
};

static void cherry_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct cherry_job *job = ctx;
    (void)worker;

    for (size_t r = begin; r < end; r++) {
        struct ranking k = {.data = job->data, .score = score_fisher, .r0 = r, .r1 = r + 1};
        mark_largest(&k, job->count, job->mask);
    }
}

static int mark_cherry(const struct gs_outlier_data *data, const struct gs_outlier_options *o,
                       struct gs_team *team, uint8_t *mask, struct gs_err *err)
{
    double n = o->share * (double)data->cols;
    uint64_t count = (uint64_t)(n < 8 ? fmax(1, round(n)) : 8 * round(n / 8));
    struct cherry_job job = {.data = data, .count = GS_MIN(count, data->cols), .mask = mask};
    (void)err;

    gs_team_run(team, data->rows, 16, cherry_run, &job);
    return GS_OK;
}

const struct gs_outlier_rule gs_outlier_rule_magnitude = {
    .name = "magnitude",
    .paper = "largest magnitudes",
    .defaults = {.share = 0.005},
    .mark = mark_magnitude,
};

const struct gs_outlier_rule gs_outlier_rule_fisher = {
    .name = "fisher",
    .paper = "SqueezeLLM, arXiv:2306.07629",
    .defaults = {.share = 0.0005, .range = 1.8},
    .mark = mark_fisher,
};

const struct gs_outlier_rule gs_outlier_rule_cherry = {
    .name = "cherry",
    .paper = "CherryQ, arXiv:2404.02837",
    .defaults = {.share = 1.0 / 256},
    .mark = mark_cherry,
};
