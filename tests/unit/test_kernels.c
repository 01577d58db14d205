/* SPDX-License-Identifier: MIT
 * Kernels: the choice of a level, and the scalar definitions against arithmetic in double.
 * That the other levels equal scalar is tests/check's business. */
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/rng.h"
#include "kernels/kernels.h"
#include "kernels/math.h"

/* ---- choosing ---------------------------------------------------------------------- */

static char warning[256];

static void keep_warning(void *ctx, enum gs_log_level level, const char *line)
{
    (void)ctx;
    if (level == GS_LOG_WARN)
        strncpy(warning, line, sizeof warning - 1);
}

static const char *strongest(void)
{
    const char *name = NULL;
    struct gs_kernels k;

    for (size_t i = 0; gs_kernels_level(i); i++)
        if (gs_kernels_resolve(i, &k))
            name = k.name;
    return name;
}

/* In a child, whose table is not made yet: what GOSSET_CPU=value chooses, and whether it
 * warned with the value's name. */
static void choice_is(const char *value, const char *level, bool warns)
{
    pid_t child = fork();
    int status = -1;

    assert_true(child >= 0);
    if (child == 0) {
        warning[0] = 0;
        gs_set_log(keep_warning, NULL);
        if (value)
            setenv("GOSSET_CPU", value, 1);
        else
            unsetenv("GOSSET_CPU");
        bool ok = !strcmp(gs_kernels()->name, level);
        ok = ok && (warning[0] != 0) == warns && (!warns || strstr(warning, value));
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        fail_msg("GOSSET_CPU=%s does not give %s", value ? value : "(unset)", level);
}

static void environment_lowers_the_level(void **state)
{
    (void)state;
    choice_is(NULL, strongest(), false);
    choice_is("", strongest(), false);
    choice_is("scalar", "scalar", false);
    choice_is("Scalar", "scalar", false);
    choice_is(strongest(), strongest(), false);
    choice_is("z80", strongest(), true);
}

static void *first_use(void *ctx)
{
    *(const struct gs_kernels **)ctx = gs_kernels();
    return NULL;
}

static void first_use_by_many_threads_gives_one_table(void **state)
{
    const struct gs_kernels *seen[8] = {NULL};
    pthread_t threads[8];

    (void)state;
    for (size_t i = 0; i < GS_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, first_use, &seen[i]), 0);
    for (size_t i = 0; i < GS_COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < GS_COUNT(threads); i++)
        assert_ptr_equal(seen[i], gs_kernels());
}

static void levels_are_whole(void **state)
{
    struct gs_kernels k;
    size_t count = 0;

    (void)state;
    for (; gs_kernels_level(count); count++) {
        gs_kernels_resolve(count, &k);
        assert_string_equal(k.name, gs_kernels_level(count)->name);
        for (uint32_t t = 0; t < GS_TYPE_COUNT; t++)
            assert_int_equal(k.decode[t] != NULL, gs_type_info(t) != NULL);
        static const int stored[] = {GS_TYPE_F32, GS_TYPE_F16, GS_TYPE_BF16, GS_TYPE_Q8_0};
        for (size_t i = 0; i < GS_COUNT(stored); i++)
            assert_true(k.encode[stored[i]] && k.dot[stored[i]]);
        assert_null(k.dot[GS_TYPE_Q4_K]);
#define K(slot, type) assert_true(k.slot != NULL);
#include "kernels/kernels.def"
#undef K
    }
    assert_true(count >= 1);
    assert_string_equal(gs_kernels_level(0)->name, "scalar");
    assert_int_equal(gs_kernels_level(0)->need, 0);
    assert_false(gs_kernels_resolve(count, &k));
    assert_null(gs_kernels_level(count + 100));
}

static void select_by_name(void **state)
{
    struct gs_err err = {0};

    (void)state;
    assert_int_equal(gs_kernels_select("SCALAR", &err), GS_OK);
    assert_string_equal(gs_kernels()->name, "scalar");
    assert_int_equal(gs_kernels_select("mmx", &err), GS_E_ARG);
    assert_non_null(strstr(err.msg, "mmx"));
    assert_string_equal(gs_kernels()->name, "scalar"); /* unchanged */
    assert_int_equal(gs_kernels_select(strongest(), NULL), GS_OK);
    assert_string_equal(gs_kernels()->name, strongest());
}

/* ---- functions --------------------------------------------------------------------- */

/* The distance between f32 neighbours at `want`. */
static double ulp(double want)
{
    float f = fminf(fabsf((float)want), FLT_MAX);
    float next = nextafterf(f, INFINITY);

    return isinf(next) ? 0x1p104 : (double)next - (double)f;
}

/* Every 4099th of all floats, both signs. */
#define FOR_FLOATS(x)                                                                          \
    for (uint32_t bits_ = 0; bits_ < 0xfffff000u; bits_ += 4099)                               \
        for (float x = gs_f32_from_bits(bits_), *once_ = &x; once_; once_ = NULL)

