/* SPDX-License-Identifier: MIT
 * Second moments as rounders want them: the factor, perhaps in another order, and the loss.
 *
 * The factor is H + σI = L D Lᵀ, so feedback runs from the last column to the first: what GPTQ
 * (arXiv:2210.17323) does with a factor of H⁻¹ from the first to the last (QuIP,
 * arXiv:2307.13304, theorem 6). With act_order position n − 1 is the column with the largest
 * H_ii; a code of several weights moves as a whole. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "linalg/lu.h"
#include "linalg/mul.h"
#include "part/members.h"

struct ranked {
    double value;
    uint32_t first; /* column */
};

static int compare_ranked(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;

    if (a->value != b->value)
        return a->value < b->value ? -1 : 1;
    return a->first < b->first ? -1 : 1;
}

/* Blocks by the mean of H_ii, smallest first. */
static int make_order(struct gs_part_input *in, struct gs_err *err)
{
    size_t blocks = in->n / in->block;
    struct ranked *list = gs_alloc(blocks, sizeof *list);

    in->order = gs_alloc(in->n, sizeof *in->order);
    if (!list || !in->order) {
        gs_free(&list);
        return gs_fail_nomem(err, "second moments");
    }
    for (size_t k = 0; k < blocks; k++) {
        list[k].first = (uint32_t)(k * in->block);
        for (size_t i = 0; i < in->block; i++)
            list[k].value += in->diagonal[k * in->block + i];
    }
    qsort(list, blocks, sizeof *list, compare_ranked);
    for (size_t i = 0; i < in->n; i++)
        in->order[i] = list[i / in->block].first + (uint32_t)(i % in->block);
    gs_free(&list);
    return GS_OK;
}

static int factor(struct gs_part_input *in, struct gs_team *team, double *h, double damping,
                  struct gs_err *err)
{
    size_t n = in->n;
    double *moved = NULL;

    if (!h)
        return gs_ldl_create_diagonal(in->diagonal, n, in->block, damping, &in->ldl, err);
    if (!in->order)
        return gs_ldl_create(team, h, n, in->block, damping, &in->ldl, err);
    if (!(moved = gs_alloc(n * n, sizeof *moved)))
        return gs_fail_nomem(err, "second moments");
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            moved[i * n + j] = h[in->order[i] * n + in->order[j]];
    int rc = gs_ldl_create(team, moved, n, in->block, damping, &in->ldl, err);
    gs_free(&moved);
    return rc;
}

/* H_kk⁻¹ of one block; a channel that never fires stays where it is. */
static void invert_block(const struct gs_part_input *in, size_t k, float *out)
{
    double a[GS_CODEBOOK_DIM * GS_CODEBOOK_DIM], b[GS_CODEBOOK_DIM * GS_CODEBOOK_DIM];
    size_t dim = in->block, pivot[GS_CODEBOOK_DIM];
    double ridge = 0;

    for (size_t i = 0; i < dim; i++)
        ridge += 1e-9 * in->diagonal[k + i] / (double)dim;
    for (size_t i = 0; i < dim; i++)
        for (size_t j = 0; j < dim; j++) {
            a[i * dim + j] = in->h[(k + i) * in->n + k + j] + (i == j ? ridge : 0);
            b[i * dim + j] = i == j;
        }
    bool regular = ridge > 0 && gs_lu_factor(a, dim, pivot);
    if (regular)
        gs_lu_solve(a, dim, pivot, b, dim);
    for (size_t i = 0; i < dim * dim; i++)
        out[i] = regular ? (float)b[i] : 0;
}

static int prepare_descent(struct gs_part_input *in, struct gs_err *err)
{
    size_t n = in->n;

    in->h32 = gs_alloc(n * n, sizeof *in->h32);
    in->inverses = gs_alloc(n, in->block * sizeof *in->inverses);
    if (!in->h32 || !in->inverses)
        return gs_fail_nomem(err, "second moments");
    for (size_t i = 0; i < n * n; i++)
        in->h32[i] = (float)in->h[i];
    for (size_t k = 0; k < n; k += in->block)
        invert_block(in, k, in->inverses + k * in->block);
    return GS_OK;
}

