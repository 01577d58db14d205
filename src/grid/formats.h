/* SPDX-License-Identifier: MIT
 * The block types that are compiled in, one line each, and one in the list of format.c; and
 * the sets of points that families share. Private to src/grid. */
#ifndef GS_GRID_FORMATS_H
#define GS_GRID_FORMATS_H

#include "core/half.h"
#include "grid/format.h"

extern const struct gs_format gs_format_q8_0, gs_format_q5_0, gs_format_q5_1, gs_format_q4_0,
    gs_format_q4_1, gs_format_q2_0, gs_format_q1_0;
extern const struct gs_format gs_format_q6_k, gs_format_q5_k, gs_format_q4_k, gs_format_q3_k,
    gs_format_q2_k, gs_format_tq1_0, gs_format_tq2_0;
extern const struct gs_format gs_format_iq4_nl, gs_format_iq4_xs, gs_format_mxfp4,
    gs_format_nvfp4;
extern const struct gs_format gs_format_iq3_s, gs_format_iq3_xxs, gs_format_iq2_s,
    gs_format_iq2_xs, gs_format_iq2_xxs, gs_format_iq1_m, gs_format_iq1_s;

/* Blocks of the IQ types from scales and codes (iq_search.h). */
#define GS_PACK(name)                                                                          \
    void gs_pack_##name(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
GS_PACK(iq3_s);
GS_PACK(iq3_xxs);
GS_PACK(iq2_s);
GS_PACK(iq2_xs);
GS_PACK(iq2_xxs);
GS_PACK(iq1_m);
GS_PACK(iq1_s);

/* Codes of one weight: `n` levels at distance 1 from `low` on, or those of a table. */
struct gs_levels {
    unsigned n;
    const float *table; /* ascending; NULL: equal distances */
    const float *middle; /* (n − 1) between them */
    bool mirrored;       /* an even number, half of them the negatives of the others */
};

float gs_levels_nearest(const struct gs_points *points, struct gs_point_run run, size_t n,
                        const float *x, const float *h, float *v, uint32_t *codes);
float gs_steps_nearest(const struct gs_points *points, struct gs_point_run run, size_t n,
                       const float *x, const float *h, float *v, uint32_t *codes);
double gs_levels_feedback(const struct gs_points *points, struct gs_point_run run, size_t first,
                          size_t n, const struct gs_feedback *f, float *y, uint32_t *codes);
double gs_steps_feedback(const struct gs_points *points, struct gs_point_run run, size_t first,
                         size_t n, const struct gs_feedback *f, float *y, uint32_t *codes);
void gs_levels_nearest_lanes(const struct gs_points *points, size_t n, const float *x,
                             const float *h, struct gs_point_lanes *lanes);
void gs_steps_nearest_lanes(const struct gs_points *points, size_t n, const float *x,
                            const float *h, struct gs_point_lanes *lanes);
void gs_levels_feedback_lanes(const struct gs_points *points, size_t n,
                              const struct gs_feedback *f, struct gs_point_lanes *lanes);
void gs_steps_feedback_lanes(const struct gs_points *points, size_t n,
                             const struct gs_feedback *f, struct gs_point_lanes *lanes);
void gs_levels_value(const struct gs_points *points, unsigned variant, uint32_t code, float *v);
void gs_steps_value(const struct gs_points *points, unsigned variant, uint32_t code, float *v);

/* Points of n equal steps from `from` on. */
#define GS_STEPS(from, count)                                                                  \
    {                                                                                          \
        .dim = 1, .variants = 1, .steps = (count), .low = (from),                              \
        .high = (from) + (count) - 1, .nearest = gs_steps_nearest,                             \
        .feedback = gs_steps_feedback, .value = gs_steps_value,                                \
        .nearest_lanes = gs_steps_nearest_lanes, .feedback_lanes = gs_steps_feedback_lanes     \
    }

/* Points of a table of levels. */
#define GS_LEVELS(levels, from, to)                                                            \
    {                                                                                          \
        .dim = 1, .variants = 1, .steps = GS_COUNT(levels##_table), .low = (from),             \
        .high = (to), .data = &(levels), .nearest = gs_levels_nearest,                         \
        .feedback = gs_levels_feedback, .value = gs_levels_value,                              \
        .nearest_lanes = gs_levels_nearest_lanes, .feedback_lanes = gs_levels_feedback_lanes   \
    }

/* 1 / a; 0 where that is no number, so that all weights go to the point nearest to 0. */
static inline float gs_point_inverse(struct gs_point_run run)
{
    return run.a > 1e-30f || run.a < -1e-30f ? 1 / run.a : 0;
}

/* Adding and taking away 1.5 · 2^23 leaves the nearest integer, ties to even. */
#define GS_ROUNDER 12582912.0f

/* Low nibbles first half, high nibbles second half of `bytes` bytes. */
static inline void gs_put_halves(const uint32_t *codes, size_t bytes, uint8_t *dst)
{
    for (size_t j = 0; j < bytes; j++)
        dst[j] = (uint8_t)((codes[j] & 15) | (codes[bytes + j] & 15) << 4);
}

#endif
