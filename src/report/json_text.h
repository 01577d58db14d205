/* SPDX-License-Identifier: MIT
 * JSON (RFC 8259) written from front to back. Text from outside is escaped; what is no UTF-8
 * becomes U+FFFD, what is no finite number null. */
#ifndef GS_REPORT_JSON_TEXT_H
#define GS_REPORT_JSON_TEXT_H

#include "report/buffer.h"

/* Zero-initialise. */
struct gs_json_text {
    struct gs_buffer out;
    bool more; /* a comma comes before the next */
};

/* key NULL: an element of an array, or the whole. Keys are literals. bracket: '{' or '['; it is
 * closed with '}' or ']'. */
void gs_json_begin(struct gs_json_text *j, const char *key, char bracket);
void gs_json_end(struct gs_json_text *j, char bracket);

void gs_json_string(struct gs_json_text *j, const char *key, const char *value); /* NULL: null */
void gs_json_number(struct gs_json_text *j, const char *key, double value, int digits);
void gs_json_count(struct gs_json_text *j, const char *key, uint64_t value);
void gs_json_bool(struct gs_json_text *j, const char *key, bool value);
/* 16 digits in base 16, as a string: hashes exceed what readers take as numbers. */
void gs_json_hash(struct gs_json_text *j, const char *key, uint64_t value);

#endif
