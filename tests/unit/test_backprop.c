/* SPDX-License-Identifier: MIT
 * The gradient of a whole model, for every architecture and option that make_tiny knows,
 * against finite differences of the model in double as reference.h writes its layers; and
 * what must not change its bits: threads, kernel level, recomputation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "model/backprop.h"
#include "tests/unit/reference.h"
#include "tests/unit/tiny.h"

#define B 2u
#define T 9u
#define N (B * T)

struct subject {
    struct gs_store *store;
    struct gs_lm *lm;
    struct gs_team *team;
    struct gs_params *params;
    struct gs_backprop *bp;
    int32_t tokens[N], target[N];
};

static void open_subject(struct subject *s, const char *variant, int threads,
                         enum gs_recompute recompute)
{
    struct gs_err err = {0};
    struct gs_rng rng;
    struct gs_backprop_options o = {.texts = B, .ctx = T, .recompute = recompute,
                                    .teacher = true};

    s->store = tiny_open(variant);
    if (gs_lm_open(s->store, &s->lm, &err) || gs_team_create(threads, &s->team, &err) ||
        gs_params_create(s->lm, s->team, &s->params, &err))
        fail_msg("%s: %s", variant, err.msg);
    o.team = s->team;
    if (gs_backprop_create(s->params, &o, &s->bp, &err))
        fail_msg("%s: %s", variant, err.msg);
    gs_rng_init(&rng, 5, 0);
    for (size_t i = 0; i < N; i++) {
        s->tokens[i] = (int32_t)gs_rng_below(&rng, s->lm->config.n_vocab);
        s->target[i] = (int32_t)gs_rng_below(&rng, s->lm->config.n_vocab);
    }
    s->target[4] = -1;
}

static void close_subject(struct subject *s)
{
    gs_backprop_destroy(&s->bp);
    gs_params_destroy(&s->params);
    gs_team_destroy(&s->team);
    gs_lm_close(&s->lm);
    gs_store_close(&s->store);
}

/* ---- the model in double ------------------------------------------------------------------ */

struct model {
    const struct gs_params *p;
    const double *values; /* the layout of p */
    double *freq, *freq_local, scale, scale_local;
};

/* The weights in double of those that `w` points to. */
static const double *d(const struct model *m, const void *w)
{
    return w ? m->values + ((const float *)w - m->p->values) : NULL;
}

static double *doubles(size_t n)
{
    double *p = gs_alloc(n, sizeof *p);

    assert_non_null(p);
    return p;
}

static void linear(const struct model *m, const struct gs_matrix *w, const float *bias,
                   const double *x, double *y)
{
    ref_linear(x, d(m, w->data), d(m, bias), N, w->rows, w->cols, y);
}

static void norm(const struct model *m, const double *x, size_t rows, size_t n,
                 const float *weight, const float *bias, double *y)
{
    const struct gs_config *c = &m->p->lm->config;

    if (weight)
        ref_norm(c->arch->norm, x, d(m, weight), d(m, bias), rows, n, (double)c->norm_eps, y);
    else if (x != y)
        memcpy(y, x, rows * n * sizeof *y);
}

static void attention_branch(const struct model *m, uint32_t il, const double *x, double *out)
{
    const struct gs_config *c = &m->p->lm->config;
    const struct gs_block_weights *w = &m->p->blocks[il];
    bool local = gs_config_is_windowed(c, il);
    struct gs_attention a = {c->n_head, local ? c->window : 0, c->attn_scale, c->attn_softcap};
    struct gs_heads n = {c->n_head, c->n_head_kv, c->head_k, c->head_v};
    double *h = doubles(N * c->n_embd), *q = doubles(N * n.H * n.D);
    double *k = doubles(N * n.G * n.D), *v = doubles(N * n.G * n.Dv);
    double *y = doubles(N * n.H * n.Dv), *freq = local ? m->freq_local : m->freq;
    double scale = local ? m->scale_local : m->scale;

    norm(m, x, N, c->n_embd, w->attn_norm, w->attn_norm_b, h);
    linear(m, &w->attn_q, w->attn_q_b, h, q);
    linear(m, &w->attn_k, w->attn_k_b, h, k);
    linear(m, &w->attn_v, w->attn_v_b, h, v);
    norm(m, q, N * n.H, n.D, w->attn_q_norm, NULL, q);
    norm(m, k, N * n.G, n.D, w->attn_k_norm, NULL, k);
    ref_rope(c->arch->rope, freq, c->rope_dims / 2, scale, B, T, n.H, n.D, q);
    ref_rope(c->arch->rope, freq, c->rope_dims / 2, scale, B, T, n.G, n.D, k);
    ref_attention(&a, &n, B, T, q, k, v, y);
    linear(m, &w->attn_output, w->attn_output_b, y, out);
    norm(m, out, N, c->n_embd, w->attn_post_norm, NULL, out);
    gs_free(&h), gs_free(&q), gs_free(&k), gs_free(&v), gs_free(&y);
}

