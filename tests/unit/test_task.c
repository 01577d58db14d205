/* SPDX-License-Identifier: MIT
 * Tasks: scores against a plain forward pass of every option, the formats, bad files. */
#include "tests/unit/eval_fixture.h"

#include <sys/stat.h>

#include "eval/task.h"

static struct tiny model;
static char path[64];

static int setup(void **state)
{
    (void)state;
    tiny_create(&model, "llama", 3);
    tiny_path(path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tiny_destroy(&model);
    unlink(path);
    return 0;
}

static void write_file(const char *content, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(content, 1, n, f), n);
    fclose(f);
}

static struct gs_task_result score(const struct tiny *m, const char *content, uint64_t limit,
                                   uint32_t batch, int threads)
{
    struct gs_eval_options options = {.batch = batch, .threads = threads};
    struct gs_task_result result;
    struct gs_err err = {.code = 0};

    write_file(content, strlen(content));
    if (gs_eval_tasks(&m->subject, path, limit, &options, &result, &err) != GS_OK)
        fail_msg("%s", err.msg);
    return result;
}

/* Σ log p of the tokens of `answer` after `context`, by a forward pass of its own. */
struct plain {
    double logp;
    size_t tokens;
    bool greedy;
};

static struct plain plain_score(const struct tiny *m, const char *context, const char *answer)
{
    size_t n_vocab = gs_lm_config(m->lm)->n_vocab;
    struct gs_tokens prompt = {.data = NULL}, whole = {.data = NULL};
    struct plain out = {.greedy = true};
    char text[500];

    snprintf(text, sizeof text, "%s%s", context, answer);
    assert_int_equal(gs_tokenizer_encode(m->tokenizer, context, strlen(context),
                                         GS_TOKENIZE_BOS, &prompt, NULL), GS_OK);
    assert_int_equal(gs_tokenizer_encode(m->tokenizer, text, strlen(text), GS_TOKENIZE_BOS,
                                         &whole, NULL), GS_OK);
    size_t first = 0;
    while (first < prompt.count && prompt.data[first] == whole.data[first])
        first++;
    first = first ? first : 1;
    double *logp = plain_log_probs(m, whole.data, whole.count);
    for (size_t i = first; i < whole.count; i++) {
        const double *row = logp + (i - 1) * n_vocab;
        out.logp += row[whole.data[i]];
        out.tokens++;
        for (size_t v = 0; v < n_vocab; v++)
            out.greedy &= row[v] <= row[whole.data[i]];
    }
    free(logp);
    gs_tokens_clear(&prompt);
    gs_tokens_clear(&whole);
    return out;
}

/* Items of the test: a context and four answers of different lengths. */
enum { ITEMS = 12, ANSWERS = 4 };
static const char *const contexts[] = {"the end of it", "Question: is the ring on", "in and on",
                                       "to be"};
static const char *const answers[] = {"the", "and in the hand of it", "zz", "sheer rain", "on",
                                      "other things, and"};

static const char *context_of(int item)
{
    return contexts[item % 4];
}

static const char *answer_of(int item, int i)
{
    return answers[(item * 5 + i) % 6];
}

static char *choice_file(void)
{
    static char file[4000];
    int n = 0;

    for (int k = 0; k < ITEMS; k++) {
        n += sprintf(file + n, "{\"query\": \"%s%s\", \"gold\": %d, \"choices\": [", context_of(k),
                     k % 3 ? "" : "\\n ", k % ANSWERS);
        for (int i = 0; i < ANSWERS; i++)
            n += sprintf(file + n, "%s\"%s%s\"", i ? ", " : "", i % 2 ? " " : "",
                         answer_of(k, i));
        n += sprintf(file + n, "], \"id\": %d}\n", k);
    }
    return file;
}

static void choices_are_scored_as_by_hand(void **state)
{
    struct gs_task_result r = score(&model, choice_file(), 0, 0, 2);
    double gold_logp = 0, gold_tokens = 0;
    int hits = 0, hits_norm = 0;

    (void)state;
    for (int k = 0; k < ITEMS; k++) {
        double best = -INFINITY, best_norm = -INFINITY;
        int choice = 0, choice_norm = 0;
        for (int i = 0; i < ANSWERS; i++) {
            char prompt[100], spaced[100];
            bool asks = !strncmp(context_of(k), "Question:", 9);
            snprintf(prompt, sizeof prompt, "%s%s", context_of(k), asks ? "\nAnswer:" : "");
            snprintf(spaced, sizeof spaced, " %s", answer_of(k, i));
            struct plain p = plain_score(&model, prompt, spaced);
            double norm = p.logp / (double)strlen(answer_of(k, i));
            if (p.logp > best) {
                best = p.logp;
                choice = i;
            }
            if (norm > best_norm) {
                best_norm = norm;
                choice_norm = i;
            }
            if (i == k % ANSWERS) {
                gold_logp += p.logp;
                gold_tokens += (double)p.tokens;
            }
        }
        hits += choice == k % ANSWERS;
        hits_norm += choice_norm == k % ANSWERS;
    }
    assert_string_equal(r.kind, "multiple-choice");
    assert_int_equal(r.items, ITEMS);
    assert_near(r.accuracy, hits / (double)ITEMS, 1e-12);
    assert_near(r.accuracy_norm, hits_norm / (double)ITEMS, 1e-12);
    assert_near(r.ppl, exp(-gold_logp / gold_tokens), 1e-5);
    assert_true(0 < hits && hits < ITEMS && hits != hits_norm); /* else this tests little */
    assert_true(r.accuracy_low < r.accuracy && r.accuracy < r.accuracy_high);
    assert_true(r.norm_low < r.accuracy_norm && r.accuracy_norm < r.norm_high);
}

