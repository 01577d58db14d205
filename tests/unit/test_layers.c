/* SPDX-License-Identifier: MIT
 * Each layer against the same formula written plainly in double, and against itself with
 * other batch sizes and thread counts, bit for bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/half.h"
#include "core/rng.h"
#include "model/layers.h"

#define EPS 0x1p-24

static struct gs_rng rng;
static float chunk_parts[3][2000];
static struct gs_run runs[3]; /* 1, 2 and 3 threads */
static float scratch[3][3 * 70000];

static int set_up(void **state)
{
    struct gs_err err = {0};

    (void)state;
    gs_rng_init(&rng, 42, 0);
    for (int i = 0; i < 3; i++) {
        runs[i] = (struct gs_run){.k = gs_kernels(), .scratch = scratch[i],
                                  .scratch_size = 70000, .parts = chunk_parts[i]};
        if (gs_team_create(i + 1, &runs[i].team, &err))
            return -1;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        gs_team_destroy(&runs[i].team);
    return 0;
}

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)gs_rng_normal(&rng);
}

static void assert_close(float got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("got %.9g, expected %.9g within %.3g", (double)got, want, tolerance);
}

/* ---- linear ---- */

#define COLS 160 /* a whole number of blocks of 32 */
#define ROWS 37
#define TOKENS 70

static char weights[ROWS * COLS * 4 + 1];
static float decoded[ROWS * COLS], inputs[TOKENS * COLS], bias[ROWS];

/* A matrix of the type at weights + shift, its values in `decoded`. */
static struct gs_matrix make_matrix(enum gs_type type, size_t shift)
{
    uint64_t row_bytes;
    float row[COLS];

    assert_int_equal(gs_type_row_bytes(type, COLS, &row_bytes, NULL), 0);
    struct gs_matrix w = {.data = weights + shift, .type = type, .rows = ROWS, .cols = COLS,
                          .row_bytes = row_bytes};
    for (size_t r = 0; r < ROWS; r++) {
        char *dst = weights + shift + r * row_bytes;
        fill(row, COLS);
        if (type == GS_TYPE_Q4_0) { /* 32 weights: scale (f16), 16 bytes of nibbles */
            for (size_t i = 0; i < row_bytes; i++)
                dst[i] = (char)gs_rng_u64(&rng);
            for (size_t i = 0; i < row_bytes; i += 18)
                memcpy(dst + i, &(uint16_t){0x2c00}, 2);
        } else {
            gs_kernels()->encode[type](row, dst, COLS);
        }
        gs_kernels()->decode[type](dst, decoded + r * COLS, COLS);
    }
    return w;
}

static void linear_is_the_product(void **state)
{
    static const enum gs_type types[] = {GS_TYPE_F32, GS_TYPE_F16, GS_TYPE_BF16, GS_TYPE_Q8_0,
                                         GS_TYPE_Q4_0};
    static float y[TOKENS * ROWS];

    (void)state;
    fill(inputs, TOKENS * COLS);
    fill(bias, ROWS);
    for (size_t k = 0; k < GS_COUNT(types); k++) {
        struct gs_matrix w = make_matrix(types[k], 0);
        for (int with_bias = 0; with_bias < 2; with_bias++) {
            gs_linear_forward(&runs[1], &w, with_bias ? bias : NULL, inputs, TOKENS, y);
            for (size_t i = 0; i < TOKENS * ROWS; i++) {
                size_t t = i / ROWS, r = i % ROWS;
                double sum = with_bias ? bias[r] : 0, bound = fabs(sum);
                for (size_t c = 0; c < COLS; c++) {
                    double p = (double)decoded[r * COLS + c] * inputs[t * COLS + c];
                    sum += p;
                    bound += fabs(p);
                }
                assert_close(y[i], sum, (COLS + 1) * EPS * bound);
            }
        }
    }
}

