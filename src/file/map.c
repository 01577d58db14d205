/* SPDX-License-Identifier: MIT
 * MAP_SHARED and read-only: all processes that run a model share its pages, and the kernel may
 * drop them under pressure without writing anything. The descriptor is closed at once; the
 * mapping keeps the file alive even if its name goes. */
#define _DEFAULT_SOURCE /* madvise: glibc's posix_madvise ignores DONTNEED */
#include "file/map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"

static struct gs_map *map_create(const char *path, const void *data, uint64_t size)
{
    struct gs_map *map = gs_alloc(1, sizeof *map);
    char *copy = map ? gs_strndup(path, strlen(path)) : NULL;

    if (!copy) {
        gs_free(&map);
        return NULL;
    }
    *map = (struct gs_map){.data = data, .size = size, .path = copy};
    return map;
}

/* Opens a regular file and finds its size; returns the descriptor or a negative code. */
static int open_regular(const char *path, uint64_t *size, struct gs_err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not block us */

    if (fd < 0)
        return gs_fail(err, GS_E_IO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st)) {
        int e = errno;
        close(fd);
        return gs_fail(err, GS_E_IO, "%s: %s", path, strerror(e));
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return gs_fail(err, GS_E_IO, "%s: not a regular file", path);
    }
    *size = (uint64_t)st.st_size;
    return fd;
}

int gs_map_open(const char *path, struct gs_map **out, struct gs_err *err)
{
    static const uint8_t nothing[1];
    uint64_t size = 0;
    void *data = gs_unconst(nothing); /* mmap refuses a length of 0 */

    *out = NULL;
    int fd = open_regular(path, &size, err);
    if (fd < 0)
        return fd;
    if (size)
        data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    int e = errno;
    close(fd);
    if (data == MAP_FAILED)
        return gs_fail(err, GS_E_IO, "%s: cannot map: %s", path, strerror(e));
#ifdef MADV_HUGEPAGE
    if (size) /* where the file system has such pages; elsewhere this fails and is no matter */
        (void)madvise(data, size, MADV_HUGEPAGE);
#endif
    *out = map_create(path, data, size);
    if (*out)
        return GS_OK;
    if (size)
        munmap(data, size);
    return gs_fail_nomem(err, path);
}

int gs_map_memory(const void *data, uint64_t size, const char *path, struct gs_map **out,
                  struct gs_err *err)
{
    *out = map_create(path, data, size);
    if (!*out)
        return gs_fail_nomem(err, path);
    (*out)->borrowed = true;
    return GS_OK;
}

void gs_map_close(struct gs_map **map)
{
    struct gs_map *m = *map;

    if (!m)
        return;
    if (!m->borrowed && m->size)
        munmap(gs_unconst(m->data), m->size);
    gs_free(&m->path);
    gs_free(map);
}

void gs_map_expect(const struct gs_map *map)
{
#ifdef MADV_WILLNEED
    long pages = sysconf(_SC_PHYS_PAGES);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    if (!map->borrowed && map->size && pages > 0 && map->size / page < (uint64_t)pages / 2)
        (void)madvise(gs_unconst(map->data), map->size, MADV_WILLNEED);
#else
    (void)map;
#endif
}

void gs_map_drop(const struct gs_map *map, uint64_t offset, uint64_t n)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t begin = (offset + page - 1) & ~(page - 1);
    uint64_t end = (offset + n) & ~(page - 1);

    if (!map->borrowed && begin < end)
        madvise(gs_unconst(map->data + begin), end - begin, MADV_DONTNEED);
}
