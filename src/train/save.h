/* SPDX-License-Identifier: MIT
 * Trained parameters as a GGUF file. */
#ifndef GS_TRAIN_SAVE_H
#define GS_TRAIN_SAVE_H

#include "model/params.h"

/* The float types that matrices can be written in; false if the name is none. */
bool gs_save_type(const char *name, enum gs_type *out);

/* Metadata and tensors of the model that the parameters come from, with their values now:
 * matrices in `type`, vectors in F32, all else as it was. A weight that is beyond the type
 * is an error that names its tensor. */
int gs_params_save(const struct gs_params *params, enum gs_type type, const char *path,
                   bool overwrite, uint64_t *bytes, struct gs_err *err) GS_MUST_USE;

#endif