/* Whatever the batch, the threads, the alignment of the weights: the same bits. */
static void linear_splits_alike(void **state)
{
    static const enum gs_type types[] = {GS_TYPE_F32, GS_TYPE_F16, GS_TYPE_BF16, GS_TYPE_Q8_0,
                                         GS_TYPE_Q4_0};
    static float whole[TOKENS * ROWS], parts[TOKENS * ROWS];

    (void)state;
    fill(inputs, TOKENS * COLS);
    for (size_t k = 0; k < GS_COUNT(types) * 2; k++) {
        struct gs_matrix w = make_matrix(types[k / 2], k % 2);
        gs_linear_forward(&runs[0], &w, bias, inputs, TOKENS, whole);
        for (int run = 0; run < 3; run++)
            for (size_t batch = 1; batch <= TOKENS; batch += batch < 6 ? 1 : 32) {
                memset(parts, 0, sizeof parts);
                for (size_t t = 0; t < TOKENS; t += batch)
                    gs_linear_forward(&runs[run], &w, bias, inputs + t * COLS,
                                      GS_MIN(batch, TOKENS - t), parts + t * ROWS);
                assert_memory_equal(whole, parts, sizeof whole);
            }
    }
}

/* ---- norm, elementwise, embedding ---- */

static void norms(void **state)
{
    enum { N = 100, R = 9 };
    float x[R * N], weight[N], b[N], y[R * N];

    (void)state;
    fill(x, R * N);
    fill(weight, N);
    fill(b, N);
    for (int kind = GS_NORM_RMS; kind <= GS_NORM_LAYER; kind++) {
        gs_norm_forward(&runs[1], (enum gs_norm_kind)kind, x, R, N, weight, b, 1e-5f, y);
        for (size_t r = 0; r < R; r++) {
            double mean = 0, square = 0;
            for (size_t i = 0; kind == GS_NORM_LAYER && i < N; i++)
                mean += x[r * N + i] / (double)N;
            for (size_t i = 0; i < N; i++)
                square += (x[r * N + i] - mean) * (x[r * N + i] - mean) / N;
            for (size_t i = 0; i < N; i++) {
                double v = (x[r * N + i] - mean) / sqrt(square + 1e-5f) * weight[i];
                assert_close(y[r * N + i], v + (kind == GS_NORM_LAYER ? b[i] : 0), 2e-6);
            }
        }
    }
    gs_norm_forward(&runs[2], GS_NORM_LAYER, x, R, N, weight, b, 1e-5f, x); /* in place */
    assert_memory_equal(x, y, sizeof y);
}

static void elementwise(void **state)
{
    enum { N = 20000 };
    static float x[N], up[N], y[N];

    (void)state;
    fill(x, N);
    fill(up, N);
    memcpy(y, x, sizeof y);
    gs_activation_forward(&runs[1], GS_ACT_SILU, up, y, N);
    for (size_t i = 0; i < N; i++)
        assert_close(y[i], x[i] / (1 + exp(-(double)x[i])) * up[i], 1e-5);
    memcpy(y, x, sizeof y);
    gs_activation_forward(&runs[1], GS_ACT_GELU_ERF, NULL, y, N);
    for (size_t i = 0; i < N; i++)
        assert_close(y[i], 0.5 * x[i] * (1 + erf(x[i] / sqrt(2))), 1e-5);
    memcpy(y, x, sizeof y);
    gs_activation_forward(&runs[1], GS_ACT_GELU_TANH, NULL, y, N);
    for (size_t i = 0; i < N; i++) {
        double u = x[i];
        u = 0.5 * u * (1 + tanh(sqrt(2 / 3.14159265358979) * (u + 0.044715 * u * u * u)));
        assert_close(y[i], u, 1e-5);
    }
    memcpy(y, x, sizeof y);
    gs_add_forward(&runs[1], up, y, N);
    for (size_t i = 0; i < N; i++)
        assert_true(y[i] == x[i] + up[i]);
}

static void softcap_is_tanh(void **state)
{
    float x[] = {0, 1e-4f, 0.5f, -3, 29, 200, -1e4f, 1e30f, -1e30f, INFINITY, -INFINITY};
    float y[GS_COUNT(x)];

    (void)state;
    memcpy(y, x, sizeof y);
    gs_softcap_forward(&runs[0], 30, y, GS_COUNT(x));
    for (size_t i = 0; i < GS_COUNT(x); i++)
        assert_close(y[i], 30 * tanh(x[i] / 30.0), 30 * 4 * EPS);
}

