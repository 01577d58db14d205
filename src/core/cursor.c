/* SPDX-License-Identifier: MIT */
#include "core/cursor.h"

#include <inttypes.h>
#include <string.h>

struct gs_cursor gs_cursor_make(const void *base, uint64_t size)
{
    /* Nothing may be given as NULL; adding to NULL is undefined, to "" not. */
    return (struct gs_cursor){.base = base ? base : "", .size = base ? size : 0};
}

const uint8_t *gs_cursor_bytes(struct gs_cursor *c, uint64_t n)
{
    if (c->failed)
        return NULL;
    if (n > gs_cursor_left(c)) {
        c->failed = true;
        c->fail_pos = c->pos;
        return NULL;
    }
    const uint8_t *p = c->base + c->pos;
    c->pos += n;
    return p;
}

uint8_t gs_cursor_u8(struct gs_cursor *c)
{
    const uint8_t *p = gs_cursor_bytes(c, 1);
    return p ? *p : 0;
}

uint16_t gs_cursor_u16(struct gs_cursor *c)
{
    const uint8_t *p = gs_cursor_bytes(c, 2);
    return p ? gs_load_u16(p) : 0;
}

uint32_t gs_cursor_u32(struct gs_cursor *c)
{
    const uint8_t *p = gs_cursor_bytes(c, 4);
    return p ? gs_load_u32(p) : 0;
}

uint64_t gs_cursor_u64(struct gs_cursor *c)
{
    const uint8_t *p = gs_cursor_bytes(c, 8);
    return p ? gs_load_u64(p) : 0;
}

int gs_cursor_check(const struct gs_cursor *c, const char *what, struct gs_err *err)
{
    if (!c->failed)
        return GS_OK;
    return gs_fail_at(err, GS_E_FORMAT, c->fail_pos,
                      "unexpected end of %s at byte %" PRIu64 " of %" PRIu64, what,
                      c->fail_pos, c->size);
}
