/* SPDX-License-Identifier: MIT
 * Perplexity as llama.cpp's perplexity tool defines it, so that published figures compare:
 *
 *   - the whole text becomes tokens once, with BOS where the model adds one; control tokens
 *     are not recognised in the text; one final newline does not count as text
 *   - it is cut into chunks of `ctx` tokens without overlap; the rest is dropped
 *   - the first token of each chunk gives way to BOS where the model adds one
 *   - positions ctx/2 … ctx−2 predict their successors, so every scored token has at least
 *     half a chunk of context: ctx − ctx/2 − 1 scored tokens a chunk
 *
 *       chunk   |BOS t1 t2 …  t255|t256 t257 … t510 t511|
 *       scored                          ^ … (255 of 512) ^
 *
 *   - ppl = exp(mean nll), its error = ppl · standard error of the mean
 *
 * The last token of a chunk predicts nothing that is scored and is not fed. With a reference
 * both models take the same batches in lockstep and rows of logits meet in memory
 * (divergence.h). Beside weights and KV cache this holds a few rows of logits, the tokens,
 * and 4 bytes a scored token. */
#include "eval/eval.h"

#include <inttypes.h>
#include <math.h>

#include "core/alloc.h"
#include "core/log.h"
#include "eval/divergence.h"
#include "eval/score.h"
#include "eval/stats.h"

#define CTX_DEFAULT 512
#define CTX_MIN 8

struct run {
    const struct gs_eval_options *options;
    struct gs_team *team;
    struct gs_scorer model, ref;
    bool has_ref;
    const int32_t *tokens;  /* of the whole text */
    int32_t *chunk;         /* (ctx): the present chunk, BOS in place */
    int32_t bos;            /* negative: chunks keep their first token */
    size_t ctx, batch, n_chunks;
    size_t position;        /* in the text, of the batch being scored; for messages */
    struct gs_moments nll;
    struct gs_divergence divergence;
};

static int take_score(void *ctx, size_t index, const struct gs_score_pair *score,
                      struct gs_err *err)
{
    struct run *run = ctx;

    if (!score->model.finite)
        return gs_scorer_fail_finite(&run->model, run->position + index, err);
    if (run->has_ref && !score->ref.finite)
        return gs_scorer_fail_finite(&run->ref, run->position + index, err);
    gs_moments_add(&run->nll, score->model.nll);
    if (run->has_ref)
        gs_divergence_add(&run->divergence, score);
    return GS_OK;
}

static int report_progress(const struct run *run, size_t done, struct gs_err *err)
{
    const struct gs_eval_options *o = run->options;

    if (o->progress && o->progress(o->progress_ctx, "tokens", done, run->n_chunks * run->ctx))
        return gs_fail(err, GS_E_STOPPED, "stopped after %zu tokens", done);
    return GS_OK;
}

static int run_chunk(struct run *run, size_t index, struct gs_err *err)
{
    size_t start = index * run->ctx, scored_from = run->ctx / 2, n;
    int rc;

    for (size_t i = 0; i < run->ctx; i++)
        run->chunk[i] = run->tokens[start + i];
    if (run->bos >= 0)
        run->chunk[0] = run->bos;
    gs_decoder_rewind(run->model.decoder, 0);
    if (run->has_ref)
        gs_decoder_rewind(run->ref.decoder, 0);

    for (size_t pos = 0; pos < run->ctx - 1; pos += n) {
        n = GS_MIN(run->batch, run->ctx - 1 - pos);
        if ((rc = gs_decoder_forward(run->model.decoder, run->chunk + pos, n, err)) < 0)
            return rc;
        if (run->has_ref &&
            (rc = gs_decoder_forward(run->ref.decoder, run->chunk + pos, n, err)) < 0)
            return rc;
        size_t from = GS_MAX(pos, scored_from);
        if (from >= pos + n)
            continue;
        run->position = start + from;
        rc = gs_scorer_run(&run->model, run->has_ref ? &run->ref : NULL, run->team, from - pos,
                           pos + n - from, run->chunk + from + 1, take_score, run, err);
        if (rc < 0)
            return rc;
    }
    return report_progress(run, start + run->ctx, err);
}

static void report(struct run *run, struct gs_eval_result *out)
{
    out->tokens = run->nll.n;
    out->chunks = run->n_chunks;
    out->ppl = exp(run->nll.mean);
    out->ppl_sigma = out->ppl * gs_moments_sigma(&run->nll);
    if (run->has_ref)
        gs_divergence_report(&run->divergence, out);
}

