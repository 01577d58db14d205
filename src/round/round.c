/* SPDX-License-Identifier: MIT
 * The list of rounders and the checks that all share. */
#include "round/round.h"

#include <math.h>
#include <string.h>

#include "linalg/mul.h"
#include "round/members.h"

static const struct gs_rounder *const rounders[] = {
    &gs_rounder_nearest,
    &gs_rounder_ldlq,
};

const struct gs_rounder *gs_rounder_at(size_t index)
{
    return index < GS_COUNT(rounders) ? rounders[index] : NULL;
}

const struct gs_rounder *gs_rounder_find(const char *name)
{
    for (size_t i = 0; i < GS_COUNT(rounders); i++)
        if (!strcmp(rounders[i]->name, name))
            return rounders[i];
    return NULL;
}

static int check_shape(const struct gs_round *job, struct gs_err *err)
{
    const struct gs_grid *grid = job->codec->grid;
    size_t block = job->ldl->block;

    if (job->rows == 0 || job->cols == 0 || job->ldl->n != job->cols)
        return gs_fail(err, GS_E_ARG, "rounding %zu × %zu weights with a Hessian of %zu",
                       job->rows, job->cols, job->ldl->n);
    if (job->cols % block)
        return gs_fail(err, GS_E_ARG, "rows of %zu weights: grid %s needs a multiple of %zu",
                       job->cols, grid->name, block);
    if (block % grid->block_cols || GS_MUL_TILE % block || grid->block_rows > GS_MUL_TILE / 2)
        return gs_fail(err, GS_E_ARG, "grid %s: blocks of %u × %u do not fit steps of %zu columns",
                       grid->name, grid->block_rows, grid->block_cols, block);
    return GS_OK;
}

static int check_finite(const struct gs_round *job, struct gs_err *err)
{
    for (size_t r = 0; r < job->rows; r++)
        for (size_t c = 0; c < job->cols; c++)
            if (!isfinite(job->w[r * job->w_stride + c]))
                return gs_fail(err, GS_E_FORMAT, "weight (%zu, %zu) is %s", r, c,
                               isnan(job->w[r * job->w_stride + c]) ? "NaN" : "infinite");
    return GS_OK;
}

int gs_round_matrix(const struct gs_rounder *rounder, const struct gs_round *job,
                    struct gs_team *team, struct gs_round_result *out, struct gs_err *err)
{
    int rc;

    memset(out, 0, sizeof *out);
    if ((rc = check_shape(job, err)) < 0 || (rc = check_finite(job, err)) < 0)
        return rc;
    return rounder->run(job, team, out, err);
}

size_t gs_round_codes_bytes(const struct gs_codec *codec, size_t rows, size_t cols,
                            size_t *stride)
{
    size_t block_rows = (rows + codec->grid->block_rows - 1) / codec->grid->block_rows;

    *stride = cols / codec->grid->block_cols * codec->block_bytes;
    return block_rows * *stride;
}

/* The grid's own idea of the nearest point; H only weighs the refit and the loss. */
static int run_nearest(const struct gs_round *job, struct gs_team *team,
                       struct gs_round_result *out, struct gs_err *err)
{
    return gs_round_sweep(job, false, team, out, err);
}

static int run_ldlq(const struct gs_round *job, struct gs_team *team,
                    struct gs_round_result *out, struct gs_err *err)
{
    return gs_round_sweep(job, true, team, out, err);
}

const struct gs_rounder gs_rounder_nearest = {
    .name = "nearest",
    .paper = "",
    .run = run_nearest,
};

const struct gs_rounder gs_rounder_ldlq = {
    .name = "ldlq",
    .paper = "Chee et al., QuIP, arXiv:2307.13304; in blocks: Tseng et al., arXiv:2402.04396",
    .uses_h = true,
    .run = run_ldlq,
};
