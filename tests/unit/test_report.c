/* SPDX-License-Identifier: MIT
 * Axes and their ticks, places of labels, colours of maps, escaping, and whole pages: whatever
 * names say, a page is well-formed and holds them as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/json.h"
#include "core/rng.h"
#include "report/axis.h"
#include "report/comparison.h"
#include "report/heat.h"
#include "report/json_text.h"
#include "report/labels.h"
#include "report/page.h"
#include "tests/unit/well_formed.h"

#define HOSTILE "<script>\"&'\\\x01\xff\xc3</td>\xe2\x80\xa8]]>"

/* ---- axes --------------------------------------------------------------------------------- */

static void ends_and_middle_of_an_axis(void **state)
{
    const struct gs_axis linear = {.low = 2, .high = 4, .from = 100, .to = 300};
    const struct gs_axis up = {.low = 0.01, .high = 1, .from = 400, .to = 0, .log = true};

    (void)state;
    assert_float_equal(gs_axis_at(&linear, 2), 100, 1e-9);
    assert_float_equal(gs_axis_at(&linear, 3.5), 250, 1e-9);
    assert_float_equal(gs_axis_at(&linear, 99), 300, 1e-9);
    assert_float_equal(gs_axis_at(&up, 0.1), 200, 1e-9);
    assert_float_equal(gs_axis_at(&up, 1), 0, 1e-9);
    assert_float_equal(gs_axis_at(&up, 0), 400, 1e-9); /* beyond its end */
}

static void an_axis_shows_all_that_it_can(void **state)
{
    const double values[] = {0.5, NAN, 0.002, -1, 0, INFINITY, 0.03};
    const double none[] = {NAN, -INFINITY}, one[] = {3};
    struct gs_axis s = gs_axis_fit(values, 7, true);

    (void)state;
    assert_true(s.low < 0.002 && s.low > 0.001 && s.high > 0.5 && s.high < 1);
    assert_false(gs_axis_shows(&s, 0) || gs_axis_shows(&s, NAN) || gs_axis_shows(&s, INFINITY));
    s = gs_axis_fit(values, 7, false);
    assert_true(s.low < -1 && s.high > 0.5);
    for (int log = 0; log < 2; log++) {
        s = gs_axis_fit(none, 2, log);
        assert_true(s.low < s.high);
        s = gs_axis_fit(one, 1, log);
        assert_true(s.low < 3 && s.high > 3);
    }
}

/* On axes of any size: within the ends, upwards, not more than wanted, and not too few. */
static void ticks_are_few_and_round(void **state)
{
    struct gs_rng rng;
    double ticks[GS_TICKS];

    (void)state;
    gs_rng_init(&rng, 1, 0);
    for (int i = 0; i < 5000; i++) {
        bool log = i % 2;
        double low = pow(10, 16 * gs_rng_f64(&rng) - 8);
        double high = log ? low * pow(10, 8 * gs_rng_f64(&rng) + 0.05)
                          : low + pow(10, 12 * gs_rng_f64(&rng) - 6) * low;
        struct gs_axis s = {.low = low, .high = high, .to = 1, .log = log};
        size_t want = 3 + (size_t)gs_rng_below(&rng, 12), n = gs_axis_ticks(&s, want, ticks);
        assert_in_range(n, 1, want);
        for (size_t t = 0; t < n; t++) {
            double digit = ticks[t] / pow(10, floor(log10(ticks[t]) + 1e-9));
            assert_true(ticks[t] >= low * (1 - 1e-6) && ticks[t] <= high * (1 + 1e-6));
            assert_true(!t || ticks[t] > ticks[t - 1]);
            if (log && high / low > 10)
                assert_true(fabs(digit - 1) < 1e-6 || fabs(digit - 2) < 1e-6 ||
                            fabs(digit - 5) < 1e-6);
        }
    }
}

static void ticks_that_people_expect(void **state)
{
    struct gs_axis bits = {.low = 1.9, .high = 4.6, .to = 1};
    struct gs_axis kl = {.low = 0.004, .high = 1.2, .to = 1, .log = true};
    static const double want_bits[] = {2, 2.5, 3, 3.5, 4, 4.5};
    static const double want_kl[] = {0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1};
    double ticks[GS_TICKS];

    (void)state;
    assert_int_equal(gs_axis_ticks(&bits, 8, ticks), 6);
    for (size_t i = 0; i < 6; i++)
        assert_float_equal(ticks[i], want_bits[i], 1e-12);
    assert_int_equal(gs_ticks_decimals(ticks, 6), 1);
    assert_int_equal(gs_axis_ticks(&kl, 12, ticks), 8);
    for (size_t i = 0; i < 8; i++)
        assert_float_equal(ticks[i], want_kl[i], 1e-12);
    assert_int_equal(gs_axis_ticks(&kl, 4, ticks), 3); /* 0.01, 0.1, 1 */
    assert_float_equal(ticks[0], 0.01, 1e-12);
}

