/* SPDX-License-Identifier: MIT
 * Scores a JSONL file of tasks.
 *
 * The file is read twice: first every line is checked and turned into tokens, which finds a
 * bad line before hours of work and gives the length of the KV cache; then items are scored.
 * Only one item is held in memory.
 *
 * An option is tokenized as one text; what its tokens share with those of the context alone
 * is the prompt, the rest is scored (a token that straddles the border is scored). So pieces
 * come out as in running text, whatever the tokenizer does with leading spaces.
 *
 *     tokens   p p p p p a a a      p − prompt, shared with the option before: kept in the
 *     fed              ^ ^ ^        KV cache but for the last, whose logits are needed
 *     scored             ^ ^ ^
 *
 * Raw accuracy takes the option with the largest Σ log p; the normalised one divides by the
 * answer's bytes first, so that long answers are not punished. The first wins a tie. */
#include "eval/task.h"

#include <inttypes.h>
#include <math.h>

#include "core/alloc.h"
#include "core/log.h"
#include "eval/eval.h"
#include "eval/jsonl.h"
#include "eval/score.h"
#include "eval/stats.h"

static const struct gs_task_kind *const kinds[] = {
    &gs_task_multiple_choice, &gs_task_last_word, &gs_task_winograd,
};

struct run {
    const struct gs_subject *subject;
    const struct gs_eval_options *options;
    struct gs_jsonl file;
    const struct gs_task_kind *kind; /* of the first item; all others must be the same */
    json_t *line;                    /* the present line; item borrows from it */
    struct gs_task_item item;
    uint64_t items, limit;
    struct gs_arena arena;           /* texts made for the present item */
    struct gs_tokens prompt, tokens; /* of the present option */
    size_t first;                    /* tokens[first …] are scored */
    size_t longest, batch;           /* most tokens of an option, and a forward pass */
    int32_t *cached;                 /* (longest): what the KV cache holds */
    struct gs_team *team;
    struct gs_scorer scorer;
    uint64_t hits, hits_norm;
    struct gs_moments gold_nll;      /* a token */
};

/* Sums over the scored tokens of one option. */
struct tally {
    const struct run *run;
    struct gs_moments *each; /* NULL, or told every token's nll */
    size_t at;               /* index in tokens of the batch's first scored one */
    double nll;
    bool greedy;
};

static const struct gs_task_kind *find_kind(const json_t *line)
{
    for (size_t i = 0; i < GS_COUNT(kinds); i++)
        if (kinds[i]->probe(line))
            return kinds[i];
    return NULL;
}

/* The next item into run->item: 1, 0 at the end or the limit. */
static int next_item(struct run *run, struct gs_err *err)
{
    if (run->limit && run->items == run->limit)
        return 0;
    json_decref(run->line);
    run->line = NULL;
    gs_arena_clear(&run->arena);
    int rc = gs_jsonl_next(&run->file, &run->line, err);
    if (rc <= 0)
        return rc;
    const struct gs_task_kind *kind = find_kind(run->line);
    if (!kind)
        rc = gs_fail(err, GS_E_FORMAT, "must have the members query and choices, or context "
                     "and continuation, or context_options and continuation");
    else if (run->kind && kind != run->kind)
        rc = gs_fail(err, GS_E_FORMAT, "is a %s item, the lines before are %s", kind->name,
                     run->kind->name);
    else
        rc = kind->parse(run->line, &run->arena, &run->item, err);
    if (rc < 0)
        return gs_jsonl_fail(&run->file, rc, err);
    run->kind = kind;
    run->items++;
    return 1;
}

/* Tokens of a text that goes on: BOS where the model adds one, never EOS. */
static int encode(const struct run *run, struct gs_str text, struct gs_tokens *out,
                  struct gs_err *err)
{
    const struct gs_tokenizer *t = run->subject->tokenizer;

    out->count = 0;
    int rc = gs_tokenizer_encode(t, text.data, text.size, GS_TOKENIZE_BOS, out, err);
    if (rc < 0)
        return rc;
    if (gs_tokenizer_add_eos(t) && out->count &&
        out->data[out->count - 1] == gs_tokenizer_eos(t))
        out->count--;
    return GS_OK;
}

