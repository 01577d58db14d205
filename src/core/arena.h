/* SPDX-License-Identifier: MIT
 * A growing arena: many small objects with one lifetime, freed together.
 *
 * Chunks double from 4 KiB to 1 MiB; a pointer stays valid until gs_arena_clear.
 * For the large buffers of a model use gs_alloc, sized first. */
#ifndef GS_CORE_ARENA_H
#define GS_CORE_ARENA_H

#include "core/attr.h"

struct gs_arena_chunk;

/* Zero-initialise, then use. Not for several threads. */
struct gs_arena {
    struct gs_arena_chunk *chunks;
    size_t total; /* bytes handed out */
};

/* `count` × `size` zeroed bytes aligned to 16, or NULL. */
void *gs_arena_alloc(struct gs_arena *arena, size_t count, size_t size) GS_MUST_USE;

/* Copies n bytes and appends a NUL, or NULL. */
char *gs_arena_strndup(struct gs_arena *arena, const char *s, size_t n) GS_MUST_USE;

void gs_arena_clear(struct gs_arena *arena);

#endif
