/* SPDX-License-Identifier: MIT
 * Stock files: the types that names stand for, types fixed by pattern, substitutes for rows
 * that a type does not fit, and the file that the pipeline makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "grid/format.h"
#include "recipe/keep.h"
#include "recipe/mix.h"
#include "recipe/quantize.h"
#include "tiny.h"

static struct gs_err err;
static char source[512], text[512], target[512];

static enum gs_type type_of(const char *mix, const char *name, uint32_t il, uint32_t n_layer,
                            uint32_t gqa)
{
    struct gs_mix_place place = {.name = name, .il = il, .n_layer = n_layer, .gqa = gqa,
                                 .cols = 1024};

    place.head = !strcmp(name, "output.weight");
    return gs_mix_type(gs_mix_find(mix), &place);
}

/* What llama-quantize prints for models of these shapes. */
static void test_mixes(void **state)
{
    static const struct {
        const char *mix, *name;
        uint32_t il, n_layer, gqa;
        enum gs_type type;
    } facts[] = {
        {"Q4_K_M", "blk.0.attn_v.weight", 0, 32, 1, GS_TYPE_Q6_K},
        {"Q4_K_M", "blk.4.attn_v.weight", 4, 32, 1, GS_TYPE_Q4_K},
        {"Q4_K_M", "blk.6.ffn_down.weight", 6, 32, 1, GS_TYPE_Q6_K},
        {"Q4_K_M", "blk.31.ffn_down.weight", 31, 32, 1, GS_TYPE_Q6_K},
        {"Q4_K_M", "blk.0.attn_q.weight", 0, 32, 1, GS_TYPE_Q4_K},
        {"q4_k", "output.weight", 0, 32, 1, GS_TYPE_Q6_K},
        {"Q4_K_S", "blk.3.attn_v.weight", 3, 32, 1, GS_TYPE_Q5_K},
        {"Q4_K_S", "blk.4.attn_v.weight", 4, 32, 1, GS_TYPE_Q4_K},
        {"Q3_K_M", "blk.1.attn_v.weight", 1, 32, 1, GS_TYPE_Q5_K},
        {"Q3_K_M", "blk.2.ffn_down.weight", 2, 32, 1, GS_TYPE_Q4_K},
        {"Q3_K_M", "blk.1.ffn_down.weight", 1, 32, 1, GS_TYPE_Q5_K},
        {"Q2_K", "blk.9.attn_v.weight", 9, 32, 1, GS_TYPE_Q3_K},
        {"Q2_K", "blk.9.attn_v.weight", 9, 32, 8, GS_TYPE_Q4_K},
        {"IQ2_M", "token_embd.weight", 32, 32, 8, GS_TYPE_IQ3_S},
        {"IQ2_M", "blk.9.attn_output.weight", 9, 32, 8, GS_TYPE_IQ3_S},
        {"IQ2_S", "blk.9.ffn_up.weight", 9, 32, 8, GS_TYPE_IQ2_XS},
        {"IQ2_XXS", "output.weight", 32, 32, 8, GS_TYPE_Q5_K},
        {"IQ3_XS", "blk.16.ffn_gate.weight", 16, 32, 8, GS_TYPE_IQ3_XXS},
        {"IQ3_XS", "blk.31.ffn_gate.weight", 31, 32, 8, GS_TYPE_IQ3_S},
        {"IQ1_S", "blk.8.attn_output.weight", 8, 32, 8, GS_TYPE_IQ2_XXS},
        {"Q4_0", "blk.3.ffn_down.weight", 3, 32, 1, GS_TYPE_Q4_1},
        {"Q4_0", "blk.4.ffn_down.weight", 4, 32, 1, GS_TYPE_Q4_0},
        {"Q8_0", "output.weight", 32, 32, 1, GS_TYPE_Q8_0},
        {"IQ4_XS", "blk.4.attn_qkv.weight", 4, 32, 8, GS_TYPE_Q5_K},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(facts); i++)
        if (type_of(facts[i].mix, facts[i].name, facts[i].il, facts[i].n_layer, facts[i].gqa) !=
            facts[i].type)
            fail_msg("%s: %s", facts[i].mix, facts[i].name);
    for (size_t i = 0; gs_mix_at(i); i++) {
        assert_ptr_equal(gs_mix_find(gs_mix_name(gs_mix_at(i))), gs_mix_at(i));
        assert_non_null(gs_format_find(gs_mix_base(gs_mix_at(i))));
    }
    assert_null(gs_mix_find("Q4"));
    struct gs_mix_place place = {.name = "output.weight", .head = true, .cols = 576};
    assert_int_equal(gs_mix_type(gs_mix_find("Q4_K_M"), &place), GS_TYPE_Q8_0);
}

