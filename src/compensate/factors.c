/* SPDX-License-Identifier: MIT
 * Factors of low rank in memory and in a file.
 *
 * As written, little-endian, for each component k:
 *
 *   f32 scale, rows × code    column k of A: scale · value(code); codes of one bit are packed
 *   f32 scale, cols × code    row k of B     eight a byte, from the lowest bit on
 *
 * Scales are chosen so that what has been stored is stored again in the same bits; they need
 * not be kept beside the numbers. */
#include "compensate/factors.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/half.h"

static float largest(const float *v, size_t n)
{
    float m = 0;

    for (size_t i = 0; i < n; i++)
        m = fmaxf(m, fabsf(v[i]));
    return m;
}

/* The power of two that brings the largest, once rounded, into [1, 2). */
static float scale_f16(const float *v, size_t n)
{
    float m = largest(v, n);

    if (!(m > 0))
        return 1;
    int e = GS_MAX(ilogbf(m), -126);
    e += gs_f16_to_f32(gs_f32_to_f16(ldexpf(m, -e))) == 2;
    return ldexpf(1, GS_MIN(e, 126));
}

static float value_f16(uint16_t code)
{
    return gs_f16_to_f32(code);
}

static uint16_t code_f16(float v)
{
    return gs_f32_to_f16(v);
}

/* A 127th of the largest, rounded up to 17 bits, so that code · scale is exact. */
static float scale_int8(const float *v, size_t n)
{
    float m = largest(v, n);

    return m > 0x1p-100f ? gs_f32_from_bits((gs_f32_bits(m / 127) + 0x7f) & ~0x7fu) : 1;
}

static uint16_t code_int8(float v)
{
    return (uint8_t)(int8_t)rintf(fmaxf(-127, fminf(127, v)));
}

static float value_int8(uint16_t code)
{
    return (float)(int8_t)(uint8_t)code;
}

/* The mean magnitude, which is least squares for signs. */
static float scale_sign(const float *v, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)fabsf(v[i]);
    return (float)(sum / (double)GS_MAX(n, 1));
}

static uint16_t code_sign(float v)
{
    return v >= 0;
}

static float value_sign(uint16_t code)
{
    return code ? 1 : -1;
}

static const struct gs_factor_format formats[] = {
    {"f16", 16, scale_f16, code_f16, value_f16},
    {"int8", 8, scale_int8, code_int8, value_int8},
    {"sign", 1, scale_sign, code_sign, value_sign},
};

const struct gs_factor_format *gs_factor_format_at(size_t index)
{
    return index < GS_COUNT(formats) ? &formats[index] : NULL;
}

const struct gs_factor_format *gs_factor_format_find(const char *name)
{
    for (size_t i = 0; i < GS_COUNT(formats); i++)
        if (!strcmp(formats[i].name, name))
            return &formats[i];
    return NULL;
}

void gs_factor_store(const struct gs_factor_format *format, float *v, size_t count, size_t n)
{
    for (size_t k = 0; k < count; k++, v += n) {
        float scale = format->scale(v, n);
        for (size_t i = 0; i < n; i++)
            v[i] = scale * format->value(format->code(v[i] / scale));
    }
}

int gs_low_rank_alloc(size_t rows, size_t cols, size_t rank,
                      const struct gs_factor_format *format, struct gs_low_rank **out,
                      struct gs_err *err)
{
    struct gs_low_rank *low = *out = gs_alloc(1, sizeof *low);
    uint64_t a, b;

    if (low && gs_mul_ok(rank, rows, &a) && gs_mul_ok(rank, cols, &b)) {
        *low = (struct gs_low_rank){.rows = rows, .cols = cols, .rank = rank, .format = format,
                                    .a = gs_alloc(a, sizeof *low->a),
                                    .b = gs_alloc(b, sizeof *low->b)};
        if (low->a && low->b)
            return GS_OK;
    }
    gs_low_rank_destroy(out);
    return gs_fail_nomem(err, "low-rank correction");
}

void gs_low_rank_destroy(struct gs_low_rank **low)
{
    if (!*low)
        return;
    gs_free(&(*low)->a);
    gs_free(&(*low)->b);
    gs_free(low);
}

static uint64_t vector_bytes(const struct gs_factor_format *format, uint64_t n)
{
    return format->bits == 1 ? (n + 7) / 8 : n * (format->bits / 8);
}

uint64_t gs_low_rank_bytes(const struct gs_low_rank *low)
{
    return low->rank * (8 + vector_bytes(low->format, low->rows) +
                        vector_bytes(low->format, low->cols));
}

static uint8_t *write_vector(const struct gs_factor_format *format, const float *v, size_t n,
                             uint8_t *dst)
{
    float scale = format->scale(v, n);

    gs_put_u32(gs_f32_bits(scale), dst);
    dst += 4;
    for (size_t i = 0; i < n; i++) {
        uint16_t code = format->code(v[i] / scale);
        if (format->bits == 1) {
            dst[i / 8] = (uint8_t)((i % 8 ? dst[i / 8] : 0) | code << i % 8);
            continue;
        }
        dst[i * format->bits / 8] = (uint8_t)code;
        if (format->bits > 8)
            dst[2 * i + 1] = (uint8_t)(code >> 8);
    }
    return dst + vector_bytes(format, n);
}

