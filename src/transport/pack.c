/* SPDX-License-Identifier: MIT
 * A file to a pack: the file is cut along its tensors (if it is a GGUF file; as one run of bytes
 * if not), each region into chunks, and chunks are coded a batch at a time. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/bytes.h"
#include "core/hash.h"
#include "core/team.h"
#include "file/gguf_read.h"
#include "file/out.h"
#include "transport/pack_file.h"

struct region {
    uint64_t begin, end;
    uint32_t layout;
};

/* One chunk of a batch. */
struct slot {
    struct gs_layout layout;
    uint32_t number;
    const uint8_t *src;
    size_t n, packed;
    uint64_t fingerprint;
    uint8_t *code;
};

struct packing {
    struct gs_map *map;
    struct region *regions;
    size_t n_regions;
    struct gs_team *team;
    struct gs_chunk_work **work;
    struct slot *slots;
    size_t n_slots, used; /* of a batch */
    uint64_t chunks, headers; /* headers: their fingerprint so far */
    uint64_t done;
    struct gs_out *out;
    const struct gs_pack_options *options;
};

/* ---- regions ---- */

static int by_begin(const void *a, const void *b)
{
    const struct region *x = a, *y = b;

    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Tensors of the mapped file that lie where their bytes can be coded in place. */
static int tensor_regions(struct packing *p, struct gs_store *store, struct gs_err *err)
{
    size_t count = gs_store_count(store);
    struct region *tensors = gs_alloc(count, sizeof *tensors);
    struct gs_layout layout;
    size_t n = 0;

    p->regions = gs_alloc(2 * count + 1, sizeof *p->regions);
    if (!tensors || !p->regions) {
        gs_free(&tensors);
        return gs_fail_nomem(err, "packing");
    }
    for (size_t i = 0; i < count; i++) {
        const struct gs_tensor *t = gs_store_tensor(store, i);
        const void *data;
        if (!gs_layout_get(t->type, &layout) || gs_store_data(store, t, &data, NULL))
            continue;
        uint64_t at = (uint64_t)((uintptr_t)data - (uintptr_t)p->map->data);
        if (at < p->map->size && t->bytes && t->bytes <= p->map->size - at)
            tensors[n++] = (struct region){at, at + t->bytes, t->type};
        else
            gs_store_release(store, t); /* a copy, because it was not aligned */
    }
    qsort(tensors, n, sizeof *tensors, by_begin);
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (tensors[i].begin < at)
            continue;
        if (tensors[i].begin > at)
            p->regions[p->n_regions++] = (struct region){at, tensors[i].begin, GS_LAYOUT_BYTES};
        p->regions[p->n_regions++] = tensors[i];
        at = tensors[i].end;
    }
    if (at < p->map->size)
        p->regions[p->n_regions++] = (struct region){at, p->map->size, GS_LAYOUT_BYTES};
    gs_free(&tensors);
    return GS_OK;
}

/* A file that is no (sound) GGUF file is packed all the same. */
static int find_regions(struct packing *p, struct gs_err *err)
{
    struct gs_store *store = NULL;
    struct gs_err ignored = {0};
    int rc = gs_store_create(p->map->path, "gguf", &store, err);

    if (rc)
        return rc;
    if (gs_gguf_read(p->map, gs_store_meta_edit(store), store, &ignored) &&
        !(rc = ignored.code == GS_E_NOMEM ? gs_fail_nomem(err, "packing") : GS_OK))
        rc = gs_store_reset(store, err);
    if (!rc)
        rc = tensor_regions(p, store, err);
    gs_store_close(&store);
    return rc;
}

static size_t chunk_bytes(const struct gs_layout *layout)
{
    return GS_CHUNK_BYTES / layout->block * layout->block;
}

static uint64_t count_chunks(const struct packing *p)
{
    uint64_t n = 0;

    for (size_t i = 0; i < p->n_regions; i++) {
        struct gs_layout layout;
        if (gs_layout_get(p->regions[i].layout, &layout)) {
            size_t step = chunk_bytes(&layout);
            n += (p->regions[i].end - p->regions[i].begin + step - 1) / step;
        }
    }
    return n;
}

/* ---- coding ---- */

static void encode_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct packing *p = ctx;

    for (size_t i = begin; i < end; i++) {
        struct slot *s = &p->slots[i];
        s->fingerprint = gs_fingerprint(0, s->src, s->n);
        s->packed = gs_chunk_encode(&s->layout, p->work[worker], s->src, s->n, s->code);
    }
}

