/* SPDX-License-Identifier: MIT
 * The divergence report, with the definitions that users know from llama.cpp:
 *
 *   KL            KL(ref ‖ model) at each scored token: mean, its standard error, percentiles
 *   ln ratio      ln(ppl / ppl_ref) = mean of d = nll − nll_ref. The variance of d is
 *                 var(nll) + var(nll_ref) − 2 cov, so the standard error of d's mean is the
 *                 error with covariance, without the cancellation of the three terms
 *   Δp            p(right token) of the model minus that of the reference, in percent:
 *                 mean and root mean square
 *   top-1         share of tokens where both think the same token most likely; its error is
 *                 the binomial sqrt(p (1 − p) / (n − 1))
 *
 * Both models have seen the same tokens, so no base file of logits is written. */
#include "eval/divergence.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"

int gs_divergence_init(struct gs_divergence *d, size_t capacity, struct gs_err *err)
{
    *d = (struct gs_divergence){.capacity = capacity};
    d->kld = gs_alloc(capacity, sizeof *d->kld);
    return d->kld ? GS_OK : gs_fail_nomem(err, "divergences");
}

void gs_divergence_clear(struct gs_divergence *d)
{
    gs_free(&d->kld);
    *d = (struct gs_divergence){.count = 0};
}

void gs_divergence_add(struct gs_divergence *d, const struct gs_score_pair *score)
{
    double dp = exp(-score->model.nll) - exp(-score->ref.nll);

    assert(d->count < d->capacity && score->model.finite && score->ref.finite);
    d->kld[d->count++] = (float)score->kld;
    gs_moments_add(&d->kld_moments, score->kld);
    gs_moments_add(&d->ref_nll, score->ref.nll);
    gs_moments_add(&d->nll_diff, score->model.nll - score->ref.nll);
    gs_moments_add(&d->dp, dp);
    gs_moments_add(&d->dp2, dp * dp);
    d->same_top += score->model.top == score->ref.top;
}

void gs_divergence_report(struct gs_divergence *d, struct gs_eval_result *out)
{
    double n = (double)d->count;

    out->has_ref = true;
    if (!d->count)
        return;
    out->ref_ppl = exp(d->ref_nll.mean);
    out->ref_ppl_sigma = out->ref_ppl * gs_moments_sigma(&d->ref_nll);
    out->ppl_ratio_ln = d->nll_diff.mean;
    out->ppl_ratio_ln_sigma = gs_moments_sigma(&d->nll_diff);

    gs_sort_f32(d->kld, d->count);
    out->kld_mean = d->kld_moments.mean;
    out->kld_sigma = gs_moments_sigma(&d->kld_moments);
    out->kld_median = gs_percentile(d->kld, d->count, 0.5);
    out->kld_p90 = gs_percentile(d->kld, d->count, 0.9);
    out->kld_p95 = gs_percentile(d->kld, d->count, 0.95);
    out->kld_p99 = gs_percentile(d->kld, d->count, 0.99);
    out->kld_p999 = gs_percentile(d->kld, d->count, 0.999);
    out->kld_max = (double)d->kld[d->count - 1];

    out->dp_mean = 100 * d->dp.mean;
    out->rms_dp = 100 * sqrt(d->dp2.mean);
    out->top1 = (double)d->same_top / n;
    out->top1_sigma = d->count > 1 ? sqrt(out->top1 * (1 - out->top1) / (n - 1)) : 0;
}

/* Equal bytes in running text. Whether a token counts as control does not matter here: both
 * models are fed the tokens that the first one's tokenizer found. */
static bool same_token(const struct gs_tokenizer *a, const struct gs_tokenizer *b, int32_t id)
{
    char text_a[256], text_b[256];
    size_t n = gs_tokenizer_bytes(a, id, true, text_a, sizeof text_a);

    return gs_tokenizer_bytes(b, id, true, text_b, sizeof text_b) == n &&
           !memcmp(text_a, text_b, GS_MIN(n, sizeof text_a));
}

static int fail_token(const struct gs_subject *model, const struct gs_subject *ref, int32_t id,
                      struct gs_err *err)
{
    char a[64], b[64];
    size_t n_a = gs_tokenizer_bytes(model->tokenizer, id, true, a, sizeof a);
    size_t n_b = gs_tokenizer_bytes(ref->tokenizer, id, true, b, sizeof b);

    return gs_fail(err, GS_E_ARG,
                   "%s and %s have different vocabularies: token %d is \"%.*s\" in one, "
                   "\"%.*s\" in the other",
                   model->name, ref->name, (int)id, (int)GS_MIN(n_a, sizeof a), a,
                   (int)GS_MIN(n_b, sizeof b), b);
}

int gs_divergence_comparable(const struct gs_subject *model, const struct gs_subject *ref,
                             struct gs_err *err)
{
    uint32_t n = gs_tokenizer_n_vocab(model->tokenizer);
    uint32_t n_ref = gs_tokenizer_n_vocab(ref->tokenizer);
    uint32_t rows = gs_lm_config(model->lm)->n_vocab, rows_ref = gs_lm_config(ref->lm)->n_vocab;

    if (n != n_ref || rows != rows_ref)
        return gs_fail(err, GS_E_ARG,
                       "%s and %s have different vocabularies: %u tokens and %u logits in one, "
                       "%u and %u in the other", model->name, ref->name, (unsigned)n,
                       (unsigned)rows, (unsigned)n_ref, (unsigned)rows_ref);
    for (uint32_t id = 0; id < n; id++)
        if (!same_token(model->tokenizer, ref->tokenizer, (int32_t)id))
            return fail_token(model, ref, (int32_t)id, err);
    bool bos = gs_tokenizer_add_bos(model->tokenizer);
    bool bos_ref = gs_tokenizer_add_bos(ref->tokenizer);
    if (bos != bos_ref ||
        (bos && gs_tokenizer_bos(model->tokenizer) != gs_tokenizer_bos(ref->tokenizer)))
        return gs_fail(err, GS_E_ARG, "%s and %s begin a text differently (add_bos_token, "
                       "bos_token_id)", model->name, ref->name);
    return GS_OK;
}
