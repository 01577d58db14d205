/* SPDX-License-Identifier: MIT
 * The grids of the IQ types: tables of their points, and the values of codes.
 *
 * The points are those of the formats (kernels/grids.h). Everything else follows from them and is
 * made when the first search or value asks for it, once for all grids: patterns and numbers of
 * points, which patterns make points with one another, and for every pattern the nearest that
 * some point has as its high side. */
#include "grid/iq_grid.h"

#include <pthread.h>
#include <stdlib.h>

#include "kernels/grids.h"

#define DIM GS_POINT_DIM

/* ---- grids -------------------------------------------------------------------------------- */

/* Of all grids, one after another. */
#define POINTS (256 + 512 + 1024 + 2048 + 256 + 512)
static uint8_t low_side[POINTS], high_side[POINTS];
static float numbers[POINTS][DIM];

#define GRID(name, points, level_list, coordinate_bits, at)                                    \
    struct gs_iq_grid gs_##name##_points = {                                                   \
        .packed = (points), .levels = (level_list), .n = GS_COUNT(points),                     \
        .bits = (coordinate_bits), .low_side = low_side + (at), .high_side = high_side + (at), \
        .numbers = numbers + (at)}
GRID(iq2_xxs, gs_iq2_xxs_grid, gs_iq2_levels, 2, 0);
GRID(iq2_xs, gs_iq2_xs_grid, gs_iq2_levels, 2, 256);
GRID(iq2_s, gs_iq2_s_grid, gs_iq2_levels, 2, 768);
GRID(iq1, gs_iq1_grid, NULL, 2, 1792);
GRID(iq3_xxs, gs_iq3_xxs_grid, gs_iq3_xxs_levels, 3, 3840);
GRID(iq3_s, gs_iq3_s_grid, gs_iq3_s_levels, 3, 4096);
static struct gs_iq_grid *const grids[] = {&gs_iq2_xxs_points, &gs_iq2_xs_points,
                                           &gs_iq2_s_points,   &gs_iq1_points,
                                           &gs_iq3_xxs_points, &gs_iq3_s_points};

static unsigned stride(unsigned bits, unsigned c)
{
    static const uint8_t strides[2][4] = {{1, 4, 12, 36}, {1, 8}};

    return strides[bits - 2][c];
}

static unsigned level_of(unsigned bits, unsigned packed, unsigned c)
{
    return packed >> bits * c & ((1u << bits) - 1);
}

static unsigned pattern(unsigned bits, unsigned side)
{
    unsigned p = 0;

    for (unsigned c = 0; c < 8 / bits; c++)
        p += level_of(bits, side, c) * stride(bits, c);
    return p;
}

/* Of all sides, the high side of a point that is nearest by levels. */
static unsigned nearest_side(const struct gs_iq_grid *g, unsigned side)
{
    unsigned coords = 8 / g->bits, least = ~0u, best = 0;

    for (unsigned i = 0; i < g->n; i++) {
        unsigned high = g->packed[i] >> coords * g->bits, sum = 0;
        for (unsigned c = 0; c < coords; c++)
            sum += (unsigned)abs((int)level_of(g->bits, side, c) -
                                 (int)level_of(g->bits, high, c));
        if (sum < least) {
            least = sum;
            best = high;
        }
    }
    return best;
}

static void prepare_grid(struct gs_iq_grid *g)
{
    unsigned coords = 8 / g->bits, sides = 1u << coords * g->bits;
    unsigned next = 0;

    for (unsigned i = 0; i < g->n; i++) {
        unsigned high = pattern(g->bits, g->packed[i] >> coords * g->bits);
        g->high_side[i] = (uint8_t)high;
        g->low_side[i] = (uint8_t)pattern(g->bits, g->packed[i] & (sides - 1));
        for (unsigned c = 0; c < 2 * coords; c++)
            g->numbers[i][c] = (float)(g->levels ? g->levels[level_of(g->bits, g->packed[i], c)]
                                                 : (int)level_of(g->bits, g->packed[i], c) - 1);
        for (; next <= high; next++)
            g->begin[next] = (uint16_t)i;
        unsigned low = g->low_side[i];
        g->has[high][low / 64] |= (uint64_t)1 << low % 64;
    }
    for (; next <= GS_IQ_PATTERNS; next++)
        g->begin[next] = (uint16_t)g->n;
    for (unsigned side = 0; side < sides; side++) {
        bool used = true; /* three levels of the four that two bits can say */
        for (unsigned c = 0; c < coords; c++)
            used = used && (g->bits == 3 || level_of(2, side, c) < 3);
        if (used)
            g->near[pattern(g->bits, side)] =
                (uint8_t)pattern(g->bits, nearest_side(g, side));
    }
}

static void prepare(void)
{
    for (size_t i = 0; i < GS_COUNT(grids); i++)
        prepare_grid(grids[i]);
}

void gs_iq_prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, prepare);
}

/* ---- values ------------------------------------------------------------------------------- */

/* Four magnitudes with signs: bit c of `signs` is a minus. */
static GS_ALWAYS_INLINE void put_signed(const float *magnitude, unsigned signs, float *v)
{
#define SIGNS(a, b) {1, 1, a, b}, {-1, 1, a, b}, {1, -1, a, b}, {-1, -1, a, b}
    static const float factors[16][4] = {SIGNS(1, 1), SIGNS(-1, 1), SIGNS(1, -1), SIGNS(-1, -1)};
#undef SIGNS
    float out[4];

    for (unsigned c = 0; c < 4; c++)
        out[c] = factors[signs & 15][c] * magnitude[c];
    memcpy(v, out, sizeof out);
}

void gs_iq2_value(const struct gs_iq_set *set, uint32_t code, float *v)
{
    const float *magnitude = set->grid->numbers[(code & 0xffff)];

    put_signed(magnitude, code >> 16, v);
    put_signed(magnitude + 4, code >> 20, v + 4);
}

void gs_iq3_value(const struct gs_iq_set *set, uint32_t code, float *v)
{
    put_signed(set->grid->numbers[(code & 511)], code >> 18, v);
    put_signed(set->grid->numbers[(code >> 9 & 511)], code >> 22, v + 4);
}

void gs_iq1_value(const struct gs_iq_set *set, uint32_t code, float *v)
{
    const float *number = set->grid->numbers[(code & 2047)];
    float out[DIM];

    for (unsigned c = 0; c < DIM; c++)
        out[c] = number[c] + (code >> 11 ? -0.125f : 0.125f);
    memcpy(v, out, sizeof out);
}
