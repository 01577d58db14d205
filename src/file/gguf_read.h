/* SPDX-License-Identifier: MIT
 * Parsing one GGUF file; gguf_split.c puts shards together. */
#ifndef GS_FILE_GGUF_READ_H
#define GS_FILE_GGUF_READ_H

#include "core/meta.h"
#include "file/store_impl.h"

/* "Powers of two from 1", says the format; this bound keeps padding sane. */
#define GS_GGUF_ALIGNMENT_MAX 65536u
#define GS_GGUF_ALIGNMENT 32u

/* Fills `meta` (strings and arrays borrow from the map) and adds the file's tensors, every
 * extent checked, to `store`. */
int gs_gguf_read(const struct gs_map *map, struct gs_meta *meta, struct gs_store *store,
                 struct gs_err *err) GS_MUST_USE;

#endif
