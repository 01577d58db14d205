/* SPDX-License-Identifier: MIT
 * log-softmax and Kullback–Leibler divergence of rows of logits.
 *
 * With a the reference's logits, b the model's, A and B their maxima:
 *
 *     e_i = exp(a_i − A),  Z_a = Σ e_i        log p_a(t) = a_t − A − ln Z_a
 *     KL(a ‖ b) = Σ p_a (ln p_a − ln p_b)
 *               = Σ e_i ((a_i − A) − (b_i − B)) / Z_a − (ln Z_a − ln Z_b)
 *
 * so one pass over both rows yields everything and nothing of the size of a row is stored.
 * Exponentials are the kernels' (the same bits on every processor), taken in blocks on the
 * stack; a block's sum is float, the sum over blocks double. The relative error of Z stays
 * near 1e-7 for any vocabulary, and equal rows give a divergence of exactly 0. */
#include "eval/score.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "kernels/kernels.h"

#define BLOCK 512
#define ROWS_MAX 64
#define ROW_BYTES_MAX (16u << 20)

/* The first place of the largest logit; false if one is NaN or +inf. −inf is a token that
 * can't follow, unless all are. */
static bool find_top(const float *logits, size_t n, int32_t *top)
{
    float max = gs_kernels()->max_f32(logits, n);
    int bad = 0;

    for (size_t i = 0; i < n; i++)
        bad |= !(logits[i] <= FLT_MAX);
    if (bad || max < -FLT_MAX)
        return false;
    int32_t i = 0;
    while (logits[i] != max) /* ends: max is one of them */
        i++;
    *top = i;
    return true;
}

/* e[i] = exp(x[i] − max) for one block; returns the sum. */
static double exp_block(const float *x, size_t n, float max, float *e)
{
    memcpy(e, x, n * sizeof *e);
    return (double)gs_kernels()->exp_sum_f32(e, max, n);
}

static double nll(const float *logits, float max, double z, int32_t token)
{
    return log(z) - ((double)logits[token] - (double)max);
}

void gs_score_row(const float *logits, size_t n, int32_t token, struct gs_score *out)
{
    float e[BLOCK];
    double z = 0;

    assert(token >= 0 && (size_t)token < n);
    out->finite = find_top(logits, n, &out->top);
    if (!out->finite)
        return;
    float max = logits[out->top];
    for (size_t i = 0; i < n; i += BLOCK)
        z += exp_block(logits + i, GS_MIN(n - i, BLOCK), max, e);
    out->nll = nll(logits, max, z, token);
}

void gs_score_row_pair(const float *logits, const float *ref, size_t n, int32_t token,
                       struct gs_score_pair *out)
{
    float e[BLOCK], e_ref[BLOCK];
    double z = 0, z_ref = 0, cross = 0;

    assert(token >= 0 && (size_t)token < n);
    out->model.finite = find_top(logits, n, &out->model.top);
    out->ref.finite = find_top(ref, n, &out->ref.top);
    if (!out->model.finite || !out->ref.finite)
        return;
    float max = logits[out->model.top], max_ref = ref[out->ref.top];
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t m = GS_MIN(n - i, BLOCK);
        z += exp_block(logits + i, m, max, e);
        z_ref += exp_block(ref + i, m, max_ref, e_ref);
        for (size_t j = 0; j < m; j++) {
            if (!(e_ref[j] > 0))
                continue; /* p ln p is 0 there, even if the logit is −inf */
            double a = (double)ref[i + j] - (double)max_ref;
            double b = (double)logits[i + j] - (double)max;
            cross += (double)e_ref[j] * (a - b);
        }
    }
    out->model.nll = nll(logits, max, z, token);
    out->ref.nll = nll(ref, max_ref, z_ref, token);
    /* Rounding can leave a hair below 0, which a divergence never is. */
    out->kld = fmax(0, cross / z_ref - (log(z_ref) - log(z)));
}

int gs_scorer_init(struct gs_scorer *s, const struct gs_subject *subject,
                   const struct gs_decoder_options *options, struct gs_err *err)
{
    size_t n_vocab = gs_lm_config(subject->lm)->n_vocab;
    size_t rows = ROW_BYTES_MAX / sizeof(float) / n_vocab;

    rows = GS_MIN(GS_MAX(rows, 1), ROWS_MAX);
    *s = (struct gs_scorer){.subject = subject, .n_vocab = n_vocab, .rows = rows};
    s->logits = gs_alloc(rows * n_vocab, sizeof *s->logits);
    if (!s->logits)
        return gs_fail_nomem(err, "logits");
    return gs_decoder_create(subject->lm, options, &s->decoder, err);
}

void gs_scorer_clear(struct gs_scorer *s)
{
    gs_decoder_destroy(&s->decoder);
    gs_free(&s->logits);
}

int gs_scorer_fail_finite(const struct gs_scorer *s, uint64_t position, struct gs_err *err)
{
    return gs_fail(err, GS_E_FORMAT, "%s: logits are not finite at token %llu of the text",
                   s->subject->name, (unsigned long long)position);
}

/* Logits of `count` positions into s->logits: those after the first `done` of what is scored,
 * which begins at position `first` of the batch. */
static void make_logits(struct gs_scorer *s, size_t first, size_t done, size_t count)
{
    size_t C = gs_lm_config(s->subject->lm)->n_embd;

    if (s->hidden)
        gs_decoder_head(s->decoder, s->hidden + done * C, count, s->logits);
    else
        gs_decoder_logits(s->decoder, first + done, count, s->logits);
}

struct rows {
    const float *logits, *ref; /* ref may be NULL */
    size_t n_vocab;
    const int32_t *tokens;
    struct gs_score_pair scores[ROWS_MAX];
};

static void score_rows(void *ctx, size_t begin, size_t end, int worker)
{
    struct rows *r = ctx;

    (void)worker;
    for (size_t i = begin; i < end; i++) {
        const float *logits = r->logits + i * r->n_vocab;
        if (r->ref)
            gs_score_row_pair(logits, r->ref + i * r->n_vocab, r->n_vocab, r->tokens[i],
                              &r->scores[i]);
        else
            gs_score_row(logits, r->n_vocab, r->tokens[i], &r->scores[i].model);
    }
}

int gs_scorer_run(struct gs_scorer *model, struct gs_scorer *ref, struct gs_team *team,
                  size_t first, size_t count, const int32_t *tokens, gs_score_fn take,
                  void *ctx, struct gs_err *err)
{
    struct rows rows = {.logits = model->logits, .ref = ref ? ref->logits : NULL,
                        .n_vocab = model->n_vocab};

    assert(!ref || (ref->n_vocab == model->n_vocab && ref->rows == model->rows));
    for (size_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (size_t)tokens[i] >= model->n_vocab)
            return gs_fail(err, GS_E_FORMAT, "%s: the tokenizer yields token %d, the model has "
                           "%zu", model->subject->name, (int)tokens[i], model->n_vocab);
    for (size_t done = 0; done < count; done += model->rows) {
        size_t n = GS_MIN(count - done, model->rows);
        make_logits(model, first, done, n);
        if (ref)
            make_logits(ref, first, done, n);
        rows.tokens = tokens + done;
        gs_team_run(team, n, 1, score_rows, &rows);
        for (size_t i = 0; i < n; i++) {
            int rc = take(ctx, done + i, &rows.scores[i], err);
            if (rc < 0)
                return rc;
        }
    }
    return GS_OK;
}
