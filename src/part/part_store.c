/* SPDX-License-Identifier: MIT
 * Decoded weights as rows of a type that products know.
 *
 *     32 weights of a row  =  d · q,   d in f16, q integers   ──▶   Q4_0, Q5_0 or Q8_0
 *
 * Where scales are f16 and points are integers of some step, such a d exists, and no bit is lost:
 * it is the largest weight over the least integer that explains all others. The widest integers
 * of the matrix decide the type. Everything else becomes F16, whose error is 2^−12 of a weight. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/half.h"
#include "kernels/blocks.h"
#include "kernels/kernels.h"
#include "part/part.h"

#define BLOCK 32u
#define INTEGER_MAX 128 /* |q| */
#define GRAIN 16u

/* F16 has 11 bits of a number from 2^−14 up to this; weights far below the largest may have
 * fewer. */
#define LARGEST_LEAST 0x1p-10f
#define LARGEST_MOST 65504.0f

/* A block as d · q, |least| the larger end. */
struct steps {
    float d;
    int q[BLOCK];
};

/* The types of such blocks, the smallest first. */
static void put_q4_0(const struct steps *s, uint8_t *dst);
static void put_q5_0(const struct steps *s, uint8_t *dst);
static void put_q8_0(const struct steps *s, uint8_t *dst);

static const struct stored_type {
    enum gs_type type;
    int low, high;
    void (*put)(const struct steps *s, uint8_t *dst);
} types[] = {
    {GS_TYPE_Q4_0, -8, 7, put_q4_0},
    {GS_TYPE_Q5_0, -16, 15, put_q5_0},
    {GS_TYPE_Q8_0, -128, 127, put_q8_0},
};

static void put_q4_0(const struct steps *s, uint8_t *dst)
{
    struct gs_block_q4_0 *b = (void *)dst;

    gs_put_f16(s->d, b->d);
    for (unsigned i = 0; i < BLOCK / 2; i++)
        b->qs[i] = (uint8_t)((s->q[i] + 8) | (s->q[i + BLOCK / 2] + 8) << 4);
}

static void put_q5_0(const struct steps *s, uint8_t *dst)
{
    struct gs_block_q5_0 *b = (void *)dst;
    uint32_t fifth = 0;

    gs_put_f16(s->d, b->d);
    for (unsigned i = 0; i < BLOCK; i++)
        fifth |= (uint32_t)(s->q[i] + 16) >> 4 << i;
    for (unsigned i = 0; i < BLOCK / 2; i++)
        b->qs[i] = (uint8_t)(((s->q[i] + 16) & 15) | ((s->q[i + BLOCK / 2] + 16) & 15) << 4);
    gs_put_u32(fifth, b->qh);
}

static void put_q8_0(const struct steps *s, uint8_t *dst)
{
    struct gs_block_q8_0 *b = (void *)dst;

    gs_put_f16(s->d, b->d);
    for (unsigned i = 0; i < BLOCK; i++)
        b->qs[i] = (int8_t)s->q[i];
}

/* Are all weights integers of step d? */
static bool divides(float d, const float *w, struct steps *s)
{
    float inverse = 1 / d;

    for (unsigned i = 0; i < BLOCK; i++) {
        float q = rintf(w[i] * inverse);
        if (!(fabsf(q) <= INTEGER_MAX) || q * d != w[i])
            return false;
        s->q[i] = (int)q;
    }
    s->d = d;
    return true;
}

/* Finds d and q; `near` is the step of the block before, which mostly does. */
static bool find_steps(const float *w, float near, struct steps *s)
{
    float largest = 0;

    for (unsigned i = 0; i < BLOCK; i++)
        largest = fabsf(w[i]) > largest ? fabsf(w[i]) : largest;
    if (!(largest > 0)) {
        *s = (struct steps){.d = 0};
        return true;
    }
    bool found = near != 0 && divides(near, w, s);
    for (int q = 1; !found && q <= INTEGER_MAX; q++) {
        float d = gs_f16_to_f32(gs_f32_to_f16(largest / (float)q));
        found = d * (float)q == largest && divides(d, w, s);
    }
    int low = 0, high = 0;
    for (unsigned i = 0; found && i < BLOCK; i++) {
        low = GS_MIN(low, s->q[i]);
        high = GS_MAX(high, s->q[i]);
    }
    for (unsigned i = 0; found && high > -low && i < BLOCK; i++)
        s->q[i] = -s->q[i];
    if (found && high > -low)
        s->d = -s->d;
    return found;
}

