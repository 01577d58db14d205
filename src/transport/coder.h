/* SPDX-License-Identifier: MIT
 * An adaptive binary arithmetic coder (Witten, Neal & Cleary 1987; carry by counting, as in
 * Martin's range coder of 1979).
 *
 * A decision's probability of being 0 is kept in 22 bits with a count of the decisions seen:
 * after n it moves by 1 / (n + 1.5) of the way, and by 1 / RATE once n is large, which is
 * nearly the average over all of them: what a model file holds hardly changes within a chunk.
 * A byte is eight decisions down a binary tree, the first for its highest bit; a context is
 * the tree's 255 probabilities. */
#ifndef GS_TRANSPORT_CODER_H
#define GS_TRANSPORT_CODER_H

#include "core/attr.h"

#define GS_CODER_COUNT 1023u /* the low ten bits of a probability */
#define GS_CODER_RATE 512u
#define GS_CODER_FRESH (1u << 31)

/* Of probability `p` after the decision `bit`. step: 65536 / (n + 1.5) for each count. */
static GS_ALWAYS_INLINE uint32_t gs_coder_learn(uint32_t p, unsigned bit, const uint16_t *step)
{
    uint32_t n = p & GS_CODER_COUNT, zero = p >> 10;
    uint32_t target = (bit - 1) & ((1u << 22) - 1);

    /* |target − zero| < 2^22, step < 2^16: in 64 bits */
    zero = (uint32_t)((int64_t)zero +
                      ((((int64_t)target - (int64_t)zero) * step[n]) >> 16));
    return zero << 10 | (n + (n < GS_CODER_RATE));
}

/* In 16 bits, neither 0 nor 1. */
static GS_ALWAYS_INLINE uint32_t gs_coder_zero(uint32_t p)
{
    uint32_t zero = p >> 16;

    return zero ? zero : 1;
}

/* Writes to [at, end); what does not fit is dropped and `full` says so. */
struct gs_encoder {
    uint8_t *at, *end;
    uint64_t low;
    uint32_t range;
    uint32_t pending; /* bytes that a carry would still change: `held`, then 0xff … */
    uint8_t held;
    bool full;
};

static inline void gs_encoder_start(struct gs_encoder *e, uint8_t *at, uint8_t *end)
{
    *e = (struct gs_encoder){.at = at, .end = end, .range = 0xffffffffu};
}

static inline void gs_encoder_put(struct gs_encoder *e, uint8_t byte)
{
    if (e->at < e->end)
        *e->at++ = byte;
    else
        e->full = true;
}

static inline void gs_encoder_shift(struct gs_encoder *e)
{
    uint8_t carry = (uint8_t)(e->low >> 32);

    /* no carry can leave the first byte, so that one is held whatever it is */
    if (carry || (uint32_t)e->low < 0xff000000u || !e->pending) {
        if (e->pending)
            gs_encoder_put(e, (uint8_t)(e->held + carry));
        for (; e->pending > 1; e->pending--)
            gs_encoder_put(e, (uint8_t)(0xff + carry));
        e->pending = 0;
        e->held = (uint8_t)(e->low >> 24);
    }
    e->pending++;
    e->low = (e->low & 0x00ffffffu) << 8;
}

static GS_ALWAYS_INLINE void gs_encoder_bit(struct gs_encoder *e, uint32_t zero, unsigned bit)
{
    uint32_t bound = (e->range >> 16) * zero, mask = 0 - (uint32_t)bit;

    e->low += bound & mask;
    e->range = bound + ((e->range - 2 * bound) & mask);
    while (e->range < 1u << 24) {
        e->range <<= 8;
        gs_encoder_shift(e);
    }
}

/* Where the code ends. */
static inline uint8_t *gs_encoder_finish(struct gs_encoder *e)
{
    for (int i = 0; i < 5; i++)
        gs_encoder_shift(e);
    return e->at;
}

/* Reads [at, end), and zeros beyond it. */
struct gs_decoder {
    const uint8_t *at, *end;
    uint32_t range, code;
};

static inline uint8_t gs_decoder_byte(struct gs_decoder *d)
{
    return d->at < d->end ? *d->at++ : 0;
}

static inline void gs_decoder_start(struct gs_decoder *d, const uint8_t *at, const uint8_t *end)
{
    *d = (struct gs_decoder){.at = at, .end = end, .range = 0xffffffffu};
    for (int i = 0; i < 4; i++)
        d->code = d->code << 8 | gs_decoder_byte(d);
}

static GS_ALWAYS_INLINE unsigned gs_decoder_bit(struct gs_decoder *d, uint32_t zero)
{
    uint32_t bound = (d->range >> 16) * zero;
    uint32_t bit = d->code >= bound, mask = 0 - bit; /* no branch: it could not be foretold */

    d->code -= bound & mask;
    d->range = bound + ((d->range - 2 * bound) & mask);
    while (d->range < 1u << 24) {
        d->range <<= 8;
        d->code = d->code << 8 | gs_decoder_byte(d);
    }
    return bit;
}

#endif
