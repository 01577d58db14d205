/* SPDX-License-Identifier: MIT */
#include "report/buffer.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"

void gs_buffer_put(struct gs_buffer *b, const char *data, size_t n)
{
    size_t need = b->size + n + 1;

    if (b->failed)
        return;
    if (need > b->capacity) {
        size_t capacity = GS_MAX(2 * b->capacity, GS_MAX(need, 4096));
        char *grown = gs_realloc(b->data, b->capacity, capacity);
        if (!grown) {
            b->failed = true;
            return;
        }
        b->data = grown;
        b->capacity = capacity;
    }
    memcpy(b->data + b->size, data, n);
    b->size += n;
}

void gs_buffer_clear(struct gs_buffer *b)
{
    gs_free(&b->data);
    *b = (struct gs_buffer){.size = 0};
}

int gs_buffer_take(struct gs_buffer *b, char **text, size_t *n, struct gs_err *err)
{
    gs_buffer_put(b, "", 0); /* so that there is a text, if an empty one */
    bool failed = b->failed;

    if (failed)
        gs_free(&b->data);
    else
        b->data[b->size] = 0;
    *text = b->data;
    if (n)
        *n = failed ? 0 : b->size;
    *b = (struct gs_buffer){.size = 0};
    return failed ? gs_fail_nomem(err, "a report") : GS_OK;
}

static bool continues(const unsigned char *s, size_t i)
{
    return (s[i] & 0xc0) == 0x80;
}

/* UTF-8 by RFC 3629, without U+FFFE and U+FFFF. A sequence that is cut short ends at the NUL,
 * which continues nothing. */
size_t gs_character_bytes(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    if (s[0] < 0x80)
        return s[0] >= 0x20 ? s[0] != 0x7f : s[0] == '\t' || s[0] == '\n';
    if (s[0] >= 0xc2 && s[0] < 0xe0 && continues(s, 1))
        return s[0] == 0xc2 && s[1] < 0xa0 ? 0 : 2;
    if ((s[0] & 0xf0) == 0xe0 && continues(s, 1) && continues(s, 2)) {
        bool overlong = s[0] == 0xe0 && s[1] < 0xa0, surrogate = s[0] == 0xed && s[1] > 0x9f;
        bool no_character = s[0] == 0xef && s[1] == 0xbf && s[2] >= 0xbe;
        return overlong || surrogate || no_character ? 0 : 3;
    }
    if (s[0] >= 0xf0 && s[0] < 0xf5 && continues(s, 1) && continues(s, 2) && continues(s, 3)) {
        bool outside = (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f);
        return outside ? 0 : 4;
    }
    return 0;
}

/* Of a locale's decimal point, which may have several bytes, makes a point. */
static void set_point(char *text)
{
    const char *point = localeconv()->decimal_point;
    char *at = *point ? strstr(text, point) : NULL;
    size_t n = strlen(point);

    if (at && strcmp(point, ".")) {
        *at = '.';
        memmove(at + 1, at + n, strlen(at + n) + 1);
    }
}

void gs_number_text(double value, int decimals, bool digits, char out[GS_NUMBER_TEXT])
{
    if (!isfinite(value)) {
        strcpy(out, "\xe2\x80\x93");
        return;
    }
    snprintf(out, GS_NUMBER_TEXT, digits ? "%.*g" : "%.*f", decimals, value);
    set_point(out);
    /* A zero that was rounded to has no sign. */
    if (out[0] == '-' && !strpbrk(out, "123456789"))
        memmove(out, out + 1, strlen(out));
}

