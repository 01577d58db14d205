/* SPDX-License-Identifier: MIT
 * Matrices of parts (part/part.h) in a GGUF file that any reader can open:
 *
 *   NAME.weight       I8 [bytes]: the blob; a stock runtime stops at the shape
 *   gosset.part.names string, rows u32, cols u32: arrays with one element a matrix
 *
 * Matrices that are cut have their bases there, and all pieces of all matrices in one tensor, in
 * the order in which they are worth their bytes, so that a reader with less room reads less:
 *
 *   gosset.pieces      I8 [bytes]: piece after piece
 *   gosset.part.pieces u32: of each, the matrix (by its place in names); pieces of one matrix
 *                      follow in their own order, the last ones may be missing
 *
 * They are decoded when a model is loaded, by all threads, to rows of a type that products know:
 * Q4_0, Q5_0 or Q8_0 where these have every weight exactly, else F16 (gs_part_store). */
#ifndef GS_MODEL_PART_FILE_H
#define GS_MODEL_PART_FILE_H

#include "file/store.h"
#include "part/part.h"

#define GS_KEY_PART "gosset.part." /* then: names, rows, cols, pieces */
#define GS_PART_PIECES_TENSOR "gosset.pieces"

struct gs_part_file;

/* Reads and checks the metadata; *out is NULL for a file without such matrices. */
int gs_part_file_open(struct gs_store *store, struct gs_part_file **out, struct gs_err *err)
    GS_MUST_USE;
void gs_part_file_close(struct gs_part_file **file);

/* NULL if the tensor holds no such matrix; file may be NULL. */
const struct gs_part_facts *gs_part_file_facts(const struct gs_part_file *file,
                                               const struct gs_tensor *tensor);

/* The tensor of pieces: no weights of its own. */
bool gs_part_file_is_side(const struct gs_part_file *file, const struct gs_tensor *tensor);
/* 1 if there is one. */
size_t gs_part_file_sides(const struct gs_part_file *file);

/* What of a file is loaded. */
struct gs_part_choice {
    uint64_t bits;   /* in: precision of matrices in layers; 0 = all that there is */
    uint64_t memory; /* in: bytes that matrices may take; 0 = no limit */
    uint64_t bytes;  /* out: that they take, at most */
    uint64_t pieces, of; /* out: behind the bases that are loaded, and that there are */
    double weights, stored; /* out: weights of all matrices, and bytes in the file that are used */
};

/* Bits that a file serves: chosen exactly. Memory: bases, then as many pieces in their order as
 * fit. To be called before weights are asked for; without, everything is loaded. */
int gs_part_file_choose(struct gs_part_file *file, struct gs_part_choice *choice,
                        struct gs_err *err) GS_MUST_USE;

/* The pieces in their order: which of them are chosen, and where they lie. */
struct gs_part_place {
    const uint8_t *data; /* borrowed from the store */
    uint64_t bytes;
    uint32_t matrix;     /* its place in names */
    bool chosen;
};

size_t gs_part_file_pieces(const struct gs_part_file *file);
struct gs_part_place gs_part_file_place(const struct gs_part_file *file, size_t index);

/* Blocks of signs with what is chosen of them, ready to multiply; NULL for other matrices. */
int gs_part_file_stack(struct gs_part_file *file, const struct gs_tensor *tensor,
                       const struct gs_part_stack **out, struct gs_err *err) GS_MUST_USE;

/* The weights (rows, cols), decoded by the first call; borrowed. exact: F32 instead of F16. Not
 * for several threads. */
int gs_part_file_weights(struct gs_part_file *file, const struct gs_tensor *tensor, bool exact,
                         struct gs_team *team, const struct gs_part_stored **out,
                         struct gs_err *err) GS_MUST_USE;

#endif