static void batches_and_threads_do_not_matter(void **state)
{
    struct gs_task_result first = score(&model, choice_file(), 0, 0, 1);

    (void)state;
    for (uint32_t batch = 1; batch < 20; batch += 6) {
        struct gs_task_result r = score(&model, choice_file(), 0, batch, 1 + (int)batch % 4);
        assert_true(r.ppl == first.ppl && r.accuracy == first.accuracy &&
                    r.accuracy_norm == first.accuracy_norm);
    }
}

/* The model's own first choice after the context, as text; "" if it is no plain word. */
static void favourite(const char *context, char out[64])
{
    size_t n_vocab = gs_lm_config(model.lm)->n_vocab, top = 0;
    struct gs_tokens tokens = {.data = NULL};

    assert_int_equal(gs_tokenizer_encode(model.tokenizer, context, strlen(context),
                                         GS_TOKENIZE_BOS, &tokens, NULL), GS_OK);
    double *logp = plain_log_probs(&model, tokens.data, tokens.count);
    const double *row = logp + (tokens.count - 1) * n_vocab;
    for (size_t v = 0; v < n_vocab; v++)
        top = row[v] > row[top] ? v : top;
    size_t n = gs_tokenizer_bytes(model.tokenizer, (int32_t)top, false, out, 63);
    out[n] = 0;
    if (n < 2 || out[0] != ' ' || strspn(out + 1, "abcdefghijklmnopqrstuvwxyz") != n - 1)
        out[0] = 0;
    free(logp);
    gs_tokens_clear(&tokens);
}

static void last_words_are_right_if_greedy(void **state)
{
    char file[20000], context[40], word[64];
    int n = 0, items = 0, right = 0;

    (void)state;
    /* Contexts whose most likely next token is a word with its space, found by trial. */
    for (int i = 0; i < 400 && right < 3; i++) {
        snprintf(context, sizeof context, "%c%c%c and", 'a' + i % 26, 'a' + i / 3 % 26,
                 'a' + i / 7 % 26);
        favourite(context, word);
        if (!word[0] && items - right >= 5)
            continue;
        if (word[0] && !plain_score(&model, context, word).greedy)
            continue; /* with what follows it, another token is cut */
        right += word[0] != 0;
        items++;
        n += sprintf(file + n, "{\"context\": \"%s \", \"continuation\": \"%s\"}\n", context,
                     word[0] ? word + 1 : "qqq");
    }
    assert_int_equal(right, 3);
    struct gs_task_result r = score(&model, file, 0, 0, 1);
    assert_string_equal(r.kind, "last-word");
    assert_int_equal(r.items, items);
    assert_near(r.accuracy, right / (double)items, 1e-12);
    assert_true(r.accuracy_norm == r.accuracy && r.norm_high == r.accuracy_high);
}

static void schemas_score_the_common_part(void **state)
{
    static const char *const names[] = {"the ring", "sheer rain"};
    const char *rest = "ended in the sand.";
    char file[500];
    int hits = 0, n = 0;

    (void)state;
    for (int gold = 0; gold < 2; gold++) {
        double logp[2];
        n += sprintf(file + n, "{\"context_options\": [\"so %s\", \"so %s\"], \"gold\": %d, "
                     "\"continuation\": \"%s\"}\n", names[0], names[1], gold, rest);
        for (int i = 0; i < 2; i++) {
            char context[40], spaced[40];
            snprintf(context, sizeof context, "so %s", names[i]);
            snprintf(spaced, sizeof spaced, " %s", rest);
            logp[i] = plain_score(&model, context, spaced).logp;
        }
        hits += (logp[1] > logp[0]) == gold;
    }
    struct gs_task_result r = score(&model, file, 0, 0, 1);
    assert_string_equal(r.kind, "winograd");
    assert_int_equal(hits, 1); /* the same pair with both golds */
    assert_true(r.accuracy == 0.5 && r.accuracy_norm == 0.5);
}

