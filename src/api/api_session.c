/* SPDX-License-Identifier: MIT
 * gosset.h: running a model. A session owns the threads, the KV cache and the list of tokens
 * that fill it; logits of the last position are always at hand unless a rewind dropped them.
 *
 * Generating:  feed prompt → [ pick from logits → emit its text → feed it → logits ] …
 *
 * Every emitted token is fed before the next step, also the last one, so that a session
 * always holds exactly what its caller has seen and can be continued. All buffers of a step
 * are taken before the first one. */
#include "api/api.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "model/sampler.h"

#define CTX_MAX (1u << 30)

struct gs_session {
    const struct gs_model *model;
    struct gs_team *team;
    struct gs_decoder *decoder;
    int32_t *history; /* (ctx) the tokens in the cache */
    float *logits;    /* (V) of the last position, if have_logits */
    uint32_t n_vocab, batch;
    uint32_t pos; /* of the history; the decoder's may be behind it after a rewind: catch_up */
    bool have_logits, guard;
    gs_progress_fn progress;
    void *progress_ctx;
    /* One token's bytes and its text with replacements; sized for the longest token. */
    char *piece, *text;
    size_t piece_bytes;
};

static int create_decoder(struct gs_session *s, const struct gs_session_options *options,
                          struct gs_err *err)
{
    const struct gs_load_options load = {.threads = options->threads, .exact = options->exact};
    struct gs_lm *lm;
    int rc;

    gs_store_expect(s->model->store);
    if ((rc = gs_api_lm(s->model, &load, &lm, err)))
        return rc;
    const struct gs_config *config = gs_lm_config(lm);
    struct gs_decoder_options d = {.ctx = 0};
    gs_decoder_for_session(options, config->n_ctx_train, &d);
    if (d.ctx > CTX_MAX)
        return gs_fail(err, GS_E_ARG, "a context of %u positions; the most is %u", d.ctx, CTX_MAX);
    if ((rc = gs_team_create(options->threads, &s->team, err)))
        return rc;
    s->batch = d.batch;
    d.team = s->team;
    if ((rc = gs_decoder_create(lm, &d, &s->decoder, err)))
        return rc;
    s->n_vocab = config->n_vocab;
    s->history = gs_alloc(d.ctx, sizeof *s->history);
    s->logits = gs_alloc(s->n_vocab, sizeof *s->logits);
    if (!s->history || !s->logits)
        return gs_fail_nomem(err, "a session");
    return GS_OK;
}

int gs_session_create(const struct gs_model *model, const struct gs_session_options *options,
                      struct gs_session **out, struct gs_err *err)
{
    static const struct gs_session_options defaults;
    const char *guard = getenv("GOSSET_ALLOC_GUARD");
    int rc;

    *out = NULL;
    struct gs_session *s = gs_alloc(1, sizeof *s);
    if (!s)
        return gs_fail_nomem(err, "a session");
    if (!options)
        options = &defaults;
    s->model = model;
    s->progress = options->progress;
    s->progress_ctx = options->progress_ctx;
    s->guard = guard && *guard == '1';
    if ((rc = create_decoder(s, options, err))) {
        gs_session_destroy(&s);
        return rc;
    }
    *out = s;
    return GS_OK;
}

void gs_session_destroy(struct gs_session **sessionp)
{
    struct gs_session *s = *sessionp;

    if (!s)
        return;
    gs_decoder_destroy(&s->decoder);
    gs_team_destroy(&s->team);
    gs_free(&s->history);
    gs_free(&s->logits);
    gs_free(&s->piece);
    gs_free(&s->text);
    gs_free(sessionp);
}

uint32_t gs_session_ctx(const struct gs_session *s)
{
    return gs_decoder_ctx(s->decoder);
}

uint32_t gs_session_pos(const struct gs_session *s)
{
    return s->pos;
}

void gs_session_rewind(struct gs_session *s, uint32_t n)
{
    if (n >= gs_session_pos(s))
        return;
    if (n < gs_decoder_pos(s->decoder))
        gs_decoder_rewind(s->decoder, n);
    s->pos = n;
    s->have_logits = false;
}

uint32_t gs_session_match(const struct gs_session *s, const int32_t *tokens, size_t n)
{
    uint32_t pos = gs_session_pos(s), i = 0;

    while (i < pos && i < n && s->history[i] == tokens[i])
        i++;
    return i;
}

