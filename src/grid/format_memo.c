/* SPDX-License-Identifier: MIT
 * Codes by intervals of scales. */
#include "grid/format_memo.h"

#include <assert.h>

void gs_memo_init(struct gs_memo *memo, const struct gs_points *points, const float *x,
                  const float *h)
{
    assert(points->dim == GS_POINT_DIM && points->variants <= GS_MEMO_VARIANTS);
    memo->points = points;
    memo->x = x;
    memo->h = h;
    for (size_t v = 0; v < GS_MEMO_VARIANTS; v++)
        for (size_t i = 0; i < GS_COUNT(memo->codes[v]); i++)
            memo->codes[v][i].n = 0;
}

static const struct gs_memo_span *find(const struct gs_memo_code *known, float a)
{
    for (unsigned i = 0; i < known->n; i++)
        if (known->spans[i].low <= a && a <= known->spans[i].high)
            return &known->spans[i];
    return NULL;
}

static void add(struct gs_memo_code *known, float a, uint32_t code)
{
    unsigned i = 0;

    while (i < known->n && known->spans[i].code != code)
        i++;
    if (i == GS_MEMO_SPANS)
        return;
    struct gs_memo_span *span = &known->spans[i];
    if (i == known->n) {
        known->n++;
        *span = (struct gs_memo_span){a, a, code};
    }
    span->low = GS_MIN(span->low, a);
    span->high = GS_MAX(span->high, a);
}

/* The values v nearest to the eight weights from `at` on. */
static void search(struct gs_memo *memo, struct gs_point_run run, size_t at, float *v)
{
    const struct gs_points *points = memo->points;
    struct gs_memo_code *known = &memo->codes[run.variant][at / GS_POINT_DIM];
    const struct gs_memo_span *span = run.a > 0 ? find(known, run.a) : NULL;
    uint32_t code;

    if (span) {
        points->value(points, run.variant, span->code, v);
        return;
    }
    code = points->search(points, run, memo->x + at, memo->h + at,
                          known->n ? known->spans[known->n - 1].code : GS_NO_CODE, v);
    if (run.a > 0)
        add(known, run.a, code);
}

float gs_memo_nearest(struct gs_memo *memo, struct gs_point_run run, size_t at, size_t n,
                      float *v)
{
    float sum = 0;

    for (size_t i = 0; i < n; i++) {
        if (i % GS_POINT_DIM == 0)
            search(memo, run, at + i, v + i);
        float e = memo->x[at + i] - run.a * v[i];
        sum += memo->h[at + i] * e * e;
    }
    return sum;
}
