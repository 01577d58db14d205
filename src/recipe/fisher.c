/* SPDX-License-Identifier: MIT */
#include "recipe/fisher.h"

#include <string.h>

#include "core/alloc.h"
#include "model/backprop.h"

struct gs_fisher {
    struct gs_params *params;
    float *sums; /* layout of params */
};

struct squares {
    const float *grads;
    float *sums;
    float weight;
};

static void add_squares(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct squares *s = ctx;

    for (size_t i = begin; i < end; i++)
        s->sums[i] += s->weight * s->grads[i] * s->grads[i];
}

static int gather(struct gs_fisher *f, struct gs_backprop *bp, const struct gs_calib *calib,
                  struct gs_team *team, gs_progress_fn progress, void *progress_ctx,
                  struct gs_err *err)
{
    size_t ctx = calib->ctx, sequences = GS_MIN(calib->sequences, (size_t)GS_FISHER_SEQUENCES);
    int32_t *target = gs_alloc(ctx, sizeof *target);
    struct squares s = {.grads = gs_backprop_grads(bp), .sums = f->sums,
                        .weight = 1 / (float)sequences};
    double loss;
    int rc = target ? GS_OK : gs_fail_nomem(err, "gradients");

    for (size_t i = 0; !rc && i < sequences; i++) {
        const int32_t *tokens = calib->tokens + i * ctx;
        memcpy(target, tokens + 1, (ctx - 1) * sizeof *target);
        target[ctx - 1] = -1;
        memset(gs_backprop_grads(bp), 0, f->params->floats * sizeof(float));
        gs_backprop_loss(bp, tokens, target, 1 / (float)(ctx - 1), &loss);
        gs_team_run(team, f->params->floats, 4096, add_squares, &s);
        if (progress && progress(progress_ctx, "gradients", i + 1, sequences))
            rc = gs_fail(err, GS_E_STOPPED, "stopped while gathering gradients");
    }
    gs_free(&target);
    return rc;
}

int gs_fisher_create(struct gs_lm *lm, const struct gs_calib *calib, struct gs_team *team,
                     gs_progress_fn progress, void *progress_ctx, struct gs_fisher **out,
                     struct gs_err *err)
{
    const struct gs_backprop_options options = {.texts = 1, .ctx = (uint32_t)calib->ctx,
                                                .team = team};
    struct gs_fisher *f = gs_alloc(1, sizeof *f);
    struct gs_backprop *bp = NULL;
    int rc = f ? gs_params_create(lm, team, &f->params, err) : gs_fail_nomem(err, "gradients");

    if (!rc && !(f->sums = gs_alloc(f->params->floats, sizeof *f->sums)))
        rc = gs_fail_nomem(err, "gradients");
    if (!rc && !(rc = gs_backprop_create(f->params, &options, &bp, err)))
        rc = gather(f, bp, calib, team, progress, progress_ctx, err);
    gs_backprop_destroy(&bp);
    if (rc)
        gs_fisher_destroy(&f);
    *out = f;
    return rc;
}

void gs_fisher_destroy(struct gs_fisher **fp)
{
    struct gs_fisher *f = *fp;

    if (!f)
        return;
    gs_params_destroy(&f->params);
    gs_free(&f->sums);
    gs_free(fp);
}

const float *gs_fisher_of(const struct gs_fisher *f, const char *name)
{
    const struct gs_param *p = f ? gs_params_find(f->params, name) : NULL;

    return p ? f->sums + p->offset : NULL;
}