static void ffn_branch(const struct model *m, uint32_t il, const double *x, double *out)
{
    const struct gs_config *c = &m->p->lm->config;
    const struct gs_block_weights *w = &m->p->blocks[il];
    double *h = doubles(N * c->n_embd), *gate = doubles(N * c->n_ff);
    double *up = doubles(N * c->n_ff);

    norm(m, x, N, c->n_embd, w->ffn_norm, w->ffn_norm_b, h);
    linear(m, &w->ffn_up, w->ffn_up_b, h, up);
    if (w->ffn_gate.data)
        linear(m, &w->ffn_gate, w->ffn_gate_b, h, gate);
    for (size_t i = 0; i < N * c->n_ff; i++)
        up[i] = w->ffn_gate.data ? ref_activation(c->arch->act, gate[i]) * up[i]
                                 : ref_activation(c->arch->act, up[i]);
    linear(m, &w->ffn_down, w->ffn_down_b, up, out);
    norm(m, out, N, c->n_embd, w->ffn_post_norm, NULL, out);
    gs_free(&h), gs_free(&gate), gs_free(&up);
}

/* Logits (N, V), to be freed. */
static double *forward(const struct model *m, const struct subject *s)
{
    const struct gs_config *c = &m->p->lm->config;
    const struct gs_model_weights *w = &m->p->model;
    size_t n = N * c->n_embd;
    double *x = doubles(n), *a = doubles(n), *f = doubles(n);
    double *logits = doubles((size_t)N * c->n_vocab);

    for (size_t i = 0; i < n; i++) {
        size_t t = i / c->n_embd, j = i % c->n_embd;
        x[i] = (double)c->embd_scale *
               d(m, w->token_embd.data)[(size_t)s->tokens[t] * c->n_embd + j];
        if (w->position_embd.data)
            x[i] += d(m, w->position_embd.data)[t % T * c->n_embd + j];
    }
    for (uint32_t il = 0; il < c->n_layer; il++) {
        attention_branch(m, il, x, a);
        for (size_t i = 0; !c->parallel_residual && i < n; i++)
            x[i] += a[i];
        ffn_branch(m, il, x, f);
        for (size_t i = 0; i < n; i++)
            x[i] += f[i] + (c->parallel_residual ? a[i] : 0);
    }
    norm(m, x, N, c->n_embd, w->output_norm, w->output_norm_b, x);
    linear(m, &w->output, w->output_b, x, logits);
    for (size_t i = 0; i < (size_t)N * c->n_vocab; i++)
        logits[i] = ref_cap((double)c->logit_softcap, logits[i]);
    gs_free(&x), gs_free(&a), gs_free(&f);
    return logits;
}

static double loss_of(const struct model *m, const struct subject *s)
{
    size_t V = m->p->lm->config.n_vocab;
    double *logits = forward(m, s), loss = 0;

    for (size_t t = 0; t < N; t++)
        if (s->target[t] >= 0)
            loss += ref_log_sum(logits + t * V, NULL, V) - logits[t * V + (size_t)s->target[t]];
    gs_free(&logits);
    return loss;
}

