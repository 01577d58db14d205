/* SPDX-License-Identifier: MIT
 * Low-rank corrections: which, and by alternation.
 *
 * Whitened or not, the columns of A span the r leading eigenvectors P of  E H Eᵀ = (P Σ Qᵀ)(…)ᵀ,
 * which are found by products of E, H and Eᵀ with a few vectors (linalg/eigen.h), in double from
 * the f32 E. With A = P Σ^½ the best B under any H is A⁺ E = Σ^-½ Pᵀ E; after A has been stored
 * in fewer bits its columns are no longer orthogonal, and B = (AᵀA)⁻¹ Aᵀ E is solved for. */
#include <math.h>
#include <string.h>

#include "compensate/factors.h"
#include "core/alloc.h"
#include "linalg/eigen.h"
#include "linalg/mul.h"

/* λ are found to this; better correction of an error that is itself a result of rounding
 * cannot be measured. */
#define TOLERANCE 1e-6

#define DEPTH 256 /* inner dimension taken at a time */
#define WIDE GS_MUL_TILE

/* An f32 matrix (k, n), element (i, j) at data[i·row + j·col]. */
struct mixed_job {
    const double *x; /* (count, k) */
    size_t count, k, n;
    struct gs_operand_f32 m;
    double *y; /* (count, n) */
    uint8_t *work;
};

#define MIXED_WORK (DEPTH * WIDE * sizeof(double) + GS_MUL_WORK_F64)

static void mixed_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct mixed_job *job = ctx;
    double *block = (double *)(void *)(job->work + (size_t)worker * MIXED_WORK);

    for (size_t tile = begin; tile < end; tile++) {
        size_t j = tile * WIDE, cols = GS_MIN(WIDE, job->n - j);
        for (size_t i = 0; i < job->count; i++)
            memset(job->y + i * job->n + j, 0, cols * sizeof *job->y);
        for (size_t p = 0; p < job->k; p += DEPTH) {
            size_t depth = GS_MIN(DEPTH, job->k - p);
            for (size_t a = 0; a < depth; a++)
                for (size_t b = 0; b < cols; b++)
                    block[a * WIDE + b] =
                        (double)job->m.data[(p + a) * job->m.row + (j + b) * job->m.col];
            for (size_t i = 0; i < job->count; i += WIDE)
                gs_mul_block_f64(GS_MIN(WIDE, job->count - i), cols, depth, 1,
                                 (struct gs_operand_f64){job->x + i * job->k + p, job->k, 1},
                                 (struct gs_operand_f64){block, WIDE, 1},
                                 job->y + i * job->n + j, job->n, block + DEPTH * WIDE);
        }
    }
}

/* y (count, n) = x (count, k) · m (k, n) */
static int mixed_mul(struct gs_team *team, const double *x, size_t count, size_t k, size_t n,
                     struct gs_operand_f32 m, double *y, struct gs_err *err)
{
    struct mixed_job job = {.x = x, .count = count, .k = k, .n = n, .m = m, .y = y,
                            .work = gs_work_create(team, MIXED_WORK)};

    if (!job.work)
        return gs_fail_nomem(err, "low-rank correction");
    gs_team_run(team, (n + WIDE - 1) / WIDE, 1, mixed_run, &job);
    gs_free(&job.work);
    return GS_OK;
}

/* E H Eᵀ as an operator. */
struct residual {
    const float *e; /* (rows, cols) */
    size_t rows, cols, stride;
    const struct gs_moments *moments;
    struct gs_team *team;
    double *z, *zh; /* (count, cols) each, count as it comes */
    size_t room;    /* rows of z and zh */
};

static int residual_room(struct residual *r, size_t count, struct gs_err *err)
{
    if (count <= r->room)
        return GS_OK;
    gs_free(&r->z);
    gs_free(&r->zh);
    r->z = gs_alloc(count * r->cols, sizeof *r->z);
    r->zh = gs_alloc(count * r->cols, sizeof *r->zh);
    r->room = r->z && r->zh ? count : 0;
    return r->room ? GS_OK : gs_fail_nomem(err, "low-rank correction");
}

