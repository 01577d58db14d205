/* SPDX-License-Identifier: MIT
 * What the trellis kernels share. Private to src/kernels. */
#ifndef GS_KERNELS_VITERBI_H
#define GS_KERNELS_VITERBI_H

#include "kernels/trellis.h"

#define GS_VITERBI_UNIT 128 /* one magnitude step in 16-bit targets */

/* The 16-bit target of x: adding 1.5 · 2^23 rounds to nearest even. NaN gives the lower
 * limit, as every level must. */
static inline int16_t gs_viterbi_target(const struct gs_trellis *t, float x)
{
    float limit = (float)(127 * GS_VITERBI_UNIT + (32768 >> t->gain) / 2);
    float v = x * (float)GS_VITERBI_UNIT;

    v = v > -limit ? v : -limit;
    v = v < limit ? v : limit;
    union { float f; int32_t i; } u = {.f = v + 12582912.0f};
    return (int16_t)(u.i - 0x4b400000);
}

/* Adds the new bits of a weight, lowest first, to a tile that started as zeros. */
static inline void gs_viterbi_put(const struct gs_trellis *t, uint8_t *tile, unsigned weight,
                                  unsigned bits)
{
    unsigned first = gs_trellis_new_bits(t, weight), byte = first / 8;
    unsigned next = byte + 1 < 4u * t->rate ? byte + 1 : 0;

    bits <<= first % 8; /* at most 5 bits: two bytes */
    tile[byte] |= (uint8_t)bits;
    tile[next] |= (uint8_t)(bits >> 8);
}

/* The levels' functions. */
#define GS_TRELLIS_KERNELS(isa)                                                                \
    void gs_trellis_decode_##isa(const struct gs_trellis *t, const uint8_t *codes,             \
                                 size_t tiles, uint8_t *values);                               \
    void gs_trellis_dot_##isa(const struct gs_trellis *t, const uint8_t *codes, size_t tiles,  \
                              const struct gs_int8 *x, float y[16])
#define GS_VITERBI_KERNEL(isa)                                                                 \
    void gs_viterbi_##isa(const struct gs_trellis *t, const float *x, size_t tiles,            \
                          uint8_t *codes, size_t codes_stride, void *work)

GS_TRELLIS_KERNELS(scalar);
GS_TRELLIS_KERNELS(avx2);
GS_TRELLIS_KERNELS(avx512vbmi);
GS_TRELLIS_KERNELS(neon);
GS_TRELLIS_KERNELS(neondot);
GS_VITERBI_KERNEL(scalar);
GS_VITERBI_KERNEL(avx2);
GS_VITERBI_KERNEL(avx512);
GS_VITERBI_KERNEL(neon);
GS_INT8_KERNELS(scalar);
GS_INT8_KERNELS(avx2);
GS_INT8_KERNELS(avx512vbmi);
GS_INT8_KERNELS(neon);
GS_INT8_KERNELS(neondot);
#define U(type, name, top)                                                                     \
    GS_UNPACK_KERNEL(name, scalar);                                                            \
    GS_UNPACK_KERNEL(name, avx2);                                                              \
    GS_CODES_DOT_KERNEL(name, scalar);                                                         \
    GS_CODES_DOT_KERNEL(name, avx2);                                                           \
    GS_CODES_DOT_KERNEL(name, avx512vbmi);                                                     \
    GS_UNPACK_KERNEL(name, neon);                                                              \
    GS_CODES_DOT_KERNEL(name, neon);                                                           \
    GS_CODES_DOT_KERNEL(name, neondot);
#include "kernels/codes.def"
#undef U

#endif
