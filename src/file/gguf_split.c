/* SPDX-License-Identifier: MIT
 * GGUF models in several files, as gguf-split makes them.
 *
 *   name-00001-of-00003.gguf   all metadata; split.no = 0, split.count = 3,
 *   name-00002-of-00003.gguf   split.tensors.count = tensors of the whole set
 *   name-00003-of-00003.gguf   the others have split.* only
 *
 * Any shard may be named; the first is found by name and read first, so the order of
 * tensors is that of the set. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "file/gguf_read.h"

struct split {
    uint64_t no, count, tensors;
};

static bool probe(const char *path, const struct gs_map *map)
{
    (void)path;
    return map && map->size >= 4 && !memcmp(map->data, "GGUF", 4);
}

/* count is 1 for a file that is no shard. */
static int read_split(const struct gs_meta *meta, struct split *s, struct gs_err *err)
{
    *s = (struct split){0, 1, 0};
    int rc = gs_meta_get_uint(meta, "split.count", &s->count, err);
    if (rc >= 0)
        rc = gs_meta_get_uint(meta, "split.no", &s->no, err);
    if (rc >= 0)
        rc = gs_meta_get_uint(meta, "split.tensors.count", &s->tensors, err);
    if (rc < 0)
        return rc;
    if (!s->count)
        s->count = 1;
    if (s->count > 65535 || s->no >= s->count)
        return gs_fail(err, GS_E_FORMAT, "split.no %" PRIu64 " of split.count %" PRIu64
                       " is not possible", s->no, s->count);
    return GS_OK;
}

#define SUFFIX_BYTES 40

static int suffix(char *out, const struct split *s, uint64_t no)
{
    return snprintf(out, SUFFIX_BYTES, "-%05u-of-%05u.gguf", (unsigned)no + 1,
                    (unsigned)s->count);
}

/* Length of the path before "-0000i-of-0000n.gguf", by what the shard says of itself. */
static int find_prefix(const char *path, const struct split *s, size_t *n, struct gs_err *err)
{
    char want[SUFFIX_BYTES];
    size_t m = (size_t)suffix(want, s, s->no), length = strlen(path);

    if (length < m || strcmp(path + length - m, want))
        return gs_fail(err, GS_E_FORMAT,
                       "%s: shard %" PRIu64 " of %" PRIu64 " must be named ...%s", path,
                       s->no + 1, s->count, want);
    *n = length - m;
    return GS_OK;
}

static int read_shard(struct gs_store *store, const char *path, const struct split *set,
                      uint64_t no, struct gs_err *err)
{
    const struct gs_map *map;
    struct gs_meta *own = NULL; /* of the later shards, not kept */
    struct split s;

    int rc = gs_store_map(store, path, &map, err);
    if (rc) {
        char place[64];
        snprintf(place, sizeof place, "shard %" PRIu64 " of %" PRIu64 " is missing", no + 1,
                 set->count);
        return gs_err_prefix(err, rc, place);
    }
    if (no)
        rc = gs_meta_create(&own, err);
    struct gs_meta *meta = no ? own : gs_store_meta_edit(store);
    if (!rc)
        rc = gs_gguf_read(map, meta, store, err);
    if (!rc) {
        rc = read_split(meta, &s, err);
        if (rc)
            rc = gs_err_prefix(err, rc, path);
    }
    if (!rc && (s.no != no || s.count != set->count || s.tensors != set->tensors))
        rc = gs_fail(err, GS_E_FORMAT,
                     "%s: is shard %" PRIu64 " of %" PRIu64 " with %" PRIu64
                     " tensors, expected shard %" PRIu64 " of %" PRIu64 " with %" PRIu64, path,
                     s.no + 1, s.count, s.tensors, no + 1, set->count, set->tensors);
    gs_meta_destroy(&own);
    return rc;
}

static int read_set(struct gs_store *store, const char *path, const struct split *set,
                    struct gs_err *err)
{
    size_t n = 0;
    int rc = find_prefix(path, set, &n, err);
    if (rc)
        return rc;
    char *name = gs_alloc(n + SUFFIX_BYTES, 1);
    if (!name)
        return gs_fail_nomem(err, path);
    memcpy(name, path, n);
    for (uint64_t i = 0; !rc && i < set->count; i++) {
        suffix(name + n, set, i);
        rc = read_shard(store, name, set, i, err);
    }
    gs_free(&name);
    if (!rc && set->tensors && set->tensors != gs_store_count(store))
        rc = gs_fail(err, GS_E_FORMAT,
                     "%s: the shards hold %zu tensors, split.tensors.count is %" PRIu64, path,
                     gs_store_count(store), set->tensors);
    return rc;
}

static int open_gguf(struct gs_store *store, const char *path, const struct gs_map *map,
                     struct gs_err *err)
{
    struct split set;

    int rc = gs_gguf_read(map, gs_store_meta_edit(store), store, err);
    if (rc)
        return rc;
    rc = read_split(gs_store_meta_edit(store), &set, err);
    if (rc)
        return gs_err_prefix(err, rc, path);
    if (set.count == 1)
        return GS_OK;
    /* Which files there are is known only now; start over with the first. */
    rc = gs_store_reset(store, err);
    return rc ? rc : read_set(store, path, &set, err);
}

const struct gs_format gs_format_gguf = {"gguf", probe, open_gguf};