/* One forward pass; n <= batch. On failure the cache is as before. */
static int feed_batch(struct gs_session *s, const int32_t *tokens, size_t n, struct gs_err *err)
{
    int rc = gs_decoder_forward(s->decoder, tokens, n, err);

    if (rc)
        return rc;
    memcpy(s->history + s->pos, tokens, n * sizeof *tokens);
    s->pos += (uint32_t)n;
    s->have_logits = false;
    return GS_OK;
}

/* Feeds again what layers with a window have lost by a rewind. */
static int catch_up(struct gs_session *s, struct gs_err *err)
{
    int rc = GS_OK;

    for (uint32_t at; !rc && (at = gs_decoder_pos(s->decoder)) < s->pos;)
        rc = gs_decoder_forward(s->decoder, s->history + at, GS_MIN(s->pos - at, s->batch), err);
    return rc;
}

static void take_logits(struct gs_session *s, size_t n_last_batch)
{
    gs_decoder_logits(s->decoder, n_last_batch - 1, 1, s->logits);
    s->have_logits = true;
}

static int feed(struct gs_session *s, const int32_t *tokens, size_t n, struct gs_err *err)
{
    uint32_t pos = gs_session_pos(s), ctx = gs_session_ctx(s);
    size_t step = 0;
    int rc;

    if (n > ctx - pos)
        return gs_fail(err, GS_E_ARG,
                       "the text has %zu tokens, the context holds %u of which %u are in use",
                       n, ctx, pos);
    if (n && (rc = catch_up(s, err)))
        return rc;
    for (size_t done = 0; done < n; done += step) {
        step = GS_MIN(n - done, s->batch);
        if ((rc = feed_batch(s, tokens + done, step, err)))
            return rc;
        if (s->progress && n > s->batch &&
            s->progress(s->progress_ctx, "prompt tokens", done + step, n)) {
            take_logits(s, step);
            return gs_fail(err, GS_E_STOPPED, "stopped while reading the prompt");
        }
    }
    if (n)
        take_logits(s, step);
    return GS_OK;
}

int gs_session_feed(struct gs_session *s, const int32_t *tokens, size_t n, const float **logits,
                    struct gs_err *err)
{
    int rc = feed(s, tokens, n, err);

    if (logits)
        *logits = NULL;
    if (rc)
        return rc;
    if (!s->have_logits)
        return gs_fail(err, GS_E_ARG, "no tokens to continue from");
    if (logits)
        *logits = s->logits;
    return GS_OK;
}

/* ---- generating ------------------------------------------------------------------ */

struct run {
    struct gs_session *s;
    const struct gs_tokenizer *tokenizer;
    struct gs_sampler *sampler;
    struct gs_utf8_stream utf8;
    bool at_start; /* of the text: see token_bytes */
    gs_text_fn emit;
    void *ctx;
};

/* Room for the longest token of the vocabulary, so that no step has to ask. */
static int take_text_buffers(struct gs_session *s, const struct gs_tokenizer *t,
                             struct gs_err *err)
{
    size_t longest = 0;

    if (s->text)
        return GS_OK;
    for (uint32_t i = 0; i < gs_tokenizer_n_vocab(t); i++) {
        size_t n = gs_tokenizer_bytes(t, (int32_t)i, false, NULL, 0);
        longest = GS_MAX(longest, n);
    }
    gs_free(&s->piece);
    s->piece = gs_alloc(longest, 1);
    s->text = gs_alloc(3, longest + 4); /* a byte may become U+FFFD, see gs_utf8_push */
    if (!s->piece || !s->text) {
        gs_free(&s->text);
        return gs_fail_nomem(err, "the text of a token");
    }
    s->piece_bytes = longest;
    return GS_OK;
}

/* True if the session holds no text yet: nothing, or only control tokens such as BOS. */
static bool is_at_start(const struct run *run)
{
    uint32_t pos = gs_session_pos(run->s);

    for (uint32_t i = 0; i < pos; i++)
        if (!gs_tokenizer_is_control(run->tokenizer, run->s->history[i]))
            return false;
    return true;
}

/* The bytes of a token in s->piece. The first one of a text is decoded as a text, which
 * drops the space that a SentencePiece model puts before the first word. */
