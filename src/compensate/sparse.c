/* SPDX-License-Identifier: MIT */
#include "compensate/sparse.h"

#include <math.h>

#include "core/alloc.h"
#include "core/bytes.h"
#include "core/half.h"

#define SKIP 255 /* a delta that stands for 255 columns without an entry */

/* Exponents with which every finite f16 gives a finite and normal or exact f32. */
#define EXPONENT_MIN (-126)
#define EXPONENT_MAX 111

static uint16_t code_of(const struct gs_sparse *s, float v)
{
    uint16_t code = gs_f32_to_f16(ldexpf(v, -s->exponent));

    /* only weights of 2^127 are cut here */
    return (code & 0x7c00) == 0x7c00 ? (uint16_t)((code & 0x8000) | 0x7bff) : code;
}

static float value_of(const struct gs_sparse *s, uint16_t code)
{
    return ldexpf(gs_f16_to_f32(code), s->exponent);
}

static int create(size_t rows, size_t cols, size_t entries, struct gs_sparse **out,
                  struct gs_err *err)
{
    struct gs_sparse *s = *out = gs_alloc(1, sizeof *s);

    if (s) {
        s->rows = rows;
        s->cols = cols;
        s->entries = entries;
        s->start = gs_alloc(rows + 1, sizeof *s->start);
        s->column = gs_alloc(entries, sizeof *s->column);
        s->value = gs_alloc(entries, sizeof *s->value);
    }
    if (!s || !s->start || !s->column || !s->value) {
        gs_sparse_destroy(out);
        return gs_fail_nomem(err, "outliers");
    }
    return GS_OK;
}

void gs_sparse_destroy(struct gs_sparse **sparse)
{
    if (!*sparse)
        return;
    gs_free(&(*sparse)->start);
    gs_free(&(*sparse)->column);
    gs_free(&(*sparse)->value);
    gs_free(sparse);
}

int gs_sparse_create(const float *w, size_t stride, const uint8_t *mask, size_t rows,
                     size_t cols, struct gs_sparse **out, struct gs_err *err)
{
    size_t entries = 0;
    float largest = 0;

    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            if (mask[r * cols + c]) {
                entries++;
                largest = GS_MAX(largest, fabsf(w[r * stride + c]));
            }
    int rc = create(rows, cols, entries, out, err);
    if (rc)
        return rc;
    struct gs_sparse *s = *out;
    /* the largest is in [1, 2) of f16, so that no value is lost at either end */
    if (largest > 0)
        s->exponent = GS_MIN(GS_MAX(ilogbf(largest), EXPONENT_MIN), EXPONENT_MAX);
    for (size_t r = 0, i = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c++)
            if (mask[r * cols + c]) {
                s->column[i] = (uint32_t)c;
                s->value[i++] = value_of(s, code_of(s, w[r * stride + c]));
            }
        s->start[r + 1] = i;
    }
    return GS_OK;
}

/* Calls of put for the bytes of counts and deltas; NULL only counts. */
static uint64_t put_places(const struct gs_sparse *s, uint8_t *dst)
{
    uint64_t n = 0;

#define PUT(byte) do { if (dst) dst[n] = (uint8_t)(byte); n++; } while (0)
    for (size_t r = 0; r < s->rows; r++) {
        size_t count = s->start[r + 1] - s->start[r];
        for (; count >= 128; count >>= 7)
            PUT(count | 128);
        PUT(count);
    }
    for (size_t r = 0; r < s->rows; r++)
        for (size_t i = s->start[r], next = 0; i < s->start[r + 1]; i++) {
            size_t delta = s->column[i] - next;
            for (; delta >= SKIP; delta -= SKIP)
                PUT(SKIP);
            PUT(delta);
            next = (size_t)s->column[i] + 1;
        }
#undef PUT
    return n;
}

uint64_t gs_sparse_bytes(const struct gs_sparse *s)
{
    return 1 + put_places(s, NULL) + 2 * (uint64_t)s->entries;
}

void gs_sparse_write(const struct gs_sparse *s, uint8_t *dst)
{
    *dst++ = (uint8_t)s->exponent;
    dst += put_places(s, dst);
    for (size_t i = 0; i < s->entries; i++)
        gs_put_u16(code_of(s, s->value[i]), dst + 2 * i);
}

/* A count of at most cols; larger ones come back as larger than cols. */
static uint64_t get_count(struct gs_cursor *c)
{
    uint64_t count = 0;

    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint8_t byte = gs_cursor_u8(c);
        count |= (uint64_t)(byte & 127) << shift;
        if (!(byte & 128))
            return count;
    }
    return UINT64_MAX;
}

