/* SPDX-License-Identifier: MIT
 * The loop: next texts → loss and gradients → norm, clip → optimizer → log, now and then
 * validation and a checkpoint.
 *
 * Everything that a step depends on is the weights, the optimizer's state, the number of the
 * step and the options: that is what a checkpoint keeps, so a run that goes on has the bits
 * of one that never stopped. A checkpoint is written only of a step whose loss and gradient
 * were finite. */
#include "train/train.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/log.h"
#include "model/backprop.h"
#include "train/checkpoint.h"
#include "train/corpus.h"
#include "train/grad_norm.h"
#include "train/train_log.h"
#include "train/optimizer.h"
#include "train/save.h"
#include "train/schedule.h"

#define PATH_MAX_BYTES 4096
#define VALID_TEXTS 128u /* pieces of the validation text that are measured */
#define RECENT 50u       /* losses whose mean is reported */

struct run {
    struct gs_train_options o; /* with defaults filled in */
    const char *dst;
    struct gs_store *store;
    struct gs_lm *lm;
    struct gs_tokenizer *tokenizer;
    struct gs_team *team;
    struct gs_corpus *corpus, *valid;
    struct gs_params *params;
    struct gs_backprop *bp;
    struct gs_optimizer *optimizer;
    struct gs_optimizer_options optimizer_options;
    struct gs_schedule schedule;
    struct gs_train_log *log;
    enum gs_type type;
    char ckpt[PATH_MAX_BYTES], log_path[PATH_MAX_BYTES];
    int32_t *tokens, *target; /* (batch, ctx) */
    double *sums, recent[RECENT], valid_loss;
    uint64_t step, n_tokens, n_recent, saved_step;
    double seconds, started;  /* seconds of earlier calls; when this one began */
};

/* ---- options ------------------------------------------------------------------------------- */

static int unknown(const char *what, const char *name, struct gs_err *err)
{
    return gs_fail(err, GS_E_ARG, "there is no %s '%s'; see docs/train.md", what, name);
}

static int choose_kinds(struct run *r, struct gs_err *err)
{
    const char *optimizer = r->o.optimizer ? r->o.optimizer : "adamw";
    const char *schedule = r->o.schedule ? r->o.schedule : "cosine";
    const char *type = r->o.type ? r->o.type : "f16";

    r->optimizer_options.kind = gs_optimizer_kind_find(optimizer);
    r->schedule.kind = gs_schedule_kind_find(schedule);
    if (!r->optimizer_options.kind)
        return unknown("optimizer", optimizer, err);
    if (!r->schedule.kind)
        return unknown("schedule", schedule, err);
    if (!gs_save_type(type, &r->type))
        return gs_fail(err, GS_E_ARG, "type %s: models are trained into f32, f16 or bf16", type);
    return GS_OK;
}

static int set_options(struct run *r, const struct gs_train_options *o, struct gs_err *err)
{
    r->o = *o;
    r->o.batch = o->batch ? o->batch : 8;
    r->o.accumulate = o->accumulate ? o->accumulate : 1;
    r->o.lr = o->lr > 0 ? o->lr : 1e-3;
    r->o.least_lr = o->least_lr > 0 ? o->least_lr : o->least_lr < 0 ? 0 : r->o.lr / 10;
    r->o.clip = o->clip < 0 ? 1 : o->clip;
    r->o.checkpoint = o->checkpoint ? o->checkpoint : 250;
    r->optimizer_options.decay = (float)(o->decay < 0 ? 0.1 : o->decay);
    r->optimizer_options.beta1 = (float)(o->beta1 < 0 ? 0.9 : o->beta1);
    r->optimizer_options.beta2 = (float)(o->beta2 < 0 ? 0.95 : o->beta2);
    r->optimizer_options.eps = 1e-8f;
    r->schedule = (struct gs_schedule){.lr = r->o.lr, .least = r->o.least_lr,
                                       .warmup = o->warmup, .steps = o->steps};
    if (!o->steps)
        return gs_fail(err, GS_E_ARG, "how long? give the number of steps");
    if (!o->n_texts)
        return gs_fail(err, GS_E_ARG, "what to learn from? give a text");
    if (!(r->optimizer_options.beta1 < 1) || !(r->optimizer_options.beta2 < 1))
        return gs_fail(err, GS_E_ARG, "beta1 and beta2 must be below 1");
    return choose_kinds(r, err);
}

