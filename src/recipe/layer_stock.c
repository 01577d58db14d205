/* SPDX-License-Identifier: MIT
 * One input's matrices to block types: W as the source has it, no transform, since any reader
 * of the file must get the same product.
 *
 * H is factored once for types of one weight a code and once for those of eight, where both
 * occur. With an importance matrix H is its diagonal; with the rounder `nearest`, and for an
 * embedding that is only looked up, the identity. */
#include <string.h>

#include "core/alloc.h"
#include "recipe/work.h"
#include "round/block.h"

/* Factors of one H, by weights a code: 1 and 8. */
struct factors {
    double *h;              /* NULL: diagonal */
    double *damping;        /* (n) of H's diagonal */
    const double *diagonal; /* NULL: the identity */
    struct gs_ldl ldl[2];
    bool made[2];
};

/* σ beside the damping by channel: for channels that never fire. */
#define SIGMA 1e-9

int gs_damped_ldl(struct gs_team *team, double share, double *h, size_t n, size_t block,
                  double *damping, struct gs_ldl *out, struct gs_err *err)
{
    for (size_t i = 0; i < n; i++) {
        damping[i] = h[i * n + i];
        h[i * n + i] += share * damping[i];
    }
    int rc = gs_ldl_create(team, h, n, block, SIGMA, out, err);
    for (size_t i = 0; i < n; i++) {
        h[i * n + i] = damping[i];
        damping[i] *= share;
    }
    return rc;
}

int gs_work_damped_ldl(const struct gs_work *work, double *h, size_t n, size_t block,
                       double *damping, struct gs_ldl *out, struct gs_err *err)
{
    size_t tokens = work->calib.sequences * work->calib.ctx;

    return gs_damped_ldl(work->team, gs_recipe_damping(work->recipe.damping, n, tokens), h, n,
                         block, damping, out, err);
}

static int find_factor(const struct gs_work *work, struct factors *f, size_t n, unsigned dim,
                       const struct gs_ldl **out, struct gs_err *err)
{
    size_t i = dim > 1;
    int rc = GS_OK;

    if (!f->made[i]) {
        rc = f->h ? gs_work_damped_ldl(work, f->h, n, dim, f->damping, &f->ldl[i], err)
                  : gs_ldl_create_diagonal(f->diagonal, n, dim, SIGMA, &f->ldl[i], err);
        f->made[i] = rc == GS_OK;
    }
    *out = &f->ldl[i];
    return rc;
}

/* Strip after strip, their sums into `out`. */
static int round_strips(struct gs_work *work, const struct gs_plan_item *item,
                        struct gs_block_round *job, uint8_t *codes, struct gs_rounded *out,
                        struct gs_err *err)
{
    size_t strip = gs_work_strip_rows(item);
    int rc = GS_OK;

    *out = (struct gs_rounded){.unit = 1};
    for (size_t first = 0; !rc && first < item->rows; first += strip) {
        struct gs_block_result one;
        job->rows = GS_MIN(strip, item->rows - first);
        job->dst = codes + first * item->codes_stride;
        if ((rc = gs_work_decode(work, item, first, job->rows, job->w, err)) ||
            (rc = gs_block_round(job, work->team, &one, err)))
            break;
        out->loss += one.loss;
        out->energy += one.energy;
        rc = gs_work_progress(work, err);
    }
    return rc;
}

static int round_item(struct gs_work *work, size_t index, void *ctx, struct gs_err *err)
{
    struct factors *factors = ctx;
    const struct gs_plan_item *item = &work->plan.items[index];
    size_t bytes = (size_t)gs_work_payload_bytes(item);
    struct gs_block_round job = {.format = gs_format_find(item->type), .h = factors->h,
                                 .damping = factors->damping, .cols = item->cols,
                                 .w_stride = item->cols, .sweeps = GS_BLOCK_SWEEPS};
    struct gs_rounded rounded;
    uint8_t *payload = gs_alloc(bytes, 1);
    int rc = payload ? GS_OK : gs_fail_nomem(err, item->source->name);

    job.w = gs_alloc(gs_work_strip_rows(item) * item->cols, sizeof *job.w);
    if (!rc && !job.w)
        rc = gs_fail_nomem(err, item->source->name);
    if (!rc && !(rc = find_factor(work, factors, item->cols, job.format->points->dim, &job.ldl,
                                  err)) &&
        !(rc = round_strips(work, item, &job, payload, &rounded, err))) {
        gs_work_put_rounded(&rounded, payload + item->codes_bytes);
        rc = gs_journal_add(work->journal, index, payload, bytes, err);
    }
    gs_free(&job.w);
    gs_free(&payload);
    return rc;
}

int gs_work_round_stock(struct gs_work *work, size_t first, size_t end, double *h,
                        struct gs_err *err)
{
    const struct gs_plan_item *items = work->plan.items;
    struct factors factors = {.h = work->rounder->uses_h ? h : NULL};
    size_t n = items[first].cols;
    double *diagonal = NULL;
    int rc = GS_OK;

    factors.damping = gs_alloc(n, sizeof *factors.damping);
    if (!factors.damping)
        return gs_fail_nomem(err, "second moments");
    if (work->imatrix.diagonal) {
        factors.diagonal = diagonal = gs_alloc(n, sizeof *diagonal);
        rc = diagonal ? gs_work_diagonal(work, first, end, diagonal, err)
                      : gs_fail_nomem(err, "second moments");
        if (rc)
            rc = gs_err_prefix(err, rc, items[first].source->name);
    }
    if (!rc)
        rc = gs_work_each(work, first, end, round_item, &factors, err);
    for (size_t i = 0; i < GS_COUNT(factors.ldl); i++)
        gs_ldl_clear(&factors.ldl[i]);
    gs_free(&factors.damping);
    gs_free(&diagonal);
    return rc;
}
