/* SPDX-License-Identifier: MIT
 * A model on disk: metadata in GGUF's vocabulary and memory-mapped tensors.
 *
 * One list of formats (store.c) with probe and open; GGUF (any shard of a set), a bare
 * safetensors file and a Hugging Face folder are its members. Whatever the source, names,
 * shapes, keys and row order are GGUF's: the Hugging Face reader maps names, permutes the
 * rows of llama's q/k, adds one to gemma's norms, and so on, when a tensor is first asked for.
 * Every extent is checked against the file's size at opening, before any weight is read. */
#ifndef GS_FILE_STORE_H
#define GS_FILE_STORE_H

#include "core/meta.h"
#include "core/type.h"

struct gs_tensor {
    const char *name;
    enum gs_type type;
    uint32_t n_dims;
    uint64_t dim[4];  /* innermost (input features) first; unused ones are 1 */
    uint64_t bytes;
    const char *file; /* path of the file that holds it, for messages */
};

struct gs_store;

/* path: a file, any shard of a set, or a folder. */
int gs_store_open(const char *path, struct gs_store **out, struct gs_err *err) GS_MUST_USE;
void gs_store_close(struct gs_store **store);

const char *gs_store_path(const struct gs_store *store);
/* All weights are needed soon: see gs_map_expect. */
void gs_store_expect(const struct gs_store *store);
const char *gs_store_format(const struct gs_store *store); /* "gguf", "safetensors" */
const struct gs_meta *gs_store_meta(const struct gs_store *store);

size_t gs_store_count(const struct gs_store *store);
const struct gs_tensor *gs_store_tensor(const struct gs_store *store, size_t index);
const struct gs_tensor *gs_store_find(const struct gs_store *store, const char *name);

/* The tensor's bytes, valid until the store is closed. A mapped tensor costs nothing; one
 * that must be rearranged is built at the first call (not thread-safe) and its source pages
 * are dropped. `tensor` is one of this store's. */
int gs_store_data(struct gs_store *store, const struct gs_tensor *tensor, const void **data,
                  struct gs_err *err) GS_MUST_USE;

/* The tensor will not be read again soon: a built copy is freed, mapped pages leave memory.
 * What gs_store_data returned for it is no longer valid. */
void gs_store_release(struct gs_store *store, const struct gs_tensor *tensor);

/* Paths of the files that are mapped, NULL past the last. */
const char *gs_store_file(const struct gs_store *store, size_t index);

#endif