/* The files beside dst, and what is in their way. */
static int set_paths(struct run *r, struct gs_err *err)
{
    struct stat st;

    if (strlen(r->dst) + 8 > sizeof r->ckpt ||
        (r->o.log && strlen(r->o.log) + 1 > sizeof r->log_path))
        return gs_fail(err, GS_E_ARG, "the path of the output is too long");
    snprintf(r->ckpt, sizeof r->ckpt, "%s.ckpt", r->dst);
    if (r->o.log)
        snprintf(r->log_path, sizeof r->log_path, "%s", r->o.log);
    else
        snprintf(r->log_path, sizeof r->log_path, "%s.jsonl", r->dst);
    if (!r->o.resume && !r->o.overwrite && !stat(r->dst, &st))
        return gs_fail(err, GS_E_IO, "%s: exists already", r->dst);
    if (!r->o.resume && !r->o.overwrite && !stat(r->ckpt, &st))
        return gs_fail(err, GS_E_IO, "%s: exists already; resume that run or overwrite it",
                       r->ckpt);
    return GS_OK;
}

/* ---- making and unmaking -------------------------------------------------------------------- */

static int check_vocabulary(const struct run *r, struct gs_err *err)
{
    uint32_t has = gs_tokenizer_n_vocab(r->tokenizer), knows = r->lm->config.n_vocab;

    if (has <= knows)
        return GS_OK;
    return gs_fail(err, GS_E_ARG, "%s: the vocabulary has %" PRIu32 " tokens, the model knows %"
                   PRIu32, gs_store_path(r->store), has, knows);
}

static int open_texts(struct run *r, struct gs_err *err)
{
    const struct gs_config *c = &r->lm->config;
    int rc;

    if (!r->o.ctx)
        r->o.ctx = GS_MIN(512, c->n_ctx_train);
    if ((rc = gs_tokenizer_create(gs_store_meta(r->store), gs_store_path(r->store),
                                  &r->tokenizer, err)) ||
        (rc = check_vocabulary(r, err)) ||
        (rc = gs_corpus_create(r->tokenizer, r->o.texts, r->o.n_texts, r->o.ctx, r->o.seed,
                               &r->corpus, err)))
        return rc;
    if (r->o.valid)
        rc = gs_corpus_create(r->tokenizer, &r->o.valid, 1, r->o.ctx, 0, &r->valid, err);
    return rc;
}

static int make_room(struct run *r, struct gs_err *err)
{
    struct gs_backprop_options o = {.texts = r->o.batch, .ctx = r->o.ctx, .team = r->team};
    int rc;

    if ((rc = gs_params_create(r->lm, r->team, &r->params, err)))
        return rc;
    /* The originals are copied; only their pages are given back. */
    for (size_t i = 0; i < gs_store_count(r->store); i++)
        gs_store_release(r->store, gs_store_tensor(r->store, i));
    if ((rc = gs_backprop_create(r->params, &o, &r->bp, err)) ||
        (rc = gs_optimizer_create(r->params, &r->optimizer_options, &r->optimizer, err)))
        return rc;
    r->tokens = gs_alloc((size_t)r->o.batch * r->o.ctx, sizeof *r->tokens);
    r->target = gs_alloc((size_t)r->o.batch * r->o.ctx, sizeof *r->target);
    r->sums = gs_alloc(gs_grad_norm_sums(r->params), sizeof *r->sums);
    return r->tokens && r->target && r->sums ? GS_OK : gs_fail_nomem(err, "a batch of text");
}

