/* SPDX-License-Identifier: MIT
 * One run of a model: its cache, its activations, its threads.
 *
 * All memory is one block, sized first and laid out in this order, each part aligned:
 *
 *   caches (kv.c) | activations of a batch | RoPE frequencies | scratch (workers)
 */
#include <assert.h>
#include <inttypes.h>

#include "core/alloc.h"
#include "model/layers.h"

#define ALIGN 64u
#define CTX_DEFAULT 4096u /* of a session */
#define BATCH_DEFAULT 512u

struct gs_decoder {
    const struct gs_lm *lm;
    struct gs_run run;
    uint32_t ctx, batch, pos;
    size_t last; /* tokens of the last batch */
    size_t kept; /* layers with a window have lost what is before this position */
    size_t parts; /* floats of run.parts */
    bool native; /* there is room for transformed inputs */
    bool exact;  /* no 8-bit products */
    struct gs_int8 int8;
    void *memory;
    uint64_t kv_bytes, bytes;
    struct gs_kv *kv; /* one a layer */
    struct gs_activations act;
    double *freq, *freq_local; /* rope_dims / 2 of each */
    double freq_scale, freq_local_scale;
};

/* Hands out parts of the block; with base NULL it only counts. */
struct layout {
    char *base;
    uint64_t used;
    bool overflow;
};

static void *take(struct layout *l, uint64_t count, uint64_t size)
{
    uint64_t bytes, at = l->used;

    if (!gs_mul_ok(count, size, &bytes) || !gs_align_ok(bytes, ALIGN, &bytes) ||
        !gs_add_ok(l->used, bytes, &l->used)) {
        l->overflow = true;
        l->used = at;
    }
    return l->base ? l->base + at : NULL;
}

/* Chunks that a layer keeps: all of the context, or those that the windows of a batch touch
 * wherever it begins. */
static size_t kept_chunks(const struct gs_decoder *d, bool windowed)
{
    size_t all = ((size_t)d->ctx + GS_KV_CHUNK - 1) / GS_KV_CHUNK;
    size_t seen = (size_t)d->lm->config.window + d->batch - 1;

    return windowed ? GS_MIN(all, (seen + GS_KV_CHUNK - 2) / GS_KV_CHUNK + 1) : all;
}

/* Layers with a window and those without, each kind in chunks of its own. */
static void lay_out_cache(struct gs_decoder *d, const struct gs_config *c,
                          enum gs_type type, struct layout *l)
{
    for (int windowed = 0; windowed < 2; windowed++) {
        struct gs_kv kv = {.type = type, .heads = c->n_head_kv, .head_k = c->head_k,
                           .head_v = c->head_v, .chunks = kept_chunks(d, windowed)};
        uint64_t layers = 0, bytes;
        kv.room = GS_MIN(GS_KV_CHUNK, gs_kv_wide(d->ctx));
        for (uint32_t il = 0; il < c->n_layer; il++)
            layers += gs_config_is_windowed(c, il) == windowed;
        bytes = gs_kv_chunk_bytes(&kv);
        kv.stride = layers * bytes;
        kv.data = take(l, layers * kv.chunks, bytes);
        for (uint32_t il = 0; l->base && il < c->n_layer; il++)
            if (gs_config_is_windowed(c, il) == windowed) {
                d->kv[il] = kv;
                kv.data += bytes;
            }
        if (layers)
            d->parts = GS_MAX(d->parts, gs_attention_parts(&kv, c->n_head));
    }
}

/* The widest input or transformed output of a matrix. */
static size_t widest(const struct gs_config *c)
{
    return GS_MAX(GS_MAX(c->n_embd, c->n_ff), (size_t)c->n_head * GS_MAX(c->head_v, c->head_k));
}

static size_t scratch_floats(const struct gs_config *c)
{
    size_t floats = GS_MAX(gs_linear_scratch(widest(c)),
                           gs_attention_scratch(c->head_k, c->head_v));

    return (floats + 15) / 16 * 16; /* every worker's begins on a cache line */
}

