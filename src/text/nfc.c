/* SPDX-License-Identifier: MIT
 * Decomposition of single characters and composition are utf8proc's. The canonical ordering
 * between them is ours: utf8proc exchanges neighbours until they are in order, which takes
 * quadratic time for a long run of combining marks; a counting sort by class does not. */
#include "text/nfc.h"

#include <assert.h>
#include <string.h>
#include <utf8proc.h>

#include "core/alloc.h"
#include "text/utf8.h"

#define MAX_DECOMPOSED 18 /* code points that one can become (U+FDFA) */

/* Everything below U+0300 is in form C as it stands: lead bytes up to 0xcb. */
static bool is_trivial(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)text[i] >= 0xcc)
            return false;
    return true;
}

static unsigned class_of(int32_t c)
{
    int ccc = utf8proc_get_property(c)->combining_class;
    return (unsigned)ccc & 0xff;
}

/* Stable counting sort of n marks by combining class; `spare` holds as many. */
static void sort_marks(int32_t *marks, size_t n, int32_t *spare)
{
    size_t first[257] = {0};

    for (size_t i = 0; i < n; i++)
        first[class_of(marks[i]) + 1]++;
    for (int i = 0; i < 256; i++)
        first[i + 1] += first[i];
    memcpy(spare, marks, n * sizeof *marks);
    for (size_t i = 0; i < n; i++)
        marks[first[class_of(spare[i])]++] = spare[i];
}

static void order(int32_t *c, size_t n, int32_t *spare)
{
    size_t start = 0;

    for (size_t i = 0; i <= n; i++) {
        if (i < n && class_of(c[i]) != 0)
            continue;
        if (i > start + 1)
            sort_marks(c + start, i - start, spare);
        start = i + 1;
    }
}

/* Number of code points written to out, which may be NULL to count only. */
static size_t decompose(const char *text, size_t n, int32_t *out)
{
    size_t count = 0, len;
    uint32_t c;

    for (size_t i = 0; i < n; i += len) {
        int32_t buffer[MAX_DECOMPOSED];
        int boundary = 0;
        enum gs_utf8 kind = gs_utf8_next(text + i, n - i, &c, &len);
        assert(kind == GS_UTF8_VALID);
        (void)kind;
        utf8proc_ssize_t got = utf8proc_decompose_char((utf8proc_int32_t)c, buffer,
            MAX_DECOMPOSED, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &boundary);
        assert(got > 0 && got <= MAX_DECOMPOSED);
        if (out)
            memcpy(out + count, buffer, (size_t)got * sizeof *out);
        count += (size_t)got;
    }
    return count;
}

int gs_nfc(struct gs_arena *arena, const char *text, size_t n, const char **out, size_t *out_n,
           struct gs_err *err)
{
    *out = text;
    *out_n = n;
    if (is_trivial(text, n))
        return GS_OK;
    size_t count = decompose(text, n, NULL), bytes = 0;
    int32_t *points = gs_alloc(count, 2 * sizeof *points);
    char *to = NULL;
    if (points) {
        decompose(text, n, points);
        order(points, count, points + count);
        utf8proc_ssize_t left = utf8proc_normalize_utf32(points, (utf8proc_ssize_t)count,
                                                         UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        assert(left >= 0);
        count = (size_t)left;
        to = gs_arena_alloc(arena, count, 4);
    }
    if (!to) {
        gs_free(&points);
        return gs_fail_nomem(err, "normalized text");
    }
    for (size_t i = 0; i < count; i++)
        bytes += gs_utf8_put((uint32_t)points[i], to + bytes);
    gs_free(&points);
    *out = to;
    *out_n = bytes;
    return GS_OK;
}
