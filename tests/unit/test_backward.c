/* SPDX-License-Identifier: MIT
 * Every gradient of model/backward.h against central finite differences, in double, of the
 * layer as reference.h writes it: shapes that are no multiple of anything, several strips of
 * queries, windows, caps, shared heads. Errors are relative to the norm of the gradient. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "tests/unit/reference.h"

#define INPUTS 4
#define TOLERANCE 1e-6
#define STEP 1e-5

/* A layer with up to INPUTS inputs and one output. */
struct layer {
    size_t n[INPUTS], n_out;
    float *in[INPUTS], *grad[INPUTS], *G; /* f32, and what backward said */
    double *x[INPUTS], *out;
    void (*forward)(const struct layer *l, double *const *x, double *out);
    const void *ctx;
};

static struct gs_pass pass;
static struct gs_rng rng;

static float *floats(size_t n)
{
    float *p = gs_alloc(n, sizeof *p);

    assert_non_null(p);
    return p;
}

static float *random_floats(size_t n, double spread)
{
    float *p = floats(n);

    for (size_t i = 0; i < n; i++)
        p[i] = (float)(spread * gs_rng_normal(&rng));
    return p;
}

static void begin(size_t B, size_t T, size_t stats, size_t scratch)
{
    struct gs_err err = {0};

    gs_rng_init(&rng, 7, 1);
    pass = (struct gs_pass){.B = B, .T = T};
    pass.run.k = gs_kernels();
    assert_int_equal(gs_team_create(3, &pass.run.team, &err), GS_OK);
    pass.run.scratch_size = (scratch + 15) / 16 * 16;
    pass.run.scratch = floats(3 * pass.run.scratch_size);
    pass.stats = floats(2 * stats);
    assert_int_equal(gs_mul_space_create(pass.run.team, 0, &pass.space, &err), GS_OK);
}

static void end(struct layer *l)
{
    gs_mul_space_destroy(&pass.space);
    gs_free(&pass.stats);
    gs_free(&pass.run.scratch);
    gs_team_destroy(&pass.run.team);
    for (int i = 0; i < INPUTS; i++) {
        gs_free(&l->in[i]);
        gs_free(&l->grad[i]);
        gs_free(&l->x[i]);
    }
    gs_free(&l->G);
    gs_free(&l->out);
}

/* Random inputs and output gradient; backward's results begin as zeros. */
static void fill(struct layer *l, double spread)
{
    for (int i = 0; i < INPUTS && l->n[i]; i++) {
        l->in[i] = random_floats(l->n[i], spread);
        l->grad[i] = floats(l->n[i]);
        l->x[i] = gs_alloc(l->n[i], sizeof(double));
        for (size_t j = 0; j < l->n[i]; j++)
            l->x[i][j] = (double)l->in[i][j];
    }
    l->G = random_floats(l->n_out, 1);
    l->out = gs_alloc(l->n_out, sizeof(double));
}

/* Σ G · forward(x) */
static double value(const struct layer *l, double *const *x)
{
    double sum = 0;

    l->forward(l, x, l->out);
    for (size_t i = 0; i < l->n_out; i++)
        sum += (double)l->G[i] * l->out[i];
    return sum;
}

/* From squares; a gradient that is nothing (one position, one token) is compared with 0.1. */
static double relative(double error, double norm)
{
    return sqrt(error / fmax(norm, 0.01));
}

/* ‖grad − finite difference‖ / ‖finite difference‖ for every input. */
static void compare(struct layer *l, const char *what)
{
    for (int i = 0; i < INPUTS && l->n[i]; i++) {
        double error = 0, norm = 0;
        for (size_t j = 0; j < l->n[i]; j++) {
            double at = l->x[i][j];
            l->x[i][j] = at + STEP;
            double above = value(l, l->x);
            l->x[i][j] = at - STEP;
            double slope = (above - value(l, l->x)) / (2 * STEP);
            l->x[i][j] = at;
            error += (slope - (double)l->grad[i][j]) * (slope - (double)l->grad[i][j]);
            norm += slope * slope;
        }
        if (!(relative(error, norm) < TOLERANCE))
            fail_msg("%s: gradient of input %d is off by %.2g", what, i, relative(error, norm));
    }
}

