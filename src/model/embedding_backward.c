/* SPDX-License-Identifier: MIT
 * Gradients of the embedding matrices. Tokens repeat, so work is split over columns: a row's
 * sum is in the order of the tokens whatever the threads. */
#include "model/backward.h"

#define COLUMNS 64u

struct lookup {
    const int32_t *tokens;
    const float *G;
    float scale, *dw;
    size_t N, T, C;
};

static void scatter(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct lookup *l = ctx;

    for (size_t t = 0; t < l->N; t++) {
        size_t row = l->tokens ? (size_t)l->tokens[t] : t % l->T;
        const float *G = l->G + t * l->C;
        float *dw = l->dw + row * l->C;
        for (size_t i = begin; i < end; i++)
            dw[i] += l->scale * G[i];
    }
}

void gs_embedding_backward(const struct gs_pass *pass, const int32_t *tokens, size_t N,
                           float scale, const float *G, size_t C, float *dw)
{
    struct lookup l = {.tokens = tokens, .G = G, .scale = scale, .dw = dw, .N = N, .C = C};

    gs_team_run(pass->run.team, C, COLUMNS, scatter, &l);
}

void gs_position_backward(const struct gs_pass *pass, const float *G, size_t C, float *dw)
{
    struct lookup l = {.G = G, .scale = 1, .dw = dw, .N = pass->B * pass->T, .T = pass->T,
                       .C = C};

    gs_team_run(pass->run.team, C, COLUMNS, scatter, &l);
}
