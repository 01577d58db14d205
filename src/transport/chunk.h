/* SPDX-License-Identifier: MIT
 * One chunk: bytes to a code and back. Private to src/transport (and its tests). */
#ifndef GS_TRANSPORT_CHUNK_H
#define GS_TRANSPORT_CHUNK_H

#include "core/cursor.h"

#define GS_CHUNK_BYTES ((size_t)1 << 21) /* at most, before packing */
#define GS_CHUNK_HEADER 24

/* Bytes of each block that are coded together, in the order of the blocks. */
struct gs_field {
    uint16_t offset, count;
    bool continues; /* the field before, one byte higher up, belongs to the same number */
};

#define GS_FIELDS_MAX 64

/* How the bytes of a storage type are sorted. */
struct gs_layout {
    uint32_t block;     /* bytes of a block */
    uint32_t n_fields;  /* they cover the block */
    struct gs_field fields[GS_FIELDS_MAX];
};

#define GS_LAYOUT_BYTES 0xffffu /* of no type: text, padding, other files */

/* layout: a storage type's number or GS_LAYOUT_BYTES; false if there is none of this number. */
bool gs_layout_get(uint32_t number, struct gs_layout *out);

/* Scratch of one worker. */
struct gs_chunk_work;

int gs_chunk_work_create(struct gs_chunk_work **out, struct gs_err *err) GS_MUST_USE;
void gs_chunk_work_destroy(struct gs_chunk_work **work);

/* Room that the code of a chunk may take. */
size_t gs_chunk_room(void);

/* n bytes, a multiple of the layout's block, at most GS_CHUNK_BYTES; returns the bytes written
 * to dst, which has room for gs_chunk_room. */
size_t gs_chunk_encode(const struct gs_layout *layout, struct gs_chunk_work *work,
                       const uint8_t *src, size_t n, uint8_t *dst);

/* The inverse; n is known from the chunk's header. False if the code cannot be one of n bytes.
 * Never reads beyond size or writes beyond n; what it makes of a damaged code is for the
 * fingerprint to tell. */
bool gs_chunk_decode(const struct gs_layout *layout, struct gs_chunk_work *work,
                     const uint8_t *src, size_t size, uint8_t *dst, size_t n);

#endif
