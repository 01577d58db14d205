/* SPDX-License-Identifier: MIT
 * Numbers as files have them: little-endian, at any address. Memory is known to be there; bytes
 * from outside are read through core/cursor.h. */
#ifndef GS_CORE_BYTES_H
#define GS_CORE_BYTES_H

#include <string.h>

#include "core/attr.h"

static inline uint16_t gs_load_u16(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t gs_load_u32(const void *p)
{
    const uint8_t *b = p;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t gs_load_u64(const void *p)
{
    return gs_load_u32(p) | (uint64_t)gs_load_u32((const uint8_t *)p + 4) << 32;
}

static inline float gs_load_f32(const void *p)
{
    uint32_t u = gs_load_u32(p);
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline double gs_load_f64(const void *p)
{
    uint64_t u = gs_load_u64(p);
    double f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline void gs_put_u16(unsigned v, uint8_t dst[2])
{
    dst[0] = (uint8_t)v;
    dst[1] = (uint8_t)(v >> 8);
}

static inline void gs_put_u32(uint32_t v, uint8_t dst[4])
{
    gs_put_u16(v & 0xffff, dst);
    gs_put_u16(v >> 16, dst + 2);
}

static inline void gs_put_u64(uint64_t v, uint8_t dst[8])
{
    gs_put_u32((uint32_t)v, dst);
    gs_put_u32((uint32_t)(v >> 32), dst + 4);
}

#endif
