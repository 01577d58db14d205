/* SPDX-License-Identifier: MIT
 * The lists of granularities, importances and rounders; what a spec may say. */
#include "part/part.h"

#include <inttypes.h>
#include <string.h>

#include "core/name.h"
#include "part/members.h"

/* The share of outliers that rules by threshold find in language models, about. */
#define OUTLIERS 0.01

/* ---- granularities ------------------------------------------------------------------------ */

#define SWEEPS_MAX 64u /* of descent; more change nothing */

static void shape_tensor(size_t rows, size_t cols, size_t size GS_UNUSED, size_t *group_rows,
                         size_t *group_cols)
{
    *group_rows = rows;
    *group_cols = cols;
}

static void shape_row(size_t rows GS_UNUSED, size_t cols, size_t size GS_UNUSED,
                      size_t *group_rows, size_t *group_cols)
{
    *group_rows = 1;
    *group_cols = cols;
}

/* An input channel, in pieces of `size` output channels. */
static void shape_column(size_t rows, size_t cols GS_UNUSED, size_t size, size_t *group_rows,
                         size_t *group_cols)
{
    *group_rows = size ? size : rows;
    *group_cols = 1;
}

static void shape_group(size_t rows GS_UNUSED, size_t cols GS_UNUSED, size_t size,
                        size_t *group_rows, size_t *group_cols)
{
    *group_rows = 1;
    *group_cols = size;
}

static void shape_block(size_t rows GS_UNUSED, size_t cols GS_UNUSED, size_t size,
                        size_t *group_rows, size_t *group_cols)
{
    *group_rows = size;
    *group_cols = size;
}

static const struct gs_part_scale scales[] = {
    {"tensor", false, shape_tensor}, {"row", false, shape_row},
    {"column", false, shape_column}, {"group", true, shape_group},
    {"block", true, shape_block}, {GS_PART_ADAPTIVE, true, shape_group},
};

const struct gs_part_scale *gs_part_scale_find(const char *name)
{
    for (size_t i = 0; i < GS_COUNT(scales); i++)
        if (!strcmp(scales[i].name, name))
            return &scales[i];
    return NULL;
}

/* ---- rounders ----------------------------------------------------------------------------- */

static const struct gs_part_rounder *const rounders[] = {
    &gs_part_rounder_nearest,
    &gs_part_rounder_gptq,
    &gs_part_rounder_ldlq,
    &gs_part_rounder_greedy,
    &gs_part_rounder_coordinate,
    &gs_part_rounder_decoupleq,
    &gs_part_rounder_adaround,
    &gs_part_rounder_discquant,
    &gs_part_rounder_flexround,
};

const struct gs_part_rounder *gs_part_rounder_at(size_t index)
{
    return index < GS_COUNT(rounders) ? rounders[index] : NULL;
}

const struct gs_part_rounder *gs_part_rounder_find(const char *name)
{
    for (size_t i = 0; i < GS_COUNT(rounders); i++)
        if (!strcmp(rounders[i]->name, name))
            return rounders[i];
    return NULL;
}

/* ---- names -------------------------------------------------------------------------------- */

static const char *const importances[] = {"none", "hessian", "fisher"};

const char *gs_part_scale_name(size_t index)
{
    return index < GS_COUNT(scales) ? scales[index].name : NULL;
}

const char *gs_part_rounder_name(size_t index)
{
    return index < GS_COUNT(rounders) ? rounders[index]->name : NULL;
}

const char *gs_part_importance_name(size_t index)
{
    return index < GS_COUNT(importances) ? importances[index] : NULL;
}

const char *gs_part_format_name(size_t index)
{
    const struct gs_scale_rule *rule = gs_scale_rule_at(index);

    return rule ? rule->name : NULL;
}

/* "none", then rules. */
const char *gs_part_sparse_name(size_t index)
{
    const struct gs_outlier_rule *rule = index ? gs_outlier_rule_at(index - 1) : NULL;

    return !index ? "none" : rule ? rule->name : NULL;
}

static const char *const corrections[] = {"none", "bias", "affine"};

const char *gs_part_correct_name(size_t index)
{
    return index < GS_COUNT(corrections) ? corrections[index] : NULL;
}

const char *gs_part_factor_name(size_t index)
{
    const struct gs_factor_format *format = gs_factor_format_at(index);

    return format ? format->name : NULL;
}

/* ---- the spec ----------------------------------------------------------------------------- */