static int flush(struct packing *p, struct gs_err *err)
{
    const struct gs_pack_options *o = p->options;
    int rc = GS_OK;

    gs_team_run(p->team, p->used, 1, encode_run, p);
    for (size_t i = 0; !rc && i < p->used; i++) {
        struct slot *s = &p->slots[i];
        struct gs_pack_chunk chunk = {.layout = s->number, .bytes = (uint32_t)s->n,
                                      .packed = (uint32_t)s->packed,
                                      .fingerprint = s->fingerprint};
        uint8_t header[GS_CHUNK_HEADER];
        gs_pack_chunk_put(&chunk, header);
        p->headers = gs_fingerprint(p->headers, header, sizeof header);
        if (!(rc = gs_out_write(p->out, header, sizeof header, err)))
            rc = gs_out_write(p->out, s->code, s->packed, err);
        p->done += s->n;
        gs_map_drop(p->map, (uint64_t)(s->src - p->map->data), s->n);
    }
    p->used = 0;
    if (!rc && o->progress && o->progress(o->progress_ctx, "bytes", p->done, p->map->size))
        rc = gs_fail(err, GS_E_STOPPED, "packing was stopped");
    return rc;
}

static int pack_region(struct packing *p, const struct region *r, struct gs_err *err)
{
    struct gs_layout layout;
    int rc = GS_OK;

    if (!gs_layout_get(r->layout, &layout))
        return GS_OK; /* regions have layouts that exist */
    for (uint64_t at = r->begin; !rc && at < r->end;) {
        struct slot *s = &p->slots[p->used++];
        s->layout = layout;
        s->number = r->layout;
        s->src = p->map->data + at;
        s->n = (size_t)GS_MIN(chunk_bytes(&layout), r->end - at);
        at += s->n;
        p->chunks++;
        if (p->used == p->n_slots)
            rc = flush(p, err);
    }
    return rc;
}

static int start(struct packing *p, struct gs_err *err)
{
    int rc = gs_team_create(p->options->threads, &p->team, err);
    size_t workers = rc ? 0 : (size_t)gs_team_size(p->team);

    if (rc || (rc = gs_pack_workers(workers, &p->work, err)))
        return rc;
    p->n_slots = 2 * workers;
    if (!(p->slots = gs_alloc(p->n_slots, sizeof *p->slots)))
        return gs_fail_nomem(err, "packing");
    for (size_t i = 0; i < p->n_slots; i++)
        if (!(p->slots[i].code = gs_alloc(gs_chunk_room(), 1)))
            return gs_fail_nomem(err, "packing");
    return GS_OK;
}

static int write_all(struct packing *p, const char *dst, struct gs_err *err)
{
    uint8_t header[GS_PACK_HEADER], trailer[8];
    int rc = gs_out_create(dst, p->options->overwrite, 0, &p->out, err);

    if (rc)
        return rc;
    gs_pack_header_put(p->map->size, count_chunks(p), header);
    rc = gs_out_write(p->out, header, sizeof header, err);
    for (size_t i = 0; !rc && i < p->n_regions; i++)
        rc = pack_region(p, &p->regions[i], err);
    if (!rc && p->used)
        rc = flush(p, err);
    gs_put_u64(p->headers, trailer);
    return rc ? rc : gs_out_write(p->out, trailer, sizeof trailer, err);
}

int gs_pack_file(const char *src, const char *dst, const struct gs_pack_options *options,
                 struct gs_pack_result *out, struct gs_err *err)
{
    struct packing p = {.options = options};
    int rc;

    if ((rc = gs_map_open(src, &p.map, err)) ||
        (rc = gs_pack_check_output(src, dst, options->overwrite, GS_PACK_MAGIC, err)) ||
        (rc = find_regions(&p, err)) || (rc = start(&p, err)) || (rc = write_all(&p, dst, err)))
        goto out;
    if (out)
        *out = (struct gs_pack_result){.bytes_in = p.map->size,
                                       .bytes_out = gs_out_size(p.out), .chunks = p.chunks};
    rc = gs_out_commit(&p.out, err);
out:
    gs_out_abort(&p.out);
    for (size_t i = 0; p.slots && i < p.n_slots; i++)
        gs_free(&p.slots[i].code);
    gs_free(&p.slots);
    gs_pack_workers_destroy(&p.work, p.team ? (size_t)gs_team_size(p.team) : 0);
    gs_team_destroy(&p.team);
    gs_free(&p.regions);
    gs_map_close(&p.map);
    return rc;
}