/* ---- labels ------------------------------------------------------------------------------- */

static void segments_meet_boxes(void **state)
{
    const struct gs_box box = {10, 10, 20, 5};
    const struct gs_segment through = {0, 0, 40, 25}, past = {0, 20, 40, 20}, ends = {0, 12, 9, 12},
                            inside = {12, 12, 13, 13}, upright = {15, 0, 15, 40};

    (void)state;
    assert_true(gs_segment_meets(&through, &box) && gs_segment_meets(&inside, &box));
    assert_true(gs_segment_meets(&upright, &box));
    assert_false(gs_segment_meets(&past, &box) || gs_segment_meets(&ends, &box));
}

/* Crowds of points: no label on another one, on a mark, on a leader or outside. */
static void labels_never_collide(void **state)
{
    const struct gs_box bounds = {0, 0, 700, 400};
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 2, 0);
    for (int round = 0; round < 20; round++) {
        struct gs_labels l;
        size_t n = 4 + 8 * (size_t)round, placed = 0;
        assert_int_equal(gs_labels_create(&bounds, 2 * n, n, &l, NULL), GS_OK);
        for (size_t i = 0; i < n; i++)
            gs_labels_add_box(&l, (struct gs_box){700 * gs_rng_f64(&rng) - 4,
                                                  400 * gs_rng_f64(&rng) - 4, 8, 8});
        for (size_t i = 0; i < n; i++) {
            struct gs_box box;
            struct gs_segment leader;
            placed += gs_labels_place(&l, l.boxes[i].x + 4, l.boxes[i].y + 4, 4, 60, 13, &box,
                                      &leader);
        }
        assert_int_equal(l.n_boxes, n + placed);
        assert_true(placed == n || n > 20);
        for (size_t i = n; i < l.n_boxes; i++) {
            assert_true(l.boxes[i].x >= 0 && l.boxes[i].x + 60 <= 700);
            for (size_t j = 0; j < i; j++)
                assert_false(gs_boxes_overlap(&l.boxes[i], &l.boxes[j]));
            for (size_t j = 0; j < l.n_segments; j++)
                assert_false(gs_segment_meets(&l.segments[j], &l.boxes[i]));
        }
        gs_labels_clear(&l);
    }
}

/* ---- text --------------------------------------------------------------------------------- */

static void text_is_escaped(void **state)
{
    struct gs_page p = {.depth = 0};
    char *text;
    size_t n;

    (void)state;
    gs_page_open(&p, "td");
    gs_page_attr(&p, "title", "\"a' & <b>");
    gs_page_attr(&p, "absent", NULL);
    gs_page_text(&p, "<i>\x7f\xc0\xaf\xed\xa0\x80\xf0\x9f\x98\x80\xe2\x82");
    gs_page_open(&p, "br");
    gs_page_void(&p);
    gs_page_close(&p);
    assert_int_equal(gs_page_take(&p, &text, &n, NULL), GS_OK);
#define R GS_REPLACEMENT
    assert_string_equal(text, "<td title=\"&quot;a&#39; &amp; &lt;b&gt;\">&lt;i&gt;" R R R R R R
                              "\xf0\x9f\x98\x80" R R "<br/></td>");
#undef R
    assert_int_equal(strlen(text), n);
    gs_free(&text);
}

static void numbers_have_a_point_in_any_locale(void **state)
{
    static const char *const locales[] = {"C", "de_DE.UTF-8", "fr_FR.UTF-8", "ps_AF.UTF-8"};
    char text[GS_NUMBER_TEXT];

    (void)state;
    for (size_t i = 0; i < GS_COUNT(locales); i++) {
        if (!setlocale(LC_NUMERIC, locales[i]))
            continue; /* not installed */
        gs_number_text(-1234.5678, 2, false, text);
        assert_string_equal(text, "-1234.57");
        gs_number_text(1.5e-7, 3, true, text);
        assert_string_equal(text, "1.5e-07");
    }
    setlocale(LC_NUMERIC, "C");
    gs_number_text(-0.001, 1, false, text);
    assert_string_equal(text, "0.0");
    gs_number_text(NAN, 1, false, text);
    assert_string_equal(text, "\xe2\x80\x93");
    gs_number_text(-1e308, 3, false, text);
    assert_int_equal(strlen(text), 314);
}

