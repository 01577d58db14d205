/* SPDX-License-Identifier: MIT
 * Finished work on disk, so that a run that dies loses at most one matrix.
 *
 *   "GSWORK1\n"  u64 key            key: of source, recipe, plan and calibration
 *   records:     u64 item, u64 bytes, u64 fingerprint, bytes of payload
 *
 * The file lies beside the target as TARGET.work and is only appended to. A record whose
 * fingerprint does not fit (the process was killed while writing it) ends the file. */
#ifndef GS_RECIPE_JOURNAL_H
#define GS_RECIPE_JOURNAL_H

#include "core/err.h"

struct gs_journal;

/* resume: what a file with the same key holds is kept; one with another key is an error.
 * Otherwise an existing file is an error, unless overwrite. n_items bounds the records. */
int gs_journal_open(const char *target, uint64_t key, size_t n_items, bool resume,
                    bool overwrite, struct gs_journal **out, struct gs_err *err) GS_MUST_USE;

/* Closes the file, and removes it if `done`. */
void gs_journal_close(struct gs_journal **journal, bool done);

/* Bytes of the item's payload, 0 = not there. */
uint64_t gs_journal_bytes(const struct gs_journal *journal, size_t item);
int gs_journal_add(struct gs_journal *journal, size_t item, const void *data, uint64_t bytes,
                   struct gs_err *err) GS_MUST_USE;
/* The n bytes at `offset` of its payload. */
int gs_journal_get(const struct gs_journal *journal, size_t item, uint64_t offset, void *data,
                   uint64_t n, struct gs_err *err) GS_MUST_USE;

const char *gs_journal_path(const struct gs_journal *journal);

#endif