static void exp_is_within_one_ulp(void **state)
{
    double worst = 0;

    (void)state;
    FOR_FLOATS(x) {
        if (isnan(x)) {
            assert_true(isnan(gs_exp(x)));
            continue;
        }
        double want = exp((double)x);
        if (want > 0x1.ffffffp127)
            assert_true(isinf(gs_exp(x)));
        else
            worst = fmax(worst, fabs((double)gs_exp(x) - want) / ulp(want));
    }
    assert_true(worst < 0.9);
    assert_true(worst > 0.4); /* it did compare */
    assert_true(gs_exp(0.0f) == 1.0f && gs_exp(-0.0f) == 1.0f);
    assert_true(gs_exp(-INFINITY) == 0.0f && isinf(gs_exp(INFINITY)));
    assert_true(isfinite(gs_exp(88.72283f)) && isinf(gs_exp(88.72284f)));
    assert_true(gs_exp(-103.97f) == 0x1p-149f && gs_exp(-103.98f) == 0.0f);
}

static void activations_are_close(void **state)
{
    double silu = 0, tanh_error = 0, erf_error = 0;

    (void)state;
    FOR_FLOATS(x) {
        double d = (double)x, size = fmax(1, fabs(d));
        if (isnan(x) || fabs(d) > 1e30)
            continue;
        double want = d / (1 + exp(-d));
        if (d > -87)
            silu = fmax(silu, fabs((double)gs_silu(x) - want) / ulp(want));
        else
            assert_true(fabs((double)gs_silu(x) - want) < 1e-35);
        want = 0.5 * d * (1 + tanh(0.79788456080286535588 * (d + 0.044715 * d * d * d)));
        tanh_error = fmax(tanh_error, fabs((double)gs_gelu_tanh(x) - want) / size);
        want = 0.5 * d * erfc(-d * 0.70710678118654752440);
        if (d > -12 && fabs(want) > 1e-37)
            erf_error = fmax(erf_error, fabs((double)gs_gelu_erf(x) - want) / fabs(want));
        else
            assert_true(fabs((double)gs_gelu_erf(x) - want) < 1e-30);
    }
    assert_true(silu < 2.1 && silu > 0.4);
    assert_true(tanh_error < 1.5e-7 && tanh_error > 1e-8);
    assert_true(erf_error < 4e-7 && erf_error > 1e-8);
    assert_true(isnan(gs_silu(NAN)) && isnan(gs_gelu_tanh(NAN)) && isnan(gs_gelu_erf(NAN)));
    assert_true(isinf(gs_silu(INFINITY)) && isinf(gs_gelu_erf(INFINITY)));
}

static struct gs_kernels scalar(void)
{
    struct gs_kernels k;

    assert_true(gs_kernels_resolve(0, &k));
    return k;
}

static void randomize(float *x, size_t n, uint64_t stream)
{
    struct gs_rng rng;

    gs_rng_init(&rng, 7, stream);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)gs_rng_normal(&rng);
}

/* The order in kernels.h, spelled out once more. */
static void dot_has_the_fixed_order(void **state)
{
    enum { N = 1000 };
    float w[N], x[N], lane[64] = {0};
    struct gs_kernels k = scalar();

    (void)state;
    randomize(w, N, 1);
    randomize(x, N, 2);
    for (int i = 0; i < N; i++)
        lane[i % 64] = fmaf(w[i], x[i], lane[i % 64]);
    for (int h = 32; h >= 1; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] = lane[j] + lane[j + h];
    assert_true(k.dot[GS_TYPE_F32](w, x, N) == lane[0]);
    assert_true(k.dot[GS_TYPE_F32](w, x, 0) == 0.0f);
    assert_true(k.dot[GS_TYPE_F32](w, x, 1) == w[0] * x[0]);
}

static void stored_dot_is_decode_and_dot(void **state)
{
    static const int types[] = {GS_TYPE_F32, GS_TYPE_F16, GS_TYPE_BF16, GS_TYPE_Q8_0};
    enum { N = 416 };
    float w[N], x[N], decoded[N];
    uint8_t stored[4 * N + 1];

    (void)state;
    randomize(w, N, 3);
    randomize(x, N, 4);
    for (size_t level = 0; gs_kernels_level(level); level++) {
        struct gs_kernels k;
        if (!gs_kernels_resolve(level, &k))
            continue;
        for (size_t i = 0; i < GS_COUNT(types); i++) {
            k.encode[types[i]](w, stored + 1, N); /* at an odd address */
            k.decode[types[i]](stored + 1, decoded, N);
            assert_true(k.dot[types[i]](stored + 1, x, N) ==
                        k.dot[GS_TYPE_F32](decoded, x, N));
        }
    }
}

