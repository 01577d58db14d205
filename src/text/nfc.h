/* SPDX-License-Identifier: MIT
 * Unicode normalization form C (UAX #15). */
#ifndef GS_TEXT_NFC_H
#define GS_TEXT_NFC_H

#include "core/arena.h"
#include "core/err.h"

/* Normalizes n bytes of well-formed UTF-8. *out is the text itself where it needs nothing,
 * else lies in the arena. */
int gs_nfc(struct gs_arena *arena, const char *text, size_t n, const char **out, size_t *out_n,
           struct gs_err *err) GS_MUST_USE;

#endif