void gs_part_default(struct gs_part_spec *spec)
{
    *spec = (struct gs_part_spec){.scale = "row", .scale_format = "f16", .importance = "none",
                                  .damping = 0.01, .sparse_by = "none",
                                  .low_rank_format = "f16", .correct = "none", .search = "none"};
}

bool gs_part_corrects(const struct gs_part_spec *spec)
{
    return strcmp(spec->correct, "none") != 0;
}

bool gs_part_needs_h(const struct gs_part_spec *spec)
{
    const struct gs_part_rounder *rounder = gs_part_rounder_find(spec->rounder);

    return (rounder && (rounder->uses_h || spec->sweeps)) || spec->whiten ||
           spec->blocks || !strcmp(spec->importance, "hessian") ||
            !strcmp(spec->scale, GS_PART_ADAPTIVE) ||
           strcmp(spec->sparse_by, "none") || gs_part_corrects(spec) ||
           strcmp(spec->search, "none");
}

bool gs_part_needs_fisher(const struct gs_part_spec *spec)
{
    return !strcmp(spec->importance, "fisher") || !strcmp(spec->sparse_by, "fisher") ||
           !strcmp(spec->sparse_by, "cherry");
}

static int check_scales(const struct gs_part_spec *s, struct gs_err *err)
{
    const struct gs_part_scale *scale = gs_part_scale_find(s->scale);

    if (scale->needs_size && !s->group)
        return gs_fail(err, GS_E_ARG, "scale = %s needs a size: group = 128", s->scale);
    if (!scale->needs_size && s->group && strcmp(s->scale, "column"))
        return gs_fail(err, GS_E_ARG, "scale = %s goes without group", s->scale);
    if (!s->scale_bits != !s->scale_group)
        return gs_fail(err, GS_E_ARG, "scale_bits and scale_group go together");
    if (s->scale_bits && s->scale_bits >= gs_scale_rule_find(s->scale_format)->bits)
        return gs_fail(err, GS_E_ARG, "scale_bits = %d is no less than scale_format %s has",
                       (int)s->scale_bits, s->scale_format);
    return GS_OK;
}

static int check_rounder(const struct gs_part_spec *s, const struct gs_codebook *codebook,
                         struct gs_err *err)
{
    const struct gs_part_rounder *rounder = gs_part_rounder_find(s->rounder);

    if (!rounder)
        return gs_fail(err, GS_E_ARG, "rounder = %s does not go with a codebook", s->rounder);
    if (rounder->single && codebook->dim != 1)
        return gs_fail(err, GS_E_ARG, "rounder = %s takes codes of one weight, codebook %s has %u",
                       s->rounder, codebook->kind->name, codebook->dim);
    if (!rounder->learns && s->sweeps > SWEEPS_MAX)
        return gs_fail(err, GS_E_ARG, "sweeps = %" PRIu64 ": rounder %s takes at most %u",
                       s->sweeps, s->rounder, SWEEPS_MAX);
    if (rounder->feeds && GS_LDL_BLOCK % codebook->dim)
        return gs_fail(err, GS_E_ARG, "rounder = %s: codes of %u weights do not divide %d",
                       s->rounder, codebook->dim, (int)GS_LDL_BLOCK);
    if (s->act_order && !rounder->feeds)
        return gs_fail(err, GS_E_ARG, "act_order = yes: rounder %s has no order", s->rounder);
    if (s->act_order && !s->static_groups && strcmp(s->scale, "row") &&
        strcmp(s->scale, "tensor"))
        return gs_fail(err, GS_E_ARG, "act_order = yes visits groups out of order: "
                       "static_groups = yes");
    if (!strcmp(s->scale, GS_PART_ADAPTIVE) && codebook->dim > 1)
        return gs_fail(err, GS_E_ARG, "scale = %s: a code of %u weights spans columns", s->scale,
                       codebook->dim);
    if (s->rate > 0 && (strcmp(codebook->kind->name, "uniform") || codebook->has_zero ||
                        codebook->values[1] != 0 || s->scale_bits || s->sweeps ||
                        rounder->descends))
        return gs_fail(err, GS_E_ARG, "rate goes with codebook = uniform:zero=0, scales of one "
                       "level and rounder = nearest or gptq, without sweeps");
    if (strcmp(s->search, "none") &&
        (s->scale_bits || !codebook->has_scale || rounder->alternates ||
         (strcmp(s->scale, "row") && strcmp(s->scale, "group")) ||
         (rounder->feeds && !s->static_groups && strcmp(s->scale, "row"))))
        return gs_fail(err, GS_E_ARG, "search = %s takes scales of rows that are fitted before "
                       "rounding: scale = row or group, of one level, with static_groups = yes "
                       "where there is feedback", s->search);
    if (rounder->alternates && (s->scale_bits || (strcmp(s->scale, "row") &&
                                                  strcmp(s->scale, "group"))))
        return gs_fail(err, GS_E_ARG, "rounder = %s fits scales row by row: scale = row or group, "
                       "of one level", s->rounder);
    return GS_OK;
}

