/* SPDX-License-Identifier: MIT
 * Blocks of the IQ types of 1 to 3 bits from their scales and codes (iq_search.h); kernels/blocks.h
 * draws them. */
#include <string.h>

#include "grid/formats.h"
#include "kernels/blocks.h"

void gs_pack_iq2_xxs(const struct gs_block_scales *scales, const uint32_t *codes,
                         uint8_t *dst)
{
    struct gs_block_iq2_xxs b;

    gs_put_f16(scales->d, b.d);
    for (int r = 0; r < 8; r++) {
        uint32_t rest = (uint32_t)scales->s[r] << 28;
        for (int l = 0; l < 4; l++) {
            b.qs[8 * r + l] = (uint8_t)codes[4 * r + l];
            rest |= (codes[4 * r + l] >> 16 & 127) << 7 * l;
        }
        gs_put_u32(rest, b.qs + 8 * r + 4);
    }
    memcpy(dst, &b, sizeof b);
}

/* Sixteen scales of 4 bits, low nibble first. */
static void put_nibbles(const uint8_t *s, size_t bytes, uint8_t *dst)
{
    for (size_t i = 0; i < bytes; i++)
        dst[i] = (uint8_t)(s[2 * i] | s[2 * i + 1] << 4);
}

void gs_pack_iq2_xs(const struct gs_block_scales *scales, const uint32_t *codes,
                        uint8_t *dst)
{
    struct gs_block_iq2_xs b;

    gs_put_f16(scales->d, b.d);
    for (int l = 0; l < 32; l++)
        gs_put_u16((codes[l] & 511) | (codes[l] >> 16 & 127) << 9, b.qs + 2 * l);
    put_nibbles(scales->s, 8, b.scales);
    memcpy(dst, &b, sizeof b);
}

void gs_pack_iq2_s(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_iq2_s b;

    memset(&b, 0, sizeof b);
    gs_put_f16(scales->d, b.d);
    for (int l = 0; l < 32; l++) {
        b.qs[l] = (uint8_t)codes[l];
        b.qh[l / 4] |= (uint8_t)((codes[l] >> 8 & 3) << 2 * (l % 4));
        b.signs[l] = (uint8_t)(codes[l] >> 16);
    }
    put_nibbles(scales->s, 8, b.scales);
    memcpy(dst, &b, sizeof b);
}

void gs_pack_iq3_xxs(const struct gs_block_scales *scales, const uint32_t *codes,
                         uint8_t *dst)
{
    struct gs_block_iq3_xxs b;

    gs_put_f16(scales->d, b.d);
    for (int r = 0; r < 8; r++) {
        uint32_t rest = (uint32_t)scales->s[r] << 28;
        for (int l = 0; l < 4; l++) {
            uint32_t code = codes[4 * r + l];
            b.qs[8 * r + 2 * l] = (uint8_t)code;
            b.qs[8 * r + 2 * l + 1] = (uint8_t)(code >> 9);
            rest |= (code >> 18 & 127) << 7 * l;
        }
        gs_put_u32(rest, b.signs + 4 * r);
    }
    memcpy(dst, &b, sizeof b);
}

void gs_pack_iq3_s(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_iq3_s b;

    memset(&b, 0, sizeof b);
    gs_put_f16(scales->d, b.d);
    for (int l = 0; l < 64; l++) {
        unsigned index = codes[l / 2] >> 9 * (l % 2) & 511;
        b.qs[l] = (uint8_t)index;
        b.qh[l / 8] |= (uint8_t)(index >> 8 << l % 8);
    }
    for (int l = 0; l < 32; l++)
        b.signs[l] = (uint8_t)(codes[l] >> 18);
    put_nibbles(scales->s, 4, b.scales);
    memcpy(dst, &b, sizeof b);
}

void gs_pack_iq1_s(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_iq1_s b;

    gs_put_f16(scales->d, b.d);
    for (int r = 0; r < 8; r++) {
        unsigned high = (unsigned)scales->s[r] << 12 | (unsigned)scales->variant[r] << 15;
        for (int l = 0; l < 4; l++) {
            b.qs[4 * r + l] = (uint8_t)codes[4 * r + l];
            high |= (codes[4 * r + l] >> 8 & 7) << 3 * l;
        }
        gs_put_u16(high, b.qh + 2 * r);
    }
    memcpy(dst, &b, sizeof b);
}

void gs_pack_iq1_m(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_iq1_m b;
    uint8_t d[2];

    memset(&b, 0, sizeof b);
    gs_put_f16(scales->d, d);
    for (int l = 0; l < 32; l++) {
        b.qs[l] = (uint8_t)codes[l];
        b.qh[l / 2] |= (uint8_t)((codes[l] >> 8 & 15) << 4 * (l % 2));
    }
    for (int i = 0; i < 4; i++) {
        unsigned word = (unsigned)((d[0] | d[1] << 8) >> 4 * i & 15) << 12;
        for (int r = 0; r < 4; r++)
            word |= (unsigned)scales->s[4 * i + r] << 3 * r;
        gs_put_u16(word, b.scales + 2 * i);
    }
    memcpy(dst, &b, sizeof b);
}
