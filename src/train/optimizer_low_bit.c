/* SPDX-License-Identifier: MIT
 * AdamW whose moments are kept in 8 or 4 bits. The step itself uses the new moments in f32,
 * before they are rounded, so that a second moment rounded to 0 does not blow it up.
 *
 * adamw8 (Dettmers et al., arXiv:2110.02861): blocks of 256 numbers, each with the largest
 *   magnitude as its scale, and the dynamic map of 256 points.
 *
 *     m codes (n)  v codes (n)  m scales (n / 256)  v scales (n / 256)
 *
 * adamw4 (Li et al., arXiv:2309.01507): m in groups of 128 of a row with the dynamic map of
 *   16 points; v with a scale of rank one, min(row's maximum, column's maximum), and the
 *   points 1/16, 2/16 … 1, without 0. Vectors and small matrices stay in f32 (a few percent
 *   of the weights).
 *
 *     m codes (rows, cols / 2)  v codes alike  m scales (rows, cols / 128)
 *     v's maxima of rows and of columns, and room for the new ones
 *
 * The dynamic map of b bits: 0, 1, and for every decade 10^-(b-2-i) (signed: that and its
 * negative) the middles of 2^i (unsigned: 2^(i+1)) equal parts of [0.1, 1] of it. */
#include <math.h>
#include <string.h>

#include "train/members.h"

#define BLOCK8 256u
#define GROUP4 128u
#define SMALL4 4096u /* numbers below which states stay f32 */
#define POINTS_MAX 256u

/* ---- dynamic maps ---------------------------------------------------------------------------- */

struct map {
    unsigned n;
    float point[POINTS_MAX]; /* ascending */
};

static void make_map(struct map *map, unsigned bits, bool has_sign)
{
    static const double decades[] = {1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6};
    unsigned positive = has_sign ? 1u << (bits - 1) : 1u << bits; /* 0 and 1 are among them */
    float half[POINTS_MAX];
    unsigned n = 0;

    half[n++] = 0;
    for (unsigned i = 0; i + 1 < bits; i++) {
        unsigned parts = has_sign ? 1u << i : 2u << i;
        for (unsigned j = 0; j < parts; j++)
            half[n++] = (float)(decades[bits - 2 - i] *
                                (0.1 + 0.9 * ((double)j + 0.5) / (double)parts));
    }
    half[n++] = 1;
    map->n = 0;
    for (unsigned i = has_sign ? positive - 1 : 0; i > 0; i--)
        map->point[map->n++] = -half[i];
    memcpy(map->point + map->n, half, n * sizeof *half);
    map->n += n;
}

/* The nearest point; of two equally near the upper. */
static unsigned nearest(const struct map *map, float x)
{
    unsigned lo = 0, hi = map->n - 1;

    while (hi - lo > 1) {
        unsigned middle = (lo + hi) / 2;
        if (x < map->point[middle])
            hi = middle;
        else
            lo = middle;
    }
    return x - map->point[lo] < map->point[hi] - x ? lo : hi;
}

/* ---- one number ------------------------------------------------------------------------------ */

static inline void moments(const struct gs_update *u, size_t i, float *m, float *v)
{
    float g = u->g[i] * u->g_scale;

    *m = u->beta1 * *m + (1 - u->beta1) * g;
    *v = u->beta2 * *v + (1 - u->beta2) * g * g;
}

static inline void move(const struct gs_update *u, size_t i, float m, float v)
{
    float step = m * u->unbias1 / (sqrtf(v * u->unbias2) + u->eps);

    u->w[i] -= u->lr * (step + u->decay * u->w[i]);
}

/* ---- 8 bits ---------------------------------------------------------------------------------- */

struct adamw8 {
    const struct gs_update *u;
    struct map m_map, v_map;
    uint8_t *m, *v;
    float *m_scale, *v_scale;
    size_t n;
};

static void adamw8_blocks(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    struct adamw8 *a = ctx;
    float m[BLOCK8], v[BLOCK8];

    for (size_t b = begin; b < end; b++) {
        size_t first = b * BLOCK8, n = GS_MIN(BLOCK8, a->n - first);
        float m_max = 0, v_max = 0;
        for (size_t i = 0; i < n; i++) {
            m[i] = a->m_map.point[a->m[first + i]] * a->m_scale[b];
            v[i] = a->v_map.point[a->v[first + i]] * a->v_scale[b];
            moments(a->u, first + i, &m[i], &v[i]);
            move(a->u, first + i, m[i], v[i]);
            m_max = fmaxf(m_max, fabsf(m[i]));
            v_max = fmaxf(v_max, v[i]);
        }
        for (size_t i = 0; i < n; i++) {
            a->m[first + i] = (uint8_t)nearest(&a->m_map, m_max > 0 ? m[i] / m_max : 0);
            a->v[first + i] = (uint8_t)nearest(&a->v_map, v_max > 0 ? v[i] / v_max : 0);
        }
        a->m_scale[b] = m_max;
        a->v_scale[b] = v_max;
    }
}

static size_t codes8_bytes(size_t n)
{
    return (n + 3) / 4 * 4;
}

static uint64_t adamw8_bytes(size_t rows, size_t cols)
{
    uint64_t n = (uint64_t)rows * cols;

    return 2 * (codes8_bytes(n) + (n + BLOCK8 - 1) / BLOCK8 * sizeof(float));
}