static int check_extras(const struct gs_part_spec *s, const struct gs_codebook *codebook,
                        struct gs_err *err)
{
    bool none = !strcmp(s->sparse_by, "none");

    if (none && (s->sparse > 0 || s->sparse_range != 0 || s->sparse_threshold > 0))
        return gs_fail(err, GS_E_ARG, "sparse, sparse_range and sparse_threshold go with "
                       "sparse_by = %s or another rule", gs_outlier_rule_at(0)->name);
    if (!none && gs_part_rounder_find(s->rounder)->alternates)
        return gs_fail(err, GS_E_ARG, "rounder = %s does not know outliers: sparse_by = none",
                       s->rounder);
    if (s->blocks && (!s->low_rank || s->whiten || s->low_rank_steps || !none || s->sweeps))
        return gs_fail(err, GS_E_ARG, "blocks go with low_rank, and without whiten, "
                       "low_rank_steps, outliers and sweeps");
    if (s->blocks && (strcmp(s->codebook, "binary") || strcmp(s->low_rank_format, "f16")))
        return gs_fail(err, GS_E_ARG, "blocks are of codebook = binary, low_rank_format = f16");
    if (s->blocks && strcmp(s->rounder, "nearest"))
        return gs_fail(err, GS_E_ARG, "blocks are rounded one after the other: rounder = nearest");
    if (!s->low_rank && (s->whiten || s->low_rank_steps))
        return gs_fail(err, GS_E_ARG, "whiten and low_rank_steps go with low_rank");
    if (!strcmp(s->correct, "affine") &&
        ((strcmp(s->scale, "row") && strcmp(s->scale, "group")) || s->scale_bits || !none ||
         s->low_rank || !codebook->has_scale))
        return gs_fail(err, GS_E_ARG, "correct = affine puts gains into the scales of rows: scale "
                       "= row or group, of one level, without outliers or low rank");
    return GS_OK;
}

int gs_part_check(const struct gs_part_spec *s, struct gs_err *err)
{
    struct gs_codebook *codebook = NULL;
    int rc = gs_codebook_create(s->codebook, &codebook, err);

    if (!rc && !(rc = check_scales(s, err)) && !(rc = check_rounder(s, codebook, err)))
        rc = check_extras(s, codebook, err);
    gs_codebook_destroy(&codebook);
    return rc;
}

/* Three bytes each, and one a row, with the share that the rule is made for. */
static uint64_t estimate_outliers(const struct gs_part_spec *spec, size_t rows, size_t cols)
{
    const struct gs_outlier_rule *rule = gs_outlier_rule_find(spec->sparse_by);
    double share = spec->sparse > 0 ? spec->sparse
                   : rule->defaults.share > 0 ? rule->defaults.share : OUTLIERS;

    if (rule->defaults.range > 0 && spec->sparse_range >= 0)
        share += OUTLIERS / 2;
    return (uint64_t)(3.1 * share * (double)rows * (double)cols) + rows + 1;
}

int gs_part_bytes(const struct gs_part_spec *spec, size_t rows, size_t cols,
                  const char *transform_in, const char *transform_out, bool factor,
                  uint64_t *bytes, uint64_t *header, struct gs_err *err)
{
    struct gs_part_form form;
    int rc = gs_part_form_create(spec, rows, cols, transform_in, transform_out, factor, &form,
                                 err);

    *bytes = form.bytes + form.pieces_bytes;
    if (form.sparse)
        *bytes += estimate_outliers(spec, rows, cols);
    if (header)
        *header = form.shared_at;
    gs_part_form_clear(&form);
    return rc;
}

int gs_part_spec_facts(const struct gs_part_spec *spec, size_t rows, size_t cols,
                       struct gs_part_facts *out, struct gs_err *err)
{
    struct gs_part_form form;
    int rc = gs_part_form_create(spec, rows, cols, "none", "none", false, &form, err);

    *out = (struct gs_part_facts){.rows = rows};
    if (!rc)
        gs_part_form_facts(&form, out);
    gs_part_form_clear(&form);
    return rc;
}
