/* SPDX-License-Identifier: MIT
 * Text that grows, and what text of any source has to become before it goes into one. */
#ifndef GS_REPORT_BUFFER_H
#define GS_REPORT_BUFFER_H

#include "core/err.h"

/* Zero-initialise. A failure (memory) is remembered: nothing is added after it. */
struct gs_buffer {
    char *data;
    size_t size, capacity;
    bool failed;
};

void gs_buffer_put(struct gs_buffer *b, const char *data, size_t n);

void gs_buffer_clear(struct gs_buffer *b);

/* The text as a C string for gs_free, or the failure; n may be NULL. The buffer is empty then. */
int gs_buffer_take(struct gs_buffer *b, char **text, size_t *n, struct gs_err *err) GS_MUST_USE;

/* Bytes of the character that begins the C string, which is not empty; 0 if its first byte
 * begins none that both XML 1.0 and JSON take: no UTF-8, a control but tab and newline. */
size_t gs_character_bytes(const char *text);
#define GS_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD, in its place */

/* "%.*f", or with `digits` "%.*g", with a point whatever the locale; "–" if not finite. */
#define GS_NUMBER_TEXT 352
void gs_number_text(double value, int decimals, bool digits, char out[GS_NUMBER_TEXT]);

#endif