/* ---- linear, norms ------------------------------------------------------------------------- */

struct shape {
    size_t N, rows, cols;
};

static void forward_linear(const struct layer *l, double *const *x, double *out)
{
    const struct shape *s = l->ctx;

    ref_linear(x[0], x[1], x[2], s->N, s->rows, s->cols, out);
}

static void test_linear(void **state)
{
    const struct shape shapes[] = {{7, 13, 37}, {1, 1, 1}, {70, 33, 9}, {3, 140, 5}};

    (void)state;
    for (size_t i = 0; i < GS_COUNT(shapes); i++) {
        struct shape s = shapes[i];
        struct layer l = {.n = {s.N * s.cols, s.rows * s.cols, s.rows}, .n_out = s.N * s.rows,
                          .forward = forward_linear, .ctx = &s};
        begin(1, s.N, 1, 1);
        fill(&l, 1);
        struct gs_matrix w = {.data = l.in[1], .type = GS_TYPE_F32, .rows = s.rows,
                              .cols = s.cols, .row_bytes = s.cols * 4};
        float *y = floats(l.n_out);
        gs_linear_train(&pass, &w, l.in[2], l.in[0], s.N, y);
        l.forward(&l, l.x, l.out);
        for (size_t j = 0; j < l.n_out; j++)
            assert_true(fabs((double)y[j] - l.out[j]) < 1e-5);
        gs_linear_backward(&pass, &w, l.in[0], l.G, s.N, false, l.grad[0], l.grad[1],
                           l.grad[2]);
        compare(&l, "linear");
        /* Adding a second time doubles everything. */
        gs_linear_backward(&pass, &w, l.in[0], l.G, s.N, true, l.grad[0], l.grad[1],
                           l.grad[2]);
        for (int k = 0; k < 3; k++)
            for (size_t j = 0; j < l.n[k]; j++)
                l.grad[k][j] /= 2;
        compare(&l, "linear, added");
        gs_free(&y);
        end(&l);
    }
}

static const enum gs_norm_kind kinds[] = {GS_NORM_RMS, GS_NORM_LAYER};

static void forward_norm(const struct layer *l, double *const *x, double *out)
{
    const enum gs_norm_kind *kind = l->ctx;

    ref_norm(*kind, x[0], x[1], *kind == GS_NORM_LAYER ? x[2] : NULL, l->n[0] / l->n[1],
             l->n[1], 1e-5, out);
}

static void test_norms(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        bool layer = kinds[i] == GS_NORM_LAYER;
        struct layer l = {.n = {5 * 71, 71, layer ? 71 : 0}, .n_out = 5 * 71,
                          .forward = forward_norm, .ctx = &kinds[i]};
        begin(1, 5, 5, 1);
        fill(&l, 1);
        gs_norm_backward(&pass, kinds[i], l.in[0], 5, 71, l.in[1], 1e-5f, l.G, true, l.grad[0],
                         l.grad[1], layer ? l.grad[2] : NULL);
        compare(&l, layer ? "layer norm" : "RMS norm");
        /* In place of G, without adding. */
        memcpy(l.grad[0], l.G, l.n[0] * sizeof(float));
        gs_norm_backward(&pass, kinds[i], l.in[0], 5, 71, l.in[1], 1e-5f, l.grad[0], false,
                         l.grad[0], NULL, NULL);
        compare(&l, "norm in place");
        end(&l);
    }
}

/* ---- elementwise, RoPE --------------------------------------------------------------------- */

struct act {
    enum gs_activation act;
    bool gated;
    const char *name;
};

static void forward_activation(const struct layer *l, double *const *x, double *out)
{
    const struct act *a = l->ctx;

    for (size_t i = 0; i < l->n_out; i++)
        out[i] = ref_activation(a->act, x[0][i]) * (a->gated ? x[1][i] : 1);
}

