/* SPDX-License-Identifier: MIT
 * Model files made smaller for sending and keeping, without loss: any GGUF file (and any other
 * file, less well) to a pack and back.
 *
 *   "GSPK"  u32 version, u64 bytes of the file, u64 chunks
 *   chunk   u32 layout, u32 bytes, u32 packed bytes, u32 0, u64 fingerprint of
 *           the bytes, then
 *           for each field of the layout (planes.c): u8 model, u32 bytes, a code
 *   u64     fingerprint of all chunk headers
 *
 * A chunk is up to 2 MiB of one tensor, or of what lies between tensors. Its bytes are sorted
 * into fields (the high bytes of all f16 scales, all codes …) by the storage type, and each field
 * is coded by an adaptive binary arithmetic coder under the contexts that serve it best, or
 * stored as it is where coding would not pay. Chunks are coded and decoded by the threads of a
 * team; the file does not depend on how many there are.
 *
 * The idea of binary decisions under adaptive contexts is DeepCABAC's (arXiv:1907.11900); the
 * binarization, contexts and coder here are others. */
#ifndef GS_TRANSPORT_TRANSPORT_H
#define GS_TRANSPORT_TRANSPORT_H

#include "gosset.h"

#include "core/err.h"

/* See gs_pack and gs_unpack in gosset.h. */
int gs_pack_file(const char *src, const char *dst, const struct gs_pack_options *options,
                 struct gs_pack_result *out, struct gs_err *err) GS_MUST_USE;
int gs_unpack_file(const char *src, const char *dst, const struct gs_pack_options *options,
                   struct gs_pack_result *out, struct gs_err *err) GS_MUST_USE;

#endif