static void test_fallbacks(void **state)
{
    (void)state;
    assert_int_equal(gs_mix_fallback(GS_TYPE_Q4_K, 768), GS_TYPE_Q4_K);
    assert_int_equal(gs_mix_fallback(GS_TYPE_Q4_K, 576), GS_TYPE_Q5_0);
    assert_int_equal(gs_mix_fallback(GS_TYPE_Q6_K, 576), GS_TYPE_Q8_0);
    assert_int_equal(gs_mix_fallback(GS_TYPE_IQ2_XXS, 576), GS_TYPE_IQ4_NL);
    assert_int_equal(gs_mix_fallback(GS_TYPE_Q3_K, 96), GS_TYPE_Q4_0);
    assert_int_equal(gs_mix_fallback(GS_TYPE_Q3_K, 100), GS_TYPE_F16);
    assert_int_equal(gs_mix_fallback(GS_TYPE_Q4_0, 48), GS_TYPE_F16);
    for (int t = 0; t < GS_TYPE_COUNT; t++) /* every chain ends */
        if (gs_format_find((enum gs_type)t))
            assert_int_equal(gs_mix_fallback((enum gs_type)t, 7), GS_TYPE_F16);
}

static void test_keeps(void **state)
{
    static const char *const good[] = {"attn_v=Q8_0", "^blk\\.[01]\\..*=f16", "ffn=Q4_1"};
    static const char *const bad[][2] = {
        {"attn_v", "REGEX=TYPE"}, {"=Q8_0", "REGEX=TYPE"}, {"a=Q9", "no type Q9"},
        {"a=Q8_K", "no type Q8_K"}, {"a=I32", "no type I32"}, {"a(=Q8_0", "a(=Q8_0: "},
        {"a=", "no type"},
    };
    struct gs_keeps *keeps = NULL;

    (void)state;
    assert_int_equal(gs_keeps_create(good, 3, &keeps, NULL), GS_OK);
    assert_int_equal(gs_keeps_find(keeps, "blk.1.attn_v.weight"), GS_TYPE_Q8_0);
    assert_int_equal(gs_keeps_find(keeps, "blk.1.ffn_up.weight"), GS_TYPE_F16);
    err = (struct gs_err){0};
    assert_int_equal(gs_keeps_check(keeps, &err), GS_E_ARG);
    assert_non_null(strstr(err.msg, "ffn=Q4_1"));
    assert_int_equal(gs_keeps_find(keeps, "blk.2.ffn_up.weight"), GS_TYPE_Q4_1);
    assert_int_equal(gs_keeps_find(keeps, "output.weight"), -1);
    assert_int_equal(gs_keeps_check(keeps, NULL), GS_OK);
    gs_keeps_destroy(&keeps);
    assert_int_equal(gs_keeps_find(NULL, "x"), -1);
    for (size_t i = 0; i < GS_COUNT(bad); i++) {
        err = (struct gs_err){0};
        assert_int_equal(gs_keeps_create(&bad[i][0], 1, &keeps, &err), GS_E_ARG);
        assert_non_null(strstr(err.msg, bad[i][1]));
        assert_null(keeps);
    }
}

/* ---- the pipeline ---- */

static int quantize(struct gs_quantize_options *o, struct gs_quantize_result *out)
{
    const char *paths[] = {text};

    o->calib = paths;
    o->n_calib = 1;
    o->no_eval = o->overwrite = true;
    o->tokens = 512;
    o->threads = 2;
    err = (struct gs_err){0};
    return gs_quantize_model(source, target, o, NULL, NULL, out, &err);
}

static int make_files(void **state)
{
    (void)state;
    snprintf(source, sizeof source, "%s", tiny_make("llama"));
    snprintf(text, sizeof text, "%s/text", tiny_folder);
    snprintf(target, sizeof target, "%s/target.gguf", tiny_folder);
    FILE *f = fopen(text, "w");
    assert_non_null(f);
    for (int i = 0; i < 90; i++)
        fprintf(f, "%d: a lazy dog sees the fox jump over it, %d times.\n", i, i * 7 % 13);
    fclose(f);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(source);
    unlink(text);
    unlink(target);
    return 0;
}

