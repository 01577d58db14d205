/* SPDX-License-Identifier: MIT
 * The numbers of groups: fitting, the second level of scales, and the bits of a file.
 *
 * With two levels (SpQR, arXiv:2306.03078; QLoRA's double quantization) `scale_group`
 * neighbouring groups of one column of groups share a range: scale = low + step · q with q of
 * scale_bits bits, and zeros alike where they are not whole numbers.
 *
 *   bits, lowest first:   for each `scale_group` rows of groups, for each column of groups
 *                           two levels: low and step of scales (and of zeros), by the rule
 *                           for each group: scale, zero, choice, table (f16)           */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/half.h"
#include "part/members.h"

static bool two_levels(const struct gs_part_form *f)
{
    return f->scale_bits && f->codebook->has_scale;
}

/* A zero that is stored as scales are. */
static bool real_zero(const struct gs_part_form *f)
{
    return f->codebook->has_zero && !f->codebook->zero_bits;
}

static float range_value(const struct gs_part_range *r, uint32_t q)
{
    return r->low + r->step * (float)q;
}

static uint64_t n_ranges(const struct gs_part_form *f)
{
    return (f->n_group_rows + f->scale_group - 1) / f->scale_group * 2 * f->n_group_cols;
}

/* The ranges of scales and zeros that a group row's groups share. */
static struct gs_part_range *range_at(const struct gs_part_form *f,
                                      const struct gs_part_groups *groups, size_t group_row,
                                      size_t group_col)
{
    return &groups->ranges[(group_row / f->scale_group * f->n_group_cols + group_col) * 2];
}

int gs_part_groups_create(const struct gs_part_form *f, struct gs_part_groups *out,
                          struct gs_err *err)
{
    uint64_t n = (uint64_t)f->n_group_rows * f->n_group_cols;
    size_t floats = f->codebook->table_floats;

    *out = (struct gs_part_groups){.list = gs_alloc(n, sizeof *out->list)};
    if (out->list && floats)
        out->tables = gs_alloc(n, floats * sizeof *out->tables);
    if (out->list && two_levels(f))
        out->ranges = gs_alloc(n_ranges(f), sizeof *out->ranges);
    if (!out->list || (floats && !out->tables) || (two_levels(f) && !out->ranges)) {
        gs_part_groups_clear(out);
        return gs_fail_nomem(err, "groups");
    }
    for (size_t i = 0; i < n; i++) {
        out->list[i].scale = 1;
        out->list[i].table = floats ? out->tables + i * floats : NULL;
    }
    return GS_OK;
}

void gs_part_groups_clear(struct gs_part_groups *groups)
{
    gs_free(&groups->list);
    gs_free(&groups->tables);
    gs_free(&groups->ranges);
}

/* ---- fitting ------------------------------------------------------------------------------ */

static float keep_all(float v)
{
    return v;
}

/* Scales that the second level will round are fitted as they are. */
static const struct gs_scale_rule unrounded = {.name = "f32", .bits = 32, .round = keep_all};

void gs_part_fit(const struct gs_part_work *work, size_t group_row, size_t group_col,
                 const float *x, size_t stride, float *scratch)
{
    const struct gs_part_form *f = work->form;
    size_t r0 = group_row * f->group_rows, c0 = group_col * f->group_cols;
    size_t rows = GS_MIN(f->group_rows, f->rows - r0), cols = GS_MIN(f->group_cols, f->cols - c0);
    size_t index = group_row * f->n_group_cols + group_col, n = rows * cols;
    struct gs_group *group = &work->groups.list[index];
    const float *h = NULL;
    float *table = work->groups.tables
                       ? work->groups.tables + index * f->codebook->table_floats : NULL;

    if (work->h || work->h_all) {
        float *own = scratch + n;
        for (size_t r = 0; r < rows; r++)
            memcpy(own + r * cols,
                   work->h_all ? work->h_all + (r0 + r) * f->cols + c0 : work->h + c0,
                   cols * sizeof *own);
        h = own;
    }
    if (rows > 1 && stride != cols) {
        for (size_t r = 0; r < rows; r++)
            memcpy(scratch + r * cols, x + r * stride, cols * sizeof *scratch);
        x = scratch;
    }
    gs_codebook_fit(f->codebook, two_levels(f) ? &unrounded : f->rule, x, h, n, table, group);
    if (fabsf(group->scale) < work->least_step)
        group->scale = f->rule->round(work->least_step);
    group->table = table;
}

/* The number in question of each group. */
static float *number_of(struct gs_group *group, bool zero)
{
    return zero ? &group->zero : &group->scale;
}

/* The range of the numbers of n groups in a column, and each of them rounded in it. */
static struct gs_part_range settle_numbers(const struct gs_part_form *f, struct gs_group *group,
                                           size_t n, bool zero)
{
    float low = INFINITY, high = -INFINITY, last = (float)((1u << f->scale_bits) - 1);

    for (size_t i = 0; i < n; i++) {
        float v = *number_of(group + i * f->n_group_cols, zero);
        low = GS_MIN(low, v);
        high = GS_MAX(high, v);
    }
    struct gs_part_range r = {.low = f->rule->round(low),
                              .step = f->rule->round((high - low) / last)};
    for (size_t i = 0; i < n; i++) {
        float *v = number_of(group + i * f->n_group_cols, zero);
        float q = r.step > 0 ? rintf((*v - r.low) / r.step) : 0;
        *v = range_value(&r, (uint32_t)GS_MIN(GS_MAX(q, 0.0f), last));
    }
    return r;
}

