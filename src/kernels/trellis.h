/* SPDX-License-Identifier: MIT
 * The trellis code: what its bits mean, and the kernels that read and search it.
 *
 * Trellis-coded quantization (Marcellin & Fischer, 1990) in the bitshift form of QTIP
 * (Tseng et al., arXiv:2406.11235), with a value computed so that it fits registers. A tile
 * of 16 × 16 weights is a ring of 32·B bits, B = bits per 8 weights; bit i of a tile is bit
 * i % 8 of byte i / 8. Weight t of the tile (t = 0 … 255) is a function of a window of the
 * ring, L bits long:
 *
 *     start(t)  = t / 8 · B + (t % 8) · B / 8         (integer divisions)
 *     state(t)  = the L ring bits from start(t) on; bit 0 of the number is the first
 *     index(t)  = XOR of column[i] over the set bits i of state(t)      (q bits, a linear map)
 *     value(t)  = ± magnitude[index's low q − 1 bits], minus if index bit q − 1 is set
 *
 *     ring   …│b0 b1 b2 b3 b4 b5 b6 b7│b8 b9 …              B = 16: two new bits a weight
 *              └────── state(t) ──────┘                     L = 8
 *                    └───── state(t + 1) ────┘
 *
 * so state(t) is state(t − 1) shifted down, with step(t) = start(t) − start(t − 1) new bits
 * on top. Any bits are a valid tile (the ring closes on itself: tail-biting), and a tile
 * starts on a byte: 64 weights take B bytes.
 *
 * Weight t stands at row (t / 4) % 16, column t / 64 · 4 + t % 4: 64 decoded bytes are 16
 * rows × 4 columns, which a dot product with 4 broadcast activations keeps apart without a
 * horizontal sum. */
#ifndef GS_KERNELS_TRELLIS_H
#define GS_KERNELS_TRELLIS_H

#include "kernels/int8.h"

enum {
    GS_TRELLIS_ROWS = 16,
    GS_TRELLIS_COLS = 16,
    GS_TRELLIS_TILE = 256,     /* weights */
    GS_TRELLIS_RATE_MIN = 8,   /* bits per 8 weights */
    GS_TRELLIS_RATE_MAX = 40,
    GS_TRELLIS_INDEX_MAX = 7,  /* bits of an index */
    GS_TRELLIS_HALVES_MAX = 28, /* up to this rate 4 groups of a chunk lie within 16 bytes */
    GS_TRELLIS_BIAS = 128      /* of decoded values: unsigned bytes suit byte products */
};

struct gs_trellis {
    uint8_t window;         /* L: 8 to 16 */
    uint8_t index_bits;     /* q: 5 to 7 */
    uint8_t rate;           /* B: 8 to 40; a step takes B/8 bits, rounded up or down */
    uint8_t column[16];     /* index of state 1 << i; 0 from L on */
    int8_t magnitude[64];   /* 2^(q − 1) values in −127 … 127, the rest 0 */

    /* Filled in by gs_trellis_prepare from the above. */
    uint8_t step[8];        /* new bits of weight t, by t % 8 */
    uint8_t start[8];       /* start(t) for t < 8 */
    uint8_t tag_bits;       /* the largest step: see gs_viterbi_fn */
    uint8_t gain;           /* tag_bits − 1 */
    GS_ALIGNED(64) uint8_t bytes[64];  /* decoders: source byte of byte j of group i, 8i + j */
    GS_ALIGNED(64) uint8_t shifts[64]; /* bit offset of weight 8i + j within those 8 bytes */
    GS_ALIGNED(32) uint8_t spread[8][32]; /* the same in 32 bits a weight: source bytes … */
    GS_ALIGNED(32) uint32_t spread_shift[8][8]; /* … and shift of weight 8i + j */
    GS_ALIGNED(64) uint8_t offset[64]; /* 128 + value of index i, or + magnitude if q = 7 */
    uint64_t affine[2];     /* the map for GF2P8AFFINEQB: low, high byte; if q = 7 with index
                               bit 6 moved to bit 7 */
    GS_ALIGNED(16) uint8_t nibble[4][16]; /* the map by nibbles of the state, lowest first;
                               the index's top bit moved to bit 7 for every q */
    struct gs_trellis_planes {  /* for trellis_dot_avx2.c, which says what these are */
        GS_ALIGNED(16) uint8_t part[8][5][16];
        GS_ALIGNED(16) uint8_t gather[4][16], wrap_keep[4][16], wrap_from[4][16];
        uint64_t shift[8];
        uint8_t bytes;              /* of a group */
        bool positive;              /* magnitudes */
    } planes;
    struct gs_trellis_quads {   /* for trellis_neon.h, which says what these are */
        GS_ALIGNED(16) uint8_t part[8][5][16];
        GS_ALIGNED(16) uint8_t from[4][16], shift[2][16];
    } quads;
};

