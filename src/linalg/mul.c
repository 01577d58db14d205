/* SPDX-License-Identifier: MIT
 * The blocked product of mul_real.def, once for f32 and once for f64. */
#include "linalg/mul.h"

#include <assert.h>
#include <string.h>

#include "core/alloc.h"
#include "kernels/kernels.h"

/* Inner depth of a block: 128 × 256 of A and of B stay in the second-level cache. */
#define DEPTH 256

#define REAL float
#define OPERAND struct gs_operand_f32
#define PANEL GS_PANEL_F32
#define PANEL_MUL panel_f32
#define TRANSPOSE transpose_f32
#define PACK_A gs_pack_a_f32
#define PACK_B gs_pack_b_f32
#define MUL_PANELS gs_mul_panels_f32
#define MUL_TILE gs_mul_tile_f32
#define MUL_BLOCK gs_mul_block_f32
#define MUL gs_mul_f32
#define NAME(x) x##_f32
#define WORK GS_MUL_WORK_F32
#include "linalg/mul_real.def"

#define REAL double
#define OPERAND struct gs_operand_f64
#define PANEL GS_PANEL_F64
#define PANEL_MUL panel_f64
#define PACK_A gs_pack_a_f64
#define PACK_B gs_pack_b_f64
#define MUL_PANELS gs_mul_panels_f64
#define MUL_TILE gs_mul_tile_f64
#define MUL_BLOCK gs_mul_block_f64
#define MUL gs_mul_f64
#define NAME(x) x##_f64
#define WORK GS_MUL_WORK_F64
#include "linalg/mul_real.def"

void *gs_work_create(const struct gs_team *team, size_t bytes)
{
    return gs_alloc((size_t)gs_team_size(team), (bytes + 63) / 64 * 64);
}
