/* SPDX-License-Identifier: MIT */
#include "generation.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "terminal.h"

int load_model(struct gs_model *model, const struct settings *settings,
               const struct gs_session_options *session, struct gs_err *err)
{
    const struct gs_load_options options = {.threads = settings->threads,
                                            .exact = settings->exact, .bits = settings->bits,
                                            .memory = settings->memory, .session = session};

    return settings->bits || settings->memory ? gs_model_load(model, &options, err) : 0;
}

int generation_open(struct generation *g, const struct settings *settings)
{
    struct gs_session_options options = {.ctx = settings->ctx, .batch = settings->batch,
                                         .threads = settings->threads,
                                         .kv_f32 = settings->kv_f32, .exact = settings->exact,
                                         .progress = progress};
    struct gs_err err = {0};

    *g = (struct generation){.settings = settings, .stream = !settings->json};
    if (gs_model_open_delta(settings->argument[0], settings->delta, &g->model, &err) ||
        load_model(g->model, settings, &options, &err) ||
        gs_session_create(g->model, &options, &g->session, &err))
        return failure(&err);
    return EXIT_OK;
}

void generation_close(struct generation *g)
{
    gs_session_destroy(&g->session);
    gs_model_close(&g->model);
    free(g->text);
    g->text = NULL;
}

static bool append(struct generation *g, const char *text, size_t n)
{
    if (g->capacity - g->n <= n) { /* room for the NUL */
        size_t capacity = 2 * (g->n + n) + 256;
        char *more = realloc(g->text, capacity);
        if (!more) {
            g->out_of_memory = true;
            return false;
        }
        g->text = more;
        g->capacity = capacity;
    }
    memcpy(g->text + g->n, text, n);
    g->n += n;
    g->text[g->n] = 0;
    return true;
}

/* Text goes to a file as it is; a terminal is spared the control characters. */
static void show(const char *text, size_t n)
{
    char *clean = isatty(STDOUT_FILENO) ? clean_text(text, n, true) : NULL;

    if (clean)
        fputs(clean, stdout);
    else
        fwrite(text, 1, n, stdout);
    free(clean);
}

static int on_text(void *ctx, const char *text, size_t n)
{
    struct generation *g = ctx;

    if (!append(g, text, n))
        return 1;
    if (g->stream) {
        progress_clear();
        show(text, n);
        if (!flush_output())
            return 1;
    }
    return interrupted();
}

/* Feeds the tokens that the session does not have yet, then generates. */
static int generate(struct generation *g, const int32_t *tokens, size_t n, uint64_t seed,
                    struct gs_run_stats *stats)
{
    struct gs_sampling sampling = g->settings->sampling;
    struct gs_err err = {0};
    uint32_t ctx = gs_session_ctx(g->session);
    uint32_t seen = gs_session_match(g->session, tokens, n);

    if (n > ctx)
        return failure_text("the prompt has %zu tokens, the context %" PRIu32
                            "; a larger one: --ctx", n, ctx);
    if (seen == n && n > 0)
        seen--; /* the last one again, for its logits */
    gs_session_rewind(g->session, seen);
    sampling.seed = seed;
    g->n = 0;
    int rc = gs_session_generate(g->session, tokens + seen, n - seen, g->settings->n_predict,
                                 &sampling, on_text, g, stats, &err);
    progress_clear();
    if (rc)
        return failure(&err);
    if (g->out_of_memory)
        return failure_text("out of memory for the text");
    if (interrupted())
        return EXIT_INTERRUPTED;
    if (!stats->ended && gs_session_pos(g->session) == ctx)
        note("stopped: the context of %" PRIu32 " tokens is full", ctx);
    return EXIT_OK;
}

int generation_answer(struct generation *g, const char *prompt, size_t n, int flags,
                      uint64_t seed, struct gs_run_stats *stats)
{
    int32_t *tokens = NULL;
    struct gs_err err = {0};
    int code;

    if (!append(g, "", 0)) /* g->text is a string from now on */
        return failure_text("out of memory for the text");
    int64_t count = gs_tokenize(g->model, prompt, n, flags, &tokens, &err);
    if (count < 0)
        code = failure(&err);
    else if (count == 0)
        code = failure_text("the prompt is empty, and the model has no token to begin with");
    else
        code = generate(g, tokens, (size_t)count, seed, stats);
    gs_tokens_free(&tokens);
    return code;
}

double per_second(uint64_t tokens, double seconds)
{
    return seconds > 0 ? (double)tokens / seconds : 0;
}

void generation_note(const struct gs_run_stats *stats)
{
    note("prompt %" PRIu64 " tokens, %.1f/s; text %" PRIu64 " tokens, %.1f/s",
         stats->prompt_tokens, per_second(stats->prompt_tokens, stats->prompt_seconds),
         stats->tokens, per_second(stats->tokens, stats->predict_seconds));
}
