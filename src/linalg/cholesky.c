/* SPDX-License-Identifier: MIT
 * Left-looking blocked Cholesky. For each column block J of TILE columns:
 *
 *        . . . .          C_iJ −= Σ_{k<J} C_ik C_Jkᵀ   for i ≥ J   products, over the team
 *        . J . .          C_JJ  = chol(C_JJ)                       one thread, TILE³/3
 *        . i . .          C_iJ  = C_iJ · C_JJ⁻ᵀ        for i > J   products, over the team
 *
 * The last step multiplies by the inverse of the small triangle instead of solving: after
 * damping its condition number is at most the square root of H's, far from 1/ε. */
#include "linalg/factor.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "linalg/mul.h"

#define TILE GS_MUL_TILE

struct chol_job {
    double *a;
    size_t n, j, width;    /* the column block */
    double inverse[TILE * TILE]; /* of C_JJ, lower */
    uint8_t *work;
};

#define CHOL_WORK (TILE * TILE * sizeof(double) + GS_MUL_WORK_F64)

/* Moves a tile between a (rows × cols) and `buffer`; of a tile on the diagonal only the
 * lower triangle, because above it lies what the caller wants kept. */
static void tile_copy(double *dst, size_t dst_stride, const double *src, size_t src_stride,
                      size_t rows, size_t cols, bool lower)
{
    for (size_t i = 0; i < rows; i++) {
        size_t n = lower ? GS_MIN(i + 1, cols) : cols;
        memcpy(dst + i * dst_stride, src + i * src_stride, n * sizeof *dst);
    }
}

/* C_iJ −= Σ_{k<J} C_ik C_Jkᵀ for the row tiles i = J + TILE·t. */
static void update_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct chol_job *job = ctx;
    double *tile = (double *)(void *)(job->work + (size_t)worker * CHOL_WORK);

    for (size_t t = begin; t < end; t++) {
        size_t i = job->j + t * TILE, rows = GS_MIN(TILE, job->n - i);
        double *c = job->a + i * job->n + job->j;
        tile_copy(tile, TILE, c, job->n, rows, job->width, t == 0);
        gs_mul_block_f64(rows, job->width, job->j, -1,
                         (struct gs_operand_f64){job->a + i * job->n, job->n, 1},
                         (struct gs_operand_f64){job->a + job->j * job->n, 1, job->n}, tile,
                         TILE, tile + TILE * TILE);
        tile_copy(c, job->n, tile, TILE, rows, job->width, t == 0);
    }
}

/* C_iJ = C_iJ · C_JJ⁻ᵀ for the row tiles below the diagonal. */
static void solve_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct chol_job *job = ctx;
    double *tile = (double *)(void *)(job->work + (size_t)worker * CHOL_WORK);

    for (size_t t = begin; t < end; t++) {
        size_t i = job->j + (t + 1) * TILE, rows = GS_MIN(TILE, job->n - i);
        double *c = job->a + i * job->n + job->j;
        memset(tile, 0, TILE * TILE * sizeof *tile);
        gs_mul_block_f64(rows, job->width, job->width, 1,
                         (struct gs_operand_f64){c, job->n, 1},
                         (struct gs_operand_f64){job->inverse, 1, TILE}, tile, TILE,
                         tile + TILE * TILE);
        tile_copy(c, job->n, tile, TILE, rows, job->width, false);
    }
}

/* The triangle c (n ≤ TILE; rows `stride` apart) in place; false if a pivot is not positive.
 * A pivot within rounding of zero counts as such: n·ε of the largest element. */
static bool cholesky_tile(double *c, size_t n, size_t stride, double pivot_min)
{
    for (size_t j = 0; j < n; j++) {
        double *cj = c + j * stride, pivot = cj[j];
        for (size_t k = 0; k < j; k++)
            pivot -= cj[k] * cj[k];
        if (!(pivot > pivot_min) || pivot > 1e300)
            return false;
        cj[j] = sqrt(pivot);
        for (size_t i = j + 1; i < n; i++) {
            double *ci = c + i * stride, sum = ci[j];
            for (size_t k = 0; k < j; k++)
                sum -= ci[k] * cj[k];
            ci[j] = sum / cj[j];
        }
    }
    return true;
}

/* Inverse of the lower triangle c, row by row: x_i = (e_i − Σ_{k<i} c_ik x_k) / c_ii. */
static void invert_tile(const double *c, size_t n, size_t stride, double *inverse)
{
    memset(inverse, 0, TILE * TILE * sizeof *inverse);
    for (size_t i = 0; i < n; i++) {
        double *row = inverse + i * TILE;
        row[i] = 1;
        for (size_t k = 0; k < i; k++)
            for (size_t j = 0; j <= k; j++)
                row[j] -= c[i * stride + k] * inverse[k * TILE + j];
        for (size_t j = 0; j <= i; j++)
            row[j] /= c[i * stride + i];
    }
}

int gs_cholesky(struct gs_team *team, double *a, size_t n, struct gs_err *err)
{
    struct chol_job *job = gs_alloc(1, sizeof *job);
    double largest = 0;
    int rc = GS_OK;

    if (!job || !(job->work = gs_work_create(team, CHOL_WORK))) {
        gs_free(&job);
        return gs_fail_nomem(err, "Cholesky factor");
    }
    job->a = a;
    job->n = n;
    for (size_t i = 0; i < n; i++)
        largest = GS_MAX(largest, a[i * n + i]);
    for (size_t j = 0; j < n && !rc; j += TILE) {
        size_t tiles = (n - j + TILE - 1) / TILE;
        job->j = j;
        job->width = GS_MIN(TILE, n - j);
        gs_team_run(team, tiles, 1, update_run, job);
        if (!cholesky_tile(a + j * n + j, job->width, n, (double)n * 0x1p-52 * largest)) {
            rc = 1;
            break;
        }
        invert_tile(a + j * n + j, job->width, n, job->inverse);
        gs_team_run(team, tiles - 1, 1, solve_run, job);
    }
    gs_free(&job->work);
    gs_free(&job);
    return rc;
}
