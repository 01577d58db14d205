/* SPDX-License-Identifier: MIT
 * Training vectors of a matrix, the nearest vector of a table, tables in a file. */
#include "codebook/vector.h"

#include <math.h>

#include "core/alloc.h"
#include "core/half.h"
#include "core/rng.h"

enum { CHUNK = 256, ENOUGH = 65536, ENOUGH_EACH = 64 };

size_t gs_vectors_enough(size_t k)
{
    return GS_MAX((size_t)ENOUGH, ENOUGH_EACH * k);
}

int gs_vector_bits(const char *kind, double bits, double size, unsigned most, unsigned *each,
                   struct gs_err *err)
{
    double k = bits * size, whole = rint(k);

    /* size may be a quotient: its last bits say nothing */
    if (fabs(k - whole) > 1e-6 || whole < 1 || whole > most)
        return gs_fail(err, GS_E_ARG, "codebook %s: bits: %g bits of %g weights name a vector by "
                       "%.6g bits, which is no whole number of 1 to %u", kind, bits, size, k,
                       most);
    *each = (unsigned)whole;
    return GS_OK;
}

/* Root mean square of a row; 0 if it is not finite or nothing is in it. */
static float row_size(const float *w, size_t n)
{
    double squares = 0;

    for (size_t i = 0; i < n; i++)
        squares += (double)w[i] * (double)w[i];
    float size = (float)sqrt(squares / (double)n);
    return size > 0 && isfinite(size) ? size : 0;
}

static float importance(const struct gs_codebook_data *data, size_t row, size_t col)
{
    return data->h_all ? data->h_all[row * data->cols + col] : data->h ? data->h[col] : 1.0f;
}

/* The i-th of n numbers below `total`, one from each of n equal parts. */
static size_t pick(struct gs_rng *rng, size_t i, size_t n, size_t total)
{
    size_t from = i * (total / n) + GS_MIN(i, total % n);
    size_t part = total / n + (i < total % n);

    return from + (part > 1 ? (size_t)gs_rng_below(rng, part) : 0);
}

int gs_vectors_gather(const struct gs_codebook_data *data, unsigned dim, bool scaled,
                      size_t n_max, struct gs_vectors *out, struct gs_err *err)
{
    size_t across = data->cols / dim, total = data->rows * across, last = SIZE_MAX;
    float size = 1;
    struct gs_rng rng;

    *out = (struct gs_vectors){.n = GS_MIN(total, n_max), .stride = dim};
    out->x = gs_alloc(out->n * dim, sizeof *out->x);
    out->h = gs_alloc(out->n * dim, sizeof *out->h);
    if (!out->x || !out->h) {
        gs_vectors_clear(out);
        return gs_fail_nomem(err, "training vectors");
    }
    gs_rng_init(&rng, data->seed, dim);
    for (size_t i = 0; i < out->n; i++) {
        size_t at = pick(&rng, i, out->n, total), row = at / across, col = at % across * dim;
        if (scaled && row != last)
            size = row_size(data->w + row * data->stride, data->cols);
        last = row;
        for (unsigned j = 0; j < dim; j++) {
            float w = data->w[row * data->stride + col + j];
            out->x[i * dim + j] = size > 0 ? w / size : 0;
            out->h[i * dim + j] = importance(data, row, col + j) * size * size;
        }
    }
    return GS_OK;
}

void gs_vectors_clear(struct gs_vectors *v)
{
    gs_free(&v->x);
    gs_free(&v->h);
}

unsigned gs_vector_nearest(const float *table, unsigned k, unsigned dim, const float *x,
                           const float *h)
{
    float least = INFINITY;
    unsigned best = 0;

    for (unsigned first = 0; first < k; first += CHUNK) {
        float cost[CHUNK] = {0};
        unsigned n = GS_MIN(k - first, (unsigned)CHUNK);
        for (unsigned j = 0; j < dim; j++) {
            const float *points = table + (size_t)j * k + first;
            float w = h ? h[j] : 1;
            for (unsigned c = 0; c < n; c++)
                cost[c] += w * ((x[j] - points[c]) * (x[j] - points[c]));
        }
        for (unsigned c = 0; c < n; c++)
            if (cost[c] < least) {
                least = cost[c];
                best = first + c;
            }
    }
    return best;
}

void gs_table_round(float *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float most = 65504.0f, v = GS_MIN(GS_MAX(table[i], -most), most);
        table[i] = v == v ? gs_f16_to_f32(gs_f32_to_f16(v)) : 0;
    }
}

void gs_table_write(const float *table, size_t count, uint8_t *dst)
{
    for (size_t i = 0; i < count; i++)
        gs_put_f16(table[i], dst + 2 * i);
}

int gs_table_read(float *table, size_t count, const char *kind, const uint8_t *src,
                  struct gs_err *err)
{
    for (size_t i = 0; i < count; i++) {
        float v = gs_f16_to_f32((uint16_t)(src[2 * i] | src[2 * i + 1] << 8));
        if (!isfinite(v))
            return gs_fail(err, GS_E_FORMAT, "codebook %s: number %zu of its table is not finite",
                           kind, i);
        table[i] = v;
    }
    return GS_OK;
}