static void adamw8_update(const struct gs_update *u)
{
    size_t n = u->rows * u->cols, blocks = (n + BLOCK8 - 1) / BLOCK8;
    struct adamw8 a = {.u = u, .m = u->state, .n = n};

    a.v = a.m + codes8_bytes(n);
    a.m_scale = (void *)(a.v + codes8_bytes(n));
    a.v_scale = a.m_scale + blocks;
    make_map(&a.m_map, 8, true);
    make_map(&a.v_map, 8, false);
    gs_team_run(u->team, blocks, 16, adamw8_blocks, &a);
}

/* ---- 4 bits ---------------------------------------------------------------------------------- */

struct adamw4 {
    const struct gs_update *u;
    struct map m_map;
    uint8_t *m, *v;   /* (rows, row_bytes), two codes a byte */
    float *m_scale;   /* (rows, groups) */
    float *row_max, *col_max, *new_row_max, *new_col_max;
    size_t row_bytes, groups;
};

static unsigned get4(const uint8_t *codes, size_t i)
{
    return codes[i / 2] >> (i % 2 * 4) & 15;
}

static void put4(uint8_t *codes, size_t i, unsigned code)
{
    unsigned shift = i % 2 * 4;

    codes[i / 2] = (uint8_t)((codes[i / 2] & ~(15u << shift)) | code << shift);
}

/* The moments of element (r, c) after this step. */
static void moments4(const struct adamw4 *a, size_t r, size_t c, float *m, float *v)
{
    float scale = fminf(a->row_max[r], a->col_max[c]);

    *m = a->m_map.point[get4(a->m + r * a->row_bytes, c)] *
         a->m_scale[r * a->groups + c / GROUP4];
    *v = (float)(get4(a->v + r * a->row_bytes, c) + 1) / 16 * scale;
    moments(a->u, r * a->u->cols + c, m, v);
}

static void row_maxima(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct adamw4 *a = ctx;

    for (size_t r = begin; r < end; r++) {
        float max = 0, m, v;
        for (size_t c = 0; c < a->u->cols; c++) {
            moments4(a, r, c, &m, &v);
            max = fmaxf(max, v);
        }
        a->new_row_max[r] = max;
    }
}

static void column_maxima(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct adamw4 *a = ctx;
    float m, v;

    for (size_t c = begin; c < end; c++)
        a->new_col_max[c] = 0;
    for (size_t r = 0; r < a->u->rows; r++)
        for (size_t c = begin; c < end; c++) {
            moments4(a, r, c, &m, &v);
            a->new_col_max[c] = fmaxf(a->new_col_max[c], v);
        }
}

static void adamw4_group(const struct adamw4 *a, size_t r, size_t g)
{
    size_t first = g * GROUP4, n = GS_MIN(GROUP4, a->u->cols - first);
    uint8_t *m_row = a->m + r * a->row_bytes, *v_row = a->v + r * a->row_bytes;
    float m[GROUP4], max = 0;

    for (size_t i = 0; i < n; i++) {
        size_t c = first + i;
        float v, scale = fminf(a->new_row_max[r], a->new_col_max[c]);
        moments4(a, r, c, &m[i], &v);
        move(a->u, r * a->u->cols + c, m[i], v);
        max = fmaxf(max, fabsf(m[i]));
        float code = scale > 0 ? floorf(v / scale * 16 + 0.5f) : 1;
        put4(v_row, c, (unsigned)fminf(fmaxf(code, 1), 16) - 1);
    }
    for (size_t i = 0; i < n; i++)
        put4(m_row, first + i, nearest(&a->m_map, max > 0 ? m[i] / max : 0));
    a->m_scale[r * a->groups + g] = max;
}

static void adamw4_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct adamw4 *a = ctx;

    for (size_t r = begin; r < end; r++)
        for (size_t g = 0; g < a->groups; g++)
            adamw4_group(a, r, g);
}

static bool is_small(size_t rows, size_t cols)
{
    return rows < 2 || (uint64_t)rows * cols < SMALL4;
}

static size_t row_bytes4(size_t cols)
{
    return (cols + 7) / 8 * 4; /* whole floats */
}

static uint64_t adamw4_bytes(size_t rows, size_t cols)
{
    uint64_t groups = (cols + GROUP4 - 1) / GROUP4;

    if (is_small(rows, cols))
        return gs_optimizer_adamw.bytes(rows, cols);
    return 2 * (uint64_t)rows * row_bytes4(cols) +
           (rows * groups + 2 * ((uint64_t)rows + cols)) * sizeof(float);
}

static void adamw4_update(const struct gs_update *u)
{
    struct adamw4 a = {.u = u, .row_bytes = row_bytes4(u->cols),
                       .groups = (u->cols + GROUP4 - 1) / GROUP4};

    if (is_small(u->rows, u->cols)) {
        gs_optimizer_adamw.update(u);
        return;
    }
    a.m = u->state;
    a.v = a.m + u->rows * a.row_bytes;
    a.m_scale = (void *)(a.v + u->rows * a.row_bytes);
    a.row_max = a.m_scale + u->rows * a.groups;
    a.col_max = a.row_max + u->rows;
    a.new_row_max = a.col_max + u->cols;
    a.new_col_max = a.new_row_max + u->rows;
    make_map(&a.m_map, 4, true);
    gs_team_run(u->team, u->rows, 16, row_maxima, &a);
    gs_team_run(u->team, u->cols, 64, column_maxima, &a);
    gs_team_run(u->team, u->rows, 16, adamw4_rows, &a);
    memcpy(a.row_max, a.new_row_max, (u->rows + u->cols) * sizeof(float));
}

const struct gs_optimizer_kind gs_optimizer_adamw8 = {"adamw8", adamw8_bytes, adamw8_update};
const struct gs_optimizer_kind gs_optimizer_adamw4 = {"adamw4", adamw4_bytes, adamw4_update};
