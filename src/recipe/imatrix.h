/* SPDX-License-Identifier: MIT
 * Importance matrices of llama.cpp: Σ_t x_ti² of the input of each matrix, which is the
 * diagonal of its Hessian.
 *
 *   GGUF      tensors NAME.in_sum2 F32 [cols, experts] and NAME.counts F32 [1, experts]
 *   legacy    i32 entries; each: i32 bytes, name, i32 calls, i32 n, f32[n]; more follows;
 *             n = experts · cols
 *
 * One expert sees a hundred times the tokens of another, so each one's sums are divided by its
 * own count; an expert that no token reached gets ones. */
#ifndef GS_RECIPE_IMATRIX_H
#define GS_RECIPE_IMATRIX_H

#include "gosset.h"

#include "core/arena.h"
#include "file/store.h"

struct gs_imatrix {
    const double **diagonal; /* by tensor of the model, (experts, cols) means, experts 1 unless
                                the tensor has three dimensions; NULL where the file has none */
    size_t found;            /* how many it has */
    uint64_t hash;           /* of the file */
    struct gs_arena arena;
};

/* Entries that name no matrix of the model are passed over; one of another length, or with a
 * value that is negative or not finite, is an error, and so is a file without any match. */
int gs_imatrix_open(const char *path, const struct gs_store *model, struct gs_imatrix *out,
                    struct gs_err *err) GS_MUST_USE;
void gs_imatrix_clear(struct gs_imatrix *imatrix);

/* See gs_imatrix in gosset.h: the sums over a calibration set of all matrices' inputs in `src`,
 * to the GGUF file `dst`. */
int gs_imatrix_make(const char *src, const char *dst, const struct gs_imatrix_options *options,
                    struct gs_imatrix_result *out, struct gs_err *err) GS_MUST_USE;

#endif
