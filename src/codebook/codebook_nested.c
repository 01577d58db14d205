/* SPDX-License-Identifier: MIT
 * Nested integers: one 8-bit code whose first bits are codes of 2, 3 and 4 bits, so that one
 * file is served at any of them, and less of it is read for fewer.
 *
 *     v = round(w / s) + 128, 0 … 255:    v₇ v₆ │ v₅ │ v₄ │ v₃ v₂ v₁ v₀        served as
 *     layers, rule = 0                     2       3    4        8 bits           ŵ = s (v − 128)
 *     layers, rule = 1                     v₇ v₆ v₅ │ v₄ │ v₃ │ v₂ v₁ v₀
 *
 *     rule = 0   Matryoshka: the first r bits k are the r-bit code, a cell of 2^(8−r) steps:
 *                    ŵ_r = s_r (2k + 1 − 2^r),             s_r = f16(s ρ_r 2^(7−r))
 *     rule = 1   double rounding: first to 8 bits, then these to r, half up, no truncation, which
 *                takes one bit more than r:
 *                    ŵ_r = s_r clamp(⌊(v − 128) / 2^(8−r) + ½⌋),   s_r = f16(s ρ_r 2^(8−r))
 *
 * ρ_r is a factor on the scales of a precision, one for a matrix, that least squares find: few
 * points want narrower ones than many do. MatQuant and Double Rounding train their slices; here
 * the scale s of a group is the one with the least Σ_r λ_r Σ h (w − ŵ_r)² (rule 0), where
 * λ_r = 4^(r low): low = 1 counts errors relative to those of their precision, low = 0 as they
 * are. */
#include <math.h>

#include "codebook/members.h"
#include "core/alloc.h"
#include "core/cursor.h"
#include "core/half.h"

enum { KEY_RULE, KEY_LOW };
enum { SLICES = 4, BITS = 8, GROUPS_MAX = 4096, STEPS = 12, ROUNDS = 2 };

static const unsigned slice_bits[SLICES] = {2, 3, 4, BITS};

static const struct gs_codebook_key nested_keys[] = {
    {"rule", "0 first bits are the smaller code, 1 double rounding", 0, 1, 0, true},
    {"low", "what errors of few bits count less, 0 to 1", 0, 1, 0.75, false},
    {0},
};

struct nested {
    struct gs_codebook base;
    bool rounds;         /* rule 1 */
    float ratio[SLICES]; /* ρ, the last is 1 */
    double weight[SLICES];
};

static int nested_create(const struct gs_codebook_kind *kind GS_UNUSED, const double *values,
                         struct gs_codebook **out, struct gs_err *err)
{
    static const uint8_t layer_bits[2][SLICES] = {{2, 1, 1, 4}, {3, 1, 1, 3}};
    struct nested *self = gs_alloc(1, sizeof *self);

    if (!self)
        return gs_fail_nomem(err, "codebook");
    self->rounds = values[KEY_RULE] > 0;
    self->base.states = 1u << BITS;
    self->base.has_scale = true;
    self->base.shared_bits = 16 * (SLICES - 1);
    self->base.layers = SLICES;
    for (unsigned i = 0; i < SLICES; i++) {
        self->ratio[i] = 1;
        self->weight[i] = pow(4, values[KEY_LOW] * slice_bits[i]);
        self->base.layer_bits[i] = layer_bits[self->rounds][i];
        self->base.layer_serves[i] = (uint8_t)slice_bits[i];
    }
    *out = &self->base;
    return GS_OK;
}

/* ---- slices ------------------------------------------------------------------------------- */

/* The integer that slice i makes of v, of which only the bits of its layers count. */
static int slice_integer(const struct nested *self, unsigned v, unsigned i)
{
    int r = (int)slice_bits[i], half = 1 << (r - 1);

    if (r == BITS)
        return (int)v - half;
    if (!self->rounds)
        return 2 * (int)(v >> (BITS - r)) + 1 - 2 * half;
    return GS_MIN((int)((v >> (BITS - 1 - r)) + 1) / 2 - half, half - 1);
}