static int token_bytes(struct run *run, int32_t token, size_t *n, struct gs_err *err)
{
    struct gs_session *s = run->s;
    char *text = NULL;
    size_t n_text = 0;
    int rc;

    *n = gs_tokenizer_bytes(run->tokenizer, token, false, s->piece, s->piece_bytes);
    assert(*n <= s->piece_bytes);
    if (!run->at_start || !*n)
        return GS_OK;
    run->at_start = false;
    if ((rc = gs_tokenizer_decode(run->tokenizer, &token, 1, false, &text, &n_text, err)))
        return rc;
    assert(n_text <= *n);
    memcpy(s->piece, text, n_text);
    *n = n_text;
    gs_free(&text);
    return GS_OK;
}

/* Picks the next token; its text, as far as whole characters are ready, is in s->text. */
static int next_token(struct run *run, int32_t *token, size_t *n_text, struct gs_err *err)
{
    struct gs_session *s = run->s;
    size_t n = 0;
    int rc;

    *token = gs_sampler_pick(run->sampler, s->logits);
    gs_sampler_accept(run->sampler, *token);
    /* A network may have more outputs than the vocabulary has tokens. */
    if ((uint32_t)*token < gs_tokenizer_n_vocab(run->tokenizer) &&
        (rc = token_bytes(run, *token, &n, err)))
        return rc;
    *n_text = gs_utf8_push(&run->utf8, s->piece, n, s->text);
    return GS_OK;
}

static bool is_end(const struct run *run, int32_t token)
{
    return (uint32_t)token < gs_tokenizer_n_vocab(run->tokenizer) &&
           gs_tokenizer_is_end(run->tokenizer, token);
}

static int tell_text(struct run *run, size_t n)
{
    return n && run->emit ? run->emit(run->ctx, run->s->text, n) : 0;
}

/* The loop: returns when the text or the room ends, or emit asks. */
static int predict(struct run *run, int64_t n_predict, struct gs_run_stats *stats,
                   struct gs_err *err)
{
    struct gs_session *s = run->s;
    bool stop = false;
    int rc = GS_OK;

    run->at_start = is_at_start(run);
    for (int64_t i = 0; !stop && (n_predict < 0 || i < n_predict); i++) {
        bool guard = s->guard && !run->at_start;
        int32_t token = -1;
        size_t n_text = 0;
        if (gs_session_pos(s) == gs_session_ctx(s))
            break;
        if (guard)
            gs_alloc_guard(true);
        rc = next_token(run, &token, &n_text, err);
        stats->ended = !rc && is_end(run, token);
        if (!rc && !stats->ended) {
            rc = feed_batch(s, &token, 1, err);
            if (!rc)
                take_logits(s, 1);
        }
        if (guard)
            gs_alloc_guard(false);
        if (rc || stats->ended)
            break;
        stats->tokens++;
        stop = tell_text(run, n_text);
    }
    if (!rc)
        tell_text(run, gs_utf8_flush(&run->utf8, s->text));
    return rc;
}

/* The sampler knows the tail of what the session holds, for the repetition penalty. */
static void recall(struct run *run, const struct gs_sampling *sampling)
{
    uint32_t pos = gs_session_pos(run->s);
    uint32_t n = sampling->repeat_last_n > 0 ? (uint32_t)sampling->repeat_last_n : 0;

    for (uint32_t i = pos - GS_MIN(n, pos); i < pos; i++)
        gs_sampler_accept(run->sampler, run->s->history[i]);
}

int gs_session_generate(struct gs_session *s, const int32_t *tokens, size_t n, int64_t n_predict,
                        const struct gs_sampling *sampling, gs_text_fn emit, void *ctx,
                        struct gs_run_stats *stats, struct gs_err *err)
{
    static const struct gs_sampling defaults = GS_SAMPLING_DEFAULT;
    struct run run = {.s = s, .emit = emit, .ctx = ctx};
    struct gs_run_stats st = {0};
    double start = gs_seconds(), fed;
    int rc;

    if (!sampling)
        sampling = &defaults;
    if ((rc = gs_api_tokenizer(s->model, &run.tokenizer, err)) ||
        (rc = take_text_buffers(s, run.tokenizer, err)) ||
        (rc = gs_sampler_create(sampling, s->n_vocab, &run.sampler, err)))
        goto out;
    if ((rc = gs_session_feed(s, tokens, n, NULL, err)))
        goto out;
    recall(&run, sampling);
    st.prompt_tokens = n;
    fed = gs_seconds();
    st.prompt_seconds = fed - start;
    rc = predict(&run, n_predict, &st, err);
    st.predict_seconds = gs_seconds() - fed;
out:
    gs_sampler_destroy(&run.sampler);
    if (stats)
        *stats = st;
    return rc;
}
