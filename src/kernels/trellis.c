/* SPDX-License-Identifier: MIT
 * What the trellis kernels of all levels share: the map and constants derived from it. */
#include "kernels/trellis.h"

#include <assert.h>
#include <string.h>

unsigned gs_trellis_index(const struct gs_trellis *t, unsigned state)
{
    unsigned index = 0;

    for (unsigned i = 0; i < t->window; i++)
        index ^= (state >> i & 1) * t->column[i];
    return index;
}

static int value_of_index(const struct gs_trellis *t, unsigned index)
{
    unsigned sign = 1u << (t->index_bits - 1);
    int magnitude = t->magnitude[index & (sign - 1)];

    return index & sign ? -magnitude : magnitude;
}

int gs_trellis_value(const struct gs_trellis *t, unsigned state)
{
    return value_of_index(t, gs_trellis_index(t, state));
}

/* `index` with its top bit moved to bit `to`. */
static unsigned move_sign(const struct gs_trellis *t, unsigned index, unsigned to)
{
    unsigned sign = t->index_bits - 1u;

    return (index & ((1u << sign) - 1)) | (index >> sign & 1) << to;
}

static void prepare_map(struct gs_trellis *t)
{
    unsigned to = t->index_bits == 7 ? 7 : t->index_bits - 1u;

    for (unsigned i = 0; i < 16; i++)
        for (unsigned n = 0; n < 4; n++)
            t->nibble[n][i] =
                (uint8_t)move_sign(t, gs_trellis_index(t, i << (4 * n)), 7);
    for (unsigned i = 0; i < 64; i++) {
        int v = t->index_bits == 7 ? t->magnitude[i]
                : i >> t->index_bits ? 0 : value_of_index(t, i);
        t->offset[i] = (uint8_t)(128 + v);
    }
    /* Output bit r of the instruction is the parity of the input with matrix byte 7 − r. */
    memset(t->affine, 0, sizeof t->affine);
    for (unsigned i = 0; i < t->window; i++) {
        unsigned index = move_sign(t, t->column[i], to);
        for (unsigned r = 0; r < 8; r++)
            if (index >> r & 1)
                t->affine[i / 8] |= UINT64_C(1) << (8 * (7 - r) + i % 8);
    }
}

/* `index` as trellis_dot_avx2.c wants it: magnitude bits 0 … 3 in place, then (6-bit indexes)
 * bit 4 in bit 7, or (7-bit) bit 4 in place and bit 5 in bit 7; the sign in bit 6. */
static unsigned plane_index(const struct gs_trellis *t, unsigned index)
{
    unsigned select = t->index_bits - 2u; /* highest bit of a magnitude, if beyond bit 3 */
    unsigned sign = index >> (t->index_bits - 1u) & 1;
    unsigned low = index & (t->index_bits == 7 ? 31 : 15);

    return low | sign << 6 | (select > 3 ? (index >> select & 1) << 7 : 0);
}

/* What nibble n of a group, counted from its window's first, adds to the index of weight j. */
static void prepare_parts(struct gs_trellis *t, unsigned j)
{
    struct gs_trellis_planes *p = &t->planes;
    unsigned skip = t->start[j] % 4;

    for (unsigned n = 0; n < 5; n++)
        for (unsigned i = 0; i < 16; i++) {
            unsigned state = (i << (4 * n) >> skip) & ((1u << t->window) - 1);
            p->part[j][n][i] = (uint8_t)plane_index(t, gs_trellis_index(t, state));
            if (n == 0)
                p->part[j][n][i] ^= 0x20; /* so that no index is 0 */
        }
}

