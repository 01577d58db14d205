/* SPDX-License-Identifier: MIT
 * Flexible dual binarization (DB-LLM): two planes of bits, each with a scale of the group.
 *
 *     ŵ = α₁ b₁ + α₂ b₂,     b ∈ {0, 1},     code = b₁ + 2 b₂:     0, α₁, α₂, α₁ + α₂
 *
 * The scales of opposite signs give four levels with 0 among them and about half of the bits 0.
 * The group's table is (α₁, α₂). Without training they are fitted: from the paper's start,
 * α₁ = 2s, α₂ = −s, at several s and mirrored, nearest points and weighted least squares take
 * turns. */
#include <math.h>

#include "codebook/members.h"
#include "codebook/points.h"
#include "core/alloc.h"
#include "core/half.h"

enum { STARTS = 8, TURNS = 12 };

/* Over all ratios α₁ / −α₂; the other half of them is the mirror image. */
static double best_on_gaussian(void)
{
    struct gs_points points;
    double best = 1;

    for (int i = 100; i <= 400; i++) {
        float ratio = (float)i / 100;
        gs_points_set(&points, (float[]){0, ratio, -1, ratio - 1}, 4);
        best = fmin(best, gs_points_gaussian_mse(&points, GS_ZERO_NONE));
    }
    return best;
}

static int dual_create(const struct gs_codebook_kind *kind, const double *values,
                       struct gs_codebook **out, struct gs_err *err)
{
    struct gs_codebook *self = gs_alloc(1, sizeof *self);

    (void)kind;
    (void)values;
    if (!self)
        return gs_fail_nomem(err, "codebook");
    self->states = 4;
    self->table_floats = 2;
    self->gaussian_mse = best_on_gaussian();
    *out = self;
    return GS_OK;
}

static unsigned nearest_of(const float level[4], float x)
{
    unsigned best = 0;

    for (unsigned k = 1; k < 4; k++)
        if (fabs((double)x - level[k]) < fabs((double)x - level[best]))
            best = k;
    return best;
}

static void set_levels(const float *table, float level[4])
{
    level[0] = 0;
    level[1] = table[0];
    level[2] = table[1];
    level[3] = table[0] + table[1];
}

static float stored(double v)
{
    return gs_f16_to_f32(gs_f32_to_f16((float)fmin(fmax(v, -32752), 32752)));
}

/* The error of `table`, and in `better` what suits its assignment best. */
static double improve(const float *table, const float *x, const float *h, size_t n,
                      float better[2])
{
    double weight[4] = {0}, sum[4] = {0}, error = 0;
    float level[4];

    set_levels(table, level);
    for (size_t i = 0; i < n; i++) {
        unsigned k = nearest_of(level, x[i]);
        double w = h ? h[i] : 1, d = (double)x[i] - level[k];
        weight[k] += w;
        sum[k] += w * x[i];
        error += w * d * d;
    }
    /* (n₁ + n₃) α₁ + n₃ α₂ = s₁ + s₃  and  n₃ α₁ + (n₂ + n₃) α₂ = s₂ + s₃ */
    double a = weight[1] + weight[3], b = weight[3], c = weight[2] + weight[3];
    double det = a * c - b * b, p = sum[1] + sum[3], q = sum[2] + sum[3];
    better[0] = det > 0 ? stored((p * c - q * b) / det) : a > 0 ? stored(p / a) : table[0];
    better[1] = det > 0 ? stored((q * a - p * b) / det) : c > 0 ? stored(q / c) : table[1];
    return error;
}

static void dual_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                     const float *x, const float *h, size_t n, float *table,
                     struct gs_group *out)
{
    double least = INFINITY, squares = 0, weight = 0;

    (void)codebook;
    (void)rule;
    for (size_t i = 0; i < n; i++)
        weight += h ? h[i] : 0;
    if (!(weight > 0))
        h = NULL;
    for (size_t i = 0; i < n; i++)
        squares += (h ? h[i] : 1) * (double)x[i] * x[i];
    double deviation = sqrt(squares / (h ? weight : (double)n));
    table[0] = table[1] = 0;
    for (int start = 0; start < 2 * STARTS; start++) {
        double s = deviation * (0.4 + 0.2 * (start / 2)) * (start % 2 ? -1 : 1);
        float now[2] = {stored(2 * s), stored(-s)}, next[2];
        for (int turn = 0; turn < TURNS; turn++) {
            double error = improve(now, x, h, n, next);
            if (error < least) {
                least = error;
                table[0] = now[0];
                table[1] = now[1];
            }
            if (next[0] == now[0] && next[1] == now[1])
                break;
            now[0] = next[0];
            now[1] = next[1];
        }
    }
    out->table = table;
}

static void dual_value(const struct gs_codebook *codebook, const struct gs_group *group,
                       uint64_t code, float *y)
{
    float level[4];

    (void)codebook;
    set_levels(group->table, level);
    *y = level[code & 3];
}

static uint64_t dual_nearest(const struct gs_codebook *codebook, const struct gs_group *group,
                             const float *x, const float *h, float *y)
{
    float level[4];

    (void)codebook;
    (void)h;
    set_levels(group->table, level);
    unsigned code = nearest_of(level, *x);
    *y = level[code];
    return code;
}

const struct gs_codebook_kind gs_codebook_dual = {
    .name = "dual",
    .paper = "Chen et al., DB-LLM: accurate dual-binarization, arXiv:2402.11960",
    .create = dual_create,
    .fit = dual_fit,
    .nearest = dual_nearest,
    .value = dual_value,
};