static void embeddings(void **state)
{
    const int32_t tokens[] = {3, 0, ROWS - 1, 3};
    float y[4 * COLS], z[4 * COLS];

    (void)state;
    struct gs_matrix w = make_matrix(GS_TYPE_Q8_0, 0);
    gs_embedding_forward(&runs[1], &w, tokens, 4, 8, y);
    for (size_t i = 0; i < 4 * COLS; i++)
        assert_true(y[i] == 8 * decoded[(size_t)tokens[i / COLS] * COLS + i % COLS]);
    memcpy(z, y, sizeof z);
    gs_position_forward(&runs[1], &w, 30, 4, z);
    for (size_t i = 0; i < 4 * COLS; i++)
        assert_true(z[i] == y[i] + decoded[(30 + i / COLS) * COLS + i % COLS]);
}

static void ffn_gated_and_plain(void **state)
{
    enum { T = 5 };
    static float hidden[T * ROWS], hidden_up[T * ROWS], down[ROWS * 24], y[T * 24], want[T * 24];
    struct gs_block_weights w = {0};

    (void)state;
    fill(inputs, T * COLS);
    fill(down, GS_COUNT(down));
    w.ffn_up = make_matrix(GS_TYPE_F32, 0);
    w.ffn_down = (struct gs_matrix){.data = down, .type = GS_TYPE_F32, .rows = 24,
                                    .cols = ROWS, .row_bytes = ROWS * 4};
    for (int gated = 0; gated < 2; gated++) {
        w.ffn_gate = gated ? w.ffn_up : (struct gs_matrix){0};
        w.ffn_gate_b = gated ? bias : NULL;
        gs_ffn_forward(&runs[1], GS_ACT_SILU, &w, NULL, inputs, T, hidden, hidden_up, y);
        /* The gate is the same matrix with a bias here. */
        gs_linear_forward(&runs[0], &w.ffn_up, gated ? bias : NULL, inputs, T, hidden);
        gs_linear_forward(&runs[0], &w.ffn_up, NULL, inputs, T, hidden_up);
        gs_activation_forward(&runs[0], GS_ACT_SILU, gated ? hidden_up : NULL, hidden,
                              T * ROWS);
        gs_linear_forward(&runs[0], &w.ffn_down, NULL, hidden, T, want);
        assert_memory_equal(y, want, sizeof y);
    }
}

/* ---- rope ---- */

static struct gs_config rope_config(void)
{
    return (struct gs_config){.rope_dims = 16, .rope_base = 10000, .rope_factor = 1,
                              .rope_attn_factor = 1, .rope_beta_fast = 32,
                              .rope_beta_slow = 1, .rope_ctx_orig = 1024};
}

static void rope_frequencies(void **state)
{
    struct gs_model_weights none = {0}, llama3 = {0}, phi = {0};
    const float factors[8] = {1, 2, 4, 8, 8, 8, 8, 8}, longer[8] = {9, 9, 9, 9, 9, 9, 9, 9};
    struct gs_config c = rope_config();
    double plain[8], f[8];

    (void)state;
    assert_true(gs_rope_frequencies(&c, &none, false, 64, plain) == 1);
    for (int i = 0; i < 8; i++)
        assert_close((float)plain[i], pow(10000, -i / 8.0), 1e-7);

    c.rope_factor = 4;
    c.rope_scaling = GS_ROPE_LINEAR;
    gs_rope_frequencies(&c, &none, false, 64, f);
    for (int i = 0; i < 8; i++)
        assert_true(f[i] == plain[i] / 4);

    /* YaRN: a pair that turns more than 32 times within 1024 positions keeps its frequency,
     * one that turns less than once is divided; in between falls monotonically. */
    c.rope_scaling = GS_ROPE_YARN;
    assert_close((float)gs_rope_frequencies(&c, &none, false, 64, f), 1 + 0.1 * log(4), 1e-7);
    for (int i = 0; i < 8; i++) {
        double turns = plain[i] * 1024 / (2 * 3.14159265358979);
        assert_true(f[i] >= plain[i] / 4 && f[i] <= plain[i]);
        if (turns > 80)
            assert_true(f[i] == plain[i]);
        if (turns < 0.3)
            assert_true(f[i] == plain[i] / 4);
        assert_true(i == 0 || f[i] / plain[i] <= f[i - 1] / plain[i - 1]);
    }
    /* Windowed layers with a base of their own are not scaled. */
    c.rope_base_local = 100;
    assert_true(gs_rope_frequencies(&c, &none, true, 64, f) == 1);
    assert_close((float)f[4], 0.1, 1e-8);
    c.rope_base_local = 0;
    gs_rope_frequencies(&c, &none, true, 64, f);
    assert_true(f[7] == plain[7] / 4);

    c = rope_config();
    llama3.rope_freqs = factors;
    gs_rope_frequencies(&c, &llama3, false, 64, f);
    for (int i = 0; i < 8; i++)
        assert_true(f[i] == plain[i] / factors[i]);
    phi.rope_long = longer;
    phi.rope_short = factors;
    gs_rope_frequencies(&c, &phi, false, 1024, f);
    assert_true(f[3] == plain[3] / 8);
    gs_rope_frequencies(&c, &phi, false, 1025, f);
    assert_true(f[3] == plain[3] / 9);
}