static void json_is_json(void **state)
{
    struct gs_json_text j = {.more = false};
    struct gs_err err = {0};
    json_t *root;
    char *text;
    size_t n;

    (void)state;
    gs_json_begin(&j, NULL, '{');
    gs_json_string(&j, "hostile", HOSTILE);
    gs_json_begin(&j, "list", '[');
    gs_json_number(&j, NULL, 0.1, 17);
    gs_json_number(&j, NULL, NAN, 17);
    gs_json_count(&j, NULL, UINT32_MAX);
    gs_json_end(&j, ']');
    gs_json_hash(&j, "hash", 0xabc);
    gs_json_string(&j, "none", NULL);
    gs_json_end(&j, '}');
    assert_int_equal(gs_buffer_take(&j.out, &text, &n, NULL), GS_OK);
    if (gs_json_parse(text, n, "text", &root, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(json_string_value(json_object_get(root, "hash")), "0000000000000abc");
    assert_int_equal(json_array_size(json_object_get(root, "list")), 3);
    assert_true(json_is_null(json_array_get(json_object_get(root, "list"), 1)));
    assert_non_null(strstr(json_string_value(json_object_get(root, "hostile")), "<script>\"&'\\"));
    json_decref(root);
    gs_free(&text);
}

static void colours_are_steps_of_the_logarithm(void **state)
{
    const double values[] = {0.001, 1, NAN, 0, -3, 0.1};
    struct gs_heat_scale s = gs_heat_fit(values, 6), flat = gs_heat_fit(values, 1);

    (void)state;
    assert_true(s.low == 0.001 && s.high == 1 && flat.high > flat.low);
    assert_int_equal(gs_heat_colour(&s, 0.001), 0);
    assert_int_equal(gs_heat_colour(&s, 0.0315), GS_HEAT_COLOURS / 2);
    assert_int_equal(gs_heat_colour(&s, 1), GS_HEAT_COLOURS - 1);
    assert_int_equal(gs_heat_colour(&s, INFINITY), GS_HEAT_COLOURS - 1);
    assert_int_equal(gs_heat_colour(&s, 0), 0);
    assert_true(gs_heat_colour(&s, NAN) < 0);
}

/* ---- pages -------------------------------------------------------------------------------- */

#define ROWS 40
#define BLOCKS 3
#define KINDS 2

/* All texts are `name`; every third row has failed, one has figures that are no numbers. */
static void fill(struct gs_comparison *c, const char *name)
{
    static const char *kinds[KINDS];
    static struct gs_compared_matrix matrices[KINDS * BLOCKS + 1];
    static struct gs_compared_row rows[ROWS];
    static double errors[KINDS * BLOCKS + 1] = {0.1, 0.2, NAN, 0, 0.4, 1e-9, 0.5};

    *c = (struct gs_comparison){
        .command = name, .level = name, .model_path = name, .model_name = name, .arch = name,
        .parameters = 1000, .model_bytes = 2000, .model_bpw = 16, .text = {name, 1, 2, 3},
        .calib = {name, 1, 2, 3}, .calib_how = name, .ctx = 512, .n_blocks = BLOCKS,
        .matrices = matrices, .n_matrices = GS_COUNT(matrices), .kinds = kinds, .n_kinds = KINDS,
        .rows = rows, .n_rows = ROWS, .n_planned = ROWS + 1};
    c->reference = (struct gs_eval_result){.ppl = 10, .ppl_sigma = 0.1, .tokens = 100};
    for (size_t i = 0; i < GS_COUNT(matrices); i++)
        matrices[i] = (struct gs_compared_matrix){.name = name, .kind = i / BLOCKS,
                                                  .block = (uint32_t)(i % BLOCKS),
                                                  .head = i + 1 == GS_COUNT(matrices)};
    for (size_t i = 0; i < KINDS; i++)
        kinds[i] = name;
    for (size_t i = 0; i < ROWS; i++) {
        double kl = i == 1 ? NAN : i == 4 ? 0 : 1.0 / (double)(i + 1);
        rows[i].errors = errors;
        rows[i].facts = (struct gs_compare_row){
            .recipe = name, .paper = name, .failure = i % 3 == 2 ? name : NULL,
            .bpw = 2 + 0.1 * (double)i, .budget = (double)(i % 2), .layer_error = i == 1 ? INFINITY : 0.1,
            .eval = {.kld_mean = kl, .kld_sigma = kl / 2, .ppl = 11, .ppl_sigma = NAN}};
    }
}

static void check_page(const struct gs_comparison *c, const char *want)
{
    struct well_formed w;
    struct gs_err err = {0};
    json_t *root;
    char *text;
    size_t n;

    assert_int_equal(gs_comparison_page(c, &text, &n, &err), GS_OK);
    if (!well_formed(&w, text, n))
        fail_msg("%s", w.why);
    assert_true(w.elements > 50);
    assert_non_null(strstr(text, want));
    assert_null(strstr(text, "<script>\""));
    gs_free(&text);
    assert_int_equal(gs_comparison_text(c, &text, &n, &err), GS_OK);
    if (gs_json_parse(text, n, "json", &root, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(json_array_size(json_object_get(root, "rows")), c->n_rows);
    json_decref(root);
    gs_free(&text);
}

static void pages_hold_whatever_names_say(void **state)
{
    struct gs_comparison c;
    char noise[600];
    struct gs_rng rng;

    (void)state;
    fill(&c, "plain");
    check_page(&c, ">plain<");
    fill(&c, HOSTILE);
    check_page(&c, "&lt;script&gt;&quot;&amp;&#39;\\" GS_REPLACEMENT GS_REPLACEMENT);
    fill(&c, "");
    check_page(&c, "<table>");
    gs_rng_init(&rng, 3, 0);
    for (int round = 0; round < 30; round++) {
        for (size_t i = 0; i + 1 < sizeof noise; i++)
            noise[i] = (char)(1 + gs_rng_below(&rng, 255));
        noise[gs_rng_below(&rng, sizeof noise)] = 0;
        noise[sizeof noise - 1] = 0;
        fill(&c, noise);
        check_page(&c, "<table>");
    }
}

static void pages_of_nothing(void **state)
{
    struct gs_comparison c;

    (void)state;
    fill(&c, "x");
    c.n_rows = 0;
    check_page(&c, "Unfinished: 0 of");
    c.n_rows = 1;
    c.n_matrices = c.n_kinds = c.n_blocks = 0;
    check_page(&c, "Unfinished: 1 of");
}

static void the_front_and_the_order(void **state)
{
    struct gs_comparison c;
    size_t order[ROWS];
    bool front[ROWS];

    (void)state;
    fill(&c, "x");
    c.n_rows = 4;
    static const double bits[] = {2, 3, 3, 4}, kl[] = {0.5, 0.1, 0.2, 0.1};
    for (size_t i = 0; i < 4; i++) {
        c.rows[i].facts.failure = NULL;
        c.rows[i].facts.bpw = bits[i];
        c.rows[i].facts.eval.kld_mean = kl[i];
    }
    gs_comparison_front(&c, front);
    assert_true(front[0] && front[1] && !front[2] && !front[3]);
    c.rows[1].facts.failure = "none";
    gs_comparison_front(&c, front);
    assert_true(front[0] && !front[1] && front[2] && front[3]);
    gs_comparison_sort(&c, order);
    assert_true(order[0] == 3 && order[1] == 2 && order[2] == 0 && order[3] == 1);
}

static void every_failing_allocation_is_reported(void **state)
{
    struct gs_comparison c;
    struct gs_err err = {0};
    char *text;
    int rc, n = 0;

    (void)state;
    fill(&c, "x");
    do {
        gs_alloc_fail_at((uint64_t)++n);
        rc = gs_comparison_page(&c, &text, NULL, &err);
        gs_alloc_fail_at(0);
        assert_true(rc == GS_OK || (rc == GS_E_NOMEM && !text));
        gs_free(&text);
    } while (rc);
    assert_true(n > 10);
    n = 0;
    do {
        gs_alloc_fail_at((uint64_t)++n);
        rc = gs_comparison_text(&c, &text, NULL, &err);
        gs_alloc_fail_at(0);
        assert_true(rc == GS_OK || (rc == GS_E_NOMEM && !text));
        gs_free(&text);
    } while (rc);
}

/* The checker itself: what is wrong is found. */
static void pages_that_are_not_well_formed_are_found(void **state)
{
    static const char *const bad[] = {
        "<a><b></a></b>", "<a>", "</a>", "<a", "<a b=c></a>", "<a b=\"c></a>", "a & b",
        "<a>&x;</a>", "<a b=\"1\" b=\"2\"/>", "<a b=\"<\"/>", "\x01", "<>",
    };
    struct well_formed w;

    (void)state;
    for (size_t i = 0; i < GS_COUNT(bad); i++)
        assert_false(well_formed(&w, bad[i], strlen(bad[i])));
    static const char good[] = "<!DOCTYPE html><a b=\"&lt;\"><c/>x &amp; y</a>";
    assert_true(well_formed(&w, good, strlen(good)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_and_middle_of_an_axis),
        cmocka_unit_test(an_axis_shows_all_that_it_can),
        cmocka_unit_test(ticks_are_few_and_round),
        cmocka_unit_test(ticks_that_people_expect),
        cmocka_unit_test(segments_meet_boxes),
        cmocka_unit_test(labels_never_collide),
        cmocka_unit_test(text_is_escaped),
        cmocka_unit_test(numbers_have_a_point_in_any_locale),
        cmocka_unit_test(json_is_json),
        cmocka_unit_test(colours_are_steps_of_the_logarithm),
        cmocka_unit_test(pages_hold_whatever_names_say),
        cmocka_unit_test(pages_of_nothing),
        cmocka_unit_test(the_front_and_the_order),
        cmocka_unit_test(every_failing_allocation_is_reported),
        cmocka_unit_test(pages_that_are_not_well_formed_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
