/* SPDX-License-Identifier: MIT
 * The list of outlier rules. Private to src/compensate. */
#ifndef GS_COMPENSATE_MEMBERS_H
#define GS_COMPENSATE_MEMBERS_H

#include "compensate/compensate.h"

extern const struct gs_outlier_rule gs_outlier_rule_magnitude;
extern const struct gs_outlier_rule gs_outlier_rule_fisher;
extern const struct gs_outlier_rule gs_outlier_rule_leave_one_out;
extern const struct gs_outlier_rule gs_outlier_rule_cherry;

#endif
