/* SPDX-License-Identifier: MIT
 * Results: text made safe for a terminal, sizes, and JSON. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <gosset.h>
#include <jansson.h>

/* n bytes as valid UTF-8 without control characters (except, if `lines`, newline and tab):
 * what a hostile file says must not steer a terminal. Broken bytes become U+FFFD, controls
 * '?'. Returns a C string for free(), NULL when memory is out. */
char *clean_text(const char *text, size_t n, bool lines);

/* clean_text to stdout. */
void print_clean(const char *text);

/* "4.37 GiB" */
void format_bytes(uint64_t bytes, char *out, size_t size);
/* "134.5 M" */
void format_count(uint64_t count, char *out, size_t size);

/* JSON values that cannot fail on what they hold: broken UTF-8 becomes U+FFFD, a number that
 * is not finite null. */
json_t *json_text(const char *text, size_t n);
json_t *json_number(double value);
json_t *json_count(uint64_t value);

/* Adds a member or an element, which it takes over. A failure (memory) is remembered. */
void json_put(json_t *object, const char *key, json_t *value);
void json_add(json_t *array, json_t *value);

/* Prints the value on one line and releases it; EXIT_FAILED with a message when memory ran
 * out while it was built. */
int print_json(json_t *value);

/* A file (or "-", standard input) as bytes for free(). EXIT_OK or, after a message, not. */
int read_input(const char *path, char **data, size_t *n);

#endif
