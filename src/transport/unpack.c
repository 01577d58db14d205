/* SPDX-License-Identifier: MIT
 * A pack to the file that it was made of. All chunk headers are walked first, which bounds every
 * size by bytes that are there; then chunks are decoded a batch at a time and each is checked
 * against its fingerprint before it is handed on. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/alloc.h"
#include "core/bytes.h"
#include "core/hash.h"
#include "core/team.h"
#include "file/out.h"
#include "transport/pack_file.h"

/* ---- shared with packing ---- */

void gs_pack_header_put(uint64_t size, uint64_t chunks, uint8_t out[GS_PACK_HEADER])
{
    memcpy(out, GS_PACK_MAGIC, 4);
    gs_put_u32(GS_PACK_VERSION, out + 4);
    gs_put_u64(size, out + 8);
    gs_put_u64(chunks, out + 16);
}

void gs_pack_chunk_put(const struct gs_pack_chunk *chunk, uint8_t out[GS_CHUNK_HEADER])
{
    gs_put_u32(chunk->layout, out);
    gs_put_u32(chunk->bytes, out + 4);
    gs_put_u32(chunk->packed, out + 8);
    gs_put_u32(0, out + 12);
    gs_put_u64(chunk->fingerprint, out + 16);
}

int gs_pack_check_output(const char *src, const char *dst, bool overwrite, const char *magic,
                         struct gs_err *err)
{
    struct stat a, b;
    char head[4];

    if (stat(dst, &b))
        return GS_OK; /* not there; other obstacles show when it is created */
    if (!stat(src, &a) && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return gs_fail(err, GS_E_ARG, "%s: is the file that is being read", dst);
    FILE *f = overwrite && S_ISREG(b.st_mode) ? fopen(dst, "rb") : NULL;
    if (!f)
        return GS_OK;
    size_t n = fread(head, 1, sizeof head, f);
    fclose(f);
    if (n && (n < sizeof head || memcmp(head, magic, sizeof head)))
        return gs_fail(err, GS_E_ARG, "%s: does not begin with %s, so it is not replaced", dst,
                       magic);
    return GS_OK;
}

int gs_pack_workers(size_t n, struct gs_chunk_work ***out, struct gs_err *err)
{
    int rc = GS_OK;

    if (!(*out = gs_alloc(n, sizeof(struct gs_chunk_work *))))
        return gs_fail_nomem(err, "packing");
    for (size_t i = 0; !rc && i < n; i++)
        rc = gs_chunk_work_create(*out + i, err);
    return rc;
}

void gs_pack_workers_destroy(struct gs_chunk_work ***work, size_t n)
{
    for (size_t i = 0; *work && i < n; i++)
        gs_chunk_work_destroy(*work + i);
    gs_free(work);
}

/* ---- headers ---- */

/* A chunk of a batch. */
struct slot {
    struct gs_pack_chunk head;
    struct gs_layout layout;
    uint64_t index, pos; /* of the chunk, and of its header in the pack */
    const uint8_t *code;
    uint8_t *bytes;
    bool sound;
};

struct unpacking {
    const struct gs_map *map;
    uint64_t size, chunks;
    struct gs_team *team;
    struct gs_chunk_work **work;
    struct slot *slots;
    size_t n_slots;
    const struct gs_unpack_sink *sink;
};

static int read_header(struct unpacking *u, struct gs_cursor *c, struct gs_err *err)
{
    const uint8_t *magic = gs_cursor_bytes(c, 4);

    if (!magic || memcmp(magic, GS_PACK_MAGIC, 4))
        return gs_fail_at(err, GS_E_FORMAT, 0, "is no pack: it does not begin with %s",
                          GS_PACK_MAGIC);
    uint32_t version = gs_cursor_u32(c);
    u->size = gs_cursor_u64(c);
    u->chunks = gs_cursor_u64(c);
    int rc = gs_cursor_check(c, "the pack's header", err);
    if (!rc && version != GS_PACK_VERSION)
        rc = gs_fail(err, GS_E_UNSUPPORTED, "a pack of version %" PRIu32 ", this program reads %d",
                     version, GS_PACK_VERSION);
    return rc;
}

/* The chunk at the cursor: s->head, ->layout and ->code. */
static int read_chunk(struct gs_cursor *c, uint64_t index, struct slot *s, struct gs_err *err)
{
    s->index = index;
    s->pos = c->pos;
    s->head.layout = gs_cursor_u32(c);
    s->head.bytes = gs_cursor_u32(c);
    s->head.packed = gs_cursor_u32(c);
    uint32_t zero = gs_cursor_u32(c);
    s->head.fingerprint = gs_cursor_u64(c);
    if (!c->failed && (!gs_layout_get(s->head.layout, &s->layout) || !s->head.bytes || zero ||
                       s->head.bytes > GS_CHUNK_BYTES || s->head.bytes % s->layout.block))
        return gs_fail_at(err, GS_E_FORMAT, s->pos, "chunk %" PRIu64 " at byte %" PRIu64
                          ": its header is damaged", index, s->pos);
    s->code = gs_cursor_bytes(c, s->head.packed);
    if (c->failed)
        return gs_fail_at(err, GS_E_FORMAT, s->pos, "chunk %" PRIu64 " at byte %" PRIu64
                          ": the pack ends within it", index, s->pos);
    return GS_OK;
}

static int check_headers(const struct unpacking *u, struct gs_cursor c, struct gs_err *err)
{
    uint64_t sum = 0, print = 0;
    struct slot s = {0};
    int rc;

    for (uint64_t i = 0; i < u->chunks; i++) {
        uint8_t header[GS_CHUNK_HEADER];
        if ((rc = read_chunk(&c, i, &s, err)))
            return rc;
        gs_pack_chunk_put(&s.head, header);
        print = gs_fingerprint(print, header, sizeof header);
        sum += s.head.bytes;
    }
    uint64_t want = gs_cursor_u64(&c);
    if ((rc = gs_cursor_check(&c, "the pack", err)))
        return rc;
    if (sum != u->size || print != want || gs_cursor_left(&c))
        return gs_fail_at(err, GS_E_FORMAT, c.pos,
                          "the pack's headers do not agree: it is damaged, or pieces of it are "
                          "missing or out of order");
    return GS_OK;
}

/* ---- chunks ---- */

static void decode_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct unpacking *u = ctx;