static void lay_out(struct gs_decoder *d, bool kv_f32, struct layout *l)
{
    const struct gs_config *c = &d->lm->config;
    uint64_t B = d->batch, H = c->n_head, G = c->n_head_kv, n_freq = c->rope_dims / 2;

    lay_out_cache(d, c, kv_f32 ? GS_TYPE_F32 : GS_TYPE_F16, l);
    d->kv_bytes = l->used;
    d->act.x = take(l, B * c->n_embd, sizeof(float));
    d->act.norm = take(l, B * c->n_embd, sizeof(float));
    d->act.q = take(l, B * H, sizeof(float) * c->head_k);
    d->act.k = take(l, B * G, sizeof(float) * c->head_k);
    d->act.v = take(l, B * G, sizeof(float) * c->head_v);
    d->act.att = take(l, B * H, sizeof(float) * c->head_v);
    d->act.branch = take(l, B * c->n_embd, sizeof(float));
    d->act.hidden = take(l, B * c->n_ff, sizeof(float));
    d->act.hidden_up = take(l, B * c->n_ff, sizeof(float));
    d->act.rope = take(l, B * n_freq, 2 * sizeof(float));
    d->act.rope_local = take(l, B * n_freq, 2 * sizeof(float));
    d->freq = take(l, n_freq, sizeof(double));
    d->freq_local = take(l, n_freq, sizeof(double));
    d->run.mixed = take(l, d->native ? B : 0, sizeof(float) * widest(c));
    size_t one = gs_int8_blocks(widest(c));
    uint64_t blocks = d->exact ? 0 : B * one;
    d->int8.q = take(l, blocks, GS_INT8_BLOCK);
    d->int8.low = take(l, blocks, GS_INT8_BLOCK);
    d->int8.lanes = take(l, d->exact ? 0 : B, gs_int8_lanes(one));
    d->int8.scale = take(l, blocks, sizeof(float));
    d->int8.group = take(l, blocks, GS_INT8_GROUPS * sizeof(float));
    d->int8.sum = take(l, blocks, sizeof(int32_t));
    d->run.int8 = blocks ? &d->int8 : NULL;
    d->run.parts = take(l, gs_team_size(d->run.team) > 1 ? d->parts : 0, sizeof(float));
    d->run.scratch_size = scratch_floats(c);
    d->run.scratch = take(l, (uint64_t)gs_team_size(d->run.team),
                          sizeof(float) * d->run.scratch_size);
    d->bytes = l->used;
}

void gs_decoder_for_session(const struct gs_session_options *session, uint32_t trained,
                            struct gs_decoder_options *out)
{
    out->ctx = session->ctx ? session->ctx : CTX_DEFAULT;
    if (!session->ctx && trained)
        out->ctx = GS_MIN(trained, CTX_DEFAULT);
    out->batch = GS_MIN(session->batch ? session->batch : BATCH_DEFAULT, out->ctx);
    out->kv_f32 = session->kv_f32;
    out->exact = session->exact;
}

uint64_t gs_decoder_need(const struct gs_lm *lm, const struct gs_decoder_options *o)
{
    struct gs_decoder d = {.lm = lm, .run = {.team = o->team}, .ctx = o->ctx,
                           .batch = GS_MIN(o->batch, o->ctx),
                           .native = lm->natives || o->native, .exact = o->exact};
    struct layout count = {0};

    lay_out(&d, o->kv_f32, &count);
    return count.overflow ? UINT64_MAX / 4 : count.used;
}

static int check_options(const struct gs_lm *lm, const struct gs_decoder_options *o,
                         struct gs_err *err)
{
    if (!o->ctx || !o->batch)
        return gs_fail(err, GS_E_ARG, "context and batch must be at least 1");
    if (lm->model.position_embd.data && o->ctx > lm->config.n_ctx_train)
        return gs_fail(err, GS_E_ARG,
                       "a context of %" PRIu32 " is more than the %" PRIu32
                       " positions that the model knows", o->ctx, lm->config.n_ctx_train);
    return GS_OK;
}

int gs_decoder_create(struct gs_lm *lm, const struct gs_decoder_options *options,
                      struct gs_decoder **out, struct gs_err *err)
{
    const struct gs_config *c = &lm->config;
    struct layout count = {0}, place = {0};

