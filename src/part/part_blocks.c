/* SPDX-License-Identifier: MIT
 * Blocks of signs times a low rank, added up (BitStack, arXiv:2410.23918): to bytes, and rows of
 * them straight from these bytes.
 *
 *   block     signs (rows, ⌈cols / 8⌉), then for each component k of the low rank
 *             f32 a, f16 A_k (rows), f32 b, f16 B_k (cols)
 *
 *     row r  =  Σ_blocks  S_r ∘ Σ_k (a A_kr b) B_k
 *
 * so that running a model needs no more memory than the blocks that it uses. */
#include <math.h>
#include <string.h>

#include "compensate/sign_block.h"
#include "core/alloc.h"
#include "core/cursor.h"
#include "core/half.h"
#include "kernels/kernels.h"
#include "part/members.h"

#define STRIP 512u            /* columns at a time, whose sums stay in cache */
#define SUM_MOST 1e30         /* of magnitudes; all sums are then finite */
#define DAMPING 1e-3          /* of the mean, for inputs that were never seen */

static size_t component_bytes(const struct gs_part_stack *s)
{
    return 8 + 2 * (s->rows + s->cols);
}

/* Infinite if any is not finite. */
static double largest_f16(const uint8_t *p, size_t n)
{
    float largest = 0;

    for (size_t i = 0; i < n; i++) {
        float v = fabsf(gs_f16_to_f32(gs_load_u16(p + 2 * i)));
        if (!isfinite(v))
            return INFINITY;
        largest = GS_MAX(largest, v);
    }
    return (double)largest;
}

/* The largest magnitude that a block can give; NaN or infinite for bad factors. */
static double block_bound(const struct gs_part_stack *s, const uint8_t *block)
{
    const uint8_t *p = block + s->rows * s->row_bytes;
    double sum = 0;

    for (size_t k = 0; k < s->rank; k++, p += component_bytes(s)) {
        const uint8_t *b = p + 4 + 2 * s->rows;
        double left = fabs((double)gs_load_f32(p)) * (1 + largest_f16(p + 4, s->rows));
        double right = fabs((double)gs_load_f32(b)) * (1 + largest_f16(b + 4, s->cols));
        sum += (1 + left) * (1 + right); /* no factor by itself is beyond the bound */
    }
    return sum;
}

int gs_part_stack_open(const struct gs_part_source *source, struct gs_part_stack *out,
                       struct gs_err *err)
{
    struct gs_part_form f;
    int rc = gs_part_form_read(source->piece[0], source->base_bytes, &f, err);
    double sum = 0;

    if (rc)
        return rc;
    *out = (struct gs_part_stack){.rows = f.rows, .cols = f.cols, .rank = f.rank,
                                  .row_bytes = (size_t)f.row_bytes,
                                  .blocks = GS_MIN(source->pieces, f.blocks)};
    for (unsigned i = 0; i < out->blocks; i++) {
        out->block[i] = source->piece[i] + (i ? 0 : f.codes_at);
        sum += block_bound(out, out->block[i]);
    }
    if (!f.blocks || !(sum < SUM_MOST))
        rc = gs_fail(err, GS_E_FORMAT, "its blocks have factors that are not finite");
    gs_part_form_clear(&f);
    return rc;
}

/* sum (n) of the columns from `first` on of a row of A B. */
static void add_components(const struct gs_part_stack *s, const uint8_t *block, size_t r,
                           size_t first, size_t n, float *sum)
{
    const uint8_t *p = block + s->rows * s->row_bytes;
    gs_axpy_fn axpy = gs_kernels()->axpy_f16;

    for (size_t k = 0; k < s->rank; k++, p += component_bytes(s)) {
        const uint8_t *b = p + 4 + 2 * s->rows;
        float a = gs_load_f32(p) * gs_f16_to_f32(gs_load_u16(p + 4 + 2 * r)) * gs_load_f32(b);
        axpy(a, b + 4 + 2 * first, sum, n);
    }
}

void gs_part_stack_row(const struct gs_part_stack *s, size_t r, float *y)
{
    float sum[STRIP];

    for (size_t first = 0; first < s->cols; first += STRIP) {
        size_t n = GS_MIN(s->cols - first, (size_t)STRIP);
        memset(y + first, 0, n * sizeof *y);
        for (unsigned i = 0; i < s->blocks; i++) {
            const uint8_t *signs = s->block[i] + r * s->row_bytes + first / 8;
            memset(sum, 0, n * sizeof *sum);
            add_components(s, s->block[i], r, first, n, sum);
            for (size_t c = 0; c < n; c++)
                y[first + c] += signs[c / 8] >> c % 8 & 1 ? sum[c] : -sum[c];
        }
    }
}

int gs_part_round_blocks(const struct gs_part_job *job, const struct gs_part_form *f,
                         uint8_t *blob, struct gs_part_result *out, struct gs_err *err)
{
    double *weights = gs_alloc(f->cols, sizeof *weights), mean = 0;
    uint8_t *dst = blob + f->codes_at;
    int rc = weights ? GS_OK : gs_fail_nomem(err, "rounding");

    for (size_t i = 0; !rc && i < f->cols; i++)
        mean += job->input->diagonal[i] / (double)f->cols;
    for (size_t i = 0; !rc && i < f->cols; i++)
        weights[i] = job->input->diagonal[i] + DAMPING * (mean > 0 ? mean : 1);
    for (unsigned k = 0; !rc && k < f->blocks; k++) {
        struct gs_sign_block *block = NULL;
        rc = gs_sign_block_create(job->w, f->cols, f->rows, f->cols, f->rank, weights,
                                  f->factors, job->team, &block, err);
        if (!rc) {
            gs_sign_block_write(block, dst);
            dst += gs_sign_block_bytes(block);
            rc = gs_part_loss(job->input, job->team, job->w, f->rows, &out->losses[k], err);
        }
        gs_sign_block_destroy(&block);
    }
    gs_free(&weights);
    out->loss = rc ? 0 : out->losses[f->blocks - 1];
    return rc;
}