    for (size_t i = begin; i < end; i++) {
        struct slot *s = &u->slots[i];
        s->sound = gs_chunk_decode(&s->layout, u->work[worker], s->code, s->head.packed,
                                   s->bytes, s->head.bytes) &&
                   gs_fingerprint(0, s->bytes, s->head.bytes) == s->head.fingerprint;
    }
}

static int decode_batch(struct unpacking *u, size_t used, struct gs_err *err)
{
    int rc = GS_OK;

    gs_team_run(u->team, used, 1, decode_run, u);
    for (size_t i = 0; !rc && i < used; i++) {
        const struct slot *s = &u->slots[i];
        if (!s->sound)
            return gs_fail_at(err, GS_E_FORMAT, s->pos, "chunk %" PRIu64 " at byte %" PRIu64
                              " is damaged", s->index, s->pos);
        rc = u->sink->bytes(u->sink->ctx, s->bytes, s->head.bytes, err);
        gs_map_drop(u->map, s->pos, s->head.packed);
    }
    return rc;
}

static int decode_all(struct unpacking *u, struct gs_cursor c, struct gs_err *err)
{
    int rc = GS_OK;

    for (uint64_t i = 0; !rc && i < u->chunks;) {
        size_t used = 0;
        while (!rc && used < u->n_slots && i < u->chunks)
            rc = read_chunk(&c, i++, &u->slots[used++], err);
        if (!rc)
            rc = decode_batch(u, used, err);
    }
    return rc;
}

static int start(struct unpacking *u, int threads, struct gs_err *err)
{
    int rc = gs_team_create(threads, &u->team, err);
    size_t workers = rc ? 0 : (size_t)gs_team_size(u->team);

    if (rc || (rc = gs_pack_workers(workers, &u->work, err)))
        return rc;
    u->n_slots = (size_t)GS_MIN(2 * workers, GS_MAX(u->chunks, 1));
    if (!(u->slots = gs_alloc(u->n_slots, sizeof *u->slots)))
        return gs_fail_nomem(err, "unpacking");
    for (size_t i = 0; i < u->n_slots; i++)
        if (!(u->slots[i].bytes = gs_alloc(GS_CHUNK_BYTES, 1)))
            return gs_fail_nomem(err, "unpacking");
    return GS_OK;
}

int gs_unpack_map(const struct gs_map *map, int threads, const struct gs_unpack_sink *sink,
                  uint64_t *chunks, struct gs_err *err)
{
    struct gs_cursor c = gs_cursor_make(map->data, map->size);
    struct unpacking u = {.map = map, .sink = sink};
    int rc;

    if ((rc = read_header(&u, &c, err)) || (rc = check_headers(&u, c, err)) ||
        (rc = sink->begin(sink->ctx, u.size, err)) || (rc = start(&u, threads, err)))
        goto out;
    *chunks = u.chunks;
    rc = decode_all(&u, c, err);
out:
    for (size_t i = 0; u.slots && i < u.n_slots; i++)
        gs_free(&u.slots[i].bytes);
    gs_free(&u.slots);
    gs_pack_workers_destroy(&u.work, u.team ? (size_t)gs_team_size(u.team) : 0);
    gs_team_destroy(&u.team);
    return rc < 0 ? gs_err_prefix(err, rc, map->path) : rc;
}

/* ---- files ---- */

struct target {
    const char *path;
    const struct gs_pack_options *options;
    struct gs_out *out;
    uint64_t done, size;
};

static int begin_file(void *ctx, uint64_t size, struct gs_err *err)
{
    struct target *t = ctx;

    t->size = size;
    return gs_out_create(t->path, t->options->overwrite, size, &t->out, err);
}

static int write_file(void *ctx, const uint8_t *data, size_t n, struct gs_err *err)
{
    struct target *t = ctx;
    const struct gs_pack_options *o = t->options;
    int rc = gs_out_write(t->out, data, n, err);

    t->done += n;
    if (!rc && o->progress && o->progress(o->progress_ctx, "bytes", t->done, t->size))
        rc = gs_fail(err, GS_E_STOPPED, "unpacking was stopped");
    return rc;
}

int gs_unpack_file(const char *src, const char *dst, const struct gs_pack_options *options,
                   struct gs_pack_result *out, struct gs_err *err)
{
    struct target t = {.path = dst, .options = options};
    struct gs_unpack_sink sink = {.begin = begin_file, .bytes = write_file, .ctx = &t};
    struct gs_map *map = NULL;
    uint64_t chunks = 0;
    int rc;

    if ((rc = gs_map_open(src, &map, err)) ||
        (rc = gs_pack_check_output(src, dst, options->overwrite, "GGUF", err)) ||
        (rc = gs_unpack_map(map, options->threads, &sink, &chunks, err)))
        goto out;
    if (out)
        *out = (struct gs_pack_result){.bytes_in = map->size, .bytes_out = gs_out_size(t.out),
                                       .chunks = chunks};
    rc = gs_out_commit(&t.out, err);
out:
    gs_out_abort(&t.out);
    gs_map_close(&map);
    return rc;
}