    *out = NULL;
    int rc = check_options(lm, options, err);
    if (rc)
        return rc;
    struct gs_decoder *d = gs_alloc(1, sizeof *d);
    if (!d)
        return gs_fail_nomem(err, "a decoder");
    d->lm = lm;
    d->ctx = options->ctx;
    d->batch = GS_MIN(options->batch, options->ctx);
    d->run.team = options->team;
    d->native = lm->natives || options->native;
    d->exact = options->exact;
    d->kv = gs_alloc(c->n_layer, sizeof *d->kv);

    lay_out(d, options->kv_f32, &count);
    if (d->kv && !count.overflow)
        d->memory = place.base = gs_alloc(count.used, 1);
    if (!d->memory) {
        rc = gs_fail(err, GS_E_NOMEM,
                     "out of memory for a context of %" PRIu32 " and a batch of %" PRIu32
                     " (%" PRIu64 " MiB)", d->ctx, d->batch, count.used >> 20);
        gs_decoder_destroy(&d);
        return rc;
    }
    lay_out(d, options->kv_f32, &place);
    if (c->rope_dims) {
        d->freq_scale = gs_rope_frequencies(c, &lm->model, false, d->ctx, d->freq);
        d->freq_local_scale = gs_rope_frequencies(c, &lm->model, true, d->ctx, d->freq_local);
    }
    *out = d;
    return GS_OK;
}

void gs_decoder_destroy(struct gs_decoder **dp)
{
    struct gs_decoder *d = *dp;

    if (!d)
        return;
    gs_free(&d->memory);
    gs_free(&d->kv);
    gs_free(dp);
}

uint32_t gs_decoder_ctx(const struct gs_decoder *d)
{
    return d->ctx;
}

uint32_t gs_decoder_pos(const struct gs_decoder *d)
{
    return d->pos;
}

uint32_t gs_decoder_rewind(struct gs_decoder *d, uint32_t n)
{
    uint32_t window = d->lm->config.window;

    assert(n <= d->pos);
    if (d->kept && n + UINT64_C(1) < d->kept + window) { /* the next token sees what is lost */
        n = 0;
        d->kept = 0;
    }
    d->pos = n;
    return n;
}

/* Positions up to `end` take the places of older ones. */
static void forget(struct gs_decoder *d, size_t end)
{
    size_t chunks = (end + GS_KV_CHUNK - 1) / GS_KV_CHUNK, kept = kept_chunks(d, true);

    if (d->lm->config.window && chunks > kept)
        d->kept = GS_MAX(d->kept, (chunks - kept) * GS_KV_CHUNK);
}

static int check_batch(const struct gs_decoder *d, const int32_t *tokens, size_t n,
                       struct gs_err *err)
{
    if (!n || n > d->batch)
        return gs_fail(err, GS_E_ARG, "%zu tokens in a batch, expected 1 to %" PRIu32, n,
                       d->batch);
    if (n > d->ctx - d->pos)
        return gs_fail(err, GS_E_ARG,
                       "%zu tokens after %" PRIu32 " exceed the context of %" PRIu32, n, d->pos,
                       d->ctx);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= d->lm->config.n_vocab)
            return gs_fail(err, GS_E_ARG,
                           "token %" PRId32 " is not in the vocabulary of %" PRIu32, tokens[i],
                           d->lm->config.n_vocab);
    return GS_OK;
}

int gs_decoder_forward(struct gs_decoder *d, const int32_t *tokens, size_t n,
                       struct gs_err *err)
{
    const struct gs_config *c = &d->lm->config;
    const struct gs_model_weights *m = &d->lm->model;
    const struct gs_activations *act = &d->act;
    struct gs_run *run = &d->run;

