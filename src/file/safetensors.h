/* SPDX-License-Identifier: MIT
 * safetensors files: a JSON header that places raw tensors.
 *
 *   u64 n (little-endian), n bytes of JSON, then the data
 *   {"__metadata__": {string: string}, NAME: {"dtype": "BF16", "shape": [rows, cols],
 *    "data_offsets": [begin, end]}}        offsets count from the end of the header
 *
 * Checked before anything is used: n is at most 100 MB and lies in the file, the JSON is an
 * object without duplicates, each range is exactly shape times dtype, and together the
 * ranges cover the data without gap or overlap (so a cut file is always noticed). */
#ifndef GS_FILE_SAFETENSORS_H
#define GS_FILE_SAFETENSORS_H

#include "core/arena.h"
#include "core/meta.h"
#include "core/type.h"
#include "file/map.h"

struct gs_st_tensor {
    const char *name;
    const char *dtype;    /* as in the file */
    int type;             /* enum gs_type, or negative: no GGUF type holds it */
    uint32_t n_dims;      /* as in the file; 0 for a scalar, may exceed 4 */
    uint64_t dim[4];      /* GGUF order, innermost first; unused ones are 1 */
    uint64_t offset, bytes; /* in the map */
    const struct gs_map *map;
};

/* The tensors of one file or of several; zero-initialise, then read. */
struct gs_st {
    struct gs_arena arena;
    struct gs_st_tensor *tensors;
    size_t count, capacity;
};

/* Appends the tensors of one file in the order of their data; empty ones are left out. The
 * pairs of __metadata__ go to `meta` (may be NULL) as "safetensors.KEY". */
int gs_st_read(const struct gs_map *map, struct gs_st *st, struct gs_meta *meta,
               struct gs_err *err) GS_MUST_USE;

/* GS_E_UNSUPPORTED if no struct gs_tensor can describe it; names tensor and reason. */
int gs_st_check_usable(const struct gs_st_tensor *t, struct gs_err *err) GS_MUST_USE;

void gs_st_clear(struct gs_st *st);

#endif