static size_t common_prefix(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b)
{
    size_t n = 0;

    while (n < n_a && n < n_b && a[n] == b[n])
        n++;
    return n;
}

/* Sets run->tokens and run->first. */
static int encode_option(struct run *run, const struct gs_task_option *option,
                         struct gs_err *err)
{
    struct gs_str text = gs_task_join(&run->arena, option->context, "", option->continuation);
    int rc;

    if (!text.data)
        return gs_fail_nomem(err, "a task item");
    if ((rc = encode(run, option->context, &run->prompt, err)) < 0 ||
        (rc = encode(run, text, &run->tokens, err)) < 0)
        return rc;
    size_t shared = common_prefix(run->prompt.data, run->prompt.count, run->tokens.data,
                                  run->tokens.count);
    run->first = GS_MAX(shared, 1); /* the very first token has nothing to be predicted from */
    if (run->first >= run->tokens.count)
        return gs_fail(err, GS_E_FORMAT, "has an answer of no tokens, or one token in all");
    return GS_OK;
}

static int report_progress(const struct run *run, uint64_t done, uint64_t total,
                           struct gs_err *err)
{
    const struct gs_eval_options *o = run->options;

    if (o->progress && o->progress(o->progress_ctx, "items", done, total))
        return gs_fail(err, GS_E_STOPPED, "stopped after %" PRIu64 " items", done);
    return GS_OK;
}

/* First reading: checks every line, counts items, finds the longest option. */
static int survey(struct run *run, struct gs_err *err)
{
    int rc;

    while ((rc = next_item(run, err)) > 0) {
        for (size_t i = 0; i < run->item.n_options; i++) {
            if ((rc = encode_option(run, &run->item.options[i], err)) < 0)
                return gs_jsonl_fail(&run->file, rc, err);
            run->longest = GS_MAX(run->longest, run->tokens.count);
        }
    }
    if (rc == 0 && !run->items)
        return gs_fail(err, GS_E_FORMAT, "%s: no items", run->file.path);
    return rc;
}

static int prepare(struct run *run, struct gs_err *err)
{
    uint32_t n_train = gs_lm_config(run->subject->lm)->n_ctx_train;
    struct gs_decoder_options decoder = {.ctx = (uint32_t)run->longest,
                                         .exact = run->options->exact};
    int rc;

    if (run->longest > n_train)
        gs_log(GS_LOG_WARN, "%s: an item of %zu tokens, but the model was trained on %" PRIu32,
               run->subject->name, run->longest, n_train);
    if (!(run->cached = gs_alloc(run->longest, sizeof *run->cached)))
        return gs_fail_nomem(err, "tokens");
    if ((rc = gs_team_create(run->options->threads, &run->team, err)) < 0)
        return rc;
    run->batch = GS_MIN(run->options->batch ? run->options->batch : GS_SCORER_BATCH, run->longest);
    decoder.batch = (uint32_t)run->batch;
    decoder.team = run->team;
    return gs_scorer_init(&run->scorer, run->subject, &decoder, err);
}

static int take_score(void *ctx, size_t index, const struct gs_score_pair *score,
                      struct gs_err *err)
{
    struct tally *tally = ctx;
    const struct run *run = tally->run;

    if (!score->model.finite)
        return gs_scorer_fail_finite(&run->scorer, tally->at + index, err);
    tally->nll += score->model.nll;
    tally->greedy &= score->model.top == run->tokens.data[tally->at + index];
    if (tally->each)
        gs_moments_add(tally->each, score->model.nll);
    return GS_OK;
}