    int rc = check_batch(d, tokens, n, err);
    if (rc)
        return rc;
    run->k = gs_kernels();
    gs_embedding_forward(run, &m->token_embd, tokens, n, c->embd_scale, act->x);
    if (m->position_embd.data)
        gs_position_forward(run, &m->position_embd, d->pos, n, act->x);
    gs_rope_angles(run, d->freq, c->rope_dims / 2, d->freq_scale, d->pos, n, act->rope);
    if (c->window)
        gs_rope_angles(run, d->freq_local, c->rope_dims / 2, d->freq_local_scale, d->pos, n,
                       act->rope_local);
    for (uint32_t il = 0; il < c->n_layer; il++)
        gs_block_forward(run, c, il, &d->lm->blocks[il], &d->kv[il], d->pos, n,
                         GS_BLOCK_WHOLE, act);
    gs_norm_forward(run, c->arch->norm, act->x, n, c->n_embd, m->output_norm, m->output_norm_b,
                    c->norm_eps, act->norm);
    d->pos += (uint32_t)n;
    forget(d, d->pos);
    d->last = n;
    return GS_OK;
}

/* ---- piecewise, for calibration ----------------------------------------------------------- */

void gs_decoder_tap(struct gs_decoder *d, gs_tap_fn tap, void *ctx)
{
    d->run.tap = tap;
    d->run.tap_ctx = ctx;
}

int gs_decoder_embed(struct gs_decoder *d, const int32_t *tokens, size_t n, float *x,
                     struct gs_err *err)
{
    const struct gs_config *c = &d->lm->config;
    const struct gs_model_weights *m = &d->lm->model;

    d->pos = 0;
    d->kept = 0;
    int rc = check_batch(d, tokens, n, err);
    if (rc)
        return rc;
    d->run.k = gs_kernels();
    gs_embedding_forward(&d->run, &m->token_embd, tokens, n, c->embd_scale, x);
    if (m->position_embd.data)
        gs_position_forward(&d->run, &m->position_embd, 0, n, x);
    return GS_OK;
}

void gs_decoder_block(struct gs_decoder *d, uint32_t il, const struct gs_block_weights *w,
                      enum gs_block_part part, float *x, size_t n)
{
    const struct gs_config *c = &d->lm->config;
    struct gs_activations act = d->act;
    struct gs_run *run = &d->run;

    assert(n && n <= d->batch);
    run->k = gs_kernels();
    act.x = x;
    gs_rope_angles(run, d->freq, c->rope_dims / 2, d->freq_scale, 0, n, act.rope);
    if (c->window)
        gs_rope_angles(run, d->freq_local, c->rope_dims / 2, d->freq_local_scale, 0, n,
                       act.rope_local);
    gs_block_forward(run, c, il, w, &d->kv[0], 0, n, part, &act);
}

void gs_decoder_final_norm(struct gs_decoder *d, const float *x, size_t n, float *y)
{
    const struct gs_config *c = &d->lm->config;
    const struct gs_model_weights *m = &d->lm->model;

    d->run.k = gs_kernels();
    gs_norm_forward(&d->run, c->arch->norm, x, n, c->n_embd, m->output_norm, m->output_norm_b,
                    c->norm_eps, y);
}

void gs_decoder_head(struct gs_decoder *d, const float *y, size_t n, float *out)
{
    const struct gs_config *c = &d->lm->config;
    const struct gs_model_weights *m = &d->lm->model;

    if (!n)
        return;
    d->run.k = gs_kernels();
    gs_linear_forward(&d->run, &m->output, m->output_b, y, n, out);
    if (c->logit_softcap != 0)
        gs_softcap_forward(&d->run, c->logit_softcap, out, n * c->n_vocab);
}

const float *gs_decoder_hidden(const struct gs_decoder *d, size_t first)
{
    assert(first < d->last);
    return d->act.norm + first * d->lm->config.n_embd;
}

void gs_decoder_logits(struct gs_decoder *d, size_t first, size_t count, float *out)
{
    assert(first <= d->last && count <= d->last - first);
    gs_decoder_head(d, d->act.norm + first * d->lm->config.n_embd, count, out);
}

uint64_t gs_decoder_kv_bytes(const struct gs_decoder *d)
{
    return d->kv_bytes;
}

uint64_t gs_decoder_bytes(const struct gs_decoder *d)
{
    return d->bytes;
}