static void prepare_planes(struct gs_trellis *t)
{
    struct gs_trellis_planes *p = &t->planes;


    p->positive = true;
    for (unsigned i = 0; i < 1u << (t->index_bits - 1); i++)
        p->positive = p->positive && t->magnitude[i] >= 0;
    bool aligned = t->rate % 8 == 0 && p->positive;
    p->bytes = (uint8_t)((t->start[7] + t->window + 7) / 8);
    for (unsigned j = 0; j < 8; j++) {
        p->shift[j] = j * t->rate % 8;
        prepare_parts(t, j);
    }
    for (unsigned g = 0; g < 4; g++) { /* groups 2g and 2g + 1 */
        unsigned base = 2 * g * t->rate / 8, second = (2 * g + 1) * t->rate / 8 - base;
        for (unsigned i = 0; i < 16; i++) {
            unsigned from = aligned ? i % 2 * second + i / 2 : i / 8 * second + i % 8;
            p->gather[g][i] = (uint8_t)from;
            bool wraps = base + i >= t->rate;
            p->wrap_keep[g][i] = wraps ? 0 : 0xff;
            p->wrap_from[g][i] = (uint8_t)(wraps ? base + i - t->rate : 0x80);
        }
    }
}

/* The tables of trellis_neon.h: lookups, and where the bytes of groups come from. */
static void prepare_quads(struct gs_trellis *t)
{
    struct gs_trellis_quads *k = &t->quads;
    unsigned count = t->rate <= GS_TRELLIS_HALVES_MAX ? 4 : 2; /* groups gathered at once */

    for (unsigned j = 0; j < 8; j++)
        for (unsigned n = 0; n < 5; n++)
            for (unsigned i = 0; i < 16; i++) {
                unsigned state = (i << (4 * n) >> t->start[j] % 4) & ((1u << t->window) - 1);
                unsigned index = gs_trellis_index(t, state);
                k->part[j][n][i] =
                    (uint8_t)move_sign(t, index, t->index_bits == 7 ? 7 : t->index_bits - 1u);
            }
    for (unsigned g = 0; g < 8; g++)
        for (unsigned c = 0; c < 4; c++) {
            unsigned at = g * t->rate / 8 - g / count * count * t->rate / 8;
            uint8_t *from = &k->from[g / count][g % count * 4 + c];
            k->shift[g / 4][g % 4 * 4 + c] = g * t->rate % 8;
            from[0] = (uint8_t)(16 * c + at);
            if (count == 2)
                from[8] = (uint8_t)(16 * c + at + 1);
        }
}

void gs_trellis_prepare(struct gs_trellis *t)
{
    assert(t->window >= 8 && t->window <= 16);
    assert(t->rate >= GS_TRELLIS_RATE_MIN && t->rate <= GS_TRELLIS_RATE_MAX);
    assert(t->index_bits >= 5 && t->index_bits <= GS_TRELLIS_INDEX_MAX);

    for (unsigned i = 0; i < 8; i++)
        t->start[i] = (uint8_t)(i * t->rate / 8);
    t->step[0] = (uint8_t)(t->rate - t->start[7]);
    for (unsigned i = 1; i < 8; i++)
        t->step[i] = (uint8_t)(t->start[i] - t->start[i - 1]);
    t->tag_bits = (uint8_t)((t->rate + 7) / 8);
    t->gain = (uint8_t)(t->tag_bits - 1);
    for (unsigned i = 0; i < 64; i++) {
        unsigned first = i / 8 * t->rate; /* bit of the group of 8 weights */
        t->bytes[i] = (uint8_t)(first / 8 + i % 8);
        t->shifts[i] = (uint8_t)(first % 8 + t->start[i % 8]);
        for (unsigned b = 0; b < 4; b++)
            t->spread[i / 8][4 * (i % 8) + b] = (uint8_t)(t->shifts[i] / 8 + b);
        t->spread_shift[i / 8][i % 8] = t->shifts[i] % 8;
    }
    prepare_map(t);
    prepare_planes(t);
    prepare_quads(t);
}

/* Upper bound over all levels; each lays out its scratch by itself. Most of it are the
 * choices: 256 steps of at most states / 2 bytes (definition), or less (16-bit words that
 * hold several choices; but steps across lanes repeat them). */
size_t gs_viterbi_work_bytes(const struct gs_trellis *t)
{
    return ((size_t)1 << 20) + ((size_t)160 << t->window);
}

size_t gs_viterbi_batch(const struct gs_trellis *t)
{
    return t->window <= 10 ? 32 : t->window <= 14 ? 4 : 1;
}