void gs_part_settle(const struct gs_part_work *work, size_t first, size_t end,
                    size_t group_col)
{
    const struct gs_part_form *f = work->form;

    if (!two_levels(f))
        return;
    for (size_t g = first; g < end; g += f->scale_group) {
        struct gs_group *group = &work->groups.list[g * f->n_group_cols + group_col];
        struct gs_part_range *r = range_at(f, &work->groups, g, group_col);
        size_t n = GS_MIN(f->scale_group, end - g);
        r[0] = settle_numbers(f, group, n, false);
        if (real_zero(f))
            r[1] = settle_numbers(f, group, n, true);
    }
}

/* ---- bits --------------------------------------------------------------------------------- */

/* Bits of one group, and of the ranges that scale_group of them share. */
static uint64_t one_group_bits(const struct gs_part_form *f)
{
    uint64_t bits = gs_codebook_group_bits(f->codebook, f->rule);

    if (two_levels(f))
        bits -= (f->rule->bits - f->scale_bits) * (real_zero(f) ? 2u : 1u);
    return bits;
}

bool gs_part_groups_bits(const struct gs_part_form *f, uint64_t *bits)
{
    uint64_t n, own, ranges = two_levels(f) ? n_ranges(f) / 2 : 0;

    if (!gs_mul_ok(f->n_group_rows, f->n_group_cols, &n) ||
        !gs_mul_ok(n, one_group_bits(f), &own) ||
        !gs_mul_ok(ranges, f->rule->bits * (real_zero(f) ? 4u : 2u), &ranges))
        return false;
    return gs_add_ok(own, ranges, bits);
}

struct bits {
    uint8_t *out;       /* writing: zeroed bytes; reading: NULL */
    const uint8_t *in;
    uint64_t at;
};

/* One field of n ≤ 32 bits, written or read: both ways go through the same fields. */
static void field(struct bits *b, unsigned n, uint32_t *v)
{
    if (!b->out)
        *v = 0;
    for (unsigned i = 0; i < n; i++, b->at++) {
        if (b->out)
            b->out[b->at / 8] |= (uint8_t)((*v >> i & 1) << b->at % 8);
        else
            *v |= (uint32_t)(b->in[b->at / 8] >> b->at % 8 & 1) << i;
    }
}

static void rule_field(struct bits *b, const struct gs_scale_rule *rule, float *v)
{
    uint32_t code = b->out ? rule->encode(*v) : 0;

    field(b, rule->bits, &code);
    if (!b->out)
        *v = rule->decode(code);
}

/* A scale or a real zero. */
static void number_field(struct bits *b, const struct gs_part_form *f,
                         const struct gs_part_range *range, float *v)
{
    if (!two_levels(f)) {
        rule_field(b, f->rule, v);
        return;
    }
    uint32_t q = b->out && range->step > 0 ? (uint32_t)rintf((*v - range->low) / range->step) : 0;
    field(b, f->scale_bits, &q);
    *v = range_value(range, q);
}

static void group_field(struct bits *b, const struct gs_part_form *f,
                        const struct gs_part_range *range, struct gs_group *group, float *table)
{
    const struct gs_codebook *c = f->codebook;
    uint32_t v;

    if (c->has_scale)
        number_field(b, f, range, &group->scale);
    if (real_zero(f)) {
        number_field(b, f, range + 1, &group->zero);
    } else if (c->has_zero) {
        v = (uint32_t)(int32_t)group->zero;
        field(b, c->zero_bits, &v);
        group->zero = (float)v;
    }
    field(b, c->choice_bits, &group->choice);
    for (size_t i = 0; i < c->table_floats; i++) {
        v = gs_f32_to_f16(table[i]);
        field(b, 16, &v);
        table[i] = gs_f16_to_f32((uint16_t)v);
    }
}

static void all_fields(struct bits *b, const struct gs_part_form *f,
                       const struct gs_part_groups *groups)
{
    struct gs_part_range none[2] = {{0, 0}, {0, 0}};
    size_t floats = f->codebook->table_floats;

    for (size_t first = 0; first < f->n_group_rows; first += f->scale_group)
        for (size_t col = 0; col < f->n_group_cols; col++) {
            struct gs_part_range *range = two_levels(f) ? range_at(f, groups, first, col) : none;
            for (int i = 0; two_levels(f) && i < (real_zero(f) ? 2 : 1); i++) {
                rule_field(b, f->rule, &range[i].low);
                rule_field(b, f->rule, &range[i].step);
            }
            for (size_t g = first; g < GS_MIN(first + f->scale_group, f->n_group_rows); g++) {
                size_t index = g * f->n_group_cols + col;
                group_field(b, f, range, &groups->list[index],
                            floats ? groups->tables + index * floats : NULL);
            }
        }
}

void gs_part_groups_write(const struct gs_part_form *f, const struct gs_part_groups *groups,
                          uint8_t *dst)
{
    struct bits b = {.out = dst};

    all_fields(&b, f, groups);
}

int gs_part_groups_read(const struct gs_part_form *f, const uint8_t *src,
                        struct gs_part_groups *groups, struct gs_err *err)
{
    struct bits b = {.in = src};
    uint64_t n = (uint64_t)f->n_group_rows * f->n_group_cols;

    all_fields(&b, f, groups);
    for (uint64_t i = 0; i < n; i++)
        if (!isfinite(groups->list[i].scale) || !isfinite(groups->list[i].zero))
            return gs_fail(err, GS_E_FORMAT, "the scale of group %zu is not finite", (size_t)i);
    for (uint64_t i = 0; i < n * f->codebook->table_floats; i++)
        if (!isfinite(groups->tables[i]))
            return gs_fail(err, GS_E_FORMAT, "the table of group %zu is not finite",
                           (size_t)(i / f->codebook->table_floats));
    return GS_OK;
}
