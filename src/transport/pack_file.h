/* SPDX-License-Identifier: MIT
 * What packing and unpacking share. Private to src/transport (and its tests). */
#ifndef GS_TRANSPORT_PACK_FILE_H
#define GS_TRANSPORT_PACK_FILE_H

#include "file/map.h"
#include "transport/chunk.h"
#include "transport/transport.h"

#define GS_PACK_MAGIC "GSPK"
#define GS_PACK_VERSION 1
#define GS_PACK_HEADER 24

struct gs_pack_chunk {
    uint32_t layout, bytes, packed;
    uint64_t fingerprint;
};

void gs_pack_header_put(uint64_t size, uint64_t chunks, uint8_t out[GS_PACK_HEADER]);
void gs_pack_chunk_put(const struct gs_pack_chunk *chunk, uint8_t out[GS_CHUNK_HEADER]);

/* GS_E_ARG if dst is src, or exists and does not begin with `magic` (or is empty). */
int gs_pack_check_output(const char *src, const char *dst, bool overwrite, const char *magic,
                         struct gs_err *err) GS_MUST_USE;

/* Scratch for n workers. */
int gs_pack_workers(size_t n, struct gs_chunk_work ***out, struct gs_err *err) GS_MUST_USE;
void gs_pack_workers_destroy(struct gs_chunk_work ***work, size_t n);

/* Takes the n decoded bytes of a chunk; non-zero stops and is returned. */
typedef int (*gs_unpack_sink_fn)(void *ctx, const uint8_t *data, size_t n, struct gs_err *err);

/* Everything but the files: checks the pack's headers, tells the size of what is in it (by
 * `begin`, which may refuse), then hands the bytes on in order. */
struct gs_unpack_sink {
    int (*begin)(void *ctx, uint64_t size, struct gs_err *err);
    gs_unpack_sink_fn bytes;
    void *ctx;
};
int gs_unpack_map(const struct gs_map *map, int threads, const struct gs_unpack_sink *sink,
                  uint64_t *chunks, struct gs_err *err) GS_MUST_USE;

#endif