static float slice_scale(const struct nested *self, float scale, unsigned i)
{
    unsigned r = slice_bits[i];

    if (r == BITS)
        return scale;
    float step = (float)(1u << (BITS - (self->rounds ? 0 : 1) - r));
    return gs_f16_to_f32(gs_f32_to_f16(scale * self->ratio[i] * step));
}

static unsigned nearest_integer(float scale, float x)
{
    float t = scale != 0 ? x / scale : 0;

    return (unsigned)((int)floorf(fminf(fmaxf(t, -128), 127) + 0.5f) + 128);
}

/* v's highest bits become the code's lowest layer. */
static uint64_t to_code(const struct nested *self, unsigned v)
{
    unsigned left = BITS, shift = 0;
    uint64_t code = 0;

    for (unsigned i = 0; i < SLICES; i++) {
        unsigned bits = self->base.layer_bits[i];
        left -= bits;
        code |= (uint64_t)(v >> left & ((1u << bits) - 1)) << shift;
        shift += bits;
    }
    return code;
}

static unsigned from_code(const struct nested *self, uint64_t code)
{
    unsigned left = BITS, v = 0;

    for (unsigned i = 0; i < SLICES; i++) {
        unsigned bits = self->base.layer_bits[i];
        left -= bits;
        v |= ((unsigned)code & ((1u << bits) - 1)) << left;
        code >>= bits;
    }
    return v;
}

/* ---- scales ------------------------------------------------------------------------------- */

static double error_of(const struct nested *self, float scale, const float *x, const float *h,
                       size_t n)
{
    float scales[SLICES];
    double error = 0;

    for (unsigned i = 0; i < SLICES; i++)
        scales[i] = slice_scale(self, scale, i);
    for (size_t k = 0; k < n; k++) {
        unsigned v = nearest_integer(scale, x[k]);
        double sum = 0;
        for (unsigned i = 0; i < SLICES; i++) {
            double e = (double)(x[k] - scales[i] * (float)slice_integer(self, v, i));
            sum += self->weight[i] * e * e;
        }
        error += (h ? (double)h[k] : 1) * sum;
    }
    return error;
}

static void nested_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                       const float *x, const float *h, size_t n, float *table GS_UNUSED,
                       struct gs_group *out)
{
    const struct nested *self = (const struct nested *)codebook;
    float largest = 0;
    double least = INFINITY;

    for (size_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    out->scale = rule->round(largest / 127);
    for (int step = 0; !self->rounds && step < STEPS; step++) {
        float scale = rule->round(largest / 127 * (1 - 0.05f * (float)step));
        double error = error_of(self, scale, x, h, n);
        if (error < least) {
            least = error;
            out->scale = scale;
        }
    }
}

/* One group's share of the least squares for ρ. */
static void add_group(const struct nested *self, const struct gs_codebook_data *d, size_t row,
                      size_t col, float *x, float *h, double top[SLICES], double bottom[SLICES])
{
    size_t rows = GS_MIN(d->group_rows, d->rows - row);
    size_t cols = GS_MIN(d->group_cols, d->cols - col), n = 0;
    bool weighed = d->h || d->h_all;
    struct gs_group group = {.scale = 1};

    for (size_t r = row; r < row + rows; r++)
        for (size_t c = col; c < col + cols; c++, n++) {
            x[n] = d->w[r * d->stride + c];
            h[n] = d->h_all ? d->h_all[r * d->stride + c] : d->h ? d->h[c] : 1;
        }
    nested_fit(&self->base, d->rule, x, weighed ? h : NULL, n, NULL, &group);
    for (unsigned i = 0; i + 1 < SLICES; i++) {
        double step = (double)(1u << (BITS - (self->rounds ? 0 : 1) - slice_bits[i]));
        for (size_t k = 0; k < n; k++) {
            double q = step * (double)group.scale *
                       slice_integer(self, nearest_integer(group.scale, x[k]), i);
            top[i] += (double)h[k] * (double)x[k] * q;
            bottom[i] += (double)h[k] * q * q;
        }
    }
}

/* Scales and factors in turn, on groups spread over the matrix. */
static int nested_learn(struct gs_codebook *codebook, const struct gs_codebook_data *data,
                        struct gs_err *err)
{
    struct nested *self = (struct nested *)codebook;
    struct gs_codebook_data d = *data;

