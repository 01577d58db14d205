/* SPDX-License-Identifier: MIT
 * Stored types as codes, w = d u − m (int8.h, blocks.h): the definition for the types with
 * scales of their own, the rest is in codes_iq_scalar.c.
 *
 * A type with signed integers q is shifted, u = q + b and m = d b, so that all codes are
 * unsigned; m is rounded once. */
#include "kernels/blocks.h"
#include "kernels/grids.h"
#include "kernels/scalar.h"
#include "kernels/viterbi.h"

/* One scale and minimum for `groups` groups. */
static void put_scale(size_t groups, float scale, float min, float **d, float **m)
{
    for (; groups > 0; groups--) {
        *(*d)++ = scale;
        *(*m)++ = min;
    }
}

/* Halves of 16 bytes, with a fifth bit from `high` if that is not NULL. */
static void put_halves(const uint8_t qs[16], const uint8_t *high, uint8_t *u)
{
    for (int j = 0; j < 32; j++) {
        int q = qs[j % 16] >> j / 16 * 4 & 15;
        if (high)
            q |= (high[j / 8] >> j % 8 & 1) << 4;
        u[j] = (uint8_t)q;
    }
}

void gs_unpack_q4_0_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q4_0 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        float scale = gs_block_f16(b->d);
        put_scale(2, scale, scale * 8, &d, &m);
        put_halves(b->qs, NULL, u);
    }
}

void gs_unpack_q4_1_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q4_1 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        put_scale(2, gs_block_f16(b->d), -gs_block_f16(b->m), &d, &m);
        put_halves(b->qs, NULL, u);
    }
}

void gs_unpack_q5_0_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q5_0 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        float scale = gs_block_f16(b->d);
        put_scale(2, scale, scale * 16, &d, &m);
        put_halves(b->qs, b->qh, u);
    }
}

void gs_unpack_q5_1_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q5_1 *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        put_scale(2, gs_block_f16(b->d), -gs_block_f16(b->m), &d, &m);
        put_halves(b->qs, b->qh, u);
    }
}

void gs_unpack_q8_0_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q8_0 *b = src;

    for (; n > 0; n -= 32, b++) {
        float scale = gs_block_f16(b->d);
        put_scale(2, scale, scale * 128, &d, &m);
        for (int j = 0; j < 32; j++)
            *u++ = (uint8_t)(b->qs[j] + 128);
    }
}

static void put_values(const uint8_t qs[16], uint8_t *u)
{
    for (int j = 0; j < 32; j++)
        u[j] = (uint8_t)(gs_iq4_values[qs[j % 16] >> j / 16 * 4 & 15] + 128);
}

void gs_unpack_iq4_nl_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq4_nl *b = src;

    for (; n > 0; n -= 32, b++, u += 32) {
        float scale = gs_block_f16(b->d);
        put_scale(2, scale, scale * 128, &d, &m);
        put_values(b->qs, u);
    }
}

void gs_unpack_q2_k_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q2_k *b = src;

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 16; run++) {
            const uint8_t *qs = b->qs + 32 * (run / 8) + 16 * (run % 2);
            put_scale(1, gs_block_f16(b->d) * (float)(b->scales[run] & 15),
                      gs_block_f16(b->dmin) * (float)(b->scales[run] >> 4), &d, &m);
            for (int j = 0; j < 16; j++)
                *u++ = qs[j] >> run % 8 / 2 * 2 & 3;
        }
}

void gs_unpack_q3_k_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q3_k *b = src;

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 16; run++) {
            const uint8_t *qs = b->qs + 32 * (run / 8) + 16 * (run % 2);
            const uint8_t *high = b->hmask + 16 * (run % 2);
            int s = (b->scales[run % 8] >> 4 * (run / 8) & 15) |
                    (b->scales[8 + run % 4] >> 2 * (run / 4) & 3) << 4;
            float scale = gs_block_f16(b->d) * (float)(s - 32);
            put_scale(1, scale, scale * 4, &d, &m);
            for (int j = 0; j < 16; j++)
                *u++ = (uint8_t)((qs[j] >> run % 8 / 2 * 2 & 3) | (high[j] >> run / 2 & 1) << 2);
        }
}

void gs_unpack_q4_k_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q4_k *b = src;

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 8; run++) {
            int scale, min;
            gs_k4_scale_min(b->scales, run, &scale, &min);
            put_scale(2, gs_block_f16(b->d) * (float)scale, gs_block_f16(b->dmin) * (float)min,
                      &d, &m);
            for (int j = 0; j < 32; j++)
                *u++ = b->qs[32 * (run / 2) + j] >> 4 * (run % 2) & 15;
        }
}

void gs_unpack_q5_k_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q5_k *b = src;

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 8; run++) {
            int scale, min;
            gs_k4_scale_min(b->scales, run, &scale, &min);
            put_scale(2, gs_block_f16(b->d) * (float)scale, gs_block_f16(b->dmin) * (float)min,
                      &d, &m);
            for (int j = 0; j < 32; j++)
                *u++ = (uint8_t)((b->qs[32 * (run / 2) + j] >> 4 * (run % 2) & 15) |
                                 (b->qh[j] >> run & 1) << 4);
        }
}

void gs_unpack_q6_k_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_q6_k *b = src;

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 8; run++) {
            const uint8_t *ql = b->ql + 64 * (run / 4) + 32 * (run % 2);
            const uint8_t *qh = b->qh + 32 * (run / 4);
            for (int k = 0; k < 2; k++) {
                float scale = gs_block_f16(b->d) * (float)b->scales[2 * run + k];
                put_scale(1, scale, scale * 32, &d, &m);
            }
            for (int j = 0; j < 32; j++)
                *u++ = (uint8_t)((ql[j] >> 4 * (run % 4 / 2) & 15) |
                                 (qh[j] >> 2 * (run % 4) & 3) << 4);
        }
}

void gs_unpack_iq4_xs_scalar(const void *src, size_t n, uint8_t *u, float *d, float *m)
{
    const struct gs_block_iq4_xs *b = src;

    for (; n > 0; n -= 256, b++)
        for (int run = 0; run < 8; run++, u += 32) {
            int high = b->scales_h[0] | b->scales_h[1] << 8;
            int s = (b->scales_l[run / 2] >> 4 * (run % 2) & 15) | (high >> 2 * run & 3) << 4;
            float scale = gs_block_f16(b->d) * (float)(s - 32);
            put_scale(2, scale, scale * 128, &d, &m);
            put_values(b->qs + 16 * run, u);
        }
}
