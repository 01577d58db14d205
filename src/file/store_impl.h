/* SPDX-License-Identifier: MIT
 * How a format fills a store. For the files of src/file only (and tests).
 *
 * A format probes a path, then adds maps, metadata and tensors. Tensor i of the store has
 * source i: a range of a map that is handed out as it lies, or a recipe (struct gs_build)
 * that makes the GGUF form of it at the first use. */
#ifndef GS_FILE_STORE_IMPL_H
#define GS_FILE_STORE_IMPL_H

#include "core/arena.h"
#include "file/map.h"
#include "file/store.h"

struct gs_source {
    const struct gs_map *map; /* NULL: made from nothing but `ctx` */
    uint64_t offset, bytes;   /* the stored form's range of the map */
    const struct gs_build *build; /* NULL: stored form and tensor are the same bytes */
    const void *ctx;          /* for build, in the store's arena */
    void *built;              /* heap copy once made */
};

/* Makes `tensor` (tensor->bytes at dst) from its source. */
struct gs_build {
    const char *name;
    int (*make)(const struct gs_tensor *tensor, const struct gs_source *source, void *dst,
                struct gs_err *err);
};

struct gs_format {
    const char *name; /* as gs_store_format returns it */
    /* `map` is NULL if `path` is a folder. */
    bool (*probe)(const char *path, const struct gs_map *map);
    /* Fills the store; `map` already belongs to it. */
    int (*open)(struct gs_store *store, const char *path, const struct gs_map *map,
                struct gs_err *err);
};

extern const struct gs_format gs_format_gguf, gs_format_safetensors, gs_format_hf;

/* As gs_store_open, on bytes that are already there. Takes *map over, also on failure. */
int gs_store_open_map(struct gs_map **map, struct gs_store **out, struct gs_err *err)
    GS_MUST_USE;

/* An empty store, to be filled and closed. */
int gs_store_create(const char *path, const char *format, struct gs_store **out,
                    struct gs_err *err) GS_MUST_USE;

/* Maps another file of the same model; the store closes it. */
int gs_store_map(struct gs_store *store, const char *path, const struct gs_map **out,
                 struct gs_err *err) GS_MUST_USE;

/* The map of the store, to be filled; metadata may borrow from the store's maps. */
struct gs_meta *gs_store_meta_edit(struct gs_store *store);
struct gs_arena *gs_store_arena(struct gs_store *store);

/* Adds a tensor; its name is copied and `bytes` computed. A second one of the same name is
 * an error. Pointers to tensors are stable only after the last call. */
int gs_store_add(struct gs_store *store, struct gs_str name, enum gs_type type,
                 uint32_t n_dims, const uint64_t *dim, const struct gs_source *source,
                 struct gs_err *err) GS_MUST_USE;

/* Adds `delta` to the offsets of the tensors from `first` on. */
void gs_store_shift(struct gs_store *store, size_t first, uint64_t delta);

/* Back to an empty store: tensors, metadata and maps are gone. */
int gs_store_reset(struct gs_store *store, struct gs_err *err) GS_MUST_USE;

/* tensor->bytes for a type and a shape (each dimension > 0); names the rule it breaks. */
int gs_tensor_bytes(enum gs_type type, uint32_t n_dims, const uint64_t *dim, uint64_t *bytes,
                    struct gs_err *err) GS_MUST_USE;

#endif