static void test_activations(void **state)
{
    const struct act acts[] = {
        {GS_ACT_SILU, true, "SwiGLU"},         {GS_ACT_SILU, false, "SiLU"},
        {GS_ACT_GELU_TANH, true, "GeGLU"},     {GS_ACT_GELU_TANH, false, "GELU, tanh"},
        {GS_ACT_GELU_ERF, true, "GeGLU, erf"}, {GS_ACT_GELU_ERF, false, "GELU, erf"},
    };
    const size_t n = 1500;

    (void)state;
    for (size_t i = 0; i < GS_COUNT(acts); i++) {
        struct layer l = {.n = {n, acts[i].gated ? n : 0}, .n_out = n,
                          .forward = forward_activation, .ctx = &acts[i]};
        begin(1, 1, 1, 1);
        fill(&l, 3);
        memcpy(l.grad[0], l.G, n * sizeof(float));
        gs_activation_backward(&pass, acts[i].act, l.in[0], acts[i].gated ? l.in[1] : NULL, n,
                               l.grad[0], l.grad[1]);
        /* One at a time would take long: the layer is diagonal, so all at once do. */
        for (int k = 0; k < 1 + acts[i].gated; k++) {
            double *above = gs_alloc(n, sizeof *above), error = 0, norm = 0;
            for (size_t j = 0; j < n; j++)
                l.x[k][j] += STEP;
            l.forward(&l, l.x, above);
            for (size_t j = 0; j < n; j++)
                l.x[k][j] -= 2 * STEP;
            l.forward(&l, l.x, l.out);
            for (size_t j = 0; j < n; j++) {
                double slope = (double)l.G[j] * (above[j] - l.out[j]) / (2 * STEP);
                error += (slope - (double)l.grad[k][j]) * (slope - (double)l.grad[k][j]);
                norm += slope * slope;
                l.x[k][j] += STEP;
            }
            if (!(sqrt(error / norm) < TOLERANCE))
                fail_msg("%s: input %d is off by %.2g", acts[i].name, k, sqrt(error / norm));
            gs_free(&above);
        }
        end(&l);
    }
}

static void forward_cap(const struct layer *l, double *const *x, double *out)
{
    for (size_t i = 0; i < l->n_out; i++)
        out[i] = ref_cap(*(const float *)l->ctx, x[0][i]);
}

static void test_softcap(void **state)
{
    const float cap = 2.5f;
    struct layer l = {.n = {200}, .n_out = 200, .forward = forward_cap, .ctx = &cap};

    (void)state;
    begin(1, 1, 1, 1);
    fill(&l, 2);
    memcpy(l.grad[0], l.G, 200 * sizeof(float));
    gs_softcap_forward(&pass.run, cap, l.in[0], 200);
    gs_softcap_backward(&pass, cap, l.in[0], 200, l.grad[0]);
    compare(&l, "soft cap");
    end(&l);
}

struct rope {
    enum gs_rope_kind kind;
    size_t n_freq, T, heads, D;
    double freq[4], scale;
};

static void forward_rope(const struct layer *l, double *const *x, double *out)
{
    const struct rope *r = l->ctx;

    memcpy(out, x[0], l->n_out * sizeof *out);
    ref_rope(r->kind, r->freq, r->n_freq, r->scale, 1, r->T, r->heads, r->D, out);
}

static void test_rope(void **state)
{
    const struct rope ropes[] = {
        {GS_ROPE_INTERLEAVED, 3, 5, 3, 6, {1, 0.3, 0.02}, 1},
        {GS_ROPE_HALVES, 3, 5, 3, 6, {1, 0.3, 0.02}, 1.25},
        {GS_ROPE_HALVES, 2, 7, 1, 9, {1, 0.1}, 1}, /* a part of the head */
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(ropes); i++) {
        const struct rope *r = &ropes[i];
        size_t n = r->T * r->heads * r->D;
        struct layer l = {.n = {n}, .n_out = n, .forward = forward_rope, .ctx = r};
        begin(1, r->T, 1, 1);
        fill(&l, 1);
        float *table = floats(r->T * r->n_freq * 2);
        gs_rope_angles(&pass.run, r->freq, r->n_freq, r->scale, 0, r->T, table);
        memcpy(l.grad[0], l.G, n * sizeof(float));
        gs_rope_backward(&pass.run, r->kind, table, r->n_freq, r->T, r->heads, r->D,
                         l.grad[0]);
        compare(&l, "RoPE");
        gs_free(&table);
        end(&l);
    }
}