/* y (count, rows) = x E H Eᵀ, rows of x (count, rows). */
static int residual_apply(void *ctx, const double *x, size_t count, double *y,
                          struct gs_err *err)
{
    struct residual *r = ctx;
    int rc = residual_room(r, count, err);
    double *z = r->z;

    if (rc || (rc = mixed_mul(r->team, x, count, r->rows, r->cols,
                              (struct gs_operand_f32){r->e, r->stride, 1}, r->z, err)))
        return rc;
    if (r->moments && r->moments->full) {
        z = r->zh;
        memset(z, 0, count * r->cols * sizeof *z);
        rc = gs_mul_f64(r->team, count, r->cols, r->cols, 1,
                        (struct gs_operand_f64){r->z, r->cols, 1},
                        (struct gs_operand_f64){r->moments->full, r->cols, 1}, z, r->cols, err);
    } else if (r->moments && r->moments->diagonal) {
        for (size_t i = 0; i < count; i++)
            for (size_t c = 0; c < r->cols; c++)
                z[i * r->cols + c] *= r->moments->diagonal[c];
    }
    return rc ? rc : mixed_mul(r->team, z, count, r->cols, r->rows,
                               (struct gs_operand_f32){r->e, 1, r->stride}, y, err);
}

/* a (rank, rows) = Σ^½ Pᵀ, σ scaled so that both factors are of one size, as stored. */
static int fit_a(struct residual *r, struct gs_low_rank *low, struct gs_err *err)
{
    double *values = gs_alloc(low->rank, sizeof *values);
    double *vectors = gs_alloc(low->rank * low->rows, sizeof *vectors);
    int rc = values && vectors ? GS_OK : gs_fail_nomem(err, "low-rank correction");

    if (!rc)
        rc = gs_eigen_top(r->team, low->rows, low->rank, residual_apply, r, TOLERANCE, values,
                          vectors, err);
    for (size_t k = 0; !rc && k < low->rank; k++) {
        double size = sqrt(sqrt(fmax(values[k], 0)));
        for (size_t i = 0; i < low->rows; i++)
            low->a[k * low->rows + i] = (float)(size * vectors[k * low->rows + i]);
    }
    gs_free(&values);
    gs_free(&vectors);
    if (!rc)
        gs_factor_store(low->format, low->a, low->rank, low->rows);
    return rc;
}

/* g (n, n) ← its pseudo-inverse. Components that are zero (a smaller rank) stay zero. */
static int pseudo_inverse(double *g, size_t n, struct gs_err *err)
{
    double *v = gs_alloc(n * n, sizeof *v), *values = gs_alloc(n, sizeof *values);
    int rc = v && values ? GS_OK : gs_fail_nomem(err, "low-rank correction");

    if (!rc) {
        gs_eigen_symmetric(g, n, values, v);
        memset(g, 0, n * n * sizeof *g);
        for (size_t k = 0; k < n && values[k] > 1e-12 * values[0]; k++)
            for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < n; j++)
                    g[i * n + j] += v[k * n + i] * v[k * n + j] / values[k];
    }
    gs_free(&v);
    gs_free(&values);
    return rc;
}

/* b (rank, cols) = (AᵀA)⁻¹ Aᵀ E, as stored. */
static int fit_b(struct residual *r, struct gs_low_rank *low, struct gs_err *err)
{
    size_t k = low->rank, m = low->rows;
    double *a = gs_alloc(k * m, sizeof *a), *g = gs_alloc(k * k, sizeof *g);
    double *x = gs_alloc(k * m, sizeof *x);
    int rc = a && g && x ? residual_room(r, k, err) : gs_fail_nomem(err, "low-rank correction");

    if (rc)
        goto out;
    for (size_t i = 0; i < k * m; i++)
        a[i] = (double)low->a[i];
    if ((rc = gs_mul_f64(r->team, k, k, m, 1, (struct gs_operand_f64){a, m, 1},
                         (struct gs_operand_f64){a, 1, m}, g, k, err)) ||
        (rc = pseudo_inverse(g, k, err)) ||
        (rc = gs_mul_f64(r->team, k, m, k, 1, (struct gs_operand_f64){g, k, 1},
                         (struct gs_operand_f64){a, m, 1}, x, m, err)) ||
        (rc = mixed_mul(r->team, x, k, m, r->cols,
                        (struct gs_operand_f32){r->e, r->stride, 1}, r->z, err)))
        goto out;
    for (size_t i = 0; i < k * r->cols; i++)
        low->b[i] = (float)r->z[i];
    gs_factor_store(low->format, low->b, k, r->cols);
out:
    gs_free(&a);
    gs_free(&g);
    gs_free(&x);
    return rc;
}

