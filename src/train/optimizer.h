/* SPDX-License-Identifier: MIT
 * Optimizers: how a gradient changes the weights, and what is remembered between steps.
 *
 * A kind is one entry of a list. Its state is one block of memory, so that a checkpoint can
 * keep it as it is. Work is split over weights, so the bits do not depend on the threads.
 *
 *   adamw   AdamW (Loshchilov & Hutter, arXiv:1711.05101), moments in f32
 *   adamw8  moments in 8 bits, blocks of 256 with a dynamic map (Dettmers, arXiv:2110.02861)
 *   adamw4  moments in 4 bits (Li et al., arXiv:2309.01507)
 *   sgd     momentum of Polyak, decoupled weight decay */
#ifndef GS_TRAIN_OPTIMIZER_H
#define GS_TRAIN_OPTIMIZER_H

#include "model/params.h"

/* One parameter and one step. */
struct gs_update {
    struct gs_team *team;
    size_t rows, cols;
    float *w;
    const float *g;
    void *state;
    float g_scale;          /* on the gradient: clipping */
    float lr, decay;        /* decay is 0 for vectors */
    float beta1, beta2, eps;
    float unbias1, unbias2; /* 1 / (1 − β^step) */
};

struct gs_optimizer_kind {
    const char *name;
    uint64_t (*bytes)(size_t rows, size_t cols); /* of state */
    void (*update)(const struct gs_update *u);
};

/* NULL at the end of the list; by name: NULL if unknown. */
const struct gs_optimizer_kind *gs_optimizer_kind_at(size_t index);
const struct gs_optimizer_kind *gs_optimizer_kind_find(const char *name);

struct gs_optimizer_options {
    const struct gs_optimizer_kind *kind;
    float beta1, beta2; /* sgd: beta1 is the momentum */
    float eps, decay;
};

struct gs_optimizer;

int gs_optimizer_create(const struct gs_params *params,
                        const struct gs_optimizer_options *options,
                        struct gs_optimizer **out, struct gs_err *err) GS_MUST_USE;
void gs_optimizer_destroy(struct gs_optimizer **optimizer);

/* Step number `step`, from 1, over all parameters. */
void gs_optimizer_step(struct gs_optimizer *o, struct gs_team *team, const float *grads,
                       float g_scale, float lr, uint64_t step);

/* All that is remembered. */
void *gs_optimizer_state(struct gs_optimizer *o, uint64_t *bytes);

#endif
