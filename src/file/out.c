/* SPDX-License-Identifier: MIT
 * Atomic output, step by step:
 *
 *   create   check folder and name, open PATH.<pid>.part exclusively, reserve the space
 *   write    through one buffer, so that a header of small pieces costs few calls
 *   commit   flush, cut to the bytes written, fsync the file, link or rename, fsync the folder
 *   abort    unlink the part
 *
 * A process that dies in between leaves a .part file, never a damaged PATH. */
#include "file/out.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/alloc.h"

#define BUFFER_BYTES ((size_t)1 << 18)

struct gs_out {
    char *path, *part, *folder;
    int fd;
    bool overwrite;
    uint64_t size; /* bytes accepted, buffered ones included */
    uint8_t *buffer;
    size_t used;
};

static void release(struct gs_out **out)
{
    struct gs_out *o = *out;

    if (o->fd >= 0)
        close(o->fd);
    gs_free(&o->path);
    gs_free(&o->part);
    gs_free(&o->folder);
    gs_free(&o->buffer);
    gs_free(out);
}

void gs_out_abort(struct gs_out **out)
{
    if (!*out)
        return;
    if ((*out)->fd >= 0)
        unlink((*out)->part);
    release(out);
}

static int make_names(struct gs_out *o, const char *path)
{
    size_t n = strlen(path);
    const char *slash = strrchr(path, '/');

    o->path = gs_strndup(path, n);
    o->part = gs_alloc(n + 40, 1);
    o->folder = !slash          ? gs_strndup(".", 1)
                : slash == path ? gs_strndup("/", 1)
                                : gs_strndup(path, (size_t)(slash - path));
    o->buffer = gs_alloc(BUFFER_BYTES, 1);
    return o->path && o->part && o->folder && o->buffer ? GS_OK : GS_E_NOMEM;
}

static int check_target(const struct gs_out *o, struct gs_err *err)
{
    struct stat st;

    if (stat(o->folder, &st))
        return gs_fail(err, GS_E_IO, "%s: folder %s: %s", o->path, o->folder, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return gs_fail(err, GS_E_IO, "%s: %s is not a folder", o->path, o->folder);
    if (stat(o->path, &st))
        return GS_OK;
    if (S_ISDIR(st.st_mode))
        return gs_fail(err, GS_E_IO, "%s: is a folder", o->path);
    if (!o->overwrite)
        return gs_fail(err, GS_E_IO, "%s: exists already", o->path);
    return GS_OK;
}

static int open_part(struct gs_out *o, struct gs_err *err)
{
    for (unsigned attempt = 0; attempt < 100; attempt++) { /* left-overs of a dead process */
        sprintf(o->part, "%s.%ld%s%.0u.part", o->path, (long)getpid(), attempt ? "-" : "",
                attempt);
        o->fd = open(o->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (o->fd >= 0)
            return GS_OK;
        if (errno != EEXIST)
            break;
    }
    return gs_fail(err, GS_E_IO, "%s: cannot create: %s", o->part, strerror(errno));
}

/* Room is the one failure worth numbers: what is needed and what there is. */
static int no_room(const struct gs_out *o, uint64_t bytes, int e, struct gs_err *err)
{
    struct statvfs fs;

    if (e == ENOSPC && !fstatvfs(o->fd, &fs))
        return gs_fail(err, GS_E_IO,
                       "%s: needs %" PRIu64 " bytes, its disk has room for %" PRIu64, o->path,
                       bytes, (uint64_t)fs.f_bavail * fs.f_frsize);
    return gs_fail(err, GS_E_IO, "%s: cannot make room for %" PRIu64 " bytes: %s", o->path,
                   bytes, strerror(e));
}

int gs_out_create(const char *path, bool overwrite, uint64_t bytes, struct gs_out **out,
                  struct gs_err *err)
{
    struct gs_out *o = gs_alloc(1, sizeof *o);

    *out = NULL;
    if (!o)
        return gs_fail_nomem(err, path);
    o->fd = -1;
    o->overwrite = overwrite;
    int rc = make_names(o, path) ? gs_fail_nomem(err, path) : check_target(o, err);
    if (!rc)
        rc = open_part(o, err);
    if (!rc && bytes) {
        int e = bytes > INT64_MAX ? EFBIG : posix_fallocate(o->fd, 0, (off_t)bytes);
        /* A file system that cannot reserve says so; then writing will tell. */
        if (e && e != EINVAL && e != EOPNOTSUPP && e != ENOSYS)
            rc = no_room(o, bytes, e, err);
    }
    if (rc)
        gs_out_abort(&o);
    *out = o;
    return rc;
}

/* A signal or a full pipe may cut a write short; the rest follows. */
static int write_all(struct gs_out *o, const uint8_t *p, uint64_t n, struct gs_err *err)
{
    while (n) {
        ssize_t done = write(o->fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return no_room(o, o->size, errno, err);
        p += done;
        n -= (uint64_t)done;
    }
    return GS_OK;
}

static int flush(struct gs_out *o, struct gs_err *err)
{
    size_t n = o->used;

    o->used = 0;
    return write_all(o, o->buffer, n, err);
}

int gs_out_write(struct gs_out *out, const void *data, uint64_t n, struct gs_err *err)
{
    int rc = GS_OK;

    out->size += n;
    if (n > BUFFER_BYTES - out->used)
        rc = flush(out, err);
    if (rc)
        return rc;
    if (n >= BUFFER_BYTES)
        return write_all(out, data, n, err);
    if (n)
        memcpy(out->buffer + out->used, data, n);
    out->used += n;
    return GS_OK;
}

uint64_t gs_out_size(const struct gs_out *out)
{
    return out->size;
}

/* Gives the whole file its name. Without overwrite, link refuses a name that was taken in
 * the meantime; where links are not possible the check is repeated just before. */
static int publish(struct gs_out *o, struct gs_err *err)
{
    if (!o->overwrite) {
        if (!link(o->part, o->path)) {
            unlink(o->part);
            return GS_OK;
        }
        int rc = errno == EEXIST ? gs_fail(err, GS_E_IO, "%s: exists already", o->path)
                                 : check_target(o, err);
        if (rc)
            return rc;
    }
    if (rename(o->part, o->path))
        return gs_fail(err, GS_E_IO, "%s: cannot rename into place: %s", o->path,
                       strerror(errno));
    return GS_OK;
}

int gs_out_commit(struct gs_out **out, struct gs_err *err)
{
    struct gs_out *o = *out;

    int rc = flush(o, err);
    if (!rc && (ftruncate(o->fd, (off_t)o->size) || fsync(o->fd)))
        rc = gs_fail(err, GS_E_IO, "%s: cannot write to disk: %s", o->path, strerror(errno));
    if (!rc)
        rc = publish(o, err);
    if (rc) {
        gs_out_abort(out);
        return rc;
    }
    int folder = open(o->folder, O_RDONLY | O_CLOEXEC); /* makes the name durable, too */
    if (folder >= 0) {
        fsync(folder);
        close(folder);
    }
    release(out);
    return GS_OK;
}
