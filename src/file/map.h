/* SPDX-License-Identifier: MIT
 * A file's bytes, mapped read-only. Nothing is copied; pages come from the page cache.
 *
 * The size is taken once. Parsers check every extent against it at opening; a file that
 * another process truncates later still faults (SIGBUS), which no check here can prevent. */
#ifndef GS_FILE_MAP_H
#define GS_FILE_MAP_H

#include "core/err.h"

struct gs_map {
    const uint8_t *data; /* never NULL, also for an empty file */
    uint64_t size;
    const char *path;
    bool borrowed;       /* the bytes belong to the caller of gs_map_memory */
};

int gs_map_open(const char *path, struct gs_map **out, struct gs_err *err) GS_MUST_USE;

/* A map over the caller's bytes, which must outlive it; `path` is for messages. */
int gs_map_memory(const void *data, uint64_t size, const char *path, struct gs_map **out,
                  struct gs_err *err) GS_MUST_USE;

void gs_map_close(struct gs_map **map);

/* All of the file will be read soon, from end to end: asks the system to bring in what is not
 * in memory, unless that would take more than half of the machine's. */
void gs_map_expect(const struct gs_map *map);

/* The n bytes at `offset` will not be read again soon: whole pages among them leave this
 * process's resident set. */
void gs_map_drop(const struct gs_map *map, uint64_t offset, uint64_t n);

#endif