/* ---- attention, embedding ------------------------------------------------------------------- */

struct attend {
    size_t B, T;
    struct gs_heads n;
    struct gs_attention a;
};

static void forward_attention(const struct layer *l, double *const *x, double *out)
{
    const struct attend *c = l->ctx;

    ref_attention(&c->a, &c->n, c->B, c->T, x[0], x[1], x[2], out);
}

static void test_attention(void **state)
{
    const struct attend cases[] = {
        {2, 9, {4, 2, 6, 6}, {4, 0, 0.4f, 0}},    /* grouped queries */
        {1, 1, {1, 1, 2, 3}, {1, 0, 0.7f, 0}},    /* one position */
        {1, 70, {2, 1, 5, 3}, {2, 0, 0.5f, 0}},   /* two strips */
        {2, 13, {3, 3, 4, 4}, {3, 5, 0.5f, 0}},   /* a window */
        {1, 131, {1, 1, 3, 2}, {1, 40, 0.6f, 0}}, /* a window that begins behind a panel */
        {1, 12, {2, 1, 4, 5}, {2, 0, 0.5f, 1.5f}}, /* a soft cap */
        {1, 67, {1, 1, 2, 2}, {1, 66, 0.5f, 2.0f}},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        const struct attend *c = &cases[i];
        size_t N = c->B * c->T, H = c->n.H, G = c->n.G;
        struct layer l = {.n = {N * H * c->n.D, N * G * c->n.D, N * G * c->n.Dv},
                          .n_out = N * H * c->n.Dv, .forward = forward_attention, .ctx = c};
        begin(c->B, c->T, 1, gs_attention_train_scratch(&c->n, c->T, c->a.softcap != 0));
        fill(&l, 1);
        float *y = floats(l.n_out), *soft = floats(2 * N * H);
        gs_attention_train(&pass, &c->a, &c->n, l.in[0], l.in[1], l.in[2], y, soft);
        l.forward(&l, l.x, l.out);
        for (size_t j = 0; j < l.n_out; j++)
            assert_true(fabs((double)y[j] - l.out[j]) < 2e-6);
        /* What was there is overwritten. */
        for (int k = 0; k < 3; k++)
            memset(l.grad[k], 0x7f, l.n[k] * sizeof(float));
        gs_attention_backward(&pass, &c->a, &c->n, l.in[0], l.in[1], l.in[2], y, soft, l.G,
                              l.grad[0], l.grad[1], l.grad[2]);
        compare(&l, "attention");
        gs_free(&y);
        gs_free(&soft);
        end(&l);
    }
}

static const int32_t some_tokens[] = {3, 0, 3, 6, 6, 3};

static void forward_embedding(const struct layer *l, double *const *x, double *out)
{
    for (size_t t = 0; t < 6; t++)
        for (size_t i = 0; i < 70; i++)
            out[t * 70 + i] = 1.5 * x[0][some_tokens[t] * 70 + (int)i] + x[1][t % 3 * 70 + i];
    (void)l;
}

static void test_embedding(void **state)
{
    struct layer l = {.n = {7 * 70, 3 * 70}, .n_out = 6 * 70, .forward = forward_embedding};

    (void)state;
    begin(2, 3, 1, 1);
    fill(&l, 1);
    gs_embedding_backward(&pass, some_tokens, 6, 1.5f, l.G, 70, l.grad[0]);
    gs_position_backward(&pass, l.G, 70, l.grad[1]);
    compare(&l, "embedding");
    end(&l);
}

/* ---- losses ---------------------------------------------------------------------------------- */

#define ROWS 5u
#define VOCAB 1100u /* more than a piece */
static const int32_t some_targets[ROWS] = {0, 1099, -1, 17, 500};

struct loss {
    size_t top;        /* 0: all; unused for cross-entropy */
    const float *teacher;
    bool keep_all;
    char keep[ROWS][VOCAB];
};