static void rope_rotates(void **state)
{
    enum { D = 20, H = 3, T = 5, N = 8, FIRST = 1000 };
    const enum gs_rope_kind kinds[] = {GS_ROPE_INTERLEAVED, GS_ROPE_HALVES};
    struct gs_model_weights none = {0};
    struct gs_config c = rope_config();
    double freq[N];
    float x[T * H * D], y[T * H * D], table[T * N * 2];

    (void)state;
    gs_rope_frequencies(&c, &none, false, 64, freq);
    gs_rope_angles(&runs[1], freq, N, 1.5, FIRST, T, table);
    fill(x, T * H * D);
    for (int k = 0; k < 2; k++) {
        memcpy(y, x, sizeof y);
        gs_rope_forward(&runs[1], kinds[k], table, N, T, H, D, y);
        for (size_t t = 0; t < T; t++)
            for (size_t h = 0; h < H; h++) {
                const float *a = x + (t * H + h) * D, *b = y + (t * H + h) * D;
                for (size_t i = 0; i < N; i++) {
                    size_t p = k ? i : 2 * i, q = k ? i + N : 2 * i + 1;
                    double w = (double)(FIRST + t) * freq[i];
                    assert_close(b[p], 1.5 * (a[p] * cos(w) - a[q] * sin(w)), 2e-6);
                    assert_close(b[q], 1.5 * (a[p] * sin(w) + a[q] * cos(w)), 2e-6);
                }
                for (size_t i = 2 * N; i < D; i++)
                    assert_true(b[i] == a[i]);
            }
    }
}

/* ---- attention ---- */

#define H 6
#define G 2
#define D 24
#define DV 40 /* a panel of 32 and a rest */
#define CTX 600 /* three chunks */

static char cache[4 * G * 3 * GS_KV_CHUNK * (D + 64)];
static float queries[CTX * H * D], keys[CTX * G * D], values[CTX * G * DV];

static struct gs_kv make_cache(enum gs_type type, size_t chunks)
{
    struct gs_kv kv = {.data = cache, .type = type, .chunks = chunks, .room = GS_KV_CHUNK,
                       .heads = G, .head_k = D, .head_v = DV};

    memset(cache, 0xff, sizeof cache); /* NaN: reading what was not stored shows */
    kv.stride = gs_kv_chunk_bytes(&kv);
    assert_true(chunks * kv.stride <= sizeof cache);
    assert_true(gs_attention_parts(&kv, H) <= GS_COUNT(chunk_parts[0]));
    return kv;
}

static double rounded(enum gs_type type, float x)
{
    return type == GS_TYPE_F16 ? gs_f16_to_f32(gs_f32_to_f16(x)) : x;
}

