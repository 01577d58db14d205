/* SPDX-License-Identifier: MIT */
#include "recipe/moments.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "linalg/gram.h"
#include "recipe/work.h"

/* Sums of the columns of x (T, n). */
static void add_sums(const float *x, size_t T, size_t n, double *sums)
{
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < n; i++)
            sums[i] += (double)x[t * n + i];
}

static void raise_most(const float *x, size_t T, size_t n, double *most)
{
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < n; i++)
            most[i] = fmax(most[i], (double)fabsf(x[t * n + i]));
}

/* The mean of x, and the moments of what remains without it. */
static void centre(struct gs_moments *in, double tokens)
{
    size_t n = in->n;

    for (size_t i = 0; i < n; i++)
        in->mean[i] /= tokens;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            in->h[i * n + j] -= in->mean[i] * in->mean[j];
}

void gs_moments_see(void *ctx, const struct gs_matrix *w, const float *x, size_t T)
{
    struct gs_moments_tap *tap = ctx;
    enum gs_plan_input input = gs_plan_first_input(tap->w, w);
    double start = gs_cpu_seconds();

    if (!tap->rc && input < GS_INPUT_BLOCK_COUNT && tap->inputs[input].h)
        tap->rc = gs_gram_add(tap->team, x, T, w->cols, w->cols, tap->inputs[input].h, tap->err);
    if (!tap->rc && input < GS_INPUT_BLOCK_COUNT && tap->inputs[input].mean)
        add_sums(x, T, w->cols, tap->inputs[input].mean);
    if (!tap->rc && input < GS_INPUT_BLOCK_COUNT && tap->inputs[input].most)
        raise_most(x, T, w->cols, tap->inputs[input].most);
    tap->seconds += gs_cpu_seconds() - start;
}

static int gather_block(struct gs_work *work, uint32_t il, enum gs_block_part part,
                        struct gs_moments *inputs, struct gs_err *err)
{
    const struct gs_block_weights *w = &work->lm->blocks[il];
    struct gs_moments_tap tap = {.team = work->team, .w = w, .inputs = inputs, .err = err};
    size_t ctx = work->calib.ctx, floats = ctx * work->lm->config.n_embd;
    double start = gs_cpu_seconds();
    int rc = GS_OK;

    gs_decoder_tap(work->decoder, gs_moments_see, &tap);
    for (size_t s = 0; !rc && s < work->calib.sequences; s++) {
        memcpy(work->x, work->states.data + s * floats, floats * sizeof *work->x);
        gs_decoder_block(work->decoder, il, w, part, work->x, ctx);
        rc = tap.rc ? tap.rc : gs_work_progress(work, err);
    }
    gs_decoder_tap(work->decoder, NULL, NULL);
    work->seconds.moments += tap.seconds;
    work->seconds.forward += gs_cpu_seconds() - start - tap.seconds;
    return rc;
}

static int gather_head(struct gs_work *work, struct gs_moments *input, struct gs_err *err)
{
    size_t ctx = work->calib.ctx, C = work->lm->config.n_embd;
    double start = gs_cpu_seconds();
    int rc = GS_OK;

    for (size_t s = 0; !rc && s < work->calib.sequences; s++) {
        gs_decoder_final_norm(work->decoder, work->states.data + s * ctx * C, ctx, work->x);
        rc = gs_gram_add(work->team, work->x, ctx, C, C, input->h, err);
        if (input->most)
            raise_most(work->x, ctx, C, input->most);
    }
    work->seconds.moments += gs_cpu_seconds() - start;
    return rc;
}

int gs_moments_gather(struct gs_work *work, uint32_t il, enum gs_block_part part, size_t first,
                      size_t end, struct gs_moments *inputs, struct gs_err *err)
{
    double tokens = (double)(work->calib.sequences * work->calib.ctx);
    bool any = false, most = work->recipe.rescale &&
                             gs_diagonal_rule_find(work->recipe.rescale_by)->needs_most;
    int rc = GS_OK;

    for (size_t i = first; i < end; i++) {
        const struct gs_plan_item *item = &work->plan.items[i];
        struct gs_moments *in = &inputs[item->input];
        if (!gs_plan_is_rounded(item) || item->input == GS_INPUT_EMBD || in->h ||
            !gs_input_in_part(item->input, part) || gs_journal_bytes(work->journal, i))
            continue;
        in->n = item->cols;
        in->h = gs_alloc(in->n * in->n, sizeof *in->h);
        if (item->bias)
            in->mean = gs_alloc(in->n, sizeof *in->mean);
        if (most)
            in->most = gs_alloc(in->n, sizeof *in->most);
        if (!in->h || (item->bias && !in->mean) || (most && !in->most))
            return gs_fail_nomem(err, item->source->name);
        any = true;
    }
    if (any)
        rc = il < work->lm->config.n_layer
                 ? gather_block(work, il, part, inputs, err)
                 : gather_head(work, &inputs[GS_INPUT_HEAD], err);
    for (size_t i = 0; !rc && i <= GS_INPUT_EMBD; i++)
        if (inputs[i].h) {
            gs_gram_finish(inputs[i].h, inputs[i].n, 1 / tokens);
            if (inputs[i].mean)
                centre(&inputs[i], tokens);
        }
    return rc;
}