/* EOS is no part of a text that goes on; without BOS the context's own tokens come first. */
static void models_without_bos_can_be_scored(void **state)
{
    struct tiny bpe;

    (void)state;
    tiny_create(&bpe, "gpt2", 1);
    struct gs_task_result r = score(&bpe, "{\"context\": \"in\", \"continuation\": \"the\"}", 0, 0,
                                    1);
    struct plain p = plain_score(&bpe, "in", " the");
    assert_near(r.ppl, exp(-p.logp / (double)p.tokens), 1e-5);
    tiny_destroy(&bpe);
}

static void limit_and_blank_lines(void **state)
{
    const char *file = "\n  \r\n{\"context\": \"a\", \"continuation\": \"b\"}\r\n\n"
                       "{\"context\": \"a\\u0000a\", \"continuation\": \"b\\u0000b\"}\n"
                       "{\"context\": \"a\", \"continuation\": \"b\"}"; /* no newline at the end */

    (void)state;
    assert_int_equal(score(&model, file, 0, 0, 1).items, 3);
    assert_int_equal(score(&model, file, 2, 0, 1).items, 2);
    assert_int_equal(score(&model, file, 9, 0, 1).items, 3);
    /* what lies beyond the limit is not read */
    assert_int_equal(score(&model, "{\"context\": \"a\", \"continuation\": \"b\"}\nrubbish", 1, 0,
                           1).items, 1);
}

#define GOOD "{\"context\": \"a\", \"continuation\": \"b\"}\n"
#define CHOICES(query, choices, gold) \
    "{\"query\": " query ", \"choices\": " choices ", \"gold\": " gold "}\n"

static void bad_lines_are_named(void **state)
{
    static const struct { const char *content; int line; const char *say; } bad[] = {
        {"{\"context\": 1\n", 1, "not valid JSON"},
        {GOOD "\n{\"context\": \"a\", \"context\": \"b\"}", 3, "not valid JSON"},
        {GOOD GOOD "[1]", 3, "must be a JSON object"},
        {"\"text\"", 1, "must be a JSON object"},
        {GOOD "{\"text\": \"a\"}", 2, "must have the members query and choices"},
        {GOOD "{\"context\": \"a\", \"continuation\": 7}", 2,
         "\"continuation\" must be a string that is not blank"},
        {"{\"context\": \" \\n\", \"continuation\": \"b\"}", 1,
         "\"context\" must be a string that is not blank"},
        {"{\"context\": [\"a\"], \"continuation\": \"b\"}", 1, "\"context\" must be a string"},
        {GOOD CHOICES("\"a\"", "[\"b\", \"c\"]", "0"), 2,
         "is a multiple-choice item, the lines before are last-word"},
        {CHOICES("\"a\"", "[\"b\", \"c\"]", "2"), 1, "\"gold\" must be an index below 2"},
        {CHOICES("\"a\"", "[\"b\", \"c\"]", "-1"), 1, "\"gold\" must be a non-negative integer"},
        {CHOICES("\"a\"", "[\"b\", \"c\"]", "\"1\""), 1, "\"gold\" must be"},
        {CHOICES("\"a\"", "[\"b\", \"c\"]", "null"), 1, "\"gold\" must be an index below 2"},
        {CHOICES("\"a\"", "[\"b\", \"c\"]", "18446744073709551616"), 1, "not valid JSON"},
        {CHOICES("\"a\"", "[\"b\"]", "0"), 1, "\"choices\" must be an array of 2 to 64 strings"},
        {CHOICES("\"a\"", "{}", "0"), 1, "\"choices\" must be an array"},
        {CHOICES("\"a\"", "[\"b\", 3]", "0"), 1,
         "\"choices\": element 1 must be a string that is not blank"},
        {CHOICES("\"a\"", "[\"b\", \"\"]", "0"), 1, "\"choices\": element 1"},
        {CHOICES("\"\"", "[\"b\", \"c\"]", "0"), 1, "\"query\" must be a string"},
        {"{\"context_options\": [\"a\"], \"continuation\": \"b\", \"gold\": 0}", 1,
         "\"context_options\" must be an array of 2 to 64"},
        {"{\"context_options\": [\"a\", \"b\"], \"continuation\": \"\", \"gold\": 0}", 1,
         "\"continuation\" must be a string"},
        {"{\"context_options\": [\"a\", \"b\"], \"continuation\": \"c\"}", 1, "\"gold\" must be"},
        {GOOD "{\"context\": \"\xff\", \"continuation\": \"b\"}", 2, "not valid JSON"},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(bad); i++) {
        struct gs_eval_options options = {.threads = 1};
        struct gs_task_result r;
        struct gs_err err = {.code = 0};
        char where[100];
        write_file(bad[i].content, strlen(bad[i].content));
        snprintf(where, sizeof where, "%s:%d: ", path, bad[i].line);
        assert_int_equal(gs_eval_tasks(&model.subject, path, 0, &options, &r, &err), GS_E_FORMAT);
        if (strncmp(err.msg, where, strlen(where)) || !strstr(err.msg, bad[i].say))
            fail_msg("case %zu: \"%s\" lacks \"%s\" or \"%s\"", i, err.msg, where, bad[i].say);
    }
}

