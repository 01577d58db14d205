/* SPDX-License-Identifier: MIT */
#include "recipe/tune.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/log.h"
#include "model/backprop.h"
#include "train/grad_norm.h"
#include "train/optimizer.h"
#include "train/schedule.h"

#define CLIP 1.0 /* largest norm of θ's gradient, in units of what a loss of 1 gives */

struct tuner {
    const struct gs_tune *t;
    struct gs_student *student;
    struct gs_store *store;                /* the teacher's */
    struct gs_lm *lm;
    struct gs_params *taught;
    struct gs_backprop *teacher, *learner;
    struct gs_optimizer *optimizer;
    float *grads;                          /* of θ */
    double *sums;
    float *states, *wanted;                /* (sequences, ctx, C): student's, teacher's */
    float *y, *dx;                         /* (ctx, C) */
    float *taught_states;                  /* (sequences, ctx, C) what the teacher's head reads */
    bool *recalled;                        /* (sequences) */
    size_t learned;                        /* sequences that are learned from */
    uint64_t done, total;
};

int gs_tune_stages(const char *name, bool stock, struct gs_tune *t, struct gs_err *err)
{
    bool both = !strcmp(name, "both"), block = both || !strcmp(name, "block");
    bool whole = both || !strcmp(name, "e2e");

    if (!block && !whole)
        return gs_fail(err, GS_E_ARG, "tune %s: give block, e2e or both", name);
    t->block_passes = !block ? 0 : stock ? 2 : 4;
    t->whole_passes = !whole ? 0 : stock ? 2 : 3;
    t->block_rate = 5e-3;
    t->whole_rate = 4e-3;
    return GS_OK;
}

static int tell(struct tuner *u, struct gs_err *err)
{
    u->done++;
    if (u->t->progress && u->t->progress(u->t->progress_ctx, "tuning steps", u->done, u->total))
        return gs_fail(err, GS_E_STOPPED, "tuning was stopped");
    return GS_OK;
}

/* One step of θ from the dense gradients of block il, or all; `step` of `steps`. */
static int learn(struct tuner *u, uint32_t il, double rate, uint64_t step, uint64_t steps,
                 struct gs_err *err)
{
    const struct gs_schedule s = {.kind = gs_schedule_kind_find("cosine"), .lr = rate,
                                  .warmup = GS_MIN(steps / 10, 10), .steps = steps};
    struct gs_params *theta = gs_student_theta(u->student);
    int rc = gs_student_project(u->student, il, gs_backprop_grads(u->learner), u->grads, err);

    if (rc)
        return rc;
    double norm = gs_grad_norm(theta, u->t->team, u->grads, u->sums);
    if (!isfinite(norm)) {
        const struct gs_param *p = gs_grad_broken(theta, u->grads);
        return gs_fail(err, GS_E_UNSUPPORTED, "tuning step %" PRIu64 ": the gradient of %s is "
                       "not finite", step, p ? p->name : "the loss");
    }
    gs_optimizer_step(u->optimizer, u->t->team, u->grads,
                      (float)(norm > CLIP ? CLIP / norm : 1), (float)gs_schedule_lr(&s, step),
                      step);
    return gs_student_build(u->student, il, err);
}

/* What the optimizer remembers of another block must not move it. */
static void forget(struct tuner *u)
{
    uint64_t bytes;
    void *state = gs_optimizer_state(u->optimizer, &bytes);

    memset(state, 0, bytes);
}

/* Gradients of block il, or all. */
static void clear_grads(struct tuner *u, uint32_t il)
{
    const struct gs_params *p = gs_student_params(u->student);

    for (size_t i = 0; i < p->n; i++)
        if (il == GS_STUDENT_ALL ||
            (p->list[i].slot > GS_SLOT_MODEL_COUNT && p->list[i].layer == il))
            memset(gs_backprop_grads(u->learner) + p->list[i].offset, 0,
                   p->list[i].count * sizeof(float));
}

/* ---- block by block ------------------------------------------------------------------------------ */

/* Σ (y − want)² and Σ want²; dx = the gradient of their ratio, scaled by the sequences. */
static double compare(struct tuner *u, const float *want, double *energy)
{
    size_t n = u->t->ctx * u->lm->config.n_embd;
    double error = 0, squares = 1e-20;

    for (size_t i = 0; i < n; i++) {
        double e = (double)u->y[i] - (double)want[i];
        error += e * e;
        squares += (double)want[i] * (double)want[i];
    }
    for (size_t i = 0; i < n; i++)
        u->dx[i] = (float)(2 * ((double)u->y[i] - (double)want[i]) / squares);
    *energy = squares;
    return error;
}

/* The student's error at block il over all sequences; moves its states on if `advance`. */
static double measure_block(struct tuner *u, uint32_t il, bool advance, double *energy)
{
    size_t n = u->t->ctx * u->lm->config.n_embd;
    double sum = 0, one;

    *energy = 0;
    for (size_t s = 0; s < u->t->sequences; s++) {
        gs_backprop_block(u->learner, il, u->states + s * n, u->y);
        sum += compare(u, u->wanted + s * n, &one);
        *energy += one;
        if (advance)
            memcpy(u->states + s * n, u->y, n * sizeof *u->y);
    }
    return sum;
}