void gs_low_rank_write(const struct gs_low_rank *low, uint8_t *dst)
{
    for (size_t k = 0; k < low->rank; k++) {
        dst = write_vector(low->format, low->a + k * low->rows, low->rows, dst);
        dst = write_vector(low->format, low->b + k * low->cols, low->cols, dst);
    }
}

static int read_vector(struct gs_cursor *c, const struct gs_factor_format *format, float *v,
                       size_t n, struct gs_err *err)
{
    float scale = gs_f32_from_bits(gs_cursor_u32(c));
    const uint8_t *codes = gs_cursor_bytes(c, vector_bytes(format, n));

    for (size_t i = 0; codes && i < n; i++) {
        uint16_t code = format->bits == 1   ? codes[i / 8] >> i % 8 & 1
                        : format->bits == 8 ? codes[i]
                                            : gs_load_u16(codes + 2 * i);
        v[i] = scale * format->value(code);
        if (!isfinite(v[i]))
            return gs_fail_at(err, GS_E_FORMAT, c->pos,
                              "low-rank factors: a value is not finite");
    }
    return GS_OK;
}

int gs_low_rank_read(struct gs_cursor *c, size_t rows, size_t cols, size_t rank,
                     const struct gs_factor_format *format, struct gs_low_rank **out,
                     struct gs_err *err)
{
    struct gs_low_rank shape = {.rows = rows, .cols = cols, .rank = rank, .format = format};
    uint64_t numbers;

    *out = NULL;
    if (rank > rows || rank > cols || !gs_add_ok(rows, cols, &numbers) ||
        (rank && (numbers / 8 > gs_cursor_left(c) / rank ||
                  gs_low_rank_bytes(&shape) > gs_cursor_left(c))))
        return gs_fail_at(err, GS_E_FORMAT, c->pos,
                          "low-rank factors: rank %zu of a matrix of %zu × %zu does not fit "
                          "into it and the %llu bytes that follow", rank, rows, cols,
                          (unsigned long long)gs_cursor_left(c));
    int rc = gs_low_rank_alloc(rows, cols, rank, format, out, err);
    for (size_t k = 0; !rc && k < rank; k++)
        if (!(rc = read_vector(c, format, (*out)->a + k * rows, rows, err)))
            rc = read_vector(c, format, (*out)->b + k * cols, cols, err);
    if (!rc)
        rc = gs_cursor_check(c, "low-rank factors", err);
    if (rc)
        gs_low_rank_destroy(out);
    return rc;
}

struct add_job {
    const struct gs_low_rank *low;
    float factor, *y;
    size_t stride;
};

/* Each element is one chain over the components, in their order. */
static void add_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct add_job *job = ctx;
    const struct gs_low_rank *low = job->low;
    (void)worker;

    for (size_t r = begin; r < end; r++)
        for (size_t k = 0; k < low->rank; k++) {
            const float *b = low->b + k * low->cols;
            float a = job->factor * low->a[k * low->rows + r], *y = job->y + r * job->stride;
            for (size_t c = 0; c < low->cols; c++)
                y[c] += a * b[c];
        }
}

void gs_low_rank_add(const struct gs_low_rank *low, float factor, struct gs_team *team,
                     float *y, size_t stride)
{
    struct add_job job = {.low = low, .factor = factor, .y = y, .stride = stride};

    gs_team_run(team, low->rows, 16, add_run, &job);
}

struct mul_job {
    const struct gs_low_rank *low;
    const float *x;
    size_t T;
    float *work, *y; /* work (T, rank) = B x */
};

#define LANES 16

static void inner_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct mul_job *job = ctx;
    size_t n = job->low->cols;
    (void)worker;

    for (size_t i = begin; i < end; i++) {
        const float *x = job->x + i / job->low->rank * n;
        const float *b = job->low->b + i % job->low->rank * n;
        float lane[LANES] = {0}, sum = 0;
        size_t c = 0;
        for (; c + LANES <= n; c += LANES)
            for (size_t l = 0; l < LANES; l++)
                lane[l] += b[c + l] * x[c + l];
        for (; c < n; c++)
            lane[c % LANES] += b[c] * x[c];
        for (size_t l = 0; l < LANES; l++)
            sum += lane[l];
        job->work[i] = sum;
    }
}

#define ROWS 1024 /* outputs of one piece */

static void outer_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct mul_job *job = ctx;
    const struct gs_low_rank *low = job->low;
    size_t pieces = (low->rows + ROWS - 1) / ROWS;
    (void)worker;

    for (size_t i = begin; i < end; i++) {
        size_t t = i / pieces, r0 = i % pieces * ROWS, r1 = GS_MIN(r0 + ROWS, low->rows);
        for (size_t k = 0; k < low->rank; k++) {
            const float *a = low->a + k * low->rows;
            float z = job->work[t * low->rank + k], *y = job->y + t * low->rows;
            for (size_t r = r0; r < r1; r++)
                y[r] += z * a[r];
        }
    }
}

void gs_low_rank_mul(const struct gs_low_rank *low, const float *x, size_t T,
                     struct gs_team *team, float *work, float *y)
{
    struct mul_job job = {.low = low, .x = x, .T = T, .work = work, .y = y};

    gs_team_run(team, T * low->rank, 1, inner_run, &job);
    gs_team_run(team, T * ((low->rows + ROWS - 1) / ROWS), 1, outer_run, &job);
}
