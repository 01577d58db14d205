/* SPDX-License-Identifier: MIT
 * Reading trellis tiles in NEON, and multiplying them without dot product instructions. */
#include "kernels/trellis_neon.h"

#include "kernels/dot4_neon.h"
#include "kernels/trellis_neon.inc"

/* Group i of half h of each chunk: 8 bytes, weights 0 … 3 in low, 4 … 7 in high. */
static GS_ALWAYS_INLINE void store_groups(uint8x16_t low, uint8x16_t high, uint8_t *to)
{
    uint32x4_t a = vreinterpretq_u32_u8(low), b = vreinterpretq_u32_u8(high);
    uint8x16_t c01 = vreinterpretq_u8_u32(vzip1q_u32(a, b));
    uint8x16_t c23 = vreinterpretq_u8_u32(vzip2q_u32(a, b));

    vst1_u8(to, vget_low_u8(c01));
    vst1_u8(to + 64, vget_high_u8(c01));
    vst1_u8(to + 128, vget_low_u8(c23));
    vst1_u8(to + 192, vget_high_u8(c23));
}

/* Bytes of four registers side by side: v[i] becomes the four of positions 4i … 4i + 3. */
static GS_ALWAYS_INLINE void interleave(uint8x16_t v[4])
{
    uint16x8_t a = vreinterpretq_u16_u8(vzip1q_u8(v[0], v[1]));
    uint16x8_t b = vreinterpretq_u16_u8(vzip1q_u8(v[2], v[3]));
    uint16x8_t c = vreinterpretq_u16_u8(vzip2q_u8(v[0], v[1]));
    uint16x8_t d = vreinterpretq_u16_u8(vzip2q_u8(v[2], v[3]));

    v[0] = vreinterpretq_u8_u16(vzip1q_u16(a, b));
    v[1] = vreinterpretq_u8_u16(vzip2q_u16(a, b));
    v[2] = vreinterpretq_u8_u16(vzip1q_u16(c, d));
    v[3] = vreinterpretq_u8_u16(vzip2q_u16(c, d));
}

static GS_ALWAYS_INLINE void decode(const struct gs_trellis *t, struct trellis_shape s,
                                    const uint8_t *codes, size_t tiles, uint8_t *values)
{
    size_t bytes = 4 * (size_t)trellis_rate(t, s);
    uint8x16x4_t table = trellis_values(t);
    uint8_t padded[TRELLIS_PADDED] = {0};

    for (size_t n = 0; n < tiles; n++, codes += bytes, values += GS_TRELLIS_TILE) {
        const uint8_t *tile = codes;
        if (n + 1 == tiles) /* loads go beyond a tile, but not beyond the last */
            tile = memcpy(padded, tile, bytes);
        GS_UNROLL for (unsigned h = 0; h < 2; h++) {
            uint8x16_t plane[2 * TRELLIS_BYTES], v[8];
            trellis_planes(t, s, tile, h, plane);
            GS_UNROLL for (unsigned j = 0; j < 8; j++)
                v[j] = veorq_u8(vreinterpretq_u8_s8(trellis_lookup(t, s, plane, table, j)),
                                vdupq_n_u8(GS_TRELLIS_BIAS));
            interleave(v);
            interleave(v + 4);
            GS_UNROLL for (unsigned i = 0; i < 4; i++)
                store_groups(v[i], v[4 + i], values + 32 * h + 8 * i);
        }
    }
}

#define DECODE(rate, window, wide)                                                             \
    static void decode_##rate##_##window##_##wide(const struct gs_trellis *t,                  \
                                                  const uint8_t *codes, size_t tiles,          \
                                                  uint8_t *values)                             \
    {                                                                                          \
        decode(t, (struct trellis_shape){rate, window, wide}, codes, tiles, values);           \
    }
TRELLIS_SHAPES(DECODE)

static const gs_trellis_decode_fn decoders[][3] = TRELLIS_LIST(decode);

void gs_trellis_decode_neon(const struct gs_trellis *t, const uint8_t *codes, size_t tiles,
                            uint8_t *values)
{
    decoders[trellis_shape_of(t)][trellis_window_of(t)](t, codes, tiles, values);
}