static int tune_block(struct tuner *u, uint32_t il, struct gs_tune_result *result,
                      double *energy, struct gs_err *err)
{
    size_t n = u->t->ctx * u->lm->config.n_embd;
    uint64_t steps = (uint64_t)u->t->block_passes * u->learned;
    double all, ignored;
    int rc = GS_OK;

    for (size_t s = 0; s < u->t->sequences; s++) {
        gs_backprop_block(u->teacher, il, u->wanted + s * n, u->y);
        memcpy(u->wanted + s * n, u->y, n * sizeof *u->y);
    }
    result->block_before += measure_block(u, il, false, &all);
    *energy += all;
    forget(u);
    for (uint64_t step = 1; !rc && step <= steps; step++) {
        size_t s = (step - 1) % u->learned;
        clear_grads(u, il);
        gs_backprop_block(u->learner, il, u->states + s * n, u->y);
        compare(u, u->wanted + s * n, &ignored);
        gs_backprop_block_backward(u->learner, il, u->dx);
        if (!(rc = learn(u, il, u->t->block_rate, step, steps, err)))
            rc = tell(u, err);
    }
    result->block_after += measure_block(u, il, true, &all);
    return rc;
}

static int tune_blocks(struct tuner *u, struct gs_tune_result *result, struct gs_err *err)
{
    size_t C = u->lm->config.n_embd, n = u->t->ctx * C;
    double energy = 0;
    int rc = GS_OK;

    u->states = gs_alloc(u->t->sequences * n, sizeof *u->states);
    u->wanted = gs_alloc(u->t->sequences * n, sizeof *u->wanted);
    if (!u->states || !u->wanted)
        return gs_fail_nomem(err, "hidden states");
    for (size_t s = 0; s < u->t->sequences; s++) {
        const int32_t *tokens = u->t->tokens + s * u->t->ctx;
        gs_backprop_embed(u->learner, tokens, u->states + s * n);
        gs_backprop_embed(u->teacher, tokens, u->wanted + s * n);
    }
    for (uint32_t il = 0; !rc && il < u->lm->config.n_layer; il++)
        rc = tune_block(u, il, result, &energy, err);
    result->block_before /= energy;
    result->block_after /= energy;
    gs_log(GS_LOG_INFO, "tuning by blocks: relative error %.5f to %.5f", result->block_before,
           result->block_after);
    gs_free(&u->states);
    gs_free(&u->wanted);
    return rc;
}

/* ---- end to end -------------------------------------------------------------------------------- */

static void teach(void *ctx, size_t first, size_t rows, float *out)
{
    gs_backprop_logits(ctx, first, rows, out);
}

static const int32_t *tokens_of(const struct tuner *u, size_t sequence)
{
    return u->t->tokens + sequence * u->t->ctx;
}

/* The teacher as it is after sequence s: forwards once, then from what is kept. */
static void recall(struct tuner *u, size_t s)
{
    size_t n = u->t->ctx * u->lm->config.n_embd;
    float *kept = u->taught_states + s * n;

    if (!u->recalled[s]) {
        gs_backprop_forward(u->teacher, tokens_of(u, s));
        memcpy(kept, gs_backprop_final(u->teacher), n * sizeof *kept);
        u->recalled[s] = true;
    }
    memcpy(gs_backprop_final(u->teacher), kept, n * sizeof *kept);
}

/* Mean KL a token of the sequences that are held back. */
static double judge(struct tuner *u)
{
    double sum = 0, one;

    for (size_t s = u->learned; s < u->t->sequences; s++) {
        recall(u, s);
        gs_backprop_measure_divergence(u->learner, tokens_of(u, s), teach, u->teacher, &one);
        sum += one;
    }
    return u->t->held ? sum / (double)(u->t->held * u->t->ctx) : 0;
}

static int tune_whole(struct tuner *u, struct gs_tune_result *result, struct gs_err *err)
{
    const struct gs_tune *t = u->t;
    uint64_t steps = (uint64_t)t->whole_passes * u->learned;
    int rc = GS_OK;

    forget(u);
    for (uint64_t step = 1; !rc && step <= steps; step++) {
        size_t s = (step - 1) % u->learned;
        uint64_t pass = (step - 1) / u->learned;
        double loss;
        clear_grads(u, GS_STUDENT_ALL);
        recall(u, s);
        gs_backprop_divergence(u->learner, tokens_of(u, s), teach, u->teacher, 0,
                               1 / (float)t->ctx, &loss);
        if (pass == 0)
            result->whole_before += loss / (double)(t->ctx * u->learned);
        if (pass + 1 == t->whole_passes)
            result->whole_after += loss / (double)(t->ctx * u->learned);
        if (!(rc = learn(u, GS_STUDENT_ALL, t->whole_rate, step, steps, err)))
            rc = tell(u, err);
    }
    gs_log(GS_LOG_INFO, "tuning end to end: divergence %.5f in the first pass, %.5f in the last",
           result->whole_before, result->whole_after);
    return rc;
}