static struct gs_eval_result empty_result(void)
{
    return (struct gs_eval_result){
        .ppl = NAN, .ppl_sigma = NAN, .ref_ppl = NAN, .ref_ppl_sigma = NAN,
        .ppl_ratio_ln = NAN, .ppl_ratio_ln_sigma = NAN, .kld_mean = NAN, .kld_sigma = NAN,
        .kld_median = NAN, .kld_p90 = NAN, .kld_p95 = NAN, .kld_p99 = NAN, .kld_p999 = NAN,
        .kld_max = NAN, .dp_mean = NAN, .rms_dp = NAN, .top1 = NAN, .top1_sigma = NAN,
    };
}

/* Checks the sizes against the text and takes the run's memory. */
static int prepare(struct run *run, const struct gs_subject *model, const struct gs_subject *ref,
                   size_t n_tokens, struct gs_err *err)
{
    const struct gs_eval_options *o = run->options;
    struct gs_decoder_options decoder = {.ctx = (uint32_t)run->ctx, .exact = o->exact};
    uint32_t n_train = gs_lm_config(model->lm)->n_ctx_train;
    int rc;

    if (n_tokens < run->ctx)
        return gs_fail(err, GS_E_ARG, "the text is too short: a chunk needs %zu tokens (ctx), "
                       "the text has %zu", run->ctx, n_tokens);
    if (run->ctx > n_train)
        gs_log(GS_LOG_WARN, "%s: chunks of %zu tokens, but the model was trained on %" PRIu32,
               model->name, run->ctx, n_train);
    run->n_chunks = n_tokens / run->ctx;
    if (o->chunks)
        run->n_chunks = GS_MIN(run->n_chunks, o->chunks);
    run->batch = GS_MIN(o->batch ? o->batch : GS_SCORER_BATCH, run->ctx);
    run->bos = gs_tokenizer_add_bos(model->tokenizer) ? gs_tokenizer_bos(model->tokenizer) : -1;
    if (!(run->chunk = gs_alloc(run->ctx, sizeof *run->chunk)))
        return gs_fail_nomem(err, "tokens");
    if ((rc = gs_team_create(o->threads, &run->team, err)) < 0)
        return rc;
    decoder.batch = (uint32_t)run->batch;
    decoder.team = run->team;
    if ((rc = gs_scorer_init(&run->model, model, &decoder, err)) < 0 || !ref)
        return rc;
    run->has_ref = true;
    decoder.exact = true; /* a yardstick */
    if ((rc = gs_scorer_init(&run->ref, ref, &decoder, err)) < 0)
        return rc;
    size_t scored = run->ctx - run->ctx / 2 - 1;
    return gs_divergence_init(&run->divergence, run->n_chunks * scored, err);
}

int gs_eval_perplexity(const struct gs_subject *model, const struct gs_subject *ref,
                       const char *text, size_t n, const struct gs_eval_options *options,
                       struct gs_eval_result *out, struct gs_err *err)
{
    static const struct gs_eval_options defaults;
    struct gs_tokens tokens = {.data = NULL};
    struct run run = {.options = options ? options : &defaults};
    int rc;

    *out = empty_result();
    run.ctx = run.options->ctx ? run.options->ctx : CTX_DEFAULT;
    if (run.ctx < CTX_MIN)
        return gs_fail(err, GS_E_ARG, "ctx must be at least %d, is %zu", CTX_MIN, run.ctx);
    if (ref && (rc = gs_divergence_comparable(model, ref, err)) < 0)
        return rc;
    if (n && text[n - 1] == '\n')
        n--;
    rc = gs_tokenizer_encode(model->tokenizer, text, n, GS_TOKENIZE_BOS, &tokens, err);
    if (rc < 0)
        goto out;
    if ((rc = prepare(&run, model, ref, tokens.count, err)) < 0)
        goto out;
    run.tokens = tokens.data;
    if ((rc = report_progress(&run, 0, err)) < 0)
        goto out;
    for (size_t i = 0; i < run.n_chunks; i++)
        if ((rc = run_chunk(&run, i, err)) < 0)
            goto out;
    report(&run, out);
out:
    gs_divergence_clear(&run.divergence);
    gs_scorer_clear(&run.ref);
    gs_scorer_clear(&run.model);
    gs_team_destroy(&run.team);
    gs_free(&run.chunk);
    gs_tokens_clear(&tokens);
    return rc < 0 ? rc : GS_OK;
}