static void forward_loss(const struct layer *l, double *const *x, double *out)
{
    const struct loss *c = l->ctx;

    for (size_t r = 0; r < ROWS; r++) {
        const double *s = x[0] + r * VOCAB;
        out[r] = 0;
        if (!c->teacher && some_targets[r] >= 0)
            out[r] = ref_log_sum(s, NULL, VOCAB) - s[some_targets[r]];
        if (!c->teacher)
            continue;
        const char *keep = c->keep[r];
        double *t = gs_alloc(VOCAB, sizeof *t);
        for (size_t i = 0; i < VOCAB; i++)
            t[i] = (double)c->teacher[r * VOCAB + i];
        double own = ref_log_sum(t, keep, VOCAB), other = ref_log_sum(s, keep, VOCAB);
        for (size_t i = 0; i < VOCAB; i++)
            if (keep[i])
                out[r] += exp(t[i] - own) * ((t[i] - own) - (s[i] - other));
        gs_free(&t);
    }
}

/* The teacher's `top` largest, found by counting. */
static void choose(struct loss *c)
{
    for (size_t r = 0; r < ROWS; r++)
        for (size_t i = 0; i < VOCAB; i++) {
            const float *t = c->teacher + r * VOCAB;
            size_t before = 0;
            for (size_t j = 0; j < VOCAB; j++)
                before += t[j] > t[i] || (t[j] == t[i] && j < i);
            c->keep[r][i] = !c->top || before < c->top;
        }
}

static void check_loss(struct loss *c)
{
    struct layer l = {.n = {ROWS * VOCAB}, .n_out = ROWS, .forward = forward_loss, .ctx = c};
    double loss[ROWS];
    float *teacher = floats(ROWS * VOCAB);

    if (c->teacher) {
        choose(c);
        memcpy(teacher, c->teacher, ROWS * VOCAB * sizeof(float));
    }
    fill(&l, 2);
    for (size_t r = 0; r < ROWS; r++)
        l.G[r] = 0.25f;
    memcpy(l.grad[0], l.in[0], l.n[0] * sizeof(float));
    if (c->teacher)
        gs_kl_divergence(&pass, l.grad[0], teacher, ROWS, VOCAB, c->top, 0.25f, loss);
    else
        gs_cross_entropy(&pass, l.grad[0], some_targets, ROWS, VOCAB, 0.25f, loss);
    l.forward(&l, l.x, l.out);
    for (size_t r = 0; r < ROWS; r++)
        assert_true(fabs(loss[r] - l.out[r]) < 1e-5 * fmax(1, fabs(l.out[r])));
    /* Every 37th token of each row. */
    double error = 0, norm = 0;
    for (size_t r = 0; r < ROWS; r++)
        for (size_t i = 0; i < VOCAB; i += 37) {
            size_t j = r * VOCAB + i;
            double at = l.x[0][j];
            l.x[0][j] = at + STEP;
            double above = value(&l, l.x);
            l.x[0][j] = at - STEP;
            double slope = (above - value(&l, l.x)) / (2 * STEP);
            l.x[0][j] = at;
            error += (slope - (double)l.grad[0][j]) * (slope - (double)l.grad[0][j]);
            norm += slope * slope;
            if (c->teacher && !c->keep[r][i])
                assert_true(l.grad[0][j] == 0);
        }
    if (!(relative(error, norm) < TOLERANCE))
        fail_msg("loss, top %zu: off by %.2g", c->top, relative(error, norm));
    gs_free(&teacher);
    end(&l);
}

static void test_losses(void **state)
{
    static struct loss c;
    const size_t tops[] = {0, 1, 100, VOCAB};

    (void)state;
    begin(1, 1, 1, 1);
    c = (struct loss){0};
    check_loss(&c);
    for (size_t i = 0; i < GS_COUNT(tops); i++) {
        begin(1, 1, 1, 1);
        float *teacher = random_floats(ROWS * VOCAB, 2);
        teacher[30] = teacher[20] = teacher[10]; /* equal ones */
        c = (struct loss){.top = tops[i], .teacher = teacher};
        check_loss(&c);
        gs_free(&teacher);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),    cmocka_unit_test(test_norms),
        cmocka_unit_test(test_activations), cmocka_unit_test(test_softcap),
        cmocka_unit_test(test_rope),      cmocka_unit_test(test_attention),
        cmocka_unit_test(test_embedding), cmocka_unit_test(test_losses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
