/* SPDX-License-Identifier: MIT */
#include "compare/kernel_share.h"

#include <math.h>
#include <string.h>

#define STEPS 127.0f
#define ALPHA 0.15f

void gs_kernel_share_add(struct gs_kernel_share *share, const float *x, size_t T, size_t n,
                         float *columns)
{
    memset(columns, 0, n * sizeof *columns);
    for (size_t t = 0; t < T; t++)
        for (size_t j = 0; j < n; j++)
            columns[j] = fmaxf(columns[j], fabsf(x[t * n + j]));
    for (size_t j = 0; j < n; j++) /* Δ_ij / 2 without the token's factor */
        columns[j] = powf(columns[j], 1 - ALPHA) / (2 * STEPS);
    for (size_t t = 0; t < T; t++, x += n) {
        float largest = 0;
        for (size_t j = 0; j < n; j++)
            largest = fmaxf(largest, fabsf(x[j]));
        float half = largest / (2 * STEPS), factor = powf(largest, ALPHA);
        for (size_t j = 0; j < n; j++) {
            share->token += fabsf(x[j]) < half;
            share->cross += fabsf(x[j]) < factor * columns[j];
        }
    }
    share->entries += (uint64_t)T * n;
}
