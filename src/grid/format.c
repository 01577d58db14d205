/* SPDX-License-Identifier: MIT
 * The list of block types, and what follows from a description alone. */
#include "grid/format.h"

#include <assert.h>

#include "core/cursor.h"
#include "core/half.h"
#include "grid/formats.h"

static const struct gs_format *const formats[] = {
    &gs_format_q8_0,    &gs_format_q6_k,   &gs_format_q5_1,    &gs_format_q5_0,
    &gs_format_q5_k,    &gs_format_q4_1,   &gs_format_q4_0,    &gs_format_q4_k,
    &gs_format_iq4_nl,  &gs_format_nvfp4,  &gs_format_iq4_xs,  &gs_format_mxfp4,
    &gs_format_q3_k,    &gs_format_iq3_s,  &gs_format_iq3_xxs, &gs_format_q2_k,
    &gs_format_iq2_s,   &gs_format_iq2_xs, &gs_format_q2_0,    &gs_format_iq2_xxs,
    &gs_format_tq2_0,   &gs_format_iq1_m,  &gs_format_tq1_0,   &gs_format_iq1_s,
    &gs_format_q1_0,
};

const struct gs_format *gs_format_at(size_t index)
{
    return index < GS_COUNT(formats) ? formats[index] : NULL;
}

const struct gs_format *gs_format_find(enum gs_type type)
{
    for (size_t i = 0; i < GS_COUNT(formats); i++)
        if (formats[i]->type == type)
            return formats[i];
    return NULL;
}

float gs_format_multiplier(const struct gs_format *f, unsigned s)
{
    return f->scale_at ? f->scale_at(s) : f->first + f->step * (float)s;
}

float gs_format_f16(float v)
{
    float limit = 65504;

    return gs_f16_to_f32(gs_f32_to_f16(v > limit ? limit : v < -limit ? -limit : v));
}

void gs_format_get_d(const struct gs_format *f, const uint8_t *block, float *d, float *dmin)
{
    const uint8_t *p = block + f->d_at;

    assert(gs_format_has_d(f));
    *d = gs_f16_to_f32(gs_load_u16(p));
    *dmin = f->mins ? gs_f16_to_f32(gs_load_u16(p + 2)) : 0;
    if (f->mins == 1) /* such blocks hold what is added */
        *dmin = -*dmin;
}

void gs_format_put_d(const struct gs_format *f, float d, float dmin, uint8_t *block)
{
    uint8_t *p = block + f->d_at;

    assert(gs_format_has_d(f));
    gs_put_f16(gs_format_f16(d), p);
    if (f->mins)
        gs_put_f16(gs_format_f16(f->mins == 1 ? -dmin : dmin), p + 2);
}

struct gs_point_run gs_format_run(const struct gs_format *f, const struct gs_block_scales *scales,
                            unsigned run)
{
    struct gs_point_run r = {.a = scales->d * gs_format_multiplier(f, scales->s[run]),
                       .variant = scales->variant[run]};

    if (f->mins)
        r.b = f->mins == 1 ? scales->dmin : scales->dmin * (float)scales->m[run];
    return r;
}

double gs_format_nearest(const struct gs_format *f, const struct gs_block_scales *scales,
                         const float *x, const float *h, uint32_t *codes, float *y)
{
    double error = 0;

    for (unsigned r = 0; r < f->block / f->run; r++) {
        struct gs_point_run run = gs_format_run(f, scales, r);
        size_t at = (size_t)r * f->run;
        error += (double)f->points->nearest(f->points, run, f->run, x + at, h + at, y + at,
                                            codes + gs_format_codes(f, at));
        for (size_t i = at; i < at + f->run; i++)
            y[i] = run.a * y[i] - run.b;
    }
    return error;
}

void gs_format_encode(const struct gs_format *f, const float *x, const float *h, size_t n,
                      uint8_t *dst, float *y)
{
    uint32_t codes[GS_FORMAT_BLOCK];
    float values[GS_FORMAT_BLOCK];
    struct gs_block_scales scales;
    size_t bytes = gs_type_info(f->type)->bytes;

    assert(n % f->block == 0);
    for (size_t i = 0; i < n; i += f->block, dst += bytes) {
        gs_format_fit(f, x + i, h + i, &scales);
        gs_format_nearest(f, &scales, x + i, h + i, codes, y ? y + i : values);
        f->pack(&scales, codes, dst);
    }
}