    d.group_rows = d.group_rows ? d.group_rows : 1;
    d.group_cols = d.group_cols ? d.group_cols : d.cols;
    d.rule = d.rule ? d.rule : gs_scale_rule_find("f32");
    size_t across = (d.cols + d.group_cols - 1) / d.group_cols;
    size_t groups = (d.rows + d.group_rows - 1) / d.group_rows * across;
    size_t used = GS_MIN(groups, (size_t)GROUPS_MAX);
    size_t room = GS_MIN(d.group_rows, d.rows) * GS_MIN(d.group_cols, d.cols);
    float *x = gs_alloc(2 * room, sizeof *x);

    if (!x)
        return gs_fail_nomem(err, "codebook");
    for (int round = 0; round < ROUNDS; round++) {
        double top[SLICES] = {0}, bottom[SLICES] = {0};
        for (size_t k = 0; k < used; k++) {
            size_t g = (size_t)((uint64_t)k * groups / used);
            add_group(self, &d, g / across * d.group_rows, g % across * d.group_cols, x, x + room,
                      top, bottom);
        }
        for (unsigned i = 0; i + 1 < SLICES; i++)
            if (bottom[i] > 0 && top[i] > 0)
                self->ratio[i] = gs_f16_to_f32(gs_f32_to_f16((float)(top[i] / bottom[i])));
    }
    gs_free(&x);
    return GS_OK;
}

static void nested_write(const struct gs_codebook *codebook, uint8_t *dst)
{
    const struct nested *self = (const struct nested *)codebook;

    for (unsigned i = 0; i + 1 < SLICES; i++)
        gs_put_f16(self->ratio[i], dst + 2 * i);
}

static int nested_read(struct gs_codebook *codebook, const uint8_t *src, struct gs_err *err)
{
    struct nested *self = (struct nested *)codebook;

    for (unsigned i = 0; i + 1 < SLICES; i++) {
        float ratio = gs_f16_to_f32(gs_load_u16(src + 2 * i));
        if (!(ratio > 0) || !isfinite(ratio))
            return gs_fail(err, GS_E_FORMAT, "codebook nested: a factor that cannot be");
        self->ratio[i] = ratio;
    }
    return GS_OK;
}

/* ---- codes -------------------------------------------------------------------------------- */

static void nested_value_cut(const struct gs_codebook *codebook, const struct gs_group *group,
                             uint64_t code, unsigned layers, float *y)
{
    const struct nested *self = (const struct nested *)codebook;

    *y = slice_scale(self, group->scale, layers - 1) *
         (float)slice_integer(self, from_code(self, code), layers - 1);
}

static void nested_value(const struct gs_codebook *codebook, const struct gs_group *group,
                         uint64_t code, float *y)
{
    nested_value_cut(codebook, group, code, SLICES, y);
}

static uint64_t nested_nearest(const struct gs_codebook *codebook, const struct gs_group *group,
                               const float *x, const float *h GS_UNUSED, float *y)
{
    const struct nested *self = (const struct nested *)codebook;
    unsigned v = nearest_integer(group->scale, *x);

    *y = group->scale * (float)((int)v - 128);
    return to_code(self, v);
}

const struct gs_codebook_kind gs_codebook_nested = {
    .name = "nested",
    .paper = "Nair et al., Matryoshka Quantization, arXiv:2502.06786; Huang et al., Double "
             "Rounding, arXiv:2502.01199",
    .keys = nested_keys,
    .create = nested_create,
    .learn = nested_learn,
    .write = nested_write,
    .read = nested_read,
    .fit = nested_fit,
    .nearest = nested_nearest,
    .value = nested_value,
    .value_cut = nested_value_cut,
};
