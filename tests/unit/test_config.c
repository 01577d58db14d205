/* SPDX-License-Identifier: MIT
 * Reading of configurations: defaults of every architecture, and one bad value at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/arch.h"
#include "model/config.h"

#define VOCAB 32

static struct gs_err err;
static const char *arch;

static const char *key(const char *name)
{
    static char text[128];
    /* "*" stands for the architecture */
    snprintf(text, sizeof text, "%s%s", *name == '*' ? arch : "", *name == '*' ? name + 1 : name);
    return text;
}

static void set_u(struct gs_meta *m, const char *name, uint64_t u)
{
    assert_int_equal(gs_meta_set_uint(m, key(name), u, &err), 0);
}

static void set_f(struct gs_meta *m, const char *name, double f)
{
    assert_int_equal(gs_meta_set_f32(m, key(name), f, &err), 0);
}

static void set_s(struct gs_meta *m, const char *name, const char *s)
{
    assert_int_equal(gs_meta_set_str(m, key(name), (struct gs_str){s, strlen(s)}, &err), 0);
}

/* The least that a file of this architecture says. */
static struct gs_meta *minimal(const char *name)
{
    struct gs_meta *m;
    struct gs_str tokens[VOCAB];

    arch = name;
    err = (struct gs_err){0};
    assert_int_equal(gs_meta_create(&m, &err), 0);
    for (int i = 0; i < VOCAB; i++)
        tokens[i] = GS_STR("x");
    assert_int_equal(gs_meta_set_array(m, "tokenizer.ggml.tokens", GS_VALUE_STRING, tokens,
                                       VOCAB, &err), 0);
    set_s(m, "general.architecture", name);
    set_u(m, "*.context_length", 512);
    set_u(m, "*.embedding_length", 64);
    set_u(m, "*.block_count", 12);
    set_u(m, "*.feed_forward_length", 96);
    set_u(m, "*.attention.head_count", 4);
    set_f(m, "*.attention.layer_norm_rms_epsilon", 1e-5);
    set_f(m, "*.attention.layer_norm_epsilon", 1e-5);
    assert_int_equal(gs_meta_set_bool(m, key("*.use_parallel_residual"), true, &err), 0);
    return m;
}

static struct gs_config read_ok(struct gs_meta **m)
{
    struct gs_config c;

    err = (struct gs_err){0};
    if (gs_config_read(*m, "mem.gguf", &c, &err))
        fail_msg("%s", err.msg);
    gs_meta_destroy(m);
    return c;
}

/* Fails with the code; the message names the file and `part`. */
static void read_bad(struct gs_meta **m, int code, const char *part)
{
    struct gs_config c;

    err = (struct gs_err){0};
    assert_int_equal(gs_config_read(*m, "mem.gguf", &c, &err), code);
    if (!strstr(err.msg, part) || !strstr(err.msg, "mem.gguf") || strchr(err.msg, '\n'))
        fail_msg("'%s' does not name '%s'", err.msg, part);
    gs_meta_destroy(m);
}

static void defaults_of_every_architecture(void **state)
{
    (void)state;
    for (size_t i = 0; gs_arch_at(i); i++) {
        struct gs_meta *m = minimal(gs_arch_at(i)->name);
        struct gs_config c = read_ok(&m);
        assert_ptr_equal(c.arch, gs_arch_at(i));
        assert_int_equal(c.n_vocab, VOCAB);
        assert_int_equal(c.n_head_kv, 4);
        assert_int_equal(c.head_k, 16);
        assert_int_equal(c.head_v, 16);
        assert_int_equal(c.rope_dims, c.arch->rope == GS_ROPE_NONE ? 0 : 16);
        assert_float_equal(c.attn_scale, 0.25, 0);
        assert_float_equal(c.rope_base, 10000, 0);
        assert_int_equal(c.rope_scaling, GS_ROPE_UNSCALED);
        assert_float_equal(c.rope_factor, 1, 0);
        assert_float_equal(c.rope_attn_factor, 1, 0);
        assert_int_equal(c.rope_ctx_orig, 512);
        assert_int_equal(c.window, 0);
        assert_float_equal(c.logit_softcap, 0, 0);
        assert_float_equal(c.embd_scale, strcmp(arch, "gemma3") ? 1 : 8, 0);
        assert_int_equal(c.parallel_residual, !strcmp(arch, "gptneox"));
    }
}