/* One output row, plainly. */
static void attend_plainly(const struct gs_attention *a, enum gs_type type, size_t t, size_t h,
                           double *out)
{
    double p[CTX], sum = 0;
    size_t g = h / (H / G), lo = a->window && t >= a->window ? t - a->window + 1 : 0;

    for (size_t s = lo; s <= t; s++) {
        double dot = 0;
        for (size_t d = 0; d < D; d++)
            dot += queries[(t * H + h) * D + d] * rounded(type, keys[(s * G + g) * D + d]);
        dot *= a->scale;
        if (a->softcap != 0)
            dot = a->softcap * tanh(dot / a->softcap);
        sum += p[s] = exp(dot);
    }
    for (size_t d = 0; d < DV; d++) {
        out[d] = 0;
        for (size_t s = lo; s <= t; s++)
            out[d] += p[s] / sum * rounded(type, values[(s * G + g) * DV + d]);
    }
}

static void attention_is_the_formula(void **state)
{
    static const struct gs_attention cases[] = {
        {.heads = H, .scale = 0.2f},
        {.heads = H, .scale = 0.2f, .window = 1},
        {.heads = H, .scale = 0.2f, .window = 17},
        {.heads = H, .scale = 0.2f, .window = CTX + 5},
        {.heads = H, .scale = 0.4f, .window = 50, .softcap = 2},
    };
    static const enum gs_type types[] = {GS_TYPE_F16, GS_TYPE_F32};
    static float y[CTX * H * DV];

    (void)state;
    fill(queries, CTX * H * D);
    fill(keys, CTX * G * D);
    fill(values, CTX * G * DV);
    for (size_t k = 0; k < GS_COUNT(cases) * 2; k++) {
        const struct gs_attention *a = &cases[k / 2];
        struct gs_kv kv = make_cache(types[k % 2], 3);
        gs_kv_store(&runs[1], &kv, keys, values, 0, CTX);
        gs_attention_forward(&runs[1], a, &kv, queries, 0, CTX, y);
        for (size_t t = 0; t < CTX; t++)
            for (size_t h = 0; h < H; h++) {
                double want[DV];
                attend_plainly(a, kv.type, t, h, want);
                for (size_t d = 0; d < DV; d++)
                    assert_close(y[(t * H + h) * DV + d], want[d], 1e-5);
            }
    }
}

static void attention_splits_alike(void **state)
{
    static const size_t batches[] = {1, 2, 7, 8, 9, 64, CTX};
    static float whole[CTX * H * DV], parts[CTX * H * DV];

    (void)state;
    for (int k = 0; k < 4; k++) {
        struct gs_attention a = {.heads = H, .scale = 0.3f, .window = k / 2 * 30};
        enum gs_type type = k % 2 ? GS_TYPE_F32 : GS_TYPE_F16;
        struct gs_kv kv = make_cache(type, 3);
        gs_kv_store(&runs[0], &kv, keys, values, 0, CTX);
        gs_attention_forward(&runs[0], &a, &kv, queries, 0, CTX, whole);
        for (size_t i = 0; i < GS_COUNT(batches) * 3; i++) {
            const struct gs_run *run = &runs[i % 3];
            size_t batch = batches[i / 3];
            /* Later positions must not be looked at; two chunks hold a window and a batch. */
            kv = make_cache(type, a.window && batch <= 64 ? 2 : 3);
            for (size_t t = 0; t < CTX; t += batch) {
                size_t n = GS_MIN(batch, CTX - t);
                gs_kv_store(run, &kv, keys + t * G * D, values + t * G * DV, t, n);
                gs_attention_forward(run, &a, &kv, queries + t * H * D, t, n,
                                     parts + t * H * DV);
            }
            assert_memory_equal(whole, parts, sizeof whole);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_is_the_product),
        cmocka_unit_test(linear_splits_alike),
        cmocka_unit_test(norms),
        cmocka_unit_test(elementwise),
        cmocka_unit_test(softcap_is_tanh),
        cmocka_unit_test(embeddings),
        cmocka_unit_test(ffn_gated_and_plain),
        cmocka_unit_test(rope_frequencies),
        cmocka_unit_test(rope_rotates),
        cmocka_unit_test(attention_is_the_formula),
        cmocka_unit_test(attention_splits_alike),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
