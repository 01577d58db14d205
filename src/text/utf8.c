/* SPDX-License-Identifier: MIT */
#include "text/utf8.h"

#include <assert.h>
#include <string.h>

#include "core/alloc.h"
#include "text/tokenizer.h"

#define REPLACEMENT "\xef\xbf\xbd"

/* Unicode table 3-7: how a lead byte goes on. Only the second byte's range varies. */
struct lead {
    uint8_t len, low, high;
};

static struct lead lead_of(uint8_t b)
{
    if (b < 0x80)
        return (struct lead){1, 0, 0};
    if (b < 0xc2 || b > 0xf4) /* a continuation byte, an overlong form, beyond U+10FFFF */
        return (struct lead){0, 0, 0};
    if (b < 0xe0)
        return (struct lead){2, 0x80, 0xbf};
    if (b < 0xf0)
        return (struct lead){3, b == 0xe0 ? 0xa0 : 0x80, b == 0xed ? 0x9f : 0xbf};
    return (struct lead){4, b == 0xf0 ? 0x90 : 0x80, b == 0xf4 ? 0x8f : 0xbf};
}

enum gs_utf8 gs_utf8_next(const char *s, size_t n, uint32_t *c, size_t *len)
{
    const uint8_t *p = (const uint8_t *)s;
    struct lead lead = lead_of(p[0]);
    uint8_t low = lead.low, high = lead.high;
    uint32_t code = lead.len == 1 ? p[0] : p[0] & (0x7fu >> lead.len);

    assert(n > 0);
    *c = 0xfffd;
    *len = 1;
    if (!lead.len)
        return GS_UTF8_BROKEN;
    for (; *len < lead.len; (*len)++) {
        if (*len == n)
            return GS_UTF8_CUT;
        uint8_t b = p[*len];
        if (b < low || b > high)
            return GS_UTF8_BROKEN;
        code = code << 6 | (b & 0x3f);
        low = 0x80, high = 0xbf;
    }
    *c = code;
    return GS_UTF8_VALID;
}

size_t gs_utf8_put(uint32_t c, char out[4])
{
    size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    assert(c <= 0x10ffff && (c < 0xd800 || c > 0xdfff));
    if (len == 1) {
        out[0] = (char)c;
        return 1;
    }
    for (size_t i = len - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((0xf00u >> len & 0xff) | c);
    return len;
}

/* Bytes up to the first ill-formed subpart. */
static size_t valid_prefix(const char *s, size_t n)
{
    size_t i = 0, len;
    uint32_t c;

    while (i < n) {
        uint64_t word;
        if (n - i >= sizeof word) { /* most text is ASCII: eight bytes at a time */
            memcpy(&word, s + i, sizeof word);
            if (!(word & 0x8080808080808080u)) {
                i += sizeof word;
                continue;
            }
        }
        if (gs_utf8_next(s + i, n - i, &c, &len) != GS_UTF8_VALID)
            break;
        i += len;
    }
    return i;
}

int gs_utf8_repair(const char *s, size_t n, char **out, size_t *out_n, struct gs_err *err)
{
    size_t valid = valid_prefix(s, n), at, len;
    uint64_t room;
    uint32_t c;

    *out = NULL;
    *out_n = n;
    if (valid == n)
        return GS_OK;
    /* A subpart has at least one byte and becomes three. */
    if (!gs_mul_ok(n - valid, 3, &room) || !gs_add_ok(room, valid, &room))
        return gs_fail_nomem(err, "text");
    *out = gs_alloc(room, 1);
    if (!*out)
        return gs_fail_nomem(err, "text");
    memcpy(*out, s, valid);
    for (at = valid; valid < n; valid += len) {
        enum gs_utf8 kind = gs_utf8_next(s + valid, n - valid, &c, &len);
        bool ok = kind == GS_UTF8_VALID;
        size_t put = ok ? len : sizeof REPLACEMENT - 1;
        memcpy(*out + at, ok ? s + valid : REPLACEMENT, put);
        at += put;
    }
    *out_n = at;
    return GS_OK;
}

/* Writes what is decided of s->pending; at_end decides everything. */
static size_t settle(struct gs_utf8_stream *s, bool at_end, char *out)
{
    size_t written = 0, len;
    uint32_t c;

    while (s->n > 0) {
        enum gs_utf8 kind = gs_utf8_next(s->pending, (size_t)s->n, &c, &len);
        if (kind == GS_UTF8_CUT && !at_end)
            break;
        written += gs_utf8_put(c, out + written);
        s->n -= (int)len;
        memmove(s->pending, s->pending + len, (size_t)s->n);
    }
    return written;
}

size_t gs_utf8_push(struct gs_utf8_stream *s, const char *bytes, size_t n, char *out)
{
    size_t written = 0;

    for (size_t i = 0; i < n; i++) {
        assert(s->n >= 0 && s->n < 4);
        s->pending[s->n++] = bytes[i];
        written += settle(s, false, out + written);
    }
    return written;
}

size_t gs_utf8_flush(struct gs_utf8_stream *s, char *out)
{
    return settle(s, true, out);
}
