/* SPDX-License-Identifier: MIT
 * Filling struct gs_err (gosset.h).
 *
 * Whoever finds a fault describes it, once: `return gs_fail(err, GS_E_FORMAT,
 * "%s: tensor %s: ...", ...)`. Callers only pass the code on; the first message
 * wins, so an outer layer cannot blur it. A message is one line that names the
 * file, the place in it and the rule that it breaks. `err` may be NULL everywhere. */
#ifndef GS_CORE_ERR_H
#define GS_CORE_ERR_H

#include "gosset.h"

#include "core/attr.h"

/* Records (code, message) unless an error is already recorded; returns code. */
int gs_fail(struct gs_err *err, int code, const char *fmt, ...) GS_PRINTF(3, 4);

/* As gs_fail, with the byte position in the input at which the fault lies. */
int gs_fail_at(struct gs_err *err, int code, uint64_t pos, const char *fmt, ...)
    GS_PRINTF(4, 5);

/* Out of memory while making `what`; returns GS_E_NOMEM. */
int gs_fail_nomem(struct gs_err *err, const char *what);

/* Puts "prefix: " before the recorded message (a parser that knows no file name
 * is called by one that does). Returns err->code, or `code` if err is NULL. */
int gs_err_prefix(struct gs_err *err, int code, const char *prefix);

#endif
