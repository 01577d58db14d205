/* SPDX-License-Identifier: MIT
 * Room for factors and their rounding to what a file holds. Private to src/compensate. */
#ifndef GS_COMPENSATE_FACTORS_H
#define GS_COMPENSATE_FACTORS_H

#include "compensate/compensate.h"

/* Zeros. */
int gs_low_rank_alloc(size_t rows, size_t cols, size_t rank,
                      const struct gs_factor_format *format, struct gs_low_rank **out,
                      struct gs_err *err) GS_MUST_USE;

/* Each of the vectors v (count, n) becomes what its codes and scale stand for. */
void gs_factor_store(const struct gs_factor_format *format, float *v, size_t count, size_t n);

#endif
