/* SPDX-License-Identifier: MIT */
#include "recipe/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/cursor.h"
#include "core/hash.h"
#include "file/map.h"

#define MAGIC "GSWORK1\n"
#define HEAD_BYTES 16u
#define RECORD_BYTES 24u

struct gs_journal {
    char *path;
    int fd;
    size_t n_items;
    uint64_t end; /* where the next record goes */
    struct {
        uint64_t at, bytes;
    } *items;
};

static int fail_io(const struct gs_journal *j, const char *what, struct gs_err *err)
{
    return gs_fail(err, GS_E_IO, "%s: cannot %s: %s", j->path, what, strerror(errno));
}

static int write_at(const struct gs_journal *j, uint64_t at, const void *data, uint64_t n,
                    struct gs_err *err)
{
    const uint8_t *p = data;

    while (n) {
        ssize_t done = pwrite(j->fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return fail_io(j, "write", err);
        p += done;
        at += (uint64_t)done;
        n -= (uint64_t)done;
    }
    return GS_OK;
}

/* Whole records from the front; what follows them is cut off later. */
static int read_records(struct gs_journal *j, const struct gs_map *map, uint64_t key,
                        struct gs_err *err)
{
    struct gs_cursor c = gs_cursor_make(map->data, map->size);
    const uint8_t *magic = gs_cursor_bytes(&c, 8);
    uint64_t found = gs_cursor_u64(&c);

    if (c.failed || memcmp(magic, MAGIC, 8))
        return gs_fail(err, GS_E_FORMAT, "%s: is no file of unfinished work", j->path);
    if (found != key)
        return gs_fail(err, GS_E_ARG, "%s: was begun with another model, recipe, budget or "
                       "calibration; repeat that command, or remove the file", j->path);
    for (j->end = c.pos;; j->end = c.pos) {
        uint64_t item = gs_cursor_u64(&c), bytes = gs_cursor_u64(&c), print = gs_cursor_u64(&c);
        const uint8_t *data = c.failed ? NULL : gs_cursor_bytes(&c, bytes);
        if (!data || item >= j->n_items || !bytes || gs_fingerprint(item, data, bytes) != print)
            return GS_OK;
        j->items[item].at = c.pos - bytes;
        j->items[item].bytes = bytes;
    }
}

static int resume_file(struct gs_journal *j, uint64_t key, struct gs_err *err)
{
    struct gs_map *map;
    int rc = gs_map_open(j->path, &map, err);

    if (rc)
        return rc;
    rc = read_records(j, map, key, err);
    gs_map_close(&map);
    if (!rc && ftruncate(j->fd, (off_t)j->end))
        rc = fail_io(j, "cut", err);
    return rc;
}

static int start_file(struct gs_journal *j, uint64_t key, struct gs_err *err)
{
    uint8_t head[HEAD_BYTES];

    memcpy(head, MAGIC, 8);
    gs_put_u64(key, head + 8);
    j->end = HEAD_BYTES;
    return write_at(j, 0, head, sizeof head, err);
}

int gs_journal_open(const char *target, uint64_t key, size_t n_items, bool resume,
                    bool overwrite, struct gs_journal **out, struct gs_err *err)
{
    struct gs_journal *j = gs_alloc(1, sizeof *j);
    int rc;

    *out = NULL;
    if (!j)
        return gs_fail_nomem(err, "unfinished work");
    j->fd = -1;
    j->n_items = n_items;
    j->items = gs_alloc(n_items, sizeof *j->items);
    j->path = gs_alloc(strlen(target) + 6, 1);
    if (!j->items || !j->path) {
        gs_journal_close(&j, false);
        return gs_fail_nomem(err, "unfinished work");
    }
    sprintf(j->path, "%s.work", target);
    resume = resume && !access(j->path, F_OK);
    int mode = resume ? 0 : overwrite ? O_CREAT | O_TRUNC : O_CREAT | O_EXCL;
    j->fd = open(j->path, O_RDWR | O_CLOEXEC | mode, 0666);
    if (j->fd < 0 && errno == EEXIST)
        rc = gs_fail(err, GS_E_ARG, "%s: holds unfinished work; --resume continues it, "
                     "--overwrite begins anew", j->path);
    else if (j->fd < 0)
        rc = fail_io(j, "create", err);
    else
        rc = resume ? resume_file(j, key, err) : start_file(j, key, err);
    if (rc)
        gs_journal_close(&j, false);
    *out = j;
    return rc;
}

void gs_journal_close(struct gs_journal **jp, bool done)
{
    struct gs_journal *j = *jp;

    if (!j)
        return;
    if (j->fd >= 0)
        close(j->fd);
    if (done)
        unlink(j->path);
    gs_free(&j->path);
    gs_free(&j->items);
    gs_free(jp);
}

uint64_t gs_journal_bytes(const struct gs_journal *j, size_t item)
{
    return j->items[item].bytes;
}

/* The payload goes first, so that a record that is cut short has no valid head. */
int gs_journal_add(struct gs_journal *j, size_t item, const void *data, uint64_t bytes,
                   struct gs_err *err)
{
    uint8_t head[RECORD_BYTES];

    gs_put_u64(item, head);
    gs_put_u64(bytes, head + 8);
    gs_put_u64(gs_fingerprint(item, data, bytes), head + 16);
    int rc = write_at(j, j->end + RECORD_BYTES, data, bytes, err);
    if (!rc)
        rc = write_at(j, j->end, head, sizeof head, err);
    if (rc)
        return rc;
    j->items[item].at = j->end + RECORD_BYTES;
    j->items[item].bytes = bytes;
    j->end += RECORD_BYTES + bytes;
    return GS_OK;
}

int gs_journal_get(const struct gs_journal *j, size_t item, uint64_t offset, void *data,
                   uint64_t n, struct gs_err *err)
{
    uint8_t *p = data;
    uint64_t at = j->items[item].at + offset;

    if (offset > j->items[item].bytes || n > j->items[item].bytes - offset)
        return gs_fail(err, GS_E_FORMAT, "%s: the record of item %zu is too short", j->path,
                       item);
    while (n) {
        ssize_t done = pread(j->fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return fail_io(j, "read", err);
        p += done;
        at += (uint64_t)done;
        n -= (uint64_t)done;
    }
    return GS_OK;
}

const char *gs_journal_path(const struct gs_journal *j)
{
    return j->path;
}
