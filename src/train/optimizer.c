/* SPDX-License-Identifier: MIT */
#include "train/optimizer.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "train/members.h"

#define STATE_ALIGN 64u

struct gs_optimizer {
    const struct gs_params *params;
    struct gs_optimizer_options options;
    uint64_t *at; /* where each parameter's state begins */
    uint8_t *state;
    uint64_t bytes;
};

static const struct gs_optimizer_kind *const kinds[] = {
    &gs_optimizer_adamw,
    &gs_optimizer_adamw8,
    &gs_optimizer_adamw4,
    &gs_optimizer_sgd,
};

const struct gs_optimizer_kind *gs_optimizer_kind_at(size_t index)
{
    return index < GS_COUNT(kinds) ? kinds[index] : NULL;
}

const struct gs_optimizer_kind *gs_optimizer_kind_find(const char *name)
{
    for (size_t i = 0; i < GS_COUNT(kinds); i++)
        if (!strcmp(kinds[i]->name, name))
            return kinds[i];
    return NULL;
}

int gs_optimizer_create(const struct gs_params *params,
                        const struct gs_optimizer_options *options,
                        struct gs_optimizer **out, struct gs_err *err)
{
    struct gs_optimizer *o = gs_alloc(1, sizeof *o);

    *out = NULL;
    if (!o)
        return gs_fail_nomem(err, "the optimizer");
    o->params = params;
    o->options = *options;
    o->at = gs_alloc(params->n, sizeof *o->at);
    for (size_t i = 0; o->at && i < params->n; i++) {
        uint64_t bytes = options->kind->bytes(params->list[i].rows, params->list[i].cols);
        o->at[i] = o->bytes;
        o->bytes += (bytes + STATE_ALIGN - 1) / STATE_ALIGN * STATE_ALIGN;
    }
    o->state = gs_alloc(o->bytes, 1);
    if (!o->at || !o->state) {
        gs_optimizer_destroy(&o);
        return gs_fail_nomem(err, "the optimizer's state");
    }
    *out = o;
    return GS_OK;
}

void gs_optimizer_destroy(struct gs_optimizer **op)
{
    if (!*op)
        return;
    gs_free(&(*op)->at);
    gs_free(&(*op)->state);
    gs_free(op);
}

void gs_optimizer_step(struct gs_optimizer *o, struct gs_team *team, const float *grads,
                       float g_scale, float lr, uint64_t step)
{
    double beta1 = (double)o->options.beta1, beta2 = (double)o->options.beta2;

    for (size_t i = 0; i < o->params->n; i++) {
        const struct gs_param *p = &o->params->list[i];
        struct gs_update u = {
            .team = team, .rows = p->rows, .cols = p->cols, .w = o->params->values + p->offset,
            .g = grads + p->offset, .state = o->state + o->at[i], .g_scale = g_scale, .lr = lr,
            .decay = p->matrix ? o->options.decay : 0, .beta1 = o->options.beta1,
            .beta2 = o->options.beta2, .eps = o->options.eps,
            .unbias1 = (float)(1 / (1 - pow(beta1, (double)step))),
            .unbias2 = (float)(1 / (1 - pow(beta2, (double)step))),
        };
        o->options.kind->update(&u);
    }
}

void *gs_optimizer_state(struct gs_optimizer *o, uint64_t *bytes)
{
    *bytes = o->bytes;
    return o->state;
}
