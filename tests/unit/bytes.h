/* SPDX-License-Identifier: MIT
 * For tests of file formats: byte strings built piece by piece, GGUF pieces among them, and
 * opening a store on them. */
#ifndef GS_TEST_BYTES_H
#define GS_TEST_BYTES_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file/store_impl.h"

struct bytes {
    uint8_t data[1 << 16];
    size_t size;
};

static inline void put(struct bytes *b, const void *p, size_t n)
{
    assert(b->size + n <= sizeof b->data);
    memcpy(b->data + b->size, p, n);
    b->size += n;
}

static inline void put_u8(struct bytes *b, uint8_t u) { put(b, &u, 1); }
static inline void put_u32(struct bytes *b, uint32_t u) { put(b, &u, 4); }
static inline void put_u64(struct bytes *b, uint64_t u) { put(b, &u, 8); }

static inline void put_text(struct bytes *b, const char *s)
{
    put(b, s, strlen(s));
}

/* A GGUF string: length and bytes. */
static inline void put_string(struct bytes *b, const char *s)
{
    put_u64(b, strlen(s));
    put_text(b, s);
}

static inline void put_header(struct bytes *b, uint32_t version, uint64_t tensors,
                              uint64_t pairs)
{
    b->size = 0;
    put_text(b, "GGUF");
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, pairs);
}

static inline void put_pair_u32(struct bytes *b, const char *key, uint32_t value)
{
    put_string(b, key);
    put_u32(b, GS_VALUE_U32);
    put_u32(b, value);
}

static inline void put_pair_str(struct bytes *b, const char *key, const char *value)
{
    put_string(b, key);
    put_u32(b, GS_VALUE_STRING);
    put_string(b, value);
}

static inline void put_tensor(struct bytes *b, const char *name, uint32_t n_dims,
                              const uint64_t *dim, uint32_t type, uint64_t offset)
{
    put_string(b, name);
    put_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        put_u64(b, dim[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

static inline void put_zeros(struct bytes *b, size_t n)
{
    assert(b->size + n <= sizeof b->data);
    memset(b->data + b->size, 0, n);
    b->size += n;
}

static inline void pad_to(struct bytes *b, size_t alignment)
{
    put_zeros(b, -b->size % alignment);
}

/* A safetensors file in the making: entries of the header, and the data. */
struct st_bytes {
    char json[1 << 14];
    size_t n;
    struct bytes data;
};

static inline void st_begin(struct st_bytes *s)
{
    s->n = (size_t)snprintf(s->json, sizeof s->json, "{");
    s->data.size = 0;
}

/* shape as JSON: "[2,3]". */
static inline void st_add(struct st_bytes *s, const char *name, const char *dtype,
                          const char *shape, const void *data, size_t n)
{
    int m = snprintf(s->json + s->n, sizeof s->json - s->n,
                     "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                     s->n > 1 ? "," : "", name, dtype, shape, s->data.size, s->data.size + n);
    assert(m > 0 && s->n + (size_t)m + 2 < sizeof s->json);
    s->n += (size_t)m;
    put(&s->data, data, n);
}

static inline void st_end(struct st_bytes *s, struct bytes *out)
{
    out->size = 0;
    s->json[s->n++] = '}';
    put_u64(out, s->n);
    put(out, s->json, s->n);
    put(out, s->data.data, s->data.size);
}

/* A file of this header and n bytes of data. */
static inline void st_raw(struct bytes *out, const char *json, size_t n)
{
    out->size = 0;
    put_u64(out, strlen(json));
    put_text(out, json);
    put_zeros(out, n);
}

/* Opens an exact-size heap copy, so that a sanitizer sees any read beyond the end. The copy
 * is to be freed with free(*copy) after the store is closed. */
static inline int open_bytes(const void *data, size_t n, const char *path, uint8_t **copy,
                             struct gs_store **store, struct gs_err *err)
{
    struct gs_map *map;
    *copy = malloc(n ? n : 1);
    assert(*copy);
    if (n)
        memcpy(*copy, data, n);
    *store = NULL;
    int rc = gs_map_memory(*copy, n, path, &map, err);
    return rc ? rc : gs_store_open_map(&map, store, err);
}

/* A new folder under $TMPDIR or /tmp. */
static inline void make_folder(char *path, size_t n)
{
    const char *base = getenv("TMPDIR");
    int m = snprintf(path, n, "%s/gosset-test-XXXXXX", base && *base ? base : "/tmp");
    assert(m > 0 && (size_t)m < n);
    char *made = mkdtemp(path);
    assert(made);
    (void)made;
}

static inline void write_file(const char *folder, const char *name, const void *data, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert(f);
    size_t done = fwrite(data, 1, n, f);
    assert(done == n);
    (void)done;
    fclose(f);
}

static inline void remove_file(const char *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

#endif
