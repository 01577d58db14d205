/* SPDX-License-Identifier: MIT
 * The scale of a group for codebooks whose nearest point has to be searched (lattices, learned
 * vectors), where levels in a row (closed forms) do not help. Private to src/codebook. */
#ifndef GS_CODEBOOK_SCALE_FIT_H
#define GS_CODEBOOK_SCALE_FIT_H

#include "codebook/codebook.h"

/* out->scale = the scale of least Σ h (x − ŵ)², of those that `rule` can store, among a few
 * around unit · rms(x) and the least-squares scales of the points that those give. `unit` is
 * the best scale for unit Gaussian weights. The rest of *out is used as it is. Large groups
 * are judged by some of their codes, evenly spread; the error is flat around its minimum. */
void gs_scale_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                  const float *x, const float *h, size_t n, double unit,
                  struct gs_group *out);

#endif
