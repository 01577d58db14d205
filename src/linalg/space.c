/* SPDX-License-Identifier: MIT */
#include "linalg/space.h"

#include <assert.h>
#include <string.h>

#include "core/alloc.h"

#define TILE ((size_t)GS_MUL_TILE)
/* Larger tiles read each packed operand less often, and still fit the second-level cache;
 * they are cut down where they would leave fewer than so many tasks a worker. */
#define TILE_MAX (2 * TILE)
#define TASKS 3u
#define DEPTH_STEP ((size_t)256)

/* Floats that a task packs: a few microseconds. */
#define PACK_FLOATS ((size_t)32 * 1024)
#define PACK_STEPS 16u

struct gs_mul_space {
    struct gs_team *team;
    size_t floats;
    float *a, *b;
};

int gs_mul_space_create(struct gs_team *team, size_t floats, struct gs_mul_space **out,
                        struct gs_err *err)
{
    struct gs_mul_space *s = gs_alloc(1, sizeof *s);

    *out = NULL;
    if (!s)
        return gs_fail_nomem(err, "products");
    s->team = team;
    s->floats = GS_MAX(floats, TILE * DEPTH_STEP);
    s->a = gs_alloc(s->floats, sizeof *s->a);
    s->b = gs_alloc(s->floats, sizeof *s->b);
    if (!s->a || !s->b) {
        gs_mul_space_destroy(&s);
        return gs_fail_nomem(err, "packed operands of products");
    }
    *out = s;
    return GS_OK;
}

void gs_mul_space_destroy(struct gs_mul_space **sp)
{
    if (!*sp)
        return;
    gs_free(&(*sp)->a);
    gs_free(&(*sp)->b);
    gs_free(sp);
}

/* One strip of A times one strip of B. */
struct job {
    const struct gs_mul_space *space;
    struct gs_operand_f32 a, b;
    size_t m, n, k, tile, tiles_n, c_stride;
    bool add;
    float *c;
};

/* An operand whose lines (rows of A, columns of B) are contiguous in memory is packed line by
 * line: tasks are panels. One whose lines are strided is read along k, a few steps over all
 * panels at a time, so that memory is read in order: tasks are steps. */
static void pack_a(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct job *job = ctx;
    const struct gs_operand_f32 *a = &job->a;
    bool steps = a->row == 1;
    size_t first = steps ? 0 : begin * GS_PANEL_ROWS;
    size_t last = steps ? job->m : GS_MIN(end * GS_PANEL_ROWS, job->m);
    size_t p = steps ? begin : 0, depth = steps ? end - begin : job->k;

    for (size_t i = first; i < last; i += GS_PANEL_ROWS)
        gs_pack_a_f32(job->space->a + i * job->k + p * GS_PANEL_ROWS,
                      (struct gs_operand_f32){a->data + i * a->row + p * a->col, a->row, a->col},
                      GS_MIN(GS_PANEL_ROWS, last - i), depth, 1);
}

static void pack_b(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct job *job = ctx;
    const struct gs_operand_f32 *b = &job->b;
    bool steps = b->col == 1;
    size_t first = steps ? 0 : begin * GS_PANEL_F32;
    size_t last = steps ? job->n : GS_MIN(end * GS_PANEL_F32, job->n);
    size_t p = steps ? begin : 0, depth = steps ? end - begin : job->k;

    for (size_t j = first; j < last; j += GS_PANEL_F32)
        gs_pack_b_f32(job->space->b + j * job->k + p * GS_PANEL_F32,
                      (struct gs_operand_f32){b->data + j * b->col + p * b->row, b->row, b->col},
                      depth, GS_MIN(GS_PANEL_F32, last - j));
}

static void pack(const struct job *job, gs_team_fn fn, bool steps, size_t lines, size_t width)
{
    size_t panels = (lines + width - 1) / width;
    struct job copy = *job;

    if (steps)
        gs_team_run(job->space->team, job->k, PACK_STEPS, fn, &copy);
    else
        gs_team_run(job->space->team, panels, GS_MAX(PACK_FLOATS / (width * job->k + 1), 1u),
                    fn, &copy);
}

static void multiply(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct job *job = ctx;
    size_t k = job->k;

    for (size_t t = begin; t < end; t++) {
        size_t i = t / job->tiles_n * job->tile, j = t % job->tiles_n * job->tile;
        size_t rows = GS_MIN(job->tile, job->m - i), cols = GS_MIN(job->tile, job->n - j);
        gs_mul_tile_f32(rows, cols, k, job->space->a + i * k, GS_PANEL_ROWS * k,
                        job->space->b + j * k, GS_PANEL_F32 * k, job->add,
                        job->c + i * job->c_stride + j, job->c_stride);
    }
}

/* Strips of A times one strip of B, over a piece of k. `packed`: A fits the
 * room whole and lies there from the strip of B before this one. */
static void multiply_strip(struct job *job, size_t m, struct gs_operand_f32 a, size_t strip,
                           bool packed, float *c)
{
    size_t workers = (size_t)gs_team_size(job->space->team);

    for (size_t i = 0; i < m; i += strip) {
        job->m = GS_MIN(strip, m - i);
        job->a = (struct gs_operand_f32){a.data + i * a.row, a.row, a.col};
        job->c = c + i * job->c_stride;
        if (!packed)
            pack(job, pack_a, a.row == 1, job->m, GS_PANEL_ROWS);
        for (job->tile = TILE_MAX; job->tile > TILE; job->tile /= 2)
            if (job->m * job->n / (job->tile * job->tile) >= TASKS * workers)
                break;
        job->tiles_n = (job->n + job->tile - 1) / job->tile;
        gs_team_run(job->space->team, (job->m + job->tile - 1) / job->tile * job->tiles_n, 1,
                    multiply, job);
    }
}

void gs_mul_in_space(struct gs_mul_space *space, size_t m, size_t n, size_t k,
                     struct gs_operand_f32 a, struct gs_operand_f32 b, bool add, float *c,
                     size_t c_stride)
{
    /* Pieces of k so deep that the smaller operand fits: then nothing is packed twice. */
    size_t lines = (GS_MIN(m, n) + TILE - 1) / TILE * TILE;
    size_t depth = GS_MAX(space->floats / GS_MAX(lines, 1u) / DEPTH_STEP * DEPTH_STEP, DEPTH_STEP);
    size_t strip = space->floats / GS_MIN(depth, GS_MAX(k, 1u)) / TILE * TILE;

    for (size_t p = 0; p < k || p == 0; p += depth) {
        struct gs_operand_f32 ap = {a.data + p * a.col, a.row, a.col};
        struct job job = {.space = space, .k = GS_MIN(depth, k - p), .add = add || p,
                          .c_stride = c_stride};
        for (size_t j = 0; j < n; j += strip) {
            job.n = GS_MIN(strip, n - j);
            job.b = (struct gs_operand_f32){b.data + p * b.row + j * b.col, b.row, b.col};
            pack(&job, pack_b, b.col == 1, job.n, GS_PANEL_F32);
            multiply_strip(&job, m, ap, strip, j > 0 && m <= strip, c + j);
        }
    }
}
