/* SPDX-License-Identifier: MIT
 * UTF-8 as Unicode 15 table 3-7 defines it: no overlong forms, no surrogates, nothing above
 * U+10FFFF. What is ill-formed is replaced as the WHATWG decoder does (and Python's
 * "replace", Rust's from_utf8_lossy): one U+FFFD for each maximal subpart. */
#ifndef GS_TEXT_UTF8_H
#define GS_TEXT_UTF8_H

#include "core/err.h"

enum gs_utf8 {
    GS_UTF8_VALID,  /* a whole character */
    GS_UTF8_BROKEN, /* a maximal subpart that no byte can complete */
    GS_UTF8_CUT     /* the text ends inside a character that is well-formed so far */
};

/* Looks at the n > 0 bytes at s; *len = bytes of the character or of the subpart, *c = the
 * code point (U+FFFD if not valid). */
enum gs_utf8 gs_utf8_next(const char *s, size_t n, uint32_t *c, size_t *len);

/* Writes 1 to 4 bytes, returns their number. c is a Unicode scalar value. */
size_t gs_utf8_put(uint32_t c, char out[4]);

/* *out = a gs_alloc'd copy with U+FFFD for each ill-formed subpart and *out_n its length, or
 * NULL if the n bytes are well-formed as they are. */
int gs_utf8_repair(const char *s, size_t n, char **out, size_t *out_n, struct gs_err *err)
    GS_MUST_USE;

#endif