static void windows(void **state)
{
    (void)state;
    struct gs_meta *m = minimal("gemma3");
    set_u(m, "*.attention.sliding_window", 16);
    struct gs_config c = read_ok(&m);
    assert_float_equal(c.rope_base_local, 10000, 0);
    for (uint32_t il = 0; il < 12; il++)
        assert_int_equal(gs_config_is_windowed(&c, il), il != 5 && il != 11);

    m = minimal("gemma3");
    set_u(m, "*.attention.sliding_window", 16);
    set_u(m, "*.attention.sliding_window_pattern", 3);
    set_f(m, "*.rope.freq_base_swa", 500);
    c = read_ok(&m);
    assert_float_equal(c.rope_base_local, 500, 0);
    for (uint32_t il = 0; il < 12; il++)
        assert_int_equal(gs_config_is_windowed(&c, il), il % 3 != 2);

    m = minimal("gemma3");
    set_u(m, "*.attention.sliding_window", 0);
    c = read_ok(&m);
    assert_false(gs_config_is_windowed(&c, 0));

    m = minimal("llama"); /* Mistral: every layer */
    set_u(m, "*.attention.sliding_window", 16);
    c = read_ok(&m);
    assert_true(gs_config_is_windowed(&c, 0) && gs_config_is_windowed(&c, 11));
    assert_float_equal(c.rope_base_local, 0, 0);

    m = minimal("qwen2"); /* writes the key for models that do not use it */
    set_u(m, "*.attention.sliding_window", 16);
    c = read_ok(&m);
    assert_false(gs_config_is_windowed(&c, 0));
}

static void scaling(void **state)
{
    (void)state;
    struct gs_meta *m = minimal("llama");
    set_f(m, "*.rope.scale_linear", 4);
    struct gs_config c = read_ok(&m);
    assert_int_equal(c.rope_scaling, GS_ROPE_LINEAR);
    assert_float_equal(c.rope_factor, 4, 0);

    m = minimal("llama");
    set_f(m, "*.rope.scale_linear", 4);
    set_f(m, "*.rope.scaling.factor", 8);
    set_s(m, "*.rope.scaling.type", "yarn");
    set_u(m, "*.rope.scaling.original_context_length", 128);
    c = read_ok(&m);
    assert_int_equal(c.rope_scaling, GS_ROPE_YARN);
    assert_float_equal(c.rope_factor, 8, 0);
    assert_int_equal(c.rope_ctx_orig, 128);
    assert_float_equal(c.rope_beta_fast, 32, 0);
    assert_float_equal(c.rope_beta_slow, 1, 0);

    m = minimal("llama"); /* "none" overrides a factor */
    set_f(m, "*.rope.scaling.factor", 8);
    set_s(m, "*.rope.scaling.type", "none");
    c = read_ok(&m);
    assert_float_equal(c.rope_factor, 1, 0);
    assert_int_equal(c.rope_scaling, GS_ROPE_UNSCALED);
}

static void per_layer_arrays(void **state)
{
    (void)state;
    const uint32_t same[12] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2}, mixed[3] = {4, 4, 2};
    struct gs_meta *m = minimal("llama");
    assert_int_equal(gs_meta_set_array(m, key("*.attention.head_count_kv"), GS_VALUE_U32, same,
                                       12, &err), 0);
    assert_int_equal(read_ok(&m).n_head_kv, 2);

    m = minimal("llama");
    assert_int_equal(gs_meta_set_array(m, key("*.attention.head_count_kv"), GS_VALUE_U32, mixed,
                                       3, &err), 0);
    read_bad(&m, GS_E_UNSUPPORTED, "llama.attention.head_count_kv");

    m = minimal("llama");
    assert_int_equal(gs_meta_set_array(m, key("*.feed_forward_length"), GS_VALUE_U32, mixed, 0,
                                       &err), 0);
    read_bad(&m, GS_E_FORMAT, "llama.feed_forward_length");
}

static void head_sizes(void **state)
{
    (void)state;
    struct gs_meta *m = minimal("qwen3");
    set_u(m, "*.attention.key_length", 32);
    set_u(m, "*.attention.value_length", 24);
    struct gs_config c = read_ok(&m);
    assert_int_equal(c.head_k, 32);
    assert_int_equal(c.head_v, 24);
    assert_float_equal(c.attn_scale, 1 / sqrtf(32), 0);

    m = minimal("gemma3"); /* the 27B scales by the width, not by the head size */
    set_u(m, "*.block_count", 62);
    set_u(m, "*.attention.key_length", 32);
    c = read_ok(&m);
    assert_float_equal(c.attn_scale, 0.25, 0);

    m = minimal("gptneox");
    set_u(m, "*.rope.dimension_count", 4);
    assert_int_equal(read_ok(&m).rope_dims, 4);
}

static void missing_keys(void **state)
{
    static const char *const keys[] = {
        "general.architecture", "tokenizer.ggml.tokens", "*.context_length",
        "*.embedding_length", "*.block_count", "*.feed_forward_length",
        "*.attention.head_count", "*.attention.layer_norm_rms_epsilon"};

    (void)state;
    for (size_t i = 0; i < GS_COUNT(keys); i++) {
        struct gs_meta *m = minimal("llama");
        gs_meta_remove(m, key(keys[i]));
        /* without a token list the size may be said directly */
        read_bad(&m, GS_E_FORMAT, i == 1 ? "llama.vocab_size" : key(keys[i]));
    }
    struct gs_meta *m = minimal("gptneox");
    gs_meta_remove(m, key("*.use_parallel_residual"));
    read_bad(&m, GS_E_FORMAT, "gptneox.use_parallel_residual");
    m = minimal("llama");
    gs_meta_remove(m, "tokenizer.ggml.tokens");
    set_u(m, "*.vocab_size", 99);
    assert_int_equal(read_ok(&m).n_vocab, 99);
}

