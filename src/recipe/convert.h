/* SPDX-License-Identifier: MIT
 * Writing a model as one GGUF file in a float type or Q8_0: the simplest pipeline. */
#ifndef GS_RECIPE_CONVERT_H
#define GS_RECIPE_CONVERT_H

#include "gosset.h"

#include "core/err.h"
#include "file/store.h"

/* See gs_convert in gosset.h. Matrices take the type (where the row length allows it, else
 * the plan falls to F16 and the log says so); norms, biases and other 1-D tensors are F32.
 * Memory: one piece of rows at a time. */
int gs_convert_model(const char *src, const char *dst, const struct gs_convert_options *options,
                     struct gs_convert_result *out, struct gs_err *err) GS_MUST_USE;

/* As above, of a store that is open already: a model that was trained or made in memory
 * (file/fresh.h, file/store_impl.h) becomes a file. Its built tensors are released. */
int gs_convert_store(struct gs_store *store, const char *dst,
                     const struct gs_convert_options *options, struct gs_convert_result *out,
                     struct gs_err *err) GS_MUST_USE;

/* GS_E_ARG if dst is part of what is being read, or exists and is no GGUF file. */
int gs_convert_check_output(const struct gs_store *store, const char *dst, bool overwrite,
                            struct gs_err *err) GS_MUST_USE;

#endif