/* θ at `share` of what was learned, which `learned` holds. */
static int go_back(struct tuner *u, const float *learned, float share, struct gs_err *err)
{
    struct gs_params *theta = gs_student_theta(u->student);

    for (size_t i = 0; i < theta->floats; i++)
        theta->values[i] = share * learned[i];
    return gs_student_build(u->student, GS_STUDENT_ALL, err);
}

/* How far to go is what the sequences that are held back say: all the way, a part of it (what was
 * learned from little text is too much of what is right), or nowhere. */
static int decide(struct tuner *u, struct gs_tune_result *result, struct gs_err *err)
{
    static const float shares[] = {1, 0.6f, 0.3f};
    struct gs_params *theta = gs_student_theta(u->student);
    float *learned = u->grads, best = 0; /* of the same layout; gradients are over */
    int rc = GS_OK;

    result->kept = true;
    if (!u->t->held)
        return GS_OK;
    memcpy(learned, theta->values, theta->floats * sizeof *learned);
    result->held_after = result->held_before;
    for (size_t i = 0; !rc && i < GS_COUNT(shares); i++) {
        if ((rc = go_back(u, learned, shares[i], err)))
            break;
        double divergence = judge(u);
        if (divergence < result->held_after) {
            result->held_after = divergence;
            best = shares[i];
        }
    }
    result->kept = best > 0;
    gs_log(GS_LOG_INFO, "tuning: divergence on sequences set apart %.5f to %.5f, %.0f %% of the way",
           result->held_before, result->held_after, 100 * (double)best);
    return rc ? rc : go_back(u, learned, best, err);
}

/* ---- both --------------------------------------------------------------------------------------- */

static int prepare(struct tuner *u, const char *in, struct gs_err *err)
{
    const struct gs_tune *t = u->t;
    struct gs_backprop_options o = {.texts = 1, .ctx = (uint32_t)t->ctx, .team = t->team};
    const struct gs_optimizer_options adam = {.kind = gs_optimizer_kind_find("adamw"),
                                              .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-10f};
    int rc;

    o.recompute = GS_RECOMPUTE_AUTO;
    o.teacher = true;
    if ((rc = gs_student_open(in, t->team, &u->student, err)) ||
        (rc = gs_store_open(t->teacher, &u->store, err)) ||
        (rc = gs_lm_open(u->store, &u->lm, err)) ||
        (rc = gs_params_create(u->lm, t->team, &u->taught, err)) ||
        (rc = gs_backprop_create(gs_student_params(u->student), &o, &u->learner, err)))
        return rc;
    o.teacher = false;
    o.no_grads = true;
    struct gs_params *theta = gs_student_theta(u->student);
    if ((rc = gs_backprop_create(u->taught, &o, &u->teacher, err)) ||
        (rc = gs_optimizer_create(theta, &adam, &u->optimizer, err)))
        return rc;
    size_t n = t->ctx * u->lm->config.n_embd;
    u->grads = gs_alloc(theta->floats, sizeof *u->grads);
    u->sums = gs_alloc(gs_grad_norm_sums(theta), sizeof *u->sums);
    u->y = gs_alloc(n, sizeof *u->y);
    u->dx = gs_alloc(n, sizeof *u->dx);
    u->recalled = gs_alloc(t->sequences, sizeof *u->recalled);
    u->taught_states = gs_alloc(t->sequences * n, sizeof *u->taught_states);
    u->total = u->learned * (t->block_passes * (uint64_t)u->lm->config.n_layer +
                               t->whole_passes);
    return u->grads && u->sums && u->y && u->dx && u->recalled && u->taught_states
               ? GS_OK : gs_fail_nomem(err, "tuning");
}

static void clear(struct tuner *u)
{
    gs_free(&u->taught_states);
    gs_free(&u->recalled);
    gs_free(&u->dx);
    gs_free(&u->y);
    gs_free(&u->wanted);
    gs_free(&u->states);
    gs_free(&u->sums);
    gs_free(&u->grads);
    gs_optimizer_destroy(&u->optimizer);
    gs_backprop_destroy(&u->teacher);
    gs_backprop_destroy(&u->learner);
    gs_params_destroy(&u->taught);
    gs_lm_close(&u->lm);
    gs_store_close(&u->store);
    gs_student_close(&u->student);
}

int gs_tune_file(const struct gs_tune *t, const char *in, const char *out,
                 struct gs_tune_result *result, struct gs_err *err)
{
    struct tuner u = {.t = t, .learned = t->sequences - t->held};
    struct gs_tune_result sums = {0};
    int rc = prepare(&u, in, err);

    if (!rc)
        sums.held_before = judge(&u);
    if (!rc && t->block_passes)
        rc = tune_blocks(&u, &sums, err);
    if (!rc && t->whole_passes)
        rc = tune_whole(&u, &sums, err);
    if (!rc)
        rc = decide(&u, &sums, err);
    if (!rc)
        rc = gs_student_write(u.student, out, NULL, err);
    if (!rc && result)
        *result = sums;
    clear(&u);
    return rc;
}