static void bad_numbers(void **state)
{
    static const struct {
        const char *key;
        double value;
        bool real;
    } cases[] = {
        {"*.block_count", 0, false}, {"*.block_count", 1e6, false},
        {"*.embedding_length", 0, false}, {"*.embedding_length", 4294967295.0, false},
        {"*.embedding_length", 65, false}, /* 4 heads do not divide it */
        {"*.feed_forward_length", 0, false}, {"*.feed_forward_length", 1e15, false},
        {"*.context_length", 0, false}, {"*.context_length", 4294967295.0, false},
        {"*.attention.head_count", 0, false}, {"*.attention.head_count", 5, false},
        {"*.attention.head_count", 4e9, false},
        {"*.attention.head_count_kv", 0, false}, {"*.attention.head_count_kv", 3, false},
        {"*.attention.head_count_kv", 8, false},
        {"*.attention.key_length", 0, false}, {"*.attention.key_length", 4294967295.0, false},
        {"*.attention.value_length", 5e6, false},
        {"*.attention.layer_norm_rms_epsilon", NAN, true},
        {"*.attention.layer_norm_rms_epsilon", INFINITY, true},
        {"*.attention.layer_norm_rms_epsilon", -1, true},
        {"*.rope.dimension_count", 15, false}, {"*.rope.dimension_count", 0, false},
        {"*.rope.dimension_count", 18, false}, {"*.rope.dimension_count", 8, false},
        {"*.rope.freq_base", 0, true}, {"*.rope.freq_base", NAN, true},
        {"*.rope.freq_base", -10000, true}, {"*.rope.freq_base", 1, true},
        {"*.rope.scaling.factor", NAN, true}, {"*.rope.scaling.factor", -2, true},
        {"*.rope.scaling.factor", 1e-30, true}, {"*.rope.scaling.factor", INFINITY, true},
        {"*.rope.scaling.attn_factor", 0, true}, {"*.rope.scaling.yarn_beta_fast", 0, true},
        {"*.rope.scaling.original_context_length", 0, false},
        {"*.final_logit_softcapping", -1, true}, {"*.final_logit_softcapping", NAN, true},
        {"*.attn_logit_softcapping", INFINITY, true},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct gs_meta *m = minimal("llama");
        if (cases[i].real)
            set_f(m, cases[i].key, cases[i].value);
        else
            set_u(m, cases[i].key, (uint64_t)cases[i].value);
        bool width = cases[i].value == 65;
        read_bad(&m, GS_E_FORMAT, width ? "llama.attention.head_count" : key(cases[i].key));
    }
}

static void wrong_kinds(void **state)
{
    (void)state;
    struct gs_meta *m = minimal("llama");
    set_s(m, "*.block_count", "many");
    read_bad(&m, GS_E_FORMAT, "llama.block_count");
    m = minimal("llama");
    set_s(m, "*.rope.freq_base", "high");
    read_bad(&m, GS_E_FORMAT, "llama.rope.freq_base");
    m = minimal("llama");
    set_u(m, "tokenizer.ggml.tokens", 7);
    read_bad(&m, GS_E_FORMAT, "tokenizer.ggml.tokens");
    m = minimal("llama");
    assert_int_equal(gs_meta_set_array(m, "tokenizer.ggml.tokens", GS_VALUE_STRING, NULL, 0,
                                       &err), 0);
    read_bad(&m, GS_E_FORMAT, "tokenizer.ggml.tokens");
}

static void unsupported(void **state)
{
    (void)state;
    struct gs_meta *m = minimal("llama");
    set_s(m, "general.architecture", "mamba");
    read_bad(&m, GS_E_UNSUPPORTED, "'mamba'");
    m = minimal("llama");
    set_u(m, "*.expert_count", 8);
    read_bad(&m, GS_E_UNSUPPORTED, "llama.expert_count");
    m = minimal("llama");
    set_f(m, "*.attention.max_alibi_bias", 8);
    read_bad(&m, GS_E_UNSUPPORTED, "ALiBi");
    m = minimal("llama");
    set_s(m, "*.rope.scaling.type", "dynamic");
    read_bad(&m, GS_E_UNSUPPORTED, "'dynamic'");
    m = minimal("llama");
    assert_int_equal(gs_meta_set_bool(m, key("*.attention.causal"), false, &err), 0);
    read_bad(&m, GS_E_UNSUPPORTED, "llama.attention.causal");
    m = minimal("llama"); /* explicit zeros are no features */
    set_u(m, "*.expert_count", 0);
    set_f(m, "*.attention.max_alibi_bias", 0);
    read_ok(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_of_every_architecture),
        cmocka_unit_test(windows),
        cmocka_unit_test(scaling),
        cmocka_unit_test(per_layer_arrays),
        cmocka_unit_test(head_sizes),
        cmocka_unit_test(missing_keys),
        cmocka_unit_test(bad_numbers),
        cmocka_unit_test(wrong_kinds),
        cmocka_unit_test(unsupported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
