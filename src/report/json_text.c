/* SPDX-License-Identifier: MIT */
#include "report/json_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void put(struct gs_json_text *j, const char *text)
{
    gs_buffer_put(&j->out, text, strlen(text));
}

static void put_string(struct gs_json_text *j, const char *text)
{
    put(j, "\"");
    while (*text) {
        size_t n = gs_character_bytes(text);
        if (*text == '\n' || *text == '\t') {
            put(j, *text == '\n' ? "\\n" : "\\t");
        } else if (!n) {
            put(j, GS_REPLACEMENT);
        } else {
            if (*text == '"' || *text == '\\')
                put(j, "\\");
            gs_buffer_put(&j->out, text, n);
        }
        text += n ? n : 1;
    }
    put(j, "\"");
}

static void begin_value(struct gs_json_text *j, const char *key)
{
    if (j->more)
        put(j, ",");
    j->more = true;
    if (key) {
        put_string(j, key);
        put(j, ":");
    }
}

void gs_json_begin(struct gs_json_text *j, const char *key, char bracket)
{
    begin_value(j, key);
    gs_buffer_put(&j->out, &bracket, 1);
    j->more = false;
}

void gs_json_end(struct gs_json_text *j, char bracket)
{
    gs_buffer_put(&j->out, &bracket, 1);
    j->more = true;
}

void gs_json_string(struct gs_json_text *j, const char *key, const char *value)
{
    begin_value(j, key);
    if (value)
        put_string(j, value);
    else
        put(j, "null");
}

void gs_json_number(struct gs_json_text *j, const char *key, double value, int digits)
{
    char text[GS_NUMBER_TEXT];

    begin_value(j, key);
    gs_number_text(value, digits, true, text);
    put(j, isfinite(value) ? text : "null");
}

void gs_json_count(struct gs_json_text *j, const char *key, uint64_t value)
{
    char text[24];

    begin_value(j, key);
    snprintf(text, sizeof text, "%" PRIu64, value);
    put(j, text);
}

void gs_json_bool(struct gs_json_text *j, const char *key, bool value)
{
    begin_value(j, key);
    put(j, value ? "true" : "false");
}

void gs_json_hash(struct gs_json_text *j, const char *key, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%016" PRIx64, value);
    gs_json_string(j, key, text);
}