int gs_low_rank_create(const float *e, size_t stride, size_t rows, size_t cols, size_t rank,
                       const struct gs_moments *moments, const struct gs_factor_format *format,
                       struct gs_team *team, struct gs_low_rank **out, struct gs_err *err)
{
    struct residual r = {.e = e, .rows = rows, .cols = cols, .stride = stride,
                         .moments = moments, .team = team};
    int rc = gs_low_rank_alloc(rows, cols, GS_MIN(rank, GS_MIN(rows, cols)), format, out, err);

    if (rc)
        return rc;
    if ((*out)->rank && !(rc = fit_a(&r, *out, err)))
        rc = fit_b(&r, *out, err);
    gs_free(&r.z);
    gs_free(&r.zh);
    if (rc)
        gs_low_rank_destroy(out);
    return rc;
}

/* One run of the alternation. */
struct alternation {
    const float *w;
    size_t rows, cols;
    float *target, *rounded; /* (rows, cols) */
    gs_low_rank_round_fn round;
    void *ctx;
    struct gs_team *team;
};

/* Ŵ ← round(W − A B); low NULL: round(W). */
static int round_rest(const struct alternation *a, const struct gs_low_rank *low, double *loss,
                      struct gs_err *err)
{
    memcpy(a->target, a->w, a->rows * a->cols * sizeof *a->target);
    if (low)
        gs_low_rank_add(low, -1, a->team, a->target, a->cols);
    return a->round(a->ctx, a->target, a->rounded, loss, err);
}

int gs_low_rank_alternate(const float *w, size_t rows, size_t cols, size_t rank, int steps,
                          bool weights_first, const struct gs_moments *moments,
                          const struct gs_factor_format *format, gs_low_rank_round_fn round,
                          void *ctx, struct gs_team *team, float *rounded,
                          struct gs_low_rank **out, double *loss, struct gs_err *err)
{
    struct alternation a = {.w = w, .rows = rows, .cols = cols, .rounded = rounded,
                            .round = round, .ctx = ctx, .team = team};
    struct gs_low_rank *low = NULL;
    double best = INFINITY, now = INFINITY;
    bool stale = false; /* the codes in place are those of a step after the best */
    int rc = GS_OK;

    *out = NULL;
    if (!(a.target = gs_alloc(rows * cols, sizeof *a.target)))
        return gs_fail_nomem(err, "low-rank correction");
    if (!weights_first && (rc = round_rest(&a, NULL, &now, err)))
        goto out;
    for (int step = 0; step < GS_MAX(steps, 1); step++) {
        for (size_t i = 0; i < rows * cols; i++)
            a.target[i] = step || !weights_first ? w[i] - rounded[i] : w[i];
        if ((rc = gs_low_rank_create(a.target, cols, rows, cols, rank, moments, format, team,
                                     &low, err)) ||
            (rc = round_rest(&a, low, &now, err)))
            goto out;
        stale = !(now < best || !*out);
        if (!stale) {
            gs_low_rank_destroy(out);
            *out = low;
            low = NULL;
            best = now;
        }
        gs_low_rank_destroy(&low);
    }
    if (stale)
        rc = round_rest(&a, *out, &best, err);
    if (loss)
        *loss = best;
out:
    gs_free(&a.target);
    gs_low_rank_destroy(&low);
    if (rc)
        gs_low_rank_destroy(out);
    return rc;
}