static void too_many_choices_are_refused(void **state)
{
    char file[1000] = "{\"query\": \"a\", \"gold\": 0, \"choices\": [\"x\"";
    struct gs_task_result r;
    struct gs_err err = {.code = 0};

    (void)state;
    for (int i = 0; i < GS_TASK_OPTIONS_MAX; i++)
        strcat(file, ", \"x\"");
    strcat(file, "]}");
    write_file(file, strlen(file));
    assert_int_equal(gs_eval_tasks(&model.subject, path, 0, NULL, &r, &err), GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "2 to 64 strings"));
}

static int run_path(const char *p, char msg[496])
{
    struct gs_task_result r;
    struct gs_err err = {.code = 0};
    int rc = gs_eval_tasks(&model.subject, p, 0, NULL, &r, &err);

    strcpy(msg, err.msg);
    return rc;
}

static void files_that_cannot_be_read(void **state)
{
    char msg[496];

    (void)state;
    assert_int_equal(run_path("/nonexistent/tasks.jsonl", msg), GS_E_IO);
    assert_non_null(strstr(msg, "/nonexistent/tasks.jsonl: "));
    assert_int_equal(run_path("/tmp", msg), GS_E_IO);
    assert_non_null(strstr(msg, "/tmp: "));
    write_file("", 0);
    assert_int_equal(run_path(path, msg), GS_E_FORMAT);
    assert_non_null(strstr(msg, ": no items"));
    write_file("\0\0\0", 3); /* NUL bytes are no blank line */
    assert_int_equal(run_path(path, msg), GS_E_FORMAT);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    FILE *both = fopen(path, "r+"); /* so that neither end waits */
    assert_non_null(both);
    assert_true(fputs(GOOD, both) >= 0);
    fflush(both);
    struct gs_task_result r;
    struct gs_err err = {.code = 0};
    assert_int_equal(gs_eval_tasks(&model.subject, path, 1, NULL, &r, &err), GS_E_IO);
    assert_non_null(strstr(err.msg, "cannot be read twice"));
    fclose(both);
    unlink(path);
}

static int stop_at_two(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    (void)ctx;
    assert_string_equal(what, "items");
    assert_int_equal(total, ITEMS);
    return done == 2;
}

static void progress_stops_the_run(void **state)
{
    struct gs_eval_options options = {.threads = 1, .progress = stop_at_two};
    struct gs_task_result r;
    struct gs_err err = {.code = 0};

    (void)state;
    write_file(choice_file(), strlen(choice_file()));
    assert_int_equal(gs_eval_tasks(&model.subject, path, 0, &options, &r, &err), GS_E_STOPPED);
    assert_string_equal(err.msg, "stopped after 2 items");
}

static void every_failing_allocation_is_reported(void **state)
{
    struct gs_eval_options options = {.threads = 1};
    int rc = GS_E_NOMEM;

    (void)state;
    write_file(choice_file(), strlen(choice_file()) / 2);
    for (uint64_t n = 1; rc != GS_OK; n += 1 + n / 50) {
        struct gs_task_result r;
        struct gs_err err = {.code = 0};
        gs_alloc_fail_at(n);
        rc = gs_eval_tasks(&model.subject, path, 2, &options, &r, &err);
        gs_alloc_fail_at(0);
        if (rc != GS_OK && rc != GS_E_NOMEM)
            fail_msg("allocation %d: %s", (int)n, err.msg);
        assert_int_equal(err.code, rc);
        assert_true(n < 5000);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_are_scored_as_by_hand),
        cmocka_unit_test(batches_and_threads_do_not_matter),
        cmocka_unit_test(last_words_are_right_if_greedy),
        cmocka_unit_test(schemas_score_the_common_part),
        cmocka_unit_test(models_without_bos_can_be_scored),
        cmocka_unit_test(limit_and_blank_lines),
        cmocka_unit_test(bad_lines_are_named),
        cmocka_unit_test(too_many_choices_are_refused),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(progress_stops_the_run),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    find_make_tiny(argc ? argv[0] : "");
    return cmocka_run_group_tests(tests, setup, teardown);
}