static void make_model(struct model *m, const struct subject *s, double *values)
{
    const struct gs_config *c = &s->lm->config;

    for (size_t i = 0; i < s->params->floats; i++)
        values[i] = (double)s->params->values[i];
    *m = (struct model){.p = s->params, .values = values, .freq = doubles(c->rope_dims + 1),
                        .freq_local = doubles(c->rope_dims + 1)};
    if (!c->rope_dims)
        return;
    m->scale = gs_rope_frequencies(c, &s->params->model, false, T, m->freq);
    m->scale_local = gs_rope_frequencies(c, &s->params->model, true, T, m->freq_local);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* Along a random direction of each parameter by itself: the slope of the loss in double and
 * the gradient's, relative to the gradient's norm. The layers by
 * themselves reach 1e-6 (test_backward); through several of them f32 leaves up to 7e-6. */
static void check_variant(const char *variant)
{
    struct subject s;
    struct model m;
    struct gs_rng rng;
    const double h = 1e-6;
    double loss;

    open_subject(&s, variant, 1, GS_RECOMPUTE_AUTO);
    double *values = doubles(s.params->floats), *along = doubles(s.params->floats);
    make_model(&m, &s, values);
    gs_backprop_loss(s.bp, s.tokens, s.target, 1, &loss);
    double want = loss_of(&m, &s);
    if (!(fabs(loss - want) < 3e-6 * want))
        fail_msg("%s: the loss is %.9g, not %.9g", variant, loss, want);
    gs_rng_init(&rng, 3, 0);
    for (size_t i = 0; i < s.params->n; i++) {
        const struct gs_param *p = &s.params->list[i];
        const float *g = gs_backprop_grads(s.bp) + p->offset;
        double *v = values + p->offset, slope = 0, length = 0, size = 0;
        for (size_t j = 0; j < p->count; j++) {
            along[j] = gs_rng_normal(&rng);
            slope += along[j] * (double)g[j];
            length += along[j] * along[j];
            size += (double)g[j] * (double)g[j];
            v[j] += h * along[j];
        }
        double above = loss_of(&m, &s);
        for (size_t j = 0; j < p->count; j++)
            v[j] -= 2 * h * along[j];
        double difference = (above - loss_of(&m, &s)) / (2 * h);
        for (size_t j = 0; j < p->count; j++)
            v[j] = (double)s.params->values[p->offset + j];
        /* A random direction meets the gradient at about norm / √count of its length. */
        double unit = sqrt(size * length / (double)p->count);
        assert_true(size > 0);
        if (!(fabs(slope - difference) < 1e-5 * fmax(unit, 1e-3)))
            fail_msg("%s: %s: slope %.9g, difference %.9g, unit %.3g", variant, p->name, slope,
                     difference, unit);
    }
    gs_free(&m.freq), gs_free(&m.freq_local), gs_free(&values), gs_free(&along);
    close_subject(&s);
}

static void test_architectures(void **state)
{
    (void)state;
    for (size_t i = 0; i < tiny_n_variants; i++)
        if (!strstr(tiny_variants[i], "native"))
            check_variant(tiny_variants[i]);
}

static float *grads_of(const char *variant, int threads, enum gs_recompute recompute,
                       size_t *bytes, double *loss)
{
    struct subject s;

    open_subject(&s, variant, threads, recompute);
    gs_backprop_loss(s.bp, s.tokens, s.target, 0.5f, loss);
    *bytes = s.params->floats * sizeof(float);
    float *copy = gs_alloc(1, *bytes);
    memcpy(copy, gs_backprop_grads(s.bp), *bytes);
    close_subject(&s);
    return copy;
}

static void test_same_bits(void **state)
{
    const char *variants[] = {"llama", "gemma3:softcap", "gptneox"};
    const char *before = gs_kernels()->name;
    struct gs_err err = {0};

    (void)state;
    for (size_t i = 0; i < GS_COUNT(variants); i++) {
        size_t bytes, n;
        double loss, other;
        float *one = grads_of(variants[i], 1, GS_RECOMPUTE_NEVER, &bytes, &loss);
        float *again = grads_of(variants[i], 1, GS_RECOMPUTE_ALWAYS, &n, &other);
        assert_true(loss == other && n == bytes && !memcmp(one, again, bytes));
        gs_free(&again);
        again = grads_of(variants[i], 5, GS_RECOMPUTE_AUTO, &n, &other);
        assert_true(loss == other && !memcmp(one, again, bytes));
        gs_free(&again);
        assert_int_equal(gs_kernels_select("scalar", &err), GS_OK);
        again = grads_of(variants[i], 2, GS_RECOMPUTE_AUTO, &n, &other);
        assert_true(loss == other && !memcmp(one, again, bytes));
        assert_int_equal(gs_kernels_select(before, &err), GS_OK);
        gs_free(&again);
        gs_free(&one);
    }
}

static void from_itself(void *ctx, size_t first, size_t rows, float *out)
{
    gs_backprop_logits(ctx, first, rows, out);
}

/* A model is no distance from itself, and the nearer of two is at less. */
static void test_teacher(void **state)
{
    struct subject s;
    double loss, far;
    size_t n;

    (void)state;
    open_subject(&s, "llama", 2, GS_RECOMPUTE_ALWAYS);
    n = s.params->floats;
    gs_backprop_divergence(s.bp, s.tokens, from_itself, s.bp, 0, 1, &loss);
    assert_true(fabs(loss) < 1e-5);
    for (size_t i = 0; i < n; i++)
        assert_true(fabsf(gs_backprop_grads(s.bp)[i]) < 1e-4f);
    struct gs_backprop *teacher;
    struct gs_err err = {0};
    struct gs_backprop_options o = {.texts = B, .ctx = T, .no_grads = true, .team = s.team};
    struct gs_params *p;
    assert_int_equal(gs_params_create(s.lm, s.team, &p, &err), GS_OK);
    const struct gs_param *q = gs_params_find(p, "blk.0.attn_q.weight");
    assert_non_null(q);
    for (size_t i = 0; i < q->count; i++)
        p->values[q->offset + i] *= 1.5f;
    assert_int_equal(gs_backprop_create(p, &o, &teacher, &err), GS_OK);
    gs_backprop_forward(teacher, s.tokens);
    memset(gs_backprop_grads(s.bp), 0, n * sizeof(float));
    gs_backprop_divergence(s.bp, s.tokens, from_itself, teacher, 20, 1, &far);
    assert_true(far > 1e-3);
    /* One small step against the gradient brings it nearer. */
    double size = 0;
    for (size_t i = 0; i < n; i++)
        size += (double)gs_backprop_grads(s.bp)[i] * (double)gs_backprop_grads(s.bp)[i];
    for (size_t i = 0; i < n; i++)
        s.params->values[i] -= (float)(0.1 * far / size) * gs_backprop_grads(s.bp)[i];
    gs_backprop_divergence(s.bp, s.tokens, from_itself, teacher, 20, 1, &loss);
    assert_true(loss < far && fabs((far - loss) / (0.1 * far) - 1) < 0.2);
    /* Measured without gradients it is the same; and a teacher whose last states are put back is
     * the teacher that ran. */
    double all, measured;
    size_t states = (size_t)B * T * s.lm->config.n_embd;
    float *kept = gs_alloc(states, sizeof *kept);
    memcpy(kept, gs_backprop_final(teacher), states * sizeof *kept);
    gs_backprop_divergence(s.bp, s.tokens, from_itself, teacher, 0, 1, &all);
    memset(gs_backprop_grads(s.bp), 0, n * sizeof(float));
    memset(gs_backprop_final(teacher), 0, states * sizeof *kept);
    gs_backprop_measure_divergence(s.bp, s.tokens, from_itself, teacher, &measured);
    assert_true(measured != all);
    memcpy(gs_backprop_final(teacher), kept, states * sizeof *kept);
    gs_backprop_measure_divergence(s.bp, s.tokens, from_itself, teacher, &measured);
    assert_true(measured == all);
    for (size_t i = 0; i < n; i++)
        assert_true(gs_backprop_grads(s.bp)[i] == 0);
    gs_free(&kept);
    gs_backprop_destroy(&teacher);
    gs_params_destroy(&p);
    close_subject(&s);
}

/* Gradients and activations of a pass beside the weights. */
static void test_memory(void **state)
{
    struct subject s;

    (void)state;
    open_subject(&s, "llama", 1, GS_RECOMPUTE_ALWAYS);
    uint64_t less = gs_backprop_bytes(s.bp), weights = s.params->floats * sizeof(float);
    close_subject(&s);
    open_subject(&s, "llama", 1, GS_RECOMPUTE_NEVER);
    assert_true(gs_backprop_bytes(s.bp) > less && less > weights);
    close_subject(&s);
}

static void test_refusals(void **state)
{
    struct gs_err err = {0};
    struct subject s;
    struct gs_backprop *bp;
    struct gs_backprop_options o = {.texts = 0, .ctx = 4};

    (void)state;
    open_subject(&s, "gpt2", 1, GS_RECOMPUTE_AUTO);
    assert_int_equal(gs_backprop_create(s.params, &o, &bp, &err), GS_E_ARG);
    o = (struct gs_backprop_options){.texts = 1, .ctx = 257}; /* it has 256 positions */
    err = (struct gs_err){0};
    assert_int_equal(gs_backprop_create(s.params, &o, &bp, &err), GS_E_ARG);
    assert_non_null(strstr(err.msg, "256"));
    o = (struct gs_backprop_options){.texts = UINT32_MAX, .ctx = 256};
    err = (struct gs_err){0};
    assert_int_equal(gs_backprop_create(s.params, &o, &bp, &err), GS_E_ARG);
    /* Each allocation may fail; nothing is lost then (the sanitizer looks). */
    o = (struct gs_backprop_options){.texts = 1, .ctx = 4};
    int rc = GS_E_NOMEM;
    for (uint64_t n = 1; rc; n++) {
        err = (struct gs_err){0};
        gs_alloc_fail_at(n);
        rc = gs_backprop_create(s.params, &o, &bp, &err);
        gs_alloc_fail_at(0);
        assert_true(rc == GS_OK || (rc == GS_E_NOMEM && !bp));
    }
    gs_backprop_destroy(&bp);
    struct gs_params *p;
    rc = GS_E_NOMEM;
    for (uint64_t n = 1; rc; n++) {
        err = (struct gs_err){0};
        gs_alloc_fail_at(n);
        rc = gs_params_create(s.lm, NULL, &p, &err);
        gs_alloc_fail_at(0);
        assert_true(rc == GS_OK || (rc == GS_E_NOMEM && !p));
    }
    gs_params_destroy(&p);
    close_subject(&s);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_architectures), cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_teacher),       cmocka_unit_test(test_memory),
        cmocka_unit_test(test_refusals),
    };
    (void)argc;
    tiny_init(argv[0]);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tiny_exit();
    return failed;
}