/* The type of a tensor of the target; negative if it has none of the name. */
static int target_type(const struct gs_store *store, const char *name)
{
    for (size_t i = 0; i < gs_store_count(store); i++)
        if (!strcmp(gs_store_tensor(store, i)->name, name))
            return (int)gs_store_tensor(store, i)->type;
    return -1;
}

static void test_file(void **state)
{
    static const char *const keep[] = {"blk.1.ffn_up=Q8_0", "attn_k=F16"};
    struct gs_quantize_options o = {.type = "q4_0", .keep = keep, .n_keep = 2};
    struct gs_quantize_result first, second;
    struct gs_store *store;

    (void)state;
    if (quantize(&o, &first))
        fail_msg("%s", err.msg);
    assert_int_equal(gs_store_open(target, &store, &err), GS_OK);
    assert_int_equal(target_type(store, "blk.0.ffn_up.weight"), GS_TYPE_Q4_0);
    assert_int_equal(target_type(store, "blk.1.ffn_up.weight"), GS_TYPE_Q8_0);
    assert_int_equal(target_type(store, "blk.1.attn_k.weight"), GS_TYPE_F16);
    assert_int_equal(target_type(store, "blk.1.attn_norm.weight"), GS_TYPE_F32);
    assert_int_equal(target_type(store, "blk.1.attn_q.weight"), GS_TYPE_Q4_0);
    /* The source's tensors and no others: every reader finds its names. */
    struct gs_store *before;
    assert_int_equal(gs_store_open(source, &before, &err), GS_OK);
    assert_int_equal(gs_store_count(store), gs_store_count(before));
    for (size_t i = 0; i < gs_store_count(before); i++)
        assert_true(target_type(store, gs_store_tensor(before, i)->name) >= 0);
    gs_store_close(&before);
    assert_null(gs_meta_find(gs_store_meta(store), "gosset.version"));
    uint64_t file_type = 0;
    assert_int_equal(gs_meta_get_uint(gs_store_meta(store), "general.file_type", &file_type,
                                      &err), 1);
    assert_int_equal(file_type, 2);
    gs_store_close(&store);

    struct gs_quantize_options nearest = {.type = "q4_0", .keep = keep, .n_keep = 2,
                                          .recipe = "rounder=nearest"};
    if (quantize(&nearest, &second))
        fail_msg("%s", err.msg);
    assert_int_equal(first.file_bytes > 0, 1);
    assert_int_equal(first.bytes, second.bytes);
}

static int keep_types(void *ctx, const struct gs_plan_info *plan)
{
    char *seen = ctx;

    for (size_t i = 0; i < plan->n_tensors; i++)
        if (!strcmp(plan->tensors[i].name, "blk.0.attn_q.weight"))
            snprintf(seen, 16, "%s", plan->tensors[i].type);
    return 0;
}

/* 64 columns are no whole block of 256: the plan says what they become. */
static void test_substitute(void **state)
{
    char seen[16] = "";
    struct gs_quantize_options o = {.type = "Q4_K", .dry_run = true, .plan = keep_types,
                                    .plan_ctx = seen};

    (void)state;
    if (quantize(&o, NULL))
        fail_msg("%s", err.msg);
    assert_string_equal(seen, "Q5_0");
    o.pure = true;
    o.type = "IQ1_S";
    if (quantize(&o, NULL))
        fail_msg("%s", err.msg);
    assert_string_equal(seen, "IQ4_NL");
}

static void test_refusals(void **state)
{
    static const char *const keep[] = {"nothing=Q8_0"};
    struct gs_quantize_options o[] = {
        {.type = "Q4"}, {.type = "Q4_0", .bpw = 3}, {.bpw = 3, .pure = true},
        {.type = "Q4_0", .keep = keep, .n_keep = 1},
        {.bpw = 3, .keep = keep, .n_keep = 1},
    };
    static const char *const say[] = {"no such", "one of them", "type for the rest", "nothing=",
                                      "type for the rest"};

    (void)state;
    for (size_t i = 0; i < GS_COUNT(o); i++) {
        assert_int_equal(quantize(&o[i], NULL), GS_E_ARG);
        if (!strstr(err.msg, say[i]))
            fail_msg("%s", err.msg);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixes),      cmocka_unit_test(test_fallbacks),
        cmocka_unit_test(test_keeps),      cmocka_unit_test(test_file),
        cmocka_unit_test(test_substitute), cmocka_unit_test(test_refusals),
    };

    (void)argc;
    tiny_init(argv[0]);
    int failed = cmocka_run_group_tests(tests, make_files, remove_files);
    tiny_exit();
    return failed;
}
