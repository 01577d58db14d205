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
 * and 4 bytes a scored token.
 *
 * A kept reference has run before: what its head reads at the scored positions takes the place
 * of its pass, and only the head's product is made again. */
#include "eval/eval.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/log.h"
#include "eval/divergence.h"
#include "eval/score.h"
#include "eval/stats.h"

#define CTX_DEFAULT 512
#define CTX_MIN 8

struct gs_reference {
    struct gs_subject subject;
    struct gs_eval_options options;
    struct gs_tokens tokens; /* of the whole text */
    size_t n_hidden;
    float *hidden; /* (n_hidden = n_chunks · scored, C): what the head reads at the scored
                      positions */
};

struct run {
    const struct gs_eval_options *options;
    struct gs_team *team;
    struct gs_scorer model, ref;
    bool has_ref;
    gs_tap_fn tap;                   /* of the model's passes; or NULL */
    void *tap_ctx;
    struct gs_reference *record;     /* to be filled; or NULL */
    const struct gs_reference *kept; /* instead of running the reference; or NULL */
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

static size_t scored_tokens(size_t ctx)
{
    return ctx - ctx / 2 - 1;
}

/* What a kept reference's head reads at the n positions of chunk `index` from `from` on, which
 * are the last batch's from `at` on: keeps it, or hands it out. */
static void meet_reference(struct run *run, size_t index, size_t from, size_t at, size_t n)
{
    size_t C = gs_lm_config(run->model.subject->lm)->n_embd;
    size_t C_ref = run->kept ? gs_lm_config(run->kept->subject.lm)->n_embd : 0;
    size_t row = index * scored_tokens(run->ctx) + from - run->ctx / 2;

    if (run->record)
        memcpy(run->record->hidden + row * C, gs_decoder_hidden(run->model.decoder, at),
               n * C * sizeof(float));
    if (run->kept)
        run->ref.hidden = run->kept->hidden + row * C_ref;
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
    if (run->has_ref && !run->kept)
        gs_decoder_rewind(run->ref.decoder, 0);

    for (size_t pos = 0; pos < run->ctx - 1; pos += n) {
        n = GS_MIN(run->batch, run->ctx - 1 - pos);
        gs_decoder_tap(run->model.decoder, run->tap, run->tap_ctx);
        if ((rc = gs_decoder_forward(run->model.decoder, run->chunk + pos, n, err)) < 0)
            return rc;
        gs_decoder_tap(run->model.decoder, NULL, NULL);
        if (run->has_ref && !run->kept &&
            (rc = gs_decoder_forward(run->ref.decoder, run->chunk + pos, n, err)) < 0)
            return rc;
        size_t from = GS_MAX(pos, scored_from);
        if (from >= pos + n)
            continue;
        run->position = start + from;
        meet_reference(run, index, from, from - pos, pos + n - from);
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
    if (run->kept)
        decoder.ctx = decoder.batch; /* its cache is not used */
    if ((rc = gs_scorer_init(&run->ref, ref, &decoder, err)) < 0)
        return rc;
    return gs_divergence_init(&run->divergence, run->n_chunks * scored_tokens(run->ctx), err);
}

static int make_room(struct run *run, struct gs_err *err)
{
    struct gs_reference *r = run->record;
    size_t C = gs_lm_config(r->subject.lm)->n_embd;

    r->n_hidden = run->n_chunks * scored_tokens(run->ctx);
    r->hidden = gs_alloc(r->n_hidden, C * sizeof *r->hidden);
    return r->hidden ? GS_OK : gs_fail_nomem(err, "a reference's states");
}

static int evaluate(struct run *run, const struct gs_subject *model,
                    const struct gs_subject *ref, const struct gs_tokens *tokens,
                    struct gs_eval_result *out, struct gs_err *err)
{
    int rc = prepare(run, model, ref, tokens->count, err);

    if (!rc && run->record)
        rc = make_room(run, err);
    run->tokens = tokens->data;
    if (!rc)
        rc = report_progress(run, 0, err);
    for (size_t i = 0; !rc && i < run->n_chunks; i++)
        rc = run_chunk(run, i, err);
    if (!rc)
        report(run, out);
    gs_divergence_clear(&run->divergence);
    gs_scorer_clear(&run->ref);
    gs_scorer_clear(&run->model);
    gs_team_destroy(&run->team);
    gs_free(&run->chunk);
    return rc;
}

/* The size of a chunk, and the text's tokens. */
static int read_text(struct run *run, const struct gs_subject *model, const char *text, size_t n,
                     struct gs_tokens *tokens, struct gs_err *err)
{
    run->ctx = run->options->ctx ? run->options->ctx : CTX_DEFAULT;
    if (run->ctx < CTX_MIN)
        return gs_fail(err, GS_E_ARG, "ctx must be at least %d, is %zu", CTX_MIN, run->ctx);
    if (n && text[n - 1] == '\n')
        n--;
    return gs_tokenizer_encode(model->tokenizer, text, n, GS_TOKENIZE_BOS, tokens, err);
}

int gs_eval_perplexity(const struct gs_subject *model, const struct gs_subject *ref,
                       const char *text, size_t n, const struct gs_eval_options *options,
                       struct gs_eval_result *out, struct gs_err *err)
{
    static const struct gs_eval_options defaults;
    struct run run = {.options = options ? options : &defaults};
    struct gs_tokens tokens = {.data = NULL};
    int rc = ref ? gs_divergence_comparable(model, ref, err) : GS_OK;

    *out = empty_result();
    if (!rc && !(rc = read_text(&run, model, text, n, &tokens, err)))
        rc = evaluate(&run, model, ref, &tokens, out, err);
    gs_tokens_clear(&tokens);
    return rc;
}

int gs_eval_reference(const struct gs_subject *ref, const char *text, size_t n,
                      const struct gs_eval_options *options, gs_tap_fn tap, void *tap_ctx,
                      struct gs_reference **out, struct gs_eval_result *result, struct gs_err *err)
{
    struct gs_reference *r = gs_alloc(1, sizeof *r);
    struct gs_eval_options exact = options ? *options : (struct gs_eval_options){.ctx = 0};
    struct run run = {.options = &exact, .record = r, .tap = tap, .tap_ctx = tap_ctx};
    int rc = r ? GS_OK : gs_fail_nomem(err, "a reference");

    *result = empty_result();
    if (!rc) {
        r->subject = *ref;
        r->options = exact;
        exact.exact = true; /* a yardstick */
        rc = read_text(&run, ref, text, n, &r->tokens, err);
    }
    if (!rc)
        rc = evaluate(&run, ref, NULL, &r->tokens, result, err);
    if (rc)
        gs_reference_destroy(&r);
    *out = r;
    return rc;
}

const float *gs_reference_hidden(const struct gs_reference *reference, size_t *n)
{
    *n = reference->n_hidden;
    return reference->hidden;
}

void gs_reference_destroy(struct gs_reference **rp)
{
    if (!*rp)
        return;
    gs_tokens_clear(&(*rp)->tokens);
    gs_free(&(*rp)->hidden);
    gs_free(rp);
}

int gs_eval_against(const struct gs_subject *model, const struct gs_reference *reference,
                    struct gs_eval_result *out, struct gs_err *err)
{
    struct run run = {.options = &reference->options, .kept = reference,
                      .ctx = reference->options.ctx ? reference->options.ctx : CTX_DEFAULT};
    int rc = gs_divergence_comparable(model, &reference->subject, err);

    *out = empty_result();
    return rc ? rc : evaluate(&run, model, &reference->subject, &reference->tokens, out, err);
}