/* Derives the second part from the first. */
void gs_trellis_prepare(struct gs_trellis *t);

static inline unsigned gs_trellis_start(const struct gs_trellis *t, unsigned weight)
{
    return weight / 8 * t->rate + t->start[weight % 8];
}

static inline size_t gs_trellis_tile_bytes(const struct gs_trellis *t)
{
    return 4 * (size_t)t->rate;
}

/* Asks for the lines of the tile that comes up in 4 KiB, while this one is multiplied: tiles of a
 * matrix follow each other in memory, and the processor's own look-ahead ends with each page.
 * Asked for all at once, a row's lines would fill the buffers that wait for memory, and the
 * multiplier would wait too. */
static inline void gs_trellis_prefetch(const uint8_t *tile, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(tile + 4096 + i);
}

/* The ring bit that is the lowest of weight's new bits; the others follow, cyclically. */
static inline unsigned gs_trellis_new_bits(const struct gs_trellis *t, unsigned weight)
{
    unsigned bit = gs_trellis_start(t, weight) + t->window - t->step[weight % 8];

    return bit < 32u * t->rate ? bit : bit - 32u * t->rate;
}

/* Index and value of a state, by the definition. */
unsigned gs_trellis_index(const struct gs_trellis *t, unsigned state);
int gs_trellis_value(const struct gs_trellis *t, unsigned state);

/* 128 + value of the weights of `tiles` consecutive tiles in the order t above: 256 bytes a
 * tile. */
typedef void (*gs_trellis_decode_fn)(const struct gs_trellis *t, const uint8_t *codes,
                                     size_t tiles, uint8_t *values);

/* y[r] = Σ_c value(r, c) · x[c], r < 16, over one row of `tiles` tiles, for the 16 · tiles
 * elements of x: the chain of int8.h, from +0. */
typedef void (*gs_trellis_dot_fn)(const struct gs_trellis *t, const uint8_t *codes,
                                  size_t tiles, const struct gs_int8 *x, float y[16]);

/* The codes of least squared error, per tile, for x: 256 targets a tile in the order t, in
 * units of one magnitude step. Tile i goes to codes + i · codes_stride. Viterbi's algorithm
 * in 16-bit integers; the bits are fixed by this description, for every level.
 *
 *     target   X = 128 · x rounded to nearest even, cut to ±(128 · 127 + 2^14 / 2^gain), so
 *                        that far outliers still tell the largest values apart
 *     distance D(X, v) = (δ² >> 16) with its lowest `tag_bits` bits cleared, where
 *                    δ = |X − 128 · v cut to 16 bits signed| · 2^gain, at most 65535
 *
 * One pass walks the ring from some weight on, with a cost for each state; `s → s'` are the
 * 2^b predecessors of s' (b = step of the weight), equal to it in their upper bits and
 * numbered by their lowest b bits j:
 *
 *     tagged  = min over j of (cost[s_j] | j)
 *     choice  = tagged mod 2^b                       (lower j wins where costs are equal)
 *     cost'[s'] = tagged with tag_bits cleared − base, at least 0, + D(X, value(s')), at most
 *                 65535
 *     base    = least cost before this weight if the weight's number is a multiple of 8,
 *               else 0                               (keeps costs in range)
 *
 * Pass 1 starts with all costs 0 at weight 128, ends after weight 127 in the cheapest state
 * (the lowest of equals) and traces back to weight 255: its state there closes the ring.
 * Pass 2 starts at weight 0 from that state (cost 0; all others 65535) and ends in it.
 * Costs in 16 bits lose nothing that can be measured against Viterbi in f32 (docs/grids.md).
 *
 * `work` holds gs_viterbi_work_bytes(t) bytes aligned to 64. Best given many tiles at once:
 * gs_viterbi_batch(t) or a multiple. */
typedef void (*gs_viterbi_fn)(const struct gs_trellis *t, const float *x, size_t tiles,
                              uint8_t *codes, size_t codes_stride, void *work);

size_t gs_viterbi_work_bytes(const struct gs_trellis *t);
size_t gs_viterbi_batch(const struct gs_trellis *t);

#endif
