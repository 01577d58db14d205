/* SPDX-License-Identifier: MIT
 * A table of its own for each group, by k-means (SqueezeLLM, with rows for groups and the mean
 * squared gradient of every weight as its importance). Values are stored as f16. */
#include <math.h>

#include "codebook/gaussian.h"
#include "codebook/kmeans_line.h"
#include "codebook/members.h"
#include "codebook/points.h"
#include "core/alloc.h"
#include "core/half.h"

static const struct gs_codebook_key kmeans_keys[] = {
    {"bits", "bits of a code", 1, 6, 4, true},
    {0},
};

/* What a table for ever more weights tends to. */
static double gaussian_mse(unsigned states)
{
    struct gs_points points;
    float lloyd[GS_POINTS];

    gs_gaussian_lloyd(lloyd, states);
    gs_points_set(&points, lloyd, states);
    return gs_points_gaussian_at(&points, 1, 0);
}

static int kmeans_create(const struct gs_codebook_kind *kind, const double *values,
                         struct gs_codebook **out, struct gs_err *err)
{
    struct gs_codebook *self = gs_alloc(1, sizeof *self);

    (void)kind;
    if (!self)
        return gs_fail_nomem(err, "codebook");
    self->states = UINT64_C(1) << (unsigned)values[0];
    self->table_floats = (size_t)self->states;
    self->gaussian_mse = gaussian_mse((unsigned)self->states);
    *out = self;
    return GS_OK;
}

static float stored(float v)
{
    return gs_f16_to_f32(gs_f32_to_f16(fminf(fmaxf(v, -65504), 65504)));
}

static void kmeans_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                       const float *x, const float *h, size_t n, float *table,
                       struct gs_group *out)
{
    (void)rule;
    gs_kmeans_line(x, h, n, table, (unsigned)codebook->states);
    for (size_t i = 0; i < codebook->states; i++)
        table[i] = stored(table[i]);
    out->table = table;
}

/* Fits give ascending tables; one from a file may be in any order, so all values are looked at. */
static uint64_t kmeans_nearest(const struct gs_codebook *codebook, const struct gs_group *group,
                               const float *x, const float *h, float *y)
{
    uint64_t best = 0;
    float least = fabsf(*x - group->table[0]);

    (void)h;
    for (uint64_t i = 1; i < codebook->states; i++) {
        float distance = fabsf(*x - group->table[i]);
        best = distance < least ? i : best;
        least = distance < least ? distance : least;
    }
    *y = group->table[best];
    return best;
}

static void kmeans_value(const struct gs_codebook *codebook, const struct gs_group *group,
                         uint64_t code, float *y)
{
    *y = group->table[GS_MIN(code, codebook->states - 1)];
}

const struct gs_codebook_kind gs_codebook_kmeans = {
    .name = "kmeans",
    .paper = "Kim et al., SqueezeLLM: dense-and-sparse quantization, arXiv:2306.07629",
    .keys = kmeans_keys,
    .create = kmeans_create,
    .fit = kmeans_fit,
    .nearest = kmeans_nearest,
    .value = kmeans_value,
};
