/* SPDX-License-Identifier: MIT
 * Recipes as text: defaults, lines and pairs, the rules, and back to text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "core/alloc.h"
#include "linalg/factor.h"
#include "recipe/recipe.h"

static struct gs_err err;

static int parse(struct gs_recipe *r, const char *text)
{
    err = (struct gs_err){0};
    gs_recipe_default(r);
    return gs_recipe_parse(r, text, strlen(text), "a.recipe", &err);
}

static void test_default_is_valid(void **state)
{
    struct gs_recipe r;

    (void)state;
    gs_recipe_default(&r);
    assert_int_equal(gs_recipe_check(&r, &err), GS_OK);
    assert_int_equal(gs_recipe_read(&r, NULL, &err), GS_OK);
    assert_string_equal(r.grid, "trellis8");
}

static void test_lines_and_pairs(void **state)
{
    struct gs_recipe r;

    (void)state;
    assert_int_equal(parse(&r, "# a comment\n\n  grid = trellis16 # behind\r\nseed=7\n"
                               "rescale = no,refit=no"), GS_OK);
    assert_string_equal(r.grid, "trellis16");
    assert_int_equal(r.seed, 7);
    assert_false(r.rescale);
    assert_false(r.refit);
    assert_int_equal(parse(&r, ""), GS_OK);
    gs_recipe_default(&r);
    assert_int_equal(gs_recipe_read(&r, "rounder=nearest,damping=0.5", &err), GS_OK);
    assert_string_equal(r.rounder, "nearest");
    assert_true(r.damping == 0.5);
}

static void test_messages_name_line_and_rule(void **state)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"seed = 1\ngird = trellis8\n", "a.recipe:2: 'gird' is no key"},
        {"grid = cube", "a.recipe:1: grid: there is no 'cube'"},
        {"transform_out = diagonal", "a.recipe:1: transform_out: there is no"},
        {"grid", "a.recipe:1: 'grid' is no 'key = value'"},
        {"= 3", "a.recipe:1: '' is no key"},
        {"rescale = maybe", "neither yes nor no"},
        {"rescale_by = smoth", "'smooth'"},
        {"search = evolutoin", "'evolution'"},
        {"correct = biass", "'bias'"},
        {"serach = none", "'search'"},
        {"rate = 2", "not within 0 to 1"},
        {"damping = nan", "'nan' is not a number"},
        {"damping = 1x", "'1x' is not a number"},
        {"damping = -1", "not within"},
        {"ctx = 17.5", "not a whole number"},
        {"ctx = 1", "not within"},
        {"tokens = 1e300", "not within"},
        {"gruop = 64", "the nearest is 'group'"},
        {"scale = grupo", "the nearest name is 'group'"},
        {"rounder = gtpq", "the nearest name is 'gptq'"},
    };
    struct gs_recipe r;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(parse(&r, bad[i].text), GS_E_ARG);
        if (!strstr(err.msg, bad[i].message))
            fail_msg("'%s' lacks '%s'", err.msg, bad[i].message);
    }
    char longer[300];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    assert_int_equal(parse(&r, longer), GS_E_ARG);
    assert_int_equal(gs_recipe_read(&r, "/nonexistent/recipe", NULL), GS_E_IO);
}

static void test_combinations(void **state)
{
    struct gs_recipe r;

    (void)state;
    assert_int_equal(parse(&r, "transform_in = none"), GS_OK);
    assert_int_equal(gs_recipe_check(&r, &err), GS_E_ARG);
    assert_non_null(strstr(err.msg, "rescale"));
    assert_int_equal(parse(&r, "transform_in = none, rescale = no"), GS_OK);
    assert_int_equal(gs_recipe_check(&r, &err), GS_OK);
}

/* What cannot be is refused with the rule that it breaks. */
static void test_combinations_of_parts(void **state)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"rounder=gptq", "goes with a codebook"},
        {"codebook=unifrom", "'uniform'"},
        {"codebook=uniform:bit=3", "'bits'"},
        {"codebook=uniform:bits=99", "bits"},
        {"codebook=vector:bits=3,dim=4", "by 12 bits, which is no whole number of 1 to 10"},
        {"codebook=product:bits=0.3", "by 0.6 bits"},
        {"codebook=additive:bits=3,dim=8,books=2", "by 12 bits"},
        {"codebook=uniform,scale=group", "needs a size"},
        {"codebook=uniform,group=64", "goes without group"},
        {"codebook=uniform,scale_bits=3", "go together"},
        {"codebook=uniform,scale_bits=16,scale_group=4", "no less than"},
        {"codebook=uniform,rounder=nearest,act_order=yes", "has no order"},
        {"codebook=uniform,rounder=gptq,act_order=yes,scale=group,group=64", "static_groups"},
        {"codebook=uniform,importance=fisher,transform_in=hadamard", "as they are"},
        {"codebook=uniform,scale=tensor,rounder=decoupleq", "row by row"},
        {"codebook=uniform,sparse=0.01", "sparse_by"},
        {"codebook=uniform,rounder=decoupleq,sparse_by=magnitude", "does not know outliers"},
        {"codebook=uniform,whiten=yes", "low_rank"},
        {"codebook=uniform,transform_in=diagonal,rescale=no", "rescale = yes"},
        {"transform_in=diagonal", "goes with a codebook"},
        {"codebook=uniform,rescale=no,rescale_by=smooth", "rescale = yes"},
        {"codebook=uniform,rate=0.01", "uniform:zero=0"},
        {"codebook=uniform,scale=tensor,search=easyquant", "scale = row or group"},
        {"codebook=uniform,scale=tensor,correct=affine", "scale = row or group"},
    };
    struct gs_recipe r;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(parse(&r, bad[i].text), GS_OK);
        assert_true(gs_recipe_check(&r, &err) < 0);
        if (!strstr(err.msg, bad[i].message))
            fail_msg("%s: '%s' lacks '%s'", bad[i].text, err.msg, bad[i].message);
    }
}

