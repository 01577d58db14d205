/* SPDX-License-Identifier: MIT
 * Gradients of activations and soft caps.
 *
 *   hidden = f(gate) ⊙ up:   d up = G ⊙ f(gate),   d gate = G ⊙ up ⊙ f'(gate) */
#include "model/backward.h"

/* A piece's f and f' stay in the first-level cache. */
#define PIECE 1024u

struct elementwise {
    gs_map_fn map, slope;
    const float *x, *up;
    float *G, *dup, cap;
};

static void activation_piece(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct elementwise *e = ctx;
    float value[PIECE], slope[PIECE];
    size_t n = end - begin;
    float *G = e->G + begin;

    e->slope(e->x + begin, slope, n);
    if (e->up) {
        e->map(e->x + begin, value, n);
        for (size_t i = 0; i < n; i++)
            e->dup[begin + i] = G[i] * value[i];
        for (size_t i = 0; i < n; i++)
            G[i] *= e->up[begin + i];
    }
    for (size_t i = 0; i < n; i++)
        G[i] *= slope[i];
}

void gs_activation_backward(const struct gs_pass *pass, enum gs_activation act,
                            const float *gate, const float *up, size_t n, float *G, float *dup)
{
    const struct gs_kernels *k = pass->run.k;
    const struct {
        gs_map_fn map, slope;
    } acts[] = {
        [GS_ACT_SILU] = {k->silu_f32, k->silu_slope_f32},
        [GS_ACT_GELU_TANH] = {k->gelu_tanh_f32, k->gelu_tanh_slope_f32},
        [GS_ACT_GELU_ERF] = {k->gelu_erf_f32, k->gelu_erf_slope_f32},
    };
    struct elementwise e = {.map = acts[act].map, .slope = acts[act].slope, .x = gate, .up = up,
                            .G = G, .dup = dup};

    gs_team_run(pass->run.team, n, PIECE, activation_piece, &e);
}

static void cap_piece(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct elementwise *e = ctx;

    for (size_t i = begin; i < end; i++) {
        float part = e->x[i] / e->cap;
        e->G[i] *= 1 - part * part;
    }
}

void gs_softcap_backward(const struct gs_pass *pass, float cap, const float *y, size_t n,
                         float *G)
{
    struct elementwise e = {.x = y, .G = G, .cap = cap};

    gs_team_run(pass->run.team, n, 8 * PIECE, cap_piece, &e);
}