static void clear(struct run *r)
{
    gs_train_log_close(&r->log);
    gs_free(&r->sums);
    gs_free(&r->target);
    gs_free(&r->tokens);
    gs_optimizer_destroy(&r->optimizer);
    gs_backprop_destroy(&r->bp);
    gs_params_destroy(&r->params);
    gs_corpus_destroy(&r->valid);
    gs_corpus_destroy(&r->corpus);
    gs_tokenizer_destroy(&r->tokenizer);
    gs_lm_close(&r->lm);
    gs_team_destroy(&r->team);
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

static uint64_t fingerprint_params(const struct gs_params *p)
{
    uint64_t f = 0;

    for (size_t i = 0; i < p->n; i++) {
        const uint64_t shape[] = {p->list[i].rows, p->list[i].cols,
                                  gs_fingerprint(0, p->list[i].name, strlen(p->list[i].name))};
        f = gs_fingerprint(f, shape, sizeof shape);
    }
    return f;
}

/* Everything but the numbers of the step. */
static struct gs_checkpoint describe(struct run *r)
{
    const struct gs_optimizer_options *o = &r->optimizer_options;
    const float numbers[] = {o->beta1, o->beta2, o->eps, o->decay};
    const uint64_t sizes[] = {r->o.batch, r->o.accumulate,
                              gs_fingerprint(0, o->kind->name, strlen(o->kind->name))};
    const uint64_t text[] = {gs_corpus_fingerprint(r->corpus), r->o.ctx, r->o.seed};
    struct gs_checkpoint c = {.model = fingerprint_params(r->params),
                              .text = gs_fingerprint(0, text, sizeof text),
                              .weights = r->params->values,
                              .weight_bytes = r->params->floats * sizeof(float)};

    c.options = gs_fingerprint(gs_fingerprint(0, sizes, sizeof sizes), numbers, sizeof numbers);
    c.state = gs_optimizer_state(r->optimizer, &c.state_bytes);
    return c;
}

static int save(struct run *r, uint64_t *file_bytes, struct gs_err *err)
{
    struct gs_checkpoint c = describe(r);
    int rc;

    c.step = r->step;
    c.tokens = r->n_tokens;
    c.log_bytes = gs_train_log_bytes(r->log);
    c.seconds = r->seconds + gs_seconds() - r->started;
    if ((rc = gs_checkpoint_write(r->ckpt, &c, err)))
        return rc;
    r->saved_step = r->step;
    return gs_params_save(r->params, r->type, r->dst, true, file_bytes, err);
}

static int go_on(struct run *r, struct gs_err *err)
{
    struct gs_checkpoint c = describe(r);
    int rc = gs_checkpoint_read(r->ckpt, &c, err);

    if (rc)
        return rc;
    r->step = r->saved_step = c.step;
    r->n_tokens = c.tokens;
    r->seconds = c.seconds;
    if (r->step > r->o.steps)
        return gs_fail(err, GS_E_ARG, "%s: the checkpoint is of step %" PRIu64 ", beyond the %"
                       PRIu64 " that were asked for", r->ckpt, r->step, r->o.steps);
    return gs_train_log_open(r->log_path, c.log_bytes, &r->log, err);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static int broken(struct run *r, uint64_t step, double loss, const float *grads,
                  struct gs_err *err)
{
    const struct gs_param *weight = gs_grad_broken(r->params, r->params->values);
    const struct gs_param *gradient = gs_grad_broken(r->params, grads);
    char kept[64] = "there is no checkpoint yet", where[192] = "no tensor is to blame";

    if (r->saved_step)
        snprintf(kept, sizeof kept, "the checkpoint of step %" PRIu64 " is kept",
                 r->saved_step);
    if (weight)
        snprintf(where, sizeof where, "tensor %.100s has a weight that is not finite",
                 weight->name);
    else if (gradient)
        snprintf(where, sizeof where, "the gradient of tensor %.100s is not finite",
                 gradient->name);
    return gs_fail(err, GS_E_STOPPED, "step %" PRIu64 ": the loss is %g; %s; %s", step, loss,
                   where, kept);
}

/* Loss and gradient of the texts of one step. */
static double differentiate(struct run *r, uint64_t step)
{
    uint64_t texts = (uint64_t)r->o.batch * r->o.accumulate, first = (step - 1) * texts;
    float weight = (float)(1 / ((double)texts * r->o.ctx));
    double loss = 0;

    memset(gs_backprop_grads(r->bp), 0, r->params->floats * sizeof(float));
    for (uint32_t a = 0; a < r->o.accumulate; a++) {
        double part;
        for (uint32_t b = 0; b < r->o.batch; b++)
            gs_corpus_text(r->corpus, first + (uint64_t)a * r->o.batch + b,
                           r->tokens + (size_t)b * r->o.ctx, r->target + (size_t)b * r->o.ctx);
        gs_backprop_loss(r->bp, r->tokens, r->target, weight, &part);
        loss += part;
    }
    return loss / ((double)texts * r->o.ctx);
}

static int take_step(struct run *r, struct gs_err *err)
{
    uint64_t step = r->step + 1;
    uint64_t tokens = (uint64_t)r->o.batch * r->o.accumulate * r->o.ctx;
    double start = gs_seconds(), lr = gs_schedule_lr(&r->schedule, step);
    double loss = differentiate(r, step);
    const float *grads = gs_backprop_grads(r->bp);
    double norm = gs_grad_norm(r->params, r->team, grads, r->sums);

    if (!isfinite(loss) || !isfinite(norm))
        return broken(r, step, loss, grads, err);
    double scale = r->o.clip > 0 && norm > r->o.clip ? r->o.clip / norm : 1;
    gs_optimizer_step(r->optimizer, r->team, grads, (float)scale, (float)lr, step);
    r->step = step;
    r->n_tokens += tokens;
    r->recent[r->n_recent++ % RECENT] = loss;

    double now = gs_seconds(), speed = (double)tokens / (now - start);
    struct gs_train_step line = {
        .step = step, .tokens = r->n_tokens, .loss = loss, .lr = lr, .norm = norm,
        .seconds = r->seconds + now - r->started, .tokens_per_second = speed,
        .gflops = 6 * (double)r->params->weights * speed / 1e9};
    return gs_train_log_step(r->log, &line, err);
}

static int validate(struct run *r, struct gs_err *err)
{
    uint64_t pieces = GS_MIN(gs_corpus_pieces(r->valid), VALID_TEXTS), done = 0;
    double sum = 0, part;

    while (done < pieces) {
        uint32_t n = (uint32_t)GS_MIN(pieces - done, r->o.batch);
        for (uint32_t b = 0; b < r->o.batch; b++) {
            int32_t *target = r->target + (size_t)b * r->o.ctx;
            gs_corpus_piece(r->valid, done + GS_MIN(b, n - 1),
                            r->tokens + (size_t)b * r->o.ctx, target);
            for (uint32_t t = 0; b >= n && t < r->o.ctx; t++)
                target[t] = -1; /* the batch is not full */
        }
        gs_backprop_measure(r->bp, r->tokens, r->target, &part);
        sum += part;
        done += n;
    }
    r->valid_loss = sum / ((double)pieces * r->o.ctx);
    return gs_train_log_valid(r->log, r->step, r->valid_loss, err);
}

static double recent_loss(const struct run *r)
{
    uint64_t n = GS_MIN(r->n_recent, RECENT);
    double sum = 0;

    for (uint64_t i = 0; i < n; i++)
        sum += r->recent[i];
    return n ? sum / (double)n : NAN;
}

static void tell(const struct run *r, uint64_t first, double start)
{
    double speed = (double)((r->step - first) * r->o.batch * r->o.accumulate * r->o.ctx) /
                   (gs_seconds() - start);
    char valid[48] = "";

    if (r->valid)
        snprintf(valid, sizeof valid, ", validation %.4f", r->valid_loss);
    gs_log(GS_LOG_INFO, "step %" PRIu64 " of %" PRIu64 ": loss %.4f%s, %.0f tokens/s", r->step,
           r->o.steps, recent_loss(r), valid, speed);
}

static int train(struct run *r, uint64_t *file_bytes, struct gs_err *err)
{
    uint64_t first = r->step;
    double start = gs_seconds();
    int rc = GS_OK;

    while (r->step < r->o.steps) {
        if ((rc = take_step(r, err)))
            return rc;
        bool last = r->step == r->o.steps;
        bool stop = r->o.progress &&
                    r->o.progress(r->o.progress_ctx, "steps", r->step, r->o.steps) && !last;
        if (!stop && !last && r->step % r->o.checkpoint)
            continue;
        if ((r->valid && !stop && (rc = validate(r, err))) || (rc = save(r, file_bytes, err)))
            return rc;
        tell(r, first, start);
        if (stop)
            return gs_fail(err, GS_E_STOPPED, "stopped after step %" PRIu64
                           "; its checkpoint is %s", r->step, r->ckpt);
    }
    return rc;
}

int gs_train_store(struct gs_store *store, const char *dst,
                   const struct gs_train_options *options, struct gs_train_result *out,
                   struct gs_err *err)
{
    struct run r = {.dst = dst, .store = store, .valid_loss = NAN};
    uint64_t file_bytes = 0;
    int rc;

    r.started = gs_seconds();
    if ((rc = set_options(&r, options, err)) || (rc = set_paths(&r, err)) ||
        (rc = gs_team_create(r.o.threads, &r.team, err)) ||
        (rc = gs_lm_open(store, &r.lm, err)) || (rc = open_texts(&r, err)) ||
        (rc = make_room(&r, err)))
        goto out;
    r.started = gs_seconds();
    rc = r.o.resume ? go_on(&r, err) : gs_train_log_open(r.log_path, 0, &r.log, err);
    if (rc)
        goto out;
    uint64_t before = r.n_tokens;
    if ((rc = train(&r, &file_bytes, err)))
        goto out;
    double seconds = gs_seconds() - r.started;
    unlink(r.ckpt);
    if (out)
        *out = (struct gs_train_result){
            .parameters = r.params->weights, .steps = r.step, .tokens = r.n_tokens,
            .text_tokens = gs_corpus_tokens(r.corpus), .text_bytes = gs_corpus_bytes(r.corpus),
            .file_bytes = file_bytes, .loss = recent_loss(&r), .valid_loss = r.valid_loss,
            .seconds = r.seconds + seconds,
            .tokens_per_second = (double)(r.n_tokens - before) / seconds};
out:
    clear(&r);
    return rc;
}
