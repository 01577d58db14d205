/* SPDX-License-Identifier: MIT
 * Many products of large f32 matrices, with room for their packed operands taken once.
 *
 *   C (m, n)  =  or  +=  A (m, k) · B (k, n)
 *
 * Both operands are packed as a whole (linalg/mul.h), each element once where they fit the
 * room, and tiles of C are then handed to the team: packing costs 1/n and 1/m of the product.
 * Operands larger than the room are taken in pieces of k, such that the smaller operand fits
 * it, and the larger one in strips. An element is one
 * chain of fma over k in any case, so bits depend neither on the room nor on the threads.
 * Nothing is allocated after gs_mul_space_create, so a product cannot fail. */
#ifndef GS_LINALG_SPACE_H
#define GS_LINALG_SPACE_H

#include "linalg/mul.h"

struct gs_mul_space;

/* floats: room for each operand, raised to a least. The team is borrowed. */
int gs_mul_space_create(struct gs_team *team, size_t floats, struct gs_mul_space **out,
                        struct gs_err *err) GS_MUST_USE;
void gs_mul_space_destroy(struct gs_mul_space **space);

/* rows of C `c_stride` apart; `add`: onto what C holds. C overlaps neither operand. */
void gs_mul_in_space(struct gs_mul_space *space, size_t m, size_t n, size_t k,
                     struct gs_operand_f32 a, struct gs_operand_f32 b, bool add, float *c,
                     size_t c_stride);

#endif
