/* SPDX-License-Identifier: MIT */
#include "file/store_impl.h"
static bool probe(const char *path, const struct gs_map *map) { (void)path; return !map; }
static int open_folder(struct gs_store *store, const char *path, const struct gs_map *map, struct gs_err *err)
{ (void)store; (void)map; return gs_fail(err, GS_E_UNSUPPORTED, "%s: folders are not supported", path); }
const struct gs_format gs_format_hf = {"safetensors", probe, open_folder};
