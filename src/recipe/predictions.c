/* SPDX-License-Identifier: MIT */
#include "recipe/predictions.h"

#include <math.h>

#include "core/alloc.h"

/* Rows of logits to log-probabilities. */
static void log_softmax(float *x, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, x += n) {
        double top = (double)x[0], sum = 0;
        for (size_t i = 1; i < n; i++)
            top = GS_MAX(top, (double)x[i]);
        for (size_t i = 0; i < n; i++)
            sum += exp((double)x[i] - top);
        double norm = top + log(sum);
        for (size_t i = 0; i < n; i++)
            x[i] = (float)((double)x[i] - norm);
    }
}

static int predict(const struct gs_predictions *p, float *out, struct gs_err *err)
{
    struct gs_work *work = p->work;
    size_t ctx = work->calib.ctx;

    gs_decoder_rewind(work->decoder, 0);
    int rc = gs_decoder_forward(work->decoder, work->calib.tokens, ctx, err);
    if (!rc) {
        gs_decoder_logits(work->decoder, ctx - p->positions, p->positions, out);
        log_softmax(out, p->positions, work->lm->config.n_vocab);
    }
    return rc;
}

int gs_predictions_create(struct gs_work *work, size_t positions, size_t logits,
                          struct gs_predictions *out, struct gs_err *err)
{
    size_t V = work->lm->config.n_vocab;

    *out = (struct gs_predictions){.work = work};
    out->positions = GS_MAX(GS_MIN(GS_MIN(work->calib.ctx, positions), logits / V), 1u);
    out->ref = gs_alloc(out->positions * V, sizeof *out->ref);
    out->logits = gs_alloc(out->positions * V, sizeof *out->logits);
    if (!out->ref || !out->logits)
        return gs_fail_nomem(err, "predictions");
    return predict(out, out->ref, err);
}

void gs_predictions_clear(struct gs_predictions *p)
{
    gs_free(&p->ref);
    gs_free(&p->logits);
}

int gs_predictions_take(struct gs_predictions *p, struct gs_err *err)
{
    return predict(p, p->logits, err);
}

void gs_predictions_normalize(struct gs_predictions *p)
{
    log_softmax(p->logits, p->positions, p->work->lm->config.n_vocab);
}

double gs_predictions_divergence(const struct gs_predictions *p)
{
    size_t n = p->positions * p->work->lm->config.n_vocab;
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        double likely = exp((double)p->ref[i]);
        if (likely > 0)
            sum += likely * ((double)p->ref[i] - (double)p->logits[i]);
    }
    return GS_MAX(sum / (double)p->positions, GS_DIVERGENCE_LEAST);
}
