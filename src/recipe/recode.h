/* SPDX-License-Identifier: MIT
 * The bytes of one tensor from one storage type to another, piece by piece. */
#ifndef GS_RECIPE_RECODE_H
#define GS_RECIPE_RECODE_H

#include "core/team.h"
#include "file/store.h"

/* Buffers for pieces, reused from tensor to tensor. */
struct gs_recoder;

int gs_recoder_create(struct gs_team *team, struct gs_recoder **out, struct gs_err *err)
    GS_MUST_USE;
void gs_recoder_destroy(struct gs_recoder **recoder);

/* Takes the next bytes of the result; non-zero stops and is returned. `read` are the bytes
 * of the source that they come from. */
typedef int (*gs_recode_sink_fn)(void *ctx, const void *data, uint64_t n, uint64_t read,
                                 struct gs_err *err);

/* data: the tensor's bytes in its own type. `to`: the same type, or F32, F16, BF16 or Q8_0
 * where the row length allows it. A weight that the type cannot hold (NaN, infinite, beyond
 * its range) is an error that names it. */
int gs_recode(struct gs_recoder *recoder, const struct gs_tensor *tensor, const void *data,
              enum gs_type to, gs_recode_sink_fn sink, void *ctx, struct gs_err *err)
    GS_MUST_USE;

/* True if values survive the change of type whatever they are. */
bool gs_recode_is_widening(enum gs_type from, enum gs_type to);

/* Rows first … first + rows - 1 of a matrix of any float or block type, or a vector's one row,
 * as f32 (rows, dim[0]). One that is NaN or infinite is an error that names it. */
int gs_decode_rows(struct gs_store *store, struct gs_team *team, const struct gs_tensor *tensor,
                   size_t first, size_t rows, float *w, struct gs_err *err) GS_MUST_USE;

#endif
