/* SPDX-License-Identifier: MIT
 * Compiler attributes and builtins; no other file names them. */
#ifndef GS_CORE_ATTR_H
#define GS_CORE_ATTR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GS_MUST_USE __attribute__((warn_unused_result))
#define GS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define GS_UNUSED __attribute__((unused))
#define GS_ALIGNED(n) __attribute__((aligned(n)))
#define GS_ALWAYS_INLINE inline __attribute__((always_inline))
/* Before a loop over a register tile: unroll it wholly, so that the tile is in registers. */
#if defined(__clang__)
#define GS_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GS_UNROLL _Pragma("GCC unroll 8")
#endif
#define GS_NOINLINE __attribute__((noinline))
#define GS_LIKELY(x) __builtin_expect(!!(x), 1)
#define GS_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define GS_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define GS_MIN(a, b) ((a) < (b) ? (a) : (b))
#define GS_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Checked arithmetic for sizes that come from files: false on overflow, and
 * *out is then unspecified. */
static inline bool gs_add_ok(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool gs_mul_ok(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* *out = a rounded up to a multiple of `align`, a power of two. */
static inline bool gs_align_ok(uint64_t a, uint64_t align, uint64_t *out)
{
    if (!gs_add_ok(a, align - 1, out))
        return false;
    *out &= ~(align - 1);
    return true;
}

/* Casts a const-qualified pointer for the few libc calls that want it so. */
static inline void *gs_unconst(const void *p)
{
    union { const void *in; void *out; } u = {.in = p};
    return u.out;
}

#endif
