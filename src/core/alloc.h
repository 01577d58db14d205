/* SPDX-License-Identifier: MIT
 * The one door to the heap. Sizes are checked products, every block is zeroed,
 * and every allocation can be made to fail or be forbidden, which is how tests
 * prove that out-of-memory paths hold and that a token step allocates nothing. */
#ifndef GS_CORE_ALLOC_H
#define GS_CORE_ALLOC_H

#include "core/attr.h"

/* `count` × `size` zeroed bytes aligned to 64, or NULL (also on overflow).
 * A product of 0 gives a valid pointer. Free with gs_free. */
void *gs_alloc(size_t count, size_t size) GS_MUST_USE;

/* Grows or shrinks a block of gs_alloc; `old_bytes` is its present size, new bytes
 * are zeroed. On NULL the old block stays valid. ptr may be NULL. */
void *gs_realloc(void *ptr, size_t old_bytes, size_t new_bytes) GS_MUST_USE;

/* Copies n bytes and appends a NUL. */
char *gs_strndup(const char *s, size_t n) GS_MUST_USE;

/* Frees *ptr and clears it; `ptr` is the address of any object pointer. */
void gs_free(void *ptr);

/* While the guard is on, an allocation anywhere in the process aborts with a
 * message. Calls nest. */
void gs_alloc_guard(bool on);

/* Makes the n-th allocation from now fail (1 = the next), 0 = none. For tests. */
void gs_alloc_fail_at(uint64_t n);

/* Allocations since the program started. */
uint64_t gs_alloc_count(void);

#endif
