/* SPDX-License-Identifier: MIT */
#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "terminal.h"

static bool json_incomplete;

/* Bytes of the UTF-8 character at s (n left), or 0 if none is valid there (RFC 3629). */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3
                    : s[0] < 0xf5 ? 4 : 0;

    if (!length || length > n)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    /* Overlong forms, surrogates and what lies beyond U+10FFFF. */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return length;
}

static bool is_control(const unsigned char *s, size_t length)
{
    return length == 1 ? s[0] < 0x20 || s[0] == 0x7f
                       : length == 2 && s[0] == 0xc2 && s[1] < 0xa0; /* U+0080 … U+009F */
}

/* Into out, which has room for 3·n bytes. */
static size_t make_valid(const char *text, size_t n, bool controls, bool lines, char *out)
{
    size_t used = 0;

    for (size_t i = 0, length; i < n; i += length ? length : 1) {
        const unsigned char *s = (const unsigned char *)text + i;
        length = utf8_length(s, n - i);
        if (!length) {
            memcpy(out + used, "\xef\xbf\xbd", 3);
            used += 3;
        } else if (!controls && is_control(s, length) &&
                   !(lines && (*s == '\n' || *s == '\t'))) {
            out[used++] = '?';
        } else {
            memcpy(out + used, s, length);
            used += length;
        }
    }
    return used;
}

char *clean_text(const char *text, size_t n, bool lines)
{
    char *out = n < SIZE_MAX / 3 ? malloc(3 * n + 1) : NULL;

    if (out)
        out[make_valid(text, n, false, lines, out)] = 0;
    return out;
}

void print_clean(const char *text)
{
    char *clean = clean_text(text, strlen(text), false);

    if (clean)
        fputs(clean, stdout);
    free(clean);
}

void format_bytes(uint64_t bytes, char *out, size_t size)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes / 1024;
    size_t u = 0;

    if (bytes < 1024) {
        snprintf(out, size, "%" PRIu64 " B", bytes);
        return;
    }
    for (; v >= 1024 && u + 1 < COUNT(units); u++)
        v /= 1024;
    snprintf(out, size, "%.2f %s", v, units[u]);
}

void format_count(uint64_t count, char *out, size_t size)
{
    if (count >= 1000000000)
        snprintf(out, size, "%.2f G", (double)count / 1e9);
    else if (count >= 1000000)
        snprintf(out, size, "%.1f M", (double)count / 1e6);
    else
        snprintf(out, size, "%" PRIu64, count);
}

json_t *json_text(const char *text, size_t n)
{
    char *valid = n < SIZE_MAX / 3 ? malloc(3 * n + 1) : NULL;
    json_t *value = valid ? json_stringn(valid, make_valid(text, n, true, true, valid)) : NULL;

    free(valid);
    return value;
}

json_t *json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *json_count(uint64_t value)
{
    return json_integer((json_int_t)value);
}

void json_put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value)) /* refuses NULL for either, too */
        json_incomplete = true;
}

void json_add(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value))
        json_incomplete = true;
}

int print_json(json_t *value)
{
    bool complete = value && !json_incomplete;
    int rc = complete ? json_dumpf(value, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12)) : 0;

    json_decref(value);
    if (!complete || (rc && !ferror(stdout)))
        return failure_text("out of memory for the result");
    putchar('\n');
    return EXIT_OK;
}

int read_input(const char *path, char **data, size_t *n)
{
    bool standard = !strcmp(path, "-");
    FILE *f = standard ? stdin : fopen(path, "rb");
    size_t capacity = 0;
    struct stat st;

    *data = NULL;
    *n = 0;
    if (!f)
        return failure_text("%s: %s", path, strerror(errno));
    if (!fstat(fileno(f), &st) && S_ISREG(st.st_mode) && st.st_size > 0)
        capacity = (size_t)st.st_size + 1; /* one more, so that the end is seen at once */
    for (;;) {
        if (*n == capacity || !*data) {
            capacity = *n < capacity ? capacity : 2 * capacity + 65536;
            char *more = realloc(*data, capacity);
            if (!more)
                break;
            *data = more;
        }
        size_t got = fread(*data + *n, 1, capacity - *n, f);
        *n += got;
        if (!got)
            break;
    }
    bool whole = feof(f) && !ferror(f);
    int reason = errno;
    if (!standard)
        fclose(f);
    if (whole)
        return EXIT_OK;
    free(*data);
    *data = NULL;
    if (interrupted())
        return EXIT_INTERRUPTED;
    return failure_text("%s: %s", path, strerror(reason));
}