int gs_part_input_create(const struct gs_part_spec *spec, struct gs_team *team, size_t n,
                         double *h, const double *diagonal, struct gs_part_input *out,
                         struct gs_err *err)
{
    const struct gs_part_rounder *rounder = gs_part_rounder_find(spec->rounder);
    struct gs_codebook *codebook = NULL;
    int rc = gs_codebook_create(spec->codebook, &codebook, err);

    *out = (struct gs_part_input){.n = n, .h = h};
    if (rc)
        return rc;
    out->block = codebook->dim;
    gs_codebook_destroy(&codebook);
    out->diagonal = gs_alloc(n, sizeof *out->diagonal);
    if (!out->diagonal)
        return gs_fail_nomem(err, "second moments");
    for (size_t i = 0; i < n; i++)
        out->diagonal[i] = h ? h[i * n + i] : diagonal ? diagonal[i] : 1;
    if (spec->act_order)
        rc = make_order(out, err);
    bool whole = n % out->block == 0, searches = strcmp(spec->search, "none") != 0;
    if (!rc && h && whole && (rounder->descends || spec->sweeps || searches))
        rc = prepare_descent(out, err);
    if (!rc && whole && rounder->feeds)
        rc = factor(out, team, h, spec->damping, err);
    if (rc)
        gs_part_input_clear(out);
    return rc;
}

void gs_part_input_clear(struct gs_part_input *input)
{
    gs_free(&input->diagonal);
    gs_free(&input->h32);
    gs_free(&input->inverses);
    gs_free(&input->order);
    gs_ldl_clear(&input->ldl);
}

/* ---- loss --------------------------------------------------------------------------------- */

struct loss_job {
    const struct gs_part_input *input;
    const float *e;
    size_t rows, bytes;
    uint8_t *work;
    double *sums; /* a chunk of rows each */
};

#define LOSS_ROWS 16u

/* Σ E (E H) of rows [begin, end) · LOSS_ROWS, in tiles of H's columns. */
static void loss_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct loss_job *job = ctx;
    const struct gs_part_input *in = job->input;
    uint8_t *work = job->work + (size_t)worker * job->bytes;
    double *e = (double *)(void *)(work + GS_MUL_WORK_F64);
    double *eh = e + LOSS_ROWS * in->n;

    for (size_t c = begin; c < end; c++) {
        size_t rows = GS_MIN(LOSS_ROWS, job->rows - c * LOSS_ROWS);
        double sum = 0;
        for (size_t i = 0; i < rows * in->n; i++)
            e[i] = (double)job->e[c * LOSS_ROWS * in->n + i];
        for (size_t j = 0; in->h && j < in->n; j += GS_MUL_TILE) {
            size_t width = GS_MIN(GS_MUL_TILE, in->n - j);
            memset(eh, 0, LOSS_ROWS * GS_MUL_TILE * sizeof *eh);
            gs_mul_block_f64(rows, width, in->n, 1,
                             (struct gs_operand_f64){e, in->n, 1},
                             (struct gs_operand_f64){in->h + j, in->n, 1}, eh, GS_MUL_TILE, work);
            for (size_t r = 0; r < rows; r++)
                for (size_t i = 0; i < width; i++)
                    sum += e[r * in->n + j + i] * eh[r * GS_MUL_TILE + i];
        }
        for (size_t i = 0; !in->h && i < rows * in->n; i++)
            sum += e[i] * e[i] * in->diagonal[i % in->n];
        job->sums[c] = sum;
    }
}

int gs_part_loss(const struct gs_part_input *input, struct gs_team *team, const float *e,
                 size_t rows, double *out, struct gs_err *err)
{
    size_t chunks = (rows + LOSS_ROWS - 1) / LOSS_ROWS;
    struct loss_job job = {.input = input, .e = e, .rows = rows};

    job.bytes = GS_MUL_WORK_F64 + LOSS_ROWS * (input->n + GS_MUL_TILE) * sizeof(double);
    job.bytes = (job.bytes + 63) / 64 * 64;
    job.work = gs_work_create(team, job.bytes);
    job.sums = gs_alloc(chunks, sizeof *job.sums);
    *out = 0;
    if (job.work && job.sums)
        gs_team_run(team, chunks, 1, loss_run, &job);
    for (size_t c = 0; job.work && job.sums && c < chunks; c++)
        *out += job.sums[c];
    int rc = job.work && job.sums ? GS_OK : gs_fail_nomem(err, "the loss");
    gs_free(&job.work);
    gs_free(&job.sums);
    return rc;
}
