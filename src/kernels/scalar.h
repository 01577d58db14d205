/* SPDX-License-Identifier: MIT
 * The scalar level: portable C that defines every kernel. Private to src/kernels. */
#ifndef GS_KERNELS_SCALAR_H
#define GS_KERNELS_SCALAR_H

#include "core/half.h"
#include "kernels/levels.h"

#define D(type, name) void gs_decode_##name##_scalar(const void *src, float *dst, size_t n);
#include "kernels/decode.def"
#undef D

void gs_encode_f32_scalar(const float *src, void *dst, size_t n);
void gs_encode_f16_scalar(const float *src, void *dst, size_t n);
void gs_encode_bf16_scalar(const float *src, void *dst, size_t n);
void gs_encode_q8_0_scalar(const float *src, void *dst, size_t n);

/* An f16 field of a block. */
static inline float gs_block_f16(const uint8_t field[2])
{
    return gs_f16_to_f32((uint16_t)(field[0] | field[1] << 8));
}

#endif
