/* SPDX-License-Identifier: MIT */
#include "core/arena.h"

#include <string.h>

#include "core/alloc.h"

#define ALIGN 16u
#define CHUNK_MIN 4096u
#define CHUNK_MAX (1u << 20) /* else one large object would double into the next chunk */

struct gs_arena_chunk {
    struct gs_arena_chunk *next;
    size_t used, capacity;
    unsigned char data[] GS_ALIGNED(16);
};

static struct gs_arena_chunk *grow(struct gs_arena *arena, size_t bytes)
{
    size_t capacity = arena->chunks ? arena->chunks->capacity : CHUNK_MIN / 2;

    capacity = GS_MAX(GS_MIN(2 * capacity, CHUNK_MAX), bytes);
    if (capacity > SIZE_MAX / 4)
        return NULL;
    struct gs_arena_chunk *chunk = gs_alloc(1, sizeof *chunk + capacity);
    if (!chunk)
        return NULL;
    chunk->capacity = capacity;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    return chunk;
}

void *gs_arena_alloc(struct gs_arena *arena, size_t count, size_t size)
{
    uint64_t bytes;

    if (!gs_mul_ok(count, size, &bytes) || !gs_align_ok(bytes, ALIGN, &bytes))
        return NULL;
    struct gs_arena_chunk *chunk = arena->chunks;
    if (!chunk || chunk->capacity - chunk->used < bytes)
        chunk = grow(arena, bytes);
    if (!chunk)
        return NULL;
    void *p = chunk->data + chunk->used;
    chunk->used += bytes;
    arena->total += bytes;
    return p;
}

char *gs_arena_strndup(struct gs_arena *arena, const char *s, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *p = gs_arena_alloc(arena, n + 1, 1);
    if (p && n)
        memcpy(p, s, n);
    return p;
}

void gs_arena_clear(struct gs_arena *arena)
{
    while (arena->chunks) {
        struct gs_arena_chunk *next = arena->chunks->next;
        gs_free(&arena->chunks);
        arena->chunks = next;
    }
    arena->total = 0;
}