/* A codebook's keys end where a recipe's begin; a citation runs to the end of its line. */
static void test_keys_of_codebooks(void **state)
{
    struct gs_recipe r, back;

    (void)state;
    assert_int_equal(parse(&r, "paper = Tseng et al., QuIP#, 2024 # comment\n"
                               "seed=3,codebook=float:bits=4,exponent=2,rounder=gptq,sweeps=2"),
                     GS_OK);
    assert_string_equal(r.paper, "Tseng et al., QuIP#, 2024");
    assert_string_equal(r.part.codebook, "float:bits=4,exponent=2");
    assert_string_equal(r.rounder, "gptq");
    assert_int_equal(r.part.sweeps, 2);
    assert_int_equal(gs_recipe_check(&r, &err), GS_OK);
    char *text = gs_recipe_text(&r);
    assert_int_equal(parse(&back, text), GS_OK);
    char *again = gs_recipe_text(&back);
    assert_string_equal(text, again);
    assert_string_equal(back.part.codebook, r.part.codebook);
    gs_free(&text);
    gs_free(&again);
}

/* Every recipe that is compiled in can be read, checked and described. */
static void test_recipes_by_name(void **state)
{
    struct gs_recipe_info info;
    struct gs_recipe r;
    size_t n = 0;

    (void)state;
    err = (struct gs_err){0};
    for (int rc; (rc = gs_recipe_describe(n, &info, &err)) != 0; n++) {
        if (rc < 0)
            fail_msg("%s", err.msg);
        assert_true(info.parts[0] && info.bits_least > 0 && info.bits_most >= info.bits_least);
        gs_recipe_default(&r);
        assert_int_equal(gs_recipe_read(&r, info.name, &err), GS_OK);
    }
    assert_true(n >= 40);
    gs_recipe_default(&r);
    assert_int_equal(gs_recipe_read(&r, "rtn,codebook=uniform:bits=3,zero=2,seed=9", &err), GS_OK);
    assert_string_equal(r.part.codebook, "uniform:bits=3,zero=2");
    assert_int_equal(r.seed, 9);
    assert_string_equal(r.rounder, "nearest");
    assert_int_equal(gs_recipe_read(&r, "gptqq", &err), GS_E_ARG);
    assert_non_null(strstr(err.msg, "'gptq'"));
}

static void test_damping_by_text(void **state)
{
    (void)state;
    assert_true(gs_recipe_damping(0.01, 4096, 16) == 0.01);
    assert_true(gs_recipe_damping(0, 1536, 8192) == 4.0 * 1536 / 8192);
    assert_true(gs_recipe_damping(0, 576, 1 << 20) == 0.3);
    assert_true(gs_recipe_damping(0, 4096, 16) == 1 && gs_recipe_damping(0, 4096, 0) == 1);
    struct gs_recipe r;
    gs_recipe_default(&r);
    assert_true(r.damping == 0 && gs_recipe_part(&r).damping == GS_DAMPING);
}

static void test_text_round_trip(void **state)
{
    struct gs_recipe r, back;

    (void)state;
    assert_int_equal(parse(&r, "grid=uniform,rounder=nearest,transform_out=none,rescale=no,"
                               "refit=no,damping=0.1,head_bits=1.625,seed=4294967295,"
                               "tokens=123,ctx=64"), GS_OK);
    char *text = gs_recipe_text(&r);
    assert_non_null(text);
    assert_int_equal(parse(&back, text), GS_OK);
    assert_memory_equal(&back.rescale, &r.rescale, sizeof r.rescale);
    assert_string_equal(back.grid, r.grid);
    assert_string_equal(back.rounder, r.rounder);
    assert_string_equal(back.transform_out, r.transform_out);
    assert_true(back.damping == r.damping && back.head_bits == r.head_bits);
    assert_true(back.seed == r.seed && back.tokens == r.tokens && back.ctx == r.ctx);
    char *again = gs_recipe_text(&back);
    assert_string_equal(text, again);
    gs_free(&text);
    gs_free(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_is_valid), cmocka_unit_test(test_lines_and_pairs),
        cmocka_unit_test(test_messages_name_line_and_rule),
        cmocka_unit_test(test_combinations), cmocka_unit_test(test_combinations_of_parts),
        cmocka_unit_test(test_keys_of_codebooks), cmocka_unit_test(test_recipes_by_name),
        cmocka_unit_test(test_damping_by_text),
        cmocka_unit_test(test_text_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