/* Reads the counts twice: once for the sum, once for the starts. */
static int get_counts(struct gs_cursor *c, size_t rows, size_t cols, size_t *start,
                      uint64_t *sum, struct gs_err *err)
{
    *sum = 0;
    for (size_t r = 0; r < rows; r++) {
        uint64_t count = get_count(c);
        if (c->failed)
            break;
        if (count > cols)
            return gs_fail_at(err, GS_E_FORMAT, c->pos,
                              "outliers: row %zu has more entries than columns (%zu)", r, cols);
        *sum += count;
        if (*sum > c->size)
            break; /* more than there can be */
        if (start)
            start[r + 1] = (size_t)*sum;
    }
    int rc = gs_cursor_check(c, "outliers", err);
    if (!rc && *sum > gs_cursor_left(c) / 3)
        rc = gs_fail_at(err, GS_E_FORMAT, c->pos,
                        "outliers: %llu entries do not fit into the %llu bytes that follow",
                        (unsigned long long)*sum, (unsigned long long)gs_cursor_left(c));
    return rc;
}

static int get_columns(struct gs_cursor *c, struct gs_sparse *s, struct gs_err *err)
{
    for (size_t r = 0; r < s->rows; r++) {
        uint64_t next = 0;
        for (size_t i = s->start[r]; i < s->start[r + 1]; i++) {
            uint8_t delta;
            while ((delta = gs_cursor_u8(c)) == SKIP && next < s->cols)
                next += SKIP;
            next += delta;
            if (next >= s->cols && !c->failed)
                return gs_fail_at(err, GS_E_FORMAT, c->pos,
                                  "outliers: row %zu has an entry beyond its %zu columns", r,
                                  s->cols);
            s->column[i] = (uint32_t)next++;
        }
    }
    return gs_cursor_check(c, "outliers", err);
}

int gs_sparse_read(struct gs_cursor *c, size_t rows, size_t cols, struct gs_sparse **out,
                   struct gs_err *err)
{
    int exponent = (int8_t)gs_cursor_u8(c);
    struct gs_cursor again = *c;
    uint64_t entries;

    *out = NULL;
    if (exponent < EXPONENT_MIN || exponent > EXPONENT_MAX)
        return gs_fail_at(err, GS_E_FORMAT, c->pos, "outliers: exponent %d is not within %d … %d",
                          exponent, EXPONENT_MIN, EXPONENT_MAX);
    if (cols > UINT32_MAX || rows > gs_cursor_left(c))
        return gs_fail_at(err, GS_E_FORMAT, c->pos,
                          "outliers: the counts of %zu rows do not fit into the %llu bytes "
                          "that follow", rows, (unsigned long long)gs_cursor_left(c));
    int rc = get_counts(c, rows, cols, NULL, &entries, err);
    if (rc || (rc = create(rows, cols, (size_t)entries, out, err)))
        return rc;
    struct gs_sparse *s = *out;
    s->exponent = exponent;
    if ((rc = get_counts(&again, rows, cols, s->start, &entries, err)) ||
        (rc = get_columns(c, s, err)))
        goto out;
    for (size_t i = 0; i < s->entries; i++) {
        uint16_t code = gs_cursor_u16(c);
        if ((code & 0x7c00) == 0x7c00) {
            rc = gs_fail_at(err, GS_E_FORMAT, c->pos, "outliers: value %zu is not finite", i);
            goto out;
        }
        s->value[i] = value_of(s, code);
    }
    rc = gs_cursor_check(c, "outliers", err);
out:
    if (rc)
        gs_sparse_destroy(out);
    return rc;
}

void gs_sparse_add(const struct gs_sparse *s, float factor, float *y, size_t stride)
{
    for (size_t r = 0; r < s->rows; r++)
        for (size_t i = s->start[r]; i < s->start[r + 1]; i++)
            y[r * stride + s->column[i]] += factor * s->value[i];
}

/* Entries of one piece of work. */
#define GRAIN 2048

struct mul_job {
    const struct gs_sparse *s;
    const float *x;
    size_t T;
    float *y;
};

/* The first row that begins at entry `i` or later. */
static size_t first_row(const struct gs_sparse *s, size_t i)
{
    size_t low = 0, high = s->rows;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (s->start[mid] < i)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Rows that begin within the pieces [begin, end) of GRAIN entries. */
static void mul_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct mul_job *job = ctx;
    const struct gs_sparse *s = job->s;
    size_t last = first_row(s, GS_MIN(end * GRAIN, s->entries));
    (void)worker;

    for (size_t r = first_row(s, begin * GRAIN); r < last; r++)
        for (size_t t = 0; t < job->T; t++) {
            const float *x = job->x + t * s->cols;
            float lane[2] = {0}; /* by the parity of the place in the row: one order */
            for (size_t i = s->start[r]; i < s->start[r + 1]; i++)
                lane[(i - s->start[r]) & 1] += s->value[i] * x[s->column[i]];
            job->y[t * s->rows + r] += lane[0] + lane[1];
        }
}

void gs_sparse_mul(const struct gs_sparse *s, const float *x, size_t T, struct gs_team *team,
                   float *y)
{
    struct mul_job job = {.s = s, .x = x, .T = T, .y = y};

    gs_team_run(team, (s->entries + GRAIN - 1) / GRAIN, 1, mul_run, &job);
}
