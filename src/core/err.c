/* SPDX-License-Identifier: MIT */
#include "core/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Control characters of a hostile file must not reach a terminal. */
static void make_printable(char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7f)
            *s = '?';
    }
}

static int record(struct gs_err *err, int code, uint64_t pos, const char *fmt, va_list args)
{
    assert(code < 0);
    if (!err || err->code)
        return code;
    err->code = code;
    err->pos = pos;
    vsnprintf(err->msg, sizeof err->msg, fmt, args);
    make_printable(err->msg);
    return code;
}

int gs_fail(struct gs_err *err, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    record(err, code, 0, fmt, args);
    va_end(args);
    return code;
}

int gs_fail_at(struct gs_err *err, int code, uint64_t pos, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    record(err, code, pos, fmt, args);
    va_end(args);
    return code;
}

int gs_fail_nomem(struct gs_err *err, const char *what)
{
    return gs_fail(err, GS_E_NOMEM, "out of memory for %s", what);
}

int gs_err_prefix(struct gs_err *err, int code, const char *prefix)
{
    if (!err || !err->code)
        return code;
    size_t n = strlen(prefix), room = sizeof err->msg - 1;
    if (n + 2 >= room)
        return err->code;
    size_t keep = strlen(err->msg);
    if (keep > room - n - 2)
        keep = room - n - 2; /* the tail of a long message gives way */
    memmove(err->msg + n + 2, err->msg, keep);
    memcpy(err->msg, prefix, n);
    memcpy(err->msg + n, ": ", 2);
    err->msg[n + 2 + keep] = 0;
    make_printable(err->msg);
    return err->code;
}