/* Feeds what the cache lacks of run->tokens and scores those from run->first on. */
static int score_tokens(struct run *run, struct tally *tally, struct gs_err *err)
{
    struct gs_decoder *decoder = run->scorer.decoder;
    const int32_t *tokens = run->tokens.data;
    size_t fed = run->tokens.count - 1, n;
    size_t kept = common_prefix(run->cached, gs_decoder_pos(decoder), tokens, run->first - 1);

    kept = gs_decoder_rewind(decoder, (uint32_t)kept);
    for (size_t pos = kept; pos < fed; pos += n) {
        n = GS_MIN(fed - pos, run->batch);
        int rc = gs_decoder_forward(decoder, tokens + pos, n, err);
        if (rc < 0)
            return rc;
        for (size_t i = 0; i < n; i++)
            run->cached[pos + i] = tokens[pos + i];
        size_t from = GS_MAX(pos, run->first - 1);
        if (from >= pos + n)
            continue;
        tally->at = from + 1;
        rc = gs_scorer_run(&run->scorer, NULL, run->team, from - pos, pos + n - from,
                           tokens + from + 1, take_score, tally, err);
        if (rc < 0)
            return rc;
    }
    return GS_OK;
}

static int score_item(struct run *run, struct gs_err *err)
{
    const struct gs_task_item *item = &run->item;
    double best = -INFINITY, best_norm = -INFINITY;
    size_t choice = 0, choice_norm = 0;
    bool greedy = false;

    for (size_t i = 0; i < item->n_options; i++) {
        struct tally tally = {.run = run, .greedy = true,
                              .each = i == item->gold ? &run->gold_nll : NULL};
        int rc = encode_option(run, &item->options[i], err);
        if (rc < 0 || (rc = score_tokens(run, &tally, err)) < 0)
            return rc;
        double score = -tally.nll, norm = score / (double)item->options[i].answer_bytes;
        if (score > best) {
            best = score;
            choice = i;
        }
        if (norm > best_norm) {
            best_norm = norm;
            choice_norm = i;
        }
        greedy = tally.greedy;
    }
    run->hits += run->kind->greedy ? greedy : choice == item->gold;
    run->hits_norm += run->kind->greedy ? greedy : choice_norm == item->gold;
    return GS_OK;
}

/* Second reading. */
static int score_items(struct run *run, struct gs_err *err)
{
    uint64_t total = run->items;
    int rc = gs_jsonl_rewind(&run->file, err);

    run->items = 0;
    run->limit = total; /* should the file have grown meanwhile */
    if (rc < 0 || (rc = report_progress(run, 0, total, err)) < 0)
        return rc;
    while ((rc = next_item(run, err)) > 0) {
        if ((rc = score_item(run, err)) < 0)
            return gs_jsonl_fail(&run->file, rc, err);
        if ((rc = report_progress(run, run->items, total, err)) < 0)
            return rc;
    }
    return rc;
}

static void report(const struct run *run, struct gs_task_result *out)
{
    double n = (double)run->items;

    out->kind = run->kind->name;
    out->items = run->items;
    out->accuracy = (double)run->hits / n;
    out->accuracy_norm = (double)run->hits_norm / n;
    gs_wilson_interval(run->hits, run->items, &out->accuracy_low, &out->accuracy_high);
    gs_wilson_interval(run->hits_norm, run->items, &out->norm_low, &out->norm_high);
    out->ppl = exp(run->gold_nll.mean);
}

int gs_eval_tasks(const struct gs_subject *model, const char *path, uint64_t limit,
                  const struct gs_eval_options *options, struct gs_task_result *out,
                  struct gs_err *err)
{
    static const struct gs_eval_options defaults;
    struct run run = {.subject = model, .options = options ? options : &defaults,
                      .limit = limit};
    int rc;

    *out = (struct gs_task_result){.kind = ""};
    if ((rc = gs_jsonl_open(&run.file, path, err)) < 0)
        return rc;
    if ((rc = survey(&run, err)) < 0 || (rc = prepare(&run, err)) < 0 ||
        (rc = score_items(&run, err)) < 0)
        goto out;
    report(&run, out);
out:
    gs_scorer_clear(&run.scorer);
    gs_team_destroy(&run.team);
    gs_free(&run.cached);
    gs_tokens_clear(&run.tokens);
    gs_tokens_clear(&run.prompt);
    gs_arena_clear(&run.arena);
    json_decref(run.line);
    gs_jsonl_close(&run.file);
    return rc < 0 ? rc : GS_OK;
}