/* What a worker has seen of the matrix. */
struct seen {
    int low, high;
    bool uneven;   /* some block has no step */
    float largest;
};

struct storing {
    const float *w;
    size_t rows, cols, row_bytes;
    struct seen *seen; /* (workers) */
    const struct stored_type *type;
    uint8_t *data;
};

static void see_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct storing *s = ctx;
    struct seen *seen = &s->seen[worker];
    struct steps steps;

    for (size_t r = begin; r < end; r++) {
        const float *w = s->w + r * s->cols;
        float near = 0;
        for (size_t c = 0; c < s->cols; c++)
            seen->largest = GS_MAX(seen->largest, fabsf(w[c]));
        for (size_t c = 0; !seen->uneven && c < s->cols; c += BLOCK) {
            if (s->cols % BLOCK || !find_steps(w + c, near, &steps)) {
                seen->uneven = true;
                break;
            }
            near = fabsf(steps.d);
            for (unsigned i = 0; i < BLOCK; i++) {
                seen->low = GS_MIN(seen->low, steps.q[i]);
                seen->high = GS_MAX(seen->high, steps.q[i]);
            }
        }
    }
}

static void put_run(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct storing *s = ctx;
    struct steps steps;

    for (size_t r = begin; r < end; r++) {
        uint8_t *dst = s->data + r * s->row_bytes;
        float near = 0;
        if (!s->type) {
            gs_kernels()->encode[GS_TYPE_F16](s->w + r * s->cols, dst, s->cols);
            continue;
        }
        for (size_t c = 0; c < s->cols; c += BLOCK, dst += s->row_bytes / (s->cols / BLOCK)) {
            find_steps(s->w + r * s->cols + c, near, &steps);
            near = fabsf(steps.d);
            s->type->put(&steps, dst);
        }
    }
}

/* The type that holds all weights: in s->type, or F16 or F32. */
static enum gs_type choose_type(struct storing *s, int workers, bool exact)
{
    struct seen all = {.low = 0};

    for (int i = 0; i < workers; i++) {
        all.low = GS_MIN(all.low, s->seen[i].low);
        all.high = GS_MAX(all.high, s->seen[i].high);
        all.largest = GS_MAX(all.largest, s->seen[i].largest);
        all.uneven = all.uneven || s->seen[i].uneven;
    }
    for (size_t i = 0; !all.uneven && i < GS_COUNT(types); i++)
        if (types[i].low <= all.low && all.high <= types[i].high) {
            s->type = &types[i];
            return types[i].type;
        }
    return exact || all.largest < LARGEST_LEAST || all.largest > LARGEST_MOST ? GS_TYPE_F32
                                                                              : GS_TYPE_F16;
}

int gs_part_store(float **w, size_t rows, size_t cols, bool exact, struct gs_team *team,
                  struct gs_part_stored *out, struct gs_err *err)
{
    struct storing s = {.w = *w, .rows = rows, .cols = cols};
    int workers = gs_team_size(team);
    uint64_t row_bytes = 0;

    s.seen = gs_alloc((size_t)workers, sizeof *s.seen);
    if (!s.seen)
        return gs_fail_nomem(err, "weights");
    gs_team_run(team, rows, GRAIN, see_run, &s);
    *out = (struct gs_part_stored){.type = choose_type(&s, workers, exact)};
    gs_free(&s.seen);
    int rc = gs_type_row_bytes(out->type, cols, &row_bytes, err);
    if (rc)
        return rc;
    out->row_bytes = s.row_bytes = (size_t)row_bytes;
    if (out->type == GS_TYPE_F32) {
        out->data = *w;
        *w = NULL;
        return GS_OK;
    }
    if (!(out->data = s.data = gs_alloc(rows, row_bytes)))
        return gs_fail_nomem(err, "weights");
    gs_team_run(team, rows, GRAIN, put_run, &s);
    gs_free(w);
    return GS_OK;
}
