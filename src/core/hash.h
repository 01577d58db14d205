/* SPDX-License-Identifier: MIT
 * A keyed hash for tables whose keys come from files: SipHash-1-3 (Aumasson & Bernstein,
 * 2012) under a key drawn at random once per process, so that no file can be made whose
 * names all fall into one slot. Never let an order depend on it. */
#ifndef GS_CORE_HASH_H
#define GS_CORE_HASH_H

#include "core/attr.h"

uint64_t gs_hash(const void *data, size_t n);

/* A fingerprint for files: the same on every machine and in every version, and no protection
 * against those who look for collisions. `seed` chains pieces: the fingerprint so far, 0 at
 * first; pieces but the last have a multiple of 8 bytes. */
uint64_t gs_fingerprint(uint64_t seed, const void *data, size_t n);

#endif
