/* SPDX-License-Identifier: MIT
 * Metadata values as text for people: whole scalars and strings, the head of arrays.
 *
 *   true   0.5   "text"   [1, 2, 3, 4, 5, 6, 7, 8, …]   ["<unk>", "<s>", …]
 *
 * A string value stands alone without quotes; as an element it is quoted and cut. */
#include "api/api.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"

#define ARRAY_HEAD 8    /* elements shown */
#define ELEMENT_BYTES 64 /* of a string that is an element */

/* A NUL would end the C string early; the rest is left to whoever prints it. */
static size_t put_bytes(char *out, const char *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = data[i] ? data[i] : '?';
    return n;
}

/* Where a UTF-8 string of n bytes may be cut so that at most `limit` remain. */
static size_t cut(const char *data, size_t n, size_t limit)
{
    if (n <= limit)
        return n;
    while (limit > 0 && ((unsigned char)data[limit] & 0xc0) == 0x80)
        limit--;
    return limit;
}

/* The fewest digits that give the number back. */
static int put_float(char *out, size_t room, double f, bool is_f32)
{
    int n = 0;

    for (int digits = is_f32 ? 6 : 15; digits <= (is_f32 ? 9 : 17); digits++) {
        n = snprintf(out, room, "%.*g", digits, f);
        if (is_f32 ? strtof(out, NULL) == (float)f : strtod(out, NULL) == f)
            break;
    }
    return n;
}

/* Element i into out, which has room for ELEMENT_BYTES + 16; returns its length. */
static size_t put_element(char *out, const struct gs_array *a, uint64_t i)
{
    const size_t room = ELEMENT_BYTES + 16;
    int n;

    if (a->type == GS_VALUE_STRING) {
        struct gs_str s = gs_array_str(a, i);
        size_t keep = cut(s.data, s.size, ELEMENT_BYTES), used = 0;
        out[used++] = '"';
        used += put_bytes(out + used, s.data, keep);
        if (keep < s.size) {
            memcpy(out + used, "…", 3);
            used += 3;
        }
        out[used++] = '"';
        return used;
    }
    if (a->type == GS_VALUE_F32 || a->type == GS_VALUE_F64)
        n = put_float(out, room, gs_array_float(a, i), a->type == GS_VALUE_F32);
    else if (a->type == GS_VALUE_BOOL)
        n = snprintf(out, room, "%s", gs_array_int(a, i) ? "true" : "false");
    else
        n = snprintf(out, room, "%" PRId64, gs_array_int(a, i));
    return (size_t)n;
}

static char *array_text(const struct gs_array *a)
{
    uint64_t head = GS_MIN(a->count, ARRAY_HEAD);
    char *text = gs_alloc(ARRAY_HEAD * (ELEMENT_BYTES + 16 + 2) + 16, 1);
    size_t used = 0;

    if (!text)
        return NULL;
    text[used++] = '[';
    for (uint64_t i = 0; i < head; i++) {
        if (i > 0) {
            text[used++] = ',';
            text[used++] = ' ';
        }
        used += put_element(text + used, a, i);
    }
    if (head < a->count) {
        memcpy(text + used, ", …", 5);
        used += 5;
    }
    text[used] = ']';
    return text;
}

char *gs_api_value_text(const struct gs_value *v)
{
    char number[64];

    if (v->type == GS_VALUE_ARRAY)
        return array_text(&v->as.a);
    if (v->type == GS_VALUE_STRING) {
        char *text = v->as.s.size < SIZE_MAX ? gs_alloc(v->as.s.size + 1, 1) : NULL;
        if (text)
            put_bytes(text, v->as.s.data, v->as.s.size);
        return text;
    }
    if (v->type == GS_VALUE_BOOL)
        snprintf(number, sizeof number, "%s", v->as.u ? "true" : "false");
    else if (v->type == GS_VALUE_F32 || v->type == GS_VALUE_F64)
        put_float(number, sizeof number, v->as.f, v->type == GS_VALUE_F32);
    else if (v->type == GS_VALUE_I8 || v->type == GS_VALUE_I16 || v->type == GS_VALUE_I32 ||
             v->type == GS_VALUE_I64)
        snprintf(number, sizeof number, "%" PRId64, v->as.i);
    else
        snprintf(number, sizeof number, "%" PRIu64, v->as.u);
    return gs_strndup(number, strlen(number));
}
