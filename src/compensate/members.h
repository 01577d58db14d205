/* SPDX-License-Identifier: MIT
 * The list of outlier rules. Private to src/compensate. */
#ifndef GS_COMPENSATE_MEMBERS_H
#define GS_COMPENSATE_MEMBERS_H

#include "compensate/compensate.h"

extern const struct gs_outlier_rule gs_outlier_rule_magnitude;
extern const struct gs_outlier_rule gs_outlier_rule_fisher;
extern const struct gs_outlier_rule gs_outlier_rule_leave_one_out;
extern const struct gs_outlier_rule gs_outlier_rule_cherry;

/* mask (rows, cols) becomes 1 for the n largest scores (rows, cols), of equal ones for the
 * first. */
void gs_outlier_mark_largest(const float *scores, size_t rows, size_t cols, uint64_t n,
                             uint8_t *mask);

#endif