static void product_is_dots(void **state)
{
    enum { ROWS = 37, COLS = 8, N = 2100, Y = ROWS + 2 }; /* beyond the blocks of all levels */
    static float w[ROWS * N], x[COLS * (N + 1)], y[COLS * Y];

    (void)state;
    randomize(w, GS_COUNT(w), 5);
    randomize(x, GS_COUNT(x), 6);
    for (size_t level = 0; gs_kernels_level(level); level++) {
        struct gs_kernels k;
        if (!gs_kernels_resolve(level, &k))
            continue;
        for (size_t i = 0; i < GS_COUNT(y); i++)
            y[i] = -1.0f;
        k.mul_f32(w, N, ROWS, x, N + 1, COLS, N, y, Y);
        for (size_t c = 0; c < COLS; c++)
            for (size_t r = 0; r < Y; r++)
                assert_true(y[c * Y + r] ==
                            (r < ROWS ? k.dot[GS_TYPE_F32](w + r * N, x + c * (N + 1), N)
                                      : -1.0f));
    }
}

static void max_ignores_nan(void **state)
{
    float x[100];
    struct gs_kernels k = scalar();

    (void)state;
    for (int i = 0; i < 100; i++)
        x[i] = NAN;
    assert_true(k.max_f32(x, 100) == -INFINITY);
    assert_true(k.max_f32(x, 0) == -INFINITY);
    x[71] = -3.0f;
    x[99] = -2.0f;
    assert_true(k.max_f32(x, 100) == -2.0f);
    assert_true(k.max_f32(x, 99) == -3.0f);
}

static void exp_sum_is_a_softmax(void **state)
{
    float x[333], p[333];
    struct gs_kernels k = scalar();
    double sum = 0;

    (void)state;
    randomize(x, 333, 8);
    x[17] = -INFINITY; /* a masked position */
    memcpy(p, x, sizeof p);
    float max = k.max_f32(x, 333), total = k.exp_sum_f32(p, max, 333);
    for (int i = 0; i < 333; i++) {
        double want = exp((double)x[i] - (double)max);
        assert_true(fabs((double)p[i] - want) < 3e-7);
        sum += want;
    }
    assert_true(p[17] == 0.0f);
    assert_true(fabs((double)total / sum - 1) < 1e-6);
    assert_true(k.exp_sum_f32(p, 0.0f, 0) == 0.0f);
}

static void norms_are_their_formulas(void **state)
{
    enum { N = 576 };
    float x[N], weight[N], bias[N], y[N], plain[N];
    struct gs_kernels k = scalar();
    double sum = 0, square = 0, spread = 0;

    (void)state;
    randomize(x, N, 9);
    randomize(weight, N, 10);
    randomize(bias, N, 11);
    for (int i = 0; i < N; i++) {
        sum += (double)x[i];
        square += (double)x[i] * (double)x[i];
    }
    for (int i = 0; i < N; i++)
        spread += ((double)x[i] - sum / N) * ((double)x[i] - sum / N);
    k.rms_norm_f32(x, weight, 0.5f, y, N);
    for (int i = 0; i < N; i++)
        assert_true(fabs((double)y[i] - (double)x[i] * (double)weight[i] /
                                            sqrt(square / N + 0.5)) < 3e-6);
    k.layer_norm_f32(x, weight, bias, 0.5f, y, N);
    k.layer_norm_f32(x, weight, NULL, 0.5f, plain, N);
    for (int i = 0; i < N; i++) {
        double want = ((double)x[i] - sum / N) / sqrt(spread / N + 0.5) * (double)weight[i];
        assert_true(fabs((double)plain[i] - want) < 3e-6);
        assert_true(fabs((double)y[i] - want - (double)bias[i]) < 3e-6);
    }
}

static void axpy_is_fused(void **state)
{
    float x[70], y[70], want[70];
    uint16_t half[70];
    struct gs_kernels k = scalar();

    (void)state;
    randomize(x, 70, 12);
    randomize(y, 70, 13);
    k.encode[GS_TYPE_F16](x, half, 70);
    for (int i = 0; i < 70; i++)
        want[i] = fmaf(0.3f, gs_f16_to_f32(half[i]), fmaf(-1.7f, x[i], y[i]));
    k.axpy_f32(-1.7f, x, y, 70);
    k.axpy_f16(0.3f, half, y, 70);
    assert_memory_equal(y, want, sizeof y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(environment_lowers_the_level), /* before any use of gs_kernels */
        cmocka_unit_test(first_use_by_many_threads_gives_one_table),
        cmocka_unit_test(levels_are_whole),
        cmocka_unit_test(select_by_name),
        cmocka_unit_test(exp_is_within_one_ulp),
        cmocka_unit_test(activations_are_close),
        cmocka_unit_test(dot_has_the_fixed_order),
        cmocka_unit_test(stored_dot_is_decode_and_dot),
        cmocka_unit_test(product_is_dots),
        cmocka_unit_test(max_ignores_nan),
        cmocka_unit_test(exp_sum_is_a_softmax),
        cmocka_unit_test(norms_are_their_formulas),
        cmocka_unit_test(axpy_is_fused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
