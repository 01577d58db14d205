/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "compensate/members.h"

static const struct gs_outlier_rule *const rules[] = {
    &gs_outlier_rule_magnitude,
    &gs_outlier_rule_fisher,
    &gs_outlier_rule_leave_one_out,
    &gs_outlier_rule_cherry,
};

const struct gs_outlier_rule *gs_outlier_rule_at(size_t index)
{
    return index < GS_COUNT(rules) ? rules[index] : NULL;
}

const struct gs_outlier_rule *gs_outlier_rule_find(const char *name)
{
    for (size_t i = 0; i < GS_COUNT(rules); i++)
        if (!strcmp(rules[i]->name, name))
            return rules[i];
    return NULL;
}

static int check(const struct gs_outlier_options *o, struct gs_err *err)
{
    if (!(o->share >= 0 && o->share <= 0.5))
        return gs_fail(err, GS_E_ARG, "outliers: the share %g is not within 0 … 0.5", o->share);
    if (!isfinite(o->range) || !(o->threshold >= 0))
        return gs_fail(err, GS_E_ARG, "outliers: range and threshold must be finite, the "
                                      "threshold not negative");
    if (o->bits > 8 || o->group == 1 || o->group > 1024)
        return gs_fail(err, GS_E_ARG, "outliers: the trial grid has 1 … 8 bits and groups of "
                                      "2 … 1024 columns");
    return GS_OK;
}

int gs_outliers_mark(const struct gs_outlier_rule *rule, const struct gs_outlier_data *data,
                     const struct gs_outlier_options *options, struct gs_team *team,
                     uint8_t *mask, struct gs_err *err)
{
    struct gs_outlier_options o = rule->defaults;

    if (options) {
        int rc = check(options, err);
        if (rc)
            return rc;
        o.share = options->share > 0 ? options->share : o.share;
        o.range = options->range != 0 ? options->range : o.range;
        o.threshold = options->threshold > 0 ? options->threshold : o.threshold;
        o.bits = options->bits ? options->bits : o.bits;
        o.group = options->group ? options->group : o.group;
    }
    memset(mask, 0, data->rows * data->cols);
    return rule->mark(data, &o, team, mask, err);
}
