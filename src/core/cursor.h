/* SPDX-License-Identifier: MIT
 * The only way to read untrusted bytes.
 *
 * A cursor walks a byte range forwards, little-endian. A read beyond the end sets
 * a sticky flag and yields zeros, so a parser may read a whole record and check
 * once; gs_cursor_check turns the flag into the error "unexpected end". Counts that
 * come from the input must be bounded by gs_cursor_left before memory is taken. */
#ifndef GS_CORE_CURSOR_H
#define GS_CORE_CURSOR_H

#include "core/bytes.h"
#include "core/err.h"

struct gs_cursor {
    const uint8_t *base;
    uint64_t size, pos;
    bool failed; /* sticky: some read went beyond the end, at fail_pos */
    uint64_t fail_pos;
};

struct gs_cursor gs_cursor_make(const void *base, uint64_t size);

static inline uint64_t gs_cursor_left(const struct gs_cursor *c)
{
    return c->size - c->pos;
}

/* The next n bytes, borrowed from the input, or NULL (and the flag) if fewer remain. */
const uint8_t *gs_cursor_bytes(struct gs_cursor *c, uint64_t n);

uint8_t gs_cursor_u8(struct gs_cursor *c);
uint16_t gs_cursor_u16(struct gs_cursor *c);
uint32_t gs_cursor_u32(struct gs_cursor *c);
uint64_t gs_cursor_u64(struct gs_cursor *c);

/* GS_OK, or GS_E_FORMAT "unexpected end of WHAT at byte N". */
int gs_cursor_check(const struct gs_cursor *c, const char *what, struct gs_err *err)
    GS_MUST_USE;

#endif
