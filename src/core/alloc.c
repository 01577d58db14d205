/* SPDX-License-Identifier: MIT
 * The heap, with two ways for tests to break it; large blocks ask for huge pages. */
#define _DEFAULT_SOURCE /* madvise */
#include "core/alloc.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGN 64u
#define HUGE_PAGE ((uintptr_t)2 << 20)
#define PAGE ((uintptr_t)64 << 10) /* a multiple of every system's page */

static atomic_int guard_depth;
static atomic_ullong fail_countdown;
static atomic_ullong total;

static bool may_allocate(void)
{
    atomic_fetch_add_explicit(&total, 1, memory_order_relaxed);
    if (GS_UNLIKELY(atomic_load_explicit(&guard_depth, memory_order_relaxed) > 0)) {
        fputs("gosset: allocation inside an allocation-free section\n", stderr);
        abort();
    }
    if (GS_UNLIKELY(atomic_load_explicit(&fail_countdown, memory_order_relaxed) > 0))
        return atomic_fetch_sub(&fail_countdown, 1) != 1;
    return true;
}

/* Tells the system something of the whole multiples of `unit` inside a block; where they
 * begin, and in *end where they end. */
static char *advise(char *p, size_t bytes, uintptr_t unit, int advice, bool *done, char **end)
{
    size_t before = (unit - (uintptr_t)p % unit) % unit;
    size_t inside = before < bytes ? (bytes - before) / unit * unit : 0;

    *end = p + before + inside;
    *done = inside && !madvise(p + before, inside, advice);
    return p + before;
}

/* Zeroes a large block. Pages that are given back read as zeros and are taken when they are
 * first touched: a cache for a long context costs what the text fills of it. Huge pages mean
 * fewer misses where caches, weights and activations are walked through; where the system has
 * none, nothing changes. */
static void clear_large(char *p, size_t bytes)
{
    bool done = false;
#ifdef __linux__ /* elsewhere such advice need not clear */
    char *end, *begin;

    (void)advise(p, bytes, HUGE_PAGE, MADV_HUGEPAGE, &done, &end);
    begin = advise(p, bytes, PAGE, MADV_DONTNEED, &done, &end);
    if (done) {
        memset(p, 0, (size_t)(begin - p));
        memset(end, 0, (size_t)(p + bytes - end));
    }
#endif
    if (!done)
        memset(p, 0, bytes);
}

void *gs_alloc(size_t count, size_t size)
{
    uint64_t bytes;

    if (!gs_mul_ok(count, size, &bytes) || !gs_align_ok(bytes, ALIGN, &bytes) ||
        bytes > SIZE_MAX / 2 || !may_allocate())
        return NULL;
    if (!bytes)
        bytes = ALIGN;
    void *p = aligned_alloc(ALIGN, bytes);
    if (p && bytes >= 2 * HUGE_PAGE)
        clear_large(p, bytes);
    else if (p)
        memset(p, 0, bytes);
    return p;
}

void *gs_realloc(void *ptr, size_t old_bytes, size_t new_bytes)
{
    void *p = gs_alloc(new_bytes, 1);

    if (!p)
        return NULL;
    if (ptr)
        memcpy(p, ptr, GS_MIN(old_bytes, new_bytes));
    free(ptr);
    return p;
}

char *gs_strndup(const char *s, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *p = gs_alloc(n + 1, 1);
    if (p && n)
        memcpy(p, s, n);
    return p;
}

void gs_free(void *ptr)
{
    void *block;

    memcpy(&block, ptr, sizeof block);
    free(block);
    block = NULL;
    memcpy(ptr, &block, sizeof block);
}

void gs_alloc_guard(bool on)
{
    atomic_fetch_add(&guard_depth, on ? 1 : -1);
}

void gs_alloc_fail_at(uint64_t n)
{
    atomic_store(&fail_countdown, n);
}

uint64_t gs_alloc_count(void)
{
    return atomic_load(&total);
}
