/* SPDX-License-Identifier: MIT
 * Types that the caller fixes for tensors by name: REGEX=TYPE, the first that matches counts.
 * Patterns are POSIX extended ones and match anywhere in a name. */
#ifndef GS_RECIPE_KEEP_H
#define GS_RECIPE_KEEP_H

#include "core/type.h"

struct gs_keeps;

/* Types are F32, F16, BF16 and the block types that weights are rounded to. */
int gs_keeps_create(const char *const *texts, size_t n, struct gs_keeps **out,
                    struct gs_err *err) GS_MUST_USE;
void gs_keeps_destroy(struct gs_keeps **keeps);

/* The type for a name; negative where no pattern matches. keeps may be NULL. */
int gs_keeps_find(struct gs_keeps *keeps, const char *name);

/* GS_E_ARG naming the first pattern that matched no name so far. */
int gs_keeps_check(const struct gs_keeps *keeps, struct gs_err *err) GS_MUST_USE;

#endif
