/* SPDX-License-Identifier: MIT
 * Viterbi search for bitshift trellises whose values are any table: what the kernel of the
 * trellis grids (trellis.h) does for values that a linear map finds.
 *
 * A tile of 256 weights is a ring of states of L bits; each takes b new bits into its low end
 * and forgets the b highest. Neighbouring states share L − b bits, a node:
 *
 *     node e ──── state s = c · 2^(L − b) + e' ────▶ node e'        c: the forgotten bits
 *     e = s >> b                                       e' = s mod 2^(L − b)
 *
 * A state stands for V weights through its level: level[s] names one of at most 1024 rows of
 * values. Where V weights take more than 4 bits, they take two steps, the first of which meets
 * no weights: the forgotten bits go in two halves, and the minimum over them with them. */
#ifndef GS_KERNELS_TABLE_VITERBI_H
#define GS_KERNELS_TABLE_VITERBI_H

#include "core/attr.h"

enum {
    GS_TABLE_TILE = 256,        /* weights */
    GS_TABLE_WINDOW_MAX = 16,
    GS_TABLE_STEP_MAX = 4,
    GS_TABLE_EACH_MAX = 2,
    GS_TABLE_LEVELS_MAX = 1024,
    GS_TABLE_UNIT = 4096,       /* 1 in targets and values */
    GS_TABLE_BATCH = 16,        /* tiles that kernels search at once */
    GS_TABLE_SEAM = 192         /* weights that tell where a ring closes: with all 256 the
                                   error is 0.1 to 0.2 % less, the time 14 % more */
};

struct gs_table_trellis {
    uint8_t window;             /* L: 8 to 16 */
    uint8_t step;               /* b: 1 to 4 */
    uint8_t halves;             /* steps a state takes: 1 or 2 */
    uint8_t each;               /* V: weights of a state, 1 or 2 */
    uint8_t gain;               /* of distances, 0 to 4 */
    uint16_t levels;            /* at most GS_TABLE_LEVELS_MAX */
    const uint16_t *level;      /* (2^L) */
    const int16_t *value;       /* (each, levels), 1 = GS_TABLE_UNIT */
    uint16_t *visit;            /* (2^L · fused) for gs_table_trellis_prepare to fill */
};

/* Steps that kernels take at once: as many as touch 2^4 nodes. */
static inline unsigned gs_table_fused(const struct gs_table_trellis *t)
{
    return t->step == 1 ? 4 : t->step == 2 ? 2 : 1;
}

static inline unsigned gs_table_nodes(const struct gs_table_trellis *t)
{
    return 1u << (t->window - t->step);
}

static inline unsigned gs_table_steps(const struct gs_table_trellis *t)
{
    return GS_TABLE_TILE / t->each * t->halves;
}

/* Steps of the first pass, around the seam. */
static inline unsigned gs_table_seam_steps(const struct gs_table_trellis *t)
{
    return GS_TABLE_SEAM / t->each * t->halves;
}

/* Fills in `visit` from the rest: levels in the order in which kernels meet their states, as
 * byte offsets in a table of 16 lanes of 16 bits. */
void gs_table_trellis_prepare(struct gs_table_trellis *t);

/* The states of least squared error, per tile, for x: 256 targets a tile; states (tiles,
 * 256 / V). Viterbi's algorithm in 16-bit integers; the bits of the result are fixed by this
 * description, for every level.
 *
 *     target   X = 4096 x rounded to nearest even, cut to the values' range and 2^14 / 2^gain
 *                        beyond, so that far outliers still tell the largest values apart
 *     distance D(X, v) = δ² >> 16, δ = min(|X − v cut to 16 bits signed|, 65535 >> gain) ·
 *                        2^gain
 *     of a state, the saturated sum over its V weights, its lowest b bits cleared; in the first
 *                        of two halves 0
 *
 * One pass takes all steps from some weight on, with a cost for each node:
 *
 *     cost'[e'] = min over c of ((cost[s >> b] | c) + distance of s), at most 65535,
 *                 s = c · 2^(L − b) + e'
 *     choice    = its lowest b bits, which are c (lower c win where costs are equal); cleared then
 *
 * and before each weight but the first whose number within the pass is a multiple of 8, all
 * costs are less by the least one. Pass 1 takes the last 96 weights and the first 96, starts with
 * all costs 0, ends in the cheapest node (the lowest of equals) and traces back to weight 0: the
 * node before it closes the ring. Pass 2 takes all weights, starts there (cost 0, all others
 * 65535) and ends there (QTIP, arXiv:2406.11235, algorithm 4, whose first pass takes all too).
 *
 * `work` holds gs_table_viterbi_work_bytes(t) bytes aligned to 64. Best given GS_TABLE_BATCH
 * tiles or a multiple. */
typedef void (*gs_table_viterbi_fn)(const struct gs_table_trellis *t, const float *x,
                                    size_t tiles, uint16_t *states, void *work);

size_t gs_table_viterbi_work_bytes(const struct gs_table_trellis *t);

/* The limits of targets, in 1/4096: what the levels have in common. */
void gs_table_limits(const struct gs_table_trellis *t, int *low, int *high);

/* The 16-bit target of x: adding 1.5 · 2^23 rounds to nearest even. NaN gives the lower limit,
 * as every level must. */
static inline int16_t gs_table_target(float x, int low, int high)
{
    float v = x * (float)GS_TABLE_UNIT;

    v = v > (float)low ? v : (float)low;
    v = v < (float)high ? v : (float)high;
    union { float f; int32_t i; } u = {.f = v + 12582912.0f};
    return (int16_t)(u.i - 0x4b400000);
}

/* The levels' functions. */
#define GS_TABLE_VITERBI_KERNEL(isa)                                                           \
    void gs_table_viterbi_##isa(const struct gs_table_trellis *t, const float *x,              \
                                size_t tiles, uint16_t *states, void *work)
GS_TABLE_VITERBI_KERNEL(scalar);
GS_TABLE_VITERBI_KERNEL(avx2);
GS_TABLE_VITERBI_KERNEL(avx512);
GS_TABLE_VITERBI_KERNEL(neon);

#endif
