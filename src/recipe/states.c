/* SPDX-License-Identifier: MIT
 * The scratch file loses its name as soon as it is open: whatever happens, nothing is left. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/alloc.h"
#include "recipe/work.h"

static int map_scratch(const char *path, uint64_t bytes, struct gs_states *out,
                       struct gs_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return gs_fail(err, GS_E_IO, "%s: cannot create: %s", path, strerror(errno));
    unlink(path);
    int e = posix_fallocate(fd, 0, (off_t)bytes); /* or a full disk is a fault later on */
    void *data = e ? MAP_FAILED
                   : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED && !e)
        e = errno;
    close(fd);
    if (data == MAP_FAILED)
        return gs_fail(err, GS_E_IO, "%s: cannot make room for %" PRIu64 " bytes of hidden "
                       "states: %s", path, bytes, strerror(e));
    out->data = data;
    out->mapped = true;
    return GS_OK;
}

int gs_states_create(const char *beside, size_t floats, struct gs_states *out,
                     struct gs_err *err)
{
    uint64_t bytes = (uint64_t)floats * sizeof *out->data;

    *out = (struct gs_states){.floats = floats};
    if (bytes <= GS_STATES_IN_MEMORY) {
        out->data = gs_alloc(floats, sizeof *out->data);
        return out->data ? GS_OK : gs_fail_nomem(err, "hidden states");
    }
    size_t n = strlen(beside) + 32;
    char *path = gs_alloc(n, 1);
    if (!path)
        return gs_fail_nomem(err, "hidden states");
    snprintf(path, n, "%s.%ld.states", beside, (long)getpid());
    int rc = map_scratch(path, bytes, out, err);
    gs_free(&path);
    return rc;
}

void gs_states_clear(struct gs_states *s)
{
    if (s->mapped && s->data)
        munmap(s->data, s->floats * sizeof *s->data);
    else
        gs_free(&s->data);
    s->data = NULL;
}
