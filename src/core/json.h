/* SPDX-License-Identifier: MIT
 * A thin layer over jansson: errors become struct gs_err, getters are typed. */
#ifndef GS_CORE_JSON_H
#define GS_CORE_JSON_H

#include <jansson.h>

#include "core/err.h"

/* Parses n bytes; the message names `where` (a file), line and column.
 * *out is to be released with json_decref. */
int gs_json_parse(const char *text, size_t n, const char *where, json_t **out,
                  struct gs_err *err) GS_MUST_USE;

/* Typed members of an object: 1 and *out if present, 0 if absent or null, negative if
 * of another kind. `object` may be NULL (absent). Strings are borrowed. */
int gs_json_get_uint(const json_t *object, const char *key, uint64_t *out,
                     struct gs_err *err) GS_MUST_USE;
int gs_json_get_float(const json_t *object, const char *key, double *out,
                      struct gs_err *err) GS_MUST_USE;
int gs_json_get_bool(const json_t *object, const char *key, bool *out,
                     struct gs_err *err) GS_MUST_USE;
int gs_json_get_str(const json_t *object, const char *key, const char **out,
                    struct gs_err *err) GS_MUST_USE;

#endif
