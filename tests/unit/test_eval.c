/* SPDX-License-Identifier: MIT
 * Perplexity and divergence against plain computations of the same definitions, their
 * independence of batches and threads, and every way to refuse. */
#include "tests/unit/eval_fixture.h"

#include "core/log.h"
#include "eval/score.h"

static struct tiny model, other;
static char text[700];

static int setup(void **state)
{
    static const char *const words[] = {"the ", "and ", "ring", " of it, ", "\xc3\xa9", "zzz ",
                                        "to be in", ". "};
    size_t n = 0;

    (void)state;
    for (unsigned i = 0; n < sizeof text - 20; i++) {
        const char *word = words[i * i * 7 / 3 % GS_COUNT(words)];
        strcpy(text + n, word);
        n += strlen(word);
    }
    tiny_create(&model, "llama", 1);
    tiny_create(&other, "llama", 2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tiny_destroy(&model);
    tiny_destroy(&other);
    return 0;
}

static struct gs_eval_result measure(const struct tiny *m, const struct tiny *ref,
                                     const struct gs_eval_options *options)
{
    struct gs_eval_result result;
    struct gs_err err = {.code = 0};

    if (gs_eval_perplexity(&m->subject, ref ? &ref->subject : NULL, text, strlen(text),
                           options, &result, &err) != GS_OK)
        fail_msg("%s", err.msg);
    return result;
}

/* What plain() gathers, one a scored token. */
struct plain {
    size_t n;
    double nll[2000], ref[2000], kld[2000];
    bool same[2000];
};

/* The definition in words: chunks, BOS in place, second half, next token. */
static void plain(const struct tiny *m, const struct tiny *ref, size_t ctx, struct plain *out)
{
    size_t n_vocab = gs_lm_config(m->lm)->n_vocab;
    struct gs_tokens tokens = {.data = NULL};

    out->n = 0;
    assert_int_equal(gs_tokenizer_encode(m->tokenizer, text, strlen(text), GS_TOKENIZE_BOS,
                                         &tokens, NULL), GS_OK);
    for (size_t start = 0; start + ctx <= tokens.count; start += ctx) {
        int32_t *chunk = tokens.data + start;
        if (gs_tokenizer_add_bos(m->tokenizer))
            chunk[0] = gs_tokenizer_bos(m->tokenizer);
        double *p = plain_log_probs(m, chunk, ctx), *q = plain_log_probs(ref, chunk, ctx);
        for (size_t i = ctx / 2; i < ctx - 1; i++) {
            const double *a = q + i * n_vocab, *b = p + i * n_vocab;
            size_t top_a = 0, top_b = 0, k = out->n++;
            assert_true(k < GS_COUNT(out->nll));
            out->nll[k] = -b[chunk[i + 1]];
            out->ref[k] = -a[chunk[i + 1]];
            out->kld[k] = 0;
            for (size_t v = 0; v < n_vocab; v++) {
                out->kld[k] += exp(a[v]) * (a[v] - b[v]);
                top_a = a[v] > a[top_a] ? v : top_a;
                top_b = b[v] > b[top_b] ? v : top_b;
            }
            out->same[k] = top_a == top_b;
        }
        free(p);
        free(q);
    }
    gs_tokens_clear(&tokens);
}

static double mean(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

/* Standard error as llama.cpp writes it. */
static double sigma(const double *x, size_t n)
{
    double sum = 0, squares = 0, count = (double)n;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
        squares += x[i] * x[i];
    }
    return sqrt((squares / count - sum / count * (sum / count)) / (count - 1));
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void perplexity_is_the_definition(void **state)
{
    static struct plain want;

    (void)state;
    for (uint32_t ctx = 8; ctx <= 64; ctx += 28) { /* 8, 36, 64 */
        struct gs_eval_options options = {.ctx = ctx, .threads = 1};
        struct gs_eval_result have = measure(&model, NULL, &options);
        plain(&model, &model, ctx, &want);
        assert_int_equal(have.tokens, want.n);
        assert_int_equal(have.tokens, have.chunks * (ctx - ctx / 2 - 1));
        assert_near(have.ppl, exp(mean(want.nll, want.n)), 1e-6);
        assert_near(have.ppl_sigma, exp(mean(want.nll, want.n)) * sigma(want.nll, want.n), 1e-5);
        assert_false(have.has_ref);
        assert_true(isnan(have.kld_mean) && isnan(have.ref_ppl) && isnan(have.top1));
    }
}

static void odd_contexts_score_the_smaller_half(void **state)
{
    struct gs_eval_options options = {.ctx = 9, .threads = 1};
    struct gs_eval_result r = measure(&model, NULL, &options);

    (void)state;
    assert_int_equal(r.tokens, r.chunks * 4); /* positions 4 … 7 */
}

static void divergence_is_the_definition(void **state)
{
    static struct plain want;
    static double dp[2000], dp2[2000];
    struct gs_eval_options options = {.ctx = 32, .threads = 2};
    struct gs_eval_result have = measure(&model, &other, &options);
    size_t same = 0;

    (void)state;
    plain(&model, &other, 32, &want);
    size_t n = want.n;
    for (size_t i = 0; i < n; i++) {
        dp[i] = exp(-want.nll[i]) - exp(-want.ref[i]);
        dp2[i] = dp[i] * dp[i];
        same += want.same[i];
    }
    assert_true(have.has_ref);
    assert_near(have.ref_ppl, exp(mean(want.ref, n)), 1e-6);
    assert_near(have.ref_ppl_sigma, exp(mean(want.ref, n)) * sigma(want.ref, n), 1e-5);
    assert_near(have.ppl_ratio_ln, mean(want.nll, n) - mean(want.ref, n), 1e-5);
    /* with covariance, from the three terms */
    double cov = 0, a = mean(want.nll, n), b = mean(want.ref, n);
    for (size_t i = 0; i < n; i++)
        cov += (want.nll[i] - a) * (want.ref[i] - b) / (double)n / (double)(n - 1);
    double s = sigma(want.nll, n), s_ref = sigma(want.ref, n);
    assert_near(have.ppl_ratio_ln_sigma, sqrt(s * s + s_ref * s_ref - 2 * cov), 1e-5);
    assert_near(have.kld_mean, mean(want.kld, n), 1e-5);
    assert_near(have.kld_sigma, sigma(want.kld, n), 1e-5);
    assert_near(have.dp_mean, 100 * mean(dp, n), 1e-4);
    assert_near(have.rms_dp, 100 * sqrt(mean(dp2, n)), 1e-5);
    assert_near(have.top1, (double)same / (double)n, 1e-12);
    assert_near(have.top1_sigma, sqrt(have.top1 * (1 - have.top1) / (double)(n - 1)), 1e-12);
    assert_true(have.top1 < 1 && have.kld_mean > 0.01); /* the models do differ */

    qsort(want.kld, n, sizeof *want.kld, compare_doubles);
    assert_near(have.kld_max, want.kld[n - 1], 1e-5);
    double rank = 0.99 * (double)(n - 1), part = rank - floor(rank);
    size_t i = (size_t)rank;
    assert_near(have.kld_p99, (1 - part) * want.kld[i] + part * want.kld[i + 1], 1e-5);
    assert_near(have.kld_median, 0.5 * (want.kld[(n - 1) / 2] + want.kld[n / 2]), 1e-5);
    assert_true(have.kld_median <= have.kld_p90 && have.kld_p90 <= have.kld_p95 &&
                have.kld_p95 <= have.kld_p99 && have.kld_p99 <= have.kld_p999 &&
                have.kld_p999 <= have.kld_max);
}

static void a_model_does_not_diverge_from_itself(void **state)
{
    struct gs_eval_options options = {.ctx = 32, .threads = 2};
    struct gs_eval_result r = measure(&model, &model, &options);

    (void)state;
    assert_true(r.kld_mean == 0 && r.kld_max == 0 && r.ppl_ratio_ln == 0 && r.rms_dp == 0);
    assert_true(r.top1 == 1 && r.ppl == r.ref_ppl && r.ppl_sigma == r.ref_ppl_sigma);
}

static void batches_and_threads_do_not_matter(void **state)
{
    static const uint32_t batches[] = {1, 3, 17, 31, 32, 512};
    struct gs_eval_options options = {.ctx = 33, .threads = 1};
    struct gs_eval_result first = measure(&model, &other, &options);

    (void)state;
    for (size_t i = 0; i < GS_COUNT(batches); i++) {
        options.batch = batches[i];
        options.threads = 1 + (int)i % 4;
        struct gs_eval_result r = measure(&model, &other, &options);
        assert_true(r.ppl == first.ppl && r.ppl_sigma == first.ppl_sigma);
        assert_memory_equal(&r.ref_ppl, &first.ref_ppl, /* all doubles from there on */
                            sizeof r - offsetof(struct gs_eval_result, ref_ppl));
    }
}

static void count_tokens(void *ctx, const struct gs_matrix *w, const float *x, size_t T)
{
    const struct gs_lm *lm = other.lm;

    assert_non_null(x);
    for (uint32_t il = 0; il < lm->config.n_layer; il++)
        if (w == &lm->blocks[il].attn_q)
            *(int *)ctx += (int)T;
}

/* One run of the reference serves for several models, to the same bits. */
static void a_kept_reference_gives_the_same_figures(void **state)
{
    static const uint32_t batches[] = {1, 17, 512};
    struct gs_eval_options options = {.ctx = 33, .chunks = 3, .threads = 2};
    struct gs_eval_result want = measure(&model, &other, &options), have, own;
    struct gs_reference *kept;

    (void)state;
    for (size_t i = 0; i < GS_COUNT(batches); i++) {
        int seen = 0;
        options.batch = batches[i];
        assert_int_equal(gs_eval_reference(&other.subject, text, strlen(text), &options,
                                           count_tokens, &seen, &kept, &own, NULL), GS_OK);
        /* Each block's query matrix sees all tokens but the last of each chunk. */
        assert_int_equal(seen, 3 * 32 * (int)gs_lm_config(other.lm)->n_layer);
        assert_true(own.ppl == want.ref_ppl && own.ppl_sigma == want.ref_ppl_sigma);
        assert_false(own.has_ref);
        assert_int_equal(gs_eval_against(&model.subject, kept, &have, NULL), GS_OK);
        assert_true(have.ppl == want.ppl && have.has_ref);
        assert_memory_equal(&have.ref_ppl, &want.ref_ppl,
                            sizeof have - offsetof(struct gs_eval_result, ref_ppl));
        assert_int_equal(gs_eval_against(&other.subject, kept, &have, NULL), GS_OK);
        assert_true(have.kld_max == 0 && have.ppl == have.ref_ppl);
        gs_reference_destroy(&kept);
    }
    options.ctx = 100000;
    assert_int_equal(gs_eval_reference(&other.subject, text, strlen(text), &options, NULL, NULL,
                                       &kept, &own, NULL), GS_E_ARG);
    assert_null(kept);
}

static void chunks_limit_and_the_final_newline_drops(void **state)
{
    struct gs_eval_options options = {.ctx = 32, .chunks = 2, .threads = 1};
    struct gs_eval_result r = measure(&model, NULL, &options), with_newline;
    char line[200];

    (void)state;
    assert_int_equal(r.chunks, 2);
    assert_int_equal(r.tokens, 2 * 15);
    options.chunks = 1000000;
    assert_true(measure(&model, NULL, &options).chunks < 1000);

    /* 8 tokens with the newline, 7 without: too few for a chunk of 8 */
    strcpy(line, "zz zz\n");
    options.ctx = 8;
    struct gs_tokens tokens = {.data = NULL};
    assert_int_equal(gs_tokenizer_encode(model.tokenizer, line, strlen(line), GS_TOKENIZE_BOS,
                                         &tokens, NULL), GS_OK);
    assert_int_equal(tokens.count, 8);
    gs_tokens_clear(&tokens);
    assert_int_equal(gs_eval_perplexity(&model.subject, NULL, line, strlen(line), &options,
                                        &with_newline, NULL), GS_E_ARG);
    strcat(line, "\n"); /* one of two counts */
    assert_int_equal(gs_eval_perplexity(&model.subject, NULL, line, strlen(line), &options,
                                        &with_newline, NULL), GS_OK);
}

/* A model without a BOS rule keeps the first token of each chunk. */
static void chunks_begin_as_the_model_wants(void **state)
{
    static struct plain want;
    struct gs_eval_options options = {.ctx = 32, .threads = 1};
    struct tiny bpe;

    (void)state;
    tiny_create(&bpe, "llama:bpe", 1);
    assert_false(gs_tokenizer_add_bos(bpe.tokenizer));
    assert_true(gs_tokenizer_add_bos(model.tokenizer));
    plain(&bpe, &bpe, 32, &want);
    struct gs_eval_result r = measure(&bpe, NULL, &options);
    assert_int_equal(r.tokens, want.n);
    assert_near(r.ppl, exp(mean(want.nll, want.n)), 1e-6);
    tiny_destroy(&bpe);
}

struct watch {
    uint64_t calls, last, total, stop_at;
    bool guard;
};

static int watch_progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    struct watch *w = ctx;

    assert_string_equal(what, "tokens");
    assert_true(w->calls == 0 ? done == 0 : done > w->last);
    w->calls++;
    w->last = done;
    w->total = total;
    if (w->guard && done == 0)
        gs_alloc_guard(true);
    if (w->guard && done == total)
        gs_alloc_guard(false);
    return w->stop_at && done >= w->stop_at;
}

static void chunks_allocate_nothing(void **state)
{
    struct watch w = {.guard = true};
    struct gs_eval_options options = {.ctx = 32, .threads = 2, .progress = watch_progress,
                                      .progress_ctx = &w};
    struct gs_eval_result r = measure(&model, &other, &options);

    (void)state;
    assert_int_equal(w.calls, r.chunks + 1);
    assert_int_equal(w.last, r.chunks * 32);
    assert_int_equal(w.total, w.last);
}

static void progress_stops_the_run(void **state)
{
    struct watch w = {.stop_at = 64};
    struct gs_eval_options options = {.ctx = 32, .threads = 1, .progress = watch_progress,
                                      .progress_ctx = &w};
    struct gs_eval_result r;
    struct gs_err err = {.code = 0};

    (void)state;
    assert_int_equal(gs_eval_perplexity(&model.subject, NULL, text, strlen(text), &options, &r,
                                        &err), GS_E_STOPPED);
    assert_string_equal(err.msg, "stopped after 64 tokens");
}

static void expect_error(const struct tiny *m, const struct tiny *ref, uint32_t ctx, int code,
                         const char *say)
{
    struct gs_eval_options options = {.ctx = ctx, .threads = 1};
    struct gs_eval_result r;
    struct gs_err err = {.code = 0};

    assert_int_equal(gs_eval_perplexity(&m->subject, ref ? &ref->subject : NULL, text,
                                        strlen(text), &options, &r, &err), code);
    if (!strstr(err.msg, say))
        fail_msg("\"%s\" lacks \"%s\"", err.msg, say);
}

static void texts_and_sizes_that_do_not_do_are_named(void **state)
{
    struct gs_eval_options options = {.ctx = 128};
    struct gs_eval_result r;
    struct gs_err err = {.code = 0};

    (void)state;
    expect_error(&model, NULL, 7, GS_E_ARG, "ctx must be at least 8, is 7");
    expect_error(&model, NULL, UINT32_MAX, GS_E_ARG, "a chunk needs 4294967295 tokens");
    assert_int_equal(gs_eval_perplexity(&model.subject, NULL, "the and", 7, &options, &r, &err),
                     GS_E_ARG);
    assert_string_equal(err.msg, "the text is too short: a chunk needs 128 tokens (ctx), the "
                        "text has 3");
    assert_int_equal(gs_eval_perplexity(&model.subject, NULL, "", 0, NULL, &r, NULL), GS_E_ARG);
}

static void other_vocabularies_are_refused_by_the_first_token(void **state)
{
    struct tiny bpe;

    (void)state;
    tiny_create(&bpe, "llama:bpe", 1);
    expect_error(&model, &bpe, 32, GS_E_ARG, "different vocabularies: token 0 is ");
    tiny_destroy(&bpe);
}

/* The last tensor's data ends the file: make it NaN. */
static void logits_that_are_not_finite_are_found(void **state)
{
    const float nan = NAN;
    struct tiny bad;

    (void)state;
    tiny_create(&bad, "llama", 1);
    tiny_close(&bad);
    FILE *f = fopen(bad.path, "r+b");
    assert_non_null(f);
    for (int i = 1; i <= 64; i++) {
        assert_int_equal(fseek(f, -4 * i, SEEK_END), 0);
        assert_int_equal(fwrite(&nan, 4, 1, f), 1);
    }
    fclose(f);
    tiny_open(&bad);
    expect_error(&bad, NULL, 32, GS_E_FORMAT, "logits are not finite at token 16");
    expect_error(&bad, NULL, 32, GS_E_FORMAT, bad.path);
    expect_error(&model, &bad, 32, GS_E_FORMAT, bad.path);
    tiny_destroy(&bad);
}

static int warnings;
static void count_warnings(void *ctx, enum gs_log_level level, const char *line)
{
    (void)ctx;
    warnings += level == GS_LOG_WARN && strstr(line, "trained on 256") != NULL;
}

static void a_context_longer_than_trained_is_a_warning(void **state)
{
    struct gs_eval_options options = {.ctx = 256, .chunks = 1, .threads = 1};

    (void)state;
    gs_set_log(count_warnings, NULL);
    measure(&model, NULL, &options);
    assert_int_equal(warnings, 0);
    options.ctx = 257;
    measure(&model, NULL, &options);
    gs_set_log(NULL, NULL);
    assert_int_equal(warnings, 1);
}

static void every_failing_allocation_is_reported(void **state)
{
    struct gs_eval_options options = {.ctx = 8, .chunks = 1, .threads = 2};
    int rc = GS_E_NOMEM;

    (void)state;
    for (uint64_t n = 1; rc != GS_OK; n++) {
        struct gs_eval_result r;
        struct gs_err err = {.code = 0};
        gs_alloc_fail_at(n);
        rc = gs_eval_perplexity(&model.subject, &other.subject, text, 60, &options, &r, &err);
        gs_alloc_fail_at(0);
        if (rc != GS_OK && rc != GS_E_NOMEM)
            fail_msg("allocation %d: %s", (int)n, err.msg);
        assert_int_equal(err.code, rc);
        assert_true(n < 200);
    }
}

/* ---- rows of logits ---- */

static void rows_of_any_length_are_summed_whole(void **state)
{
    static float row[1100];

    (void)state;
    for (size_t n = 1; n < GS_COUNT(row); n += n < 3 ? 1 : 127) {
        struct gs_score s;
        for (size_t i = 0; i < n; i++)
            row[i] = -3.5f;
        gs_score_row(row, n, (int32_t)n - 1, &s);
        assert_true(s.finite);
        assert_int_equal(s.top, 0); /* the smallest on a tie */
        assert_near(1 + s.nll, 1 + log((double)n), 1e-7);
    }
}

static void extreme_logits_have_their_limits(void **state)
{
    float row[] = {-INFINITY, 1e30f, -1e30f, 80, 1e30f};
    struct gs_score s;

    (void)state;
    gs_score_row(row, 5, 4, &s);
    assert_true(s.finite && s.top == 1);
    assert_near(s.nll, log(2), 1e-6);
    gs_score_row(row, 5, 0, &s);
    assert_true(s.nll == INFINITY);
}

static void rows_that_are_not_finite_are_marked(void **state)
{
    static const float bad[] = {NAN, -NAN, INFINITY};
    float row[600], fine[600] = {0};
    struct gs_score_pair pair;
    struct gs_score s;

    (void)state;
    for (size_t k = 0; k < GS_COUNT(bad); k++) {
        for (size_t at = 0; at < GS_COUNT(row); at += 599) {
            memset(row, 0, sizeof row);
            row[at] = bad[k];
            gs_score_row(row, GS_COUNT(row), 5, &s);
            assert_false(s.finite);
            gs_score_row_pair(fine, row, GS_COUNT(row), 5, &pair);
            assert_true(pair.model.finite && !pair.ref.finite);
        }
    }
    for (size_t i = 0; i < GS_COUNT(row); i++)
        row[i] = -INFINITY;
    gs_score_row(row, GS_COUNT(row), 5, &s);
    assert_false(s.finite);
}

static void divergence_of_two_outcomes(void **state)
{
    const float ref[] = {0, logf(3)}, model_row[] = {logf(4), 0}; /* 1/4, 3/4 and 4/5, 1/5 */
    const float impossible[] = {0, -INFINITY};
    struct gs_score_pair pair;

    (void)state;
    gs_score_row_pair(model_row, ref, 2, 1, &pair);
    assert_near(pair.kld, 0.25 * log(0.25 / 0.8) + 0.75 * log(0.75 / 0.2), 1e-6);
    assert_near(pair.model.nll, -log(0.2), 1e-6);
    assert_near(pair.ref.nll, -log(0.75), 1e-6);
    assert_int_equal(pair.model.top, 0);
    assert_int_equal(pair.ref.top, 1);
    gs_score_row_pair(ref, impossible, 2, 0, &pair); /* 0 · ln 0 is 0 */
    assert_near(pair.kld, log(4), 1e-6);
    gs_score_row_pair(impossible, ref, 2, 0, &pair); /* what the model rules out happens */
    assert_true(pair.kld == INFINITY);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(perplexity_is_the_definition),
        cmocka_unit_test(odd_contexts_score_the_smaller_half),
        cmocka_unit_test(divergence_is_the_definition),
        cmocka_unit_test(a_model_does_not_diverge_from_itself),
        cmocka_unit_test(batches_and_threads_do_not_matter),
        cmocka_unit_test(a_kept_reference_gives_the_same_figures),
        cmocka_unit_test(chunks_limit_and_the_final_newline_drops),
        cmocka_unit_test(chunks_begin_as_the_model_wants),
        cmocka_unit_test(chunks_allocate_nothing),
        cmocka_unit_test(progress_stops_the_run),
        cmocka_unit_test(texts_and_sizes_that_do_not_do_are_named),
        cmocka_unit_test(other_vocabularies_are_refused_by_the_first_token),
        cmocka_unit_test(logits_that_are_not_finite_are_found),
        cmocka_unit_test(a_context_longer_than_trained_is_a_warning),
        cmocka_unit_test(every_failing_allocation_is_reported),
        cmocka_unit_test(rows_of_any_length_are_summed_whole),
        cmocka_unit_test(extreme_logits_have_their_limits),
        cmocka_unit_test(rows_that_are_not_finite_are_marked),
        cmocka_unit_test(divergence_of_two_outcomes),
    };
    find_make_tiny(argc ? argv[0] : "");
    return cmocka_run_group_tests(tests, setup, teardown);
}
