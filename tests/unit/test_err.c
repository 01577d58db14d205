/* SPDX-License-Identifier: MIT
 * Errors: the first wins, messages stay one printable line and end within their room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "core/err.h"
#include "core/log.h"

static void first_error_wins(void **state)
{
    struct gs_err err = {.code = 0};

    (void)state;
    assert_int_equal(gs_fail_at(&err, GS_E_FORMAT, 77, "tensor %s: %d", "a", 5), GS_E_FORMAT);
    assert_int_equal(gs_fail(&err, GS_E_IO, "later"), GS_E_IO);
    assert_int_equal(err.code, GS_E_FORMAT);
    assert_int_equal(err.pos, 77);
    assert_string_equal(err.msg, "tensor a: 5");
}

static void null_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(gs_fail(NULL, GS_E_ARG, "%d", 1), GS_E_ARG);
    assert_int_equal(gs_fail_at(NULL, GS_E_FORMAT, 1, "x"), GS_E_FORMAT);
    assert_int_equal(gs_fail_nomem(NULL, "x"), GS_E_NOMEM);
    assert_int_equal(gs_err_prefix(NULL, GS_E_IO, "file"), GS_E_IO);
}

static void nomem_names_what(void **state)
{
    struct gs_err err = {.code = 0};

    (void)state;
    assert_int_equal(gs_fail_nomem(&err, "the cache"), GS_E_NOMEM);
    assert_string_equal(err.msg, "out of memory for the cache");
}

static void prefix_goes_before(void **state)
{
    struct gs_err err = {.code = 0};

    (void)state;
    assert_int_equal(gs_err_prefix(&err, GS_E_IO, "file"), GS_E_IO); /* nothing recorded */
    assert_string_equal(err.msg, "");
    gs_fail(&err, GS_E_FORMAT, "bad magic");
    assert_int_equal(gs_err_prefix(&err, GS_E_IO, "a\nb.gguf"), GS_E_FORMAT);
    assert_string_equal(err.msg, "a?b.gguf: bad magic");
}

static void control_characters_are_masked(void **state)
{
    struct gs_err err = {.code = 0};

    (void)state;
    gs_fail(&err, GS_E_FORMAT, "key \"%s\" %s", "\x1b[31m\n\r\t\x7f", "\xc3\xa9");
    assert_string_equal(err.msg, "key \"?[31m????\" \xc3\xa9");
}

static void long_messages_are_cut_within_their_room(void **state)
{
    char text[2000], prefix[600];
    struct gs_err err = {.code = 0};

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    gs_fail(&err, GS_E_FORMAT, "%s", text);
    assert_int_equal(strlen(err.msg), sizeof err.msg - 1);

    /* Prefixes of every length around the limits: the message keeps its beginning. */
    for (size_t n = 0; n < sizeof prefix; n++) {
        memset(prefix, 'p', n);
        prefix[n] = 0;
        err = (struct gs_err){.code = 0};
        gs_fail(&err, GS_E_FORMAT, "%s", text);
        gs_err_prefix(&err, GS_E_FORMAT, prefix);
        assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
        bool fits = n + 2 < sizeof err.msg - 1;
        assert_int_equal(strspn(err.msg, "p"), fits ? n : 0);
        if (fits)
            assert_memory_equal(err.msg + n, ": x", 3);
    }
}

struct heard {
    int lines;
    enum gs_log_level level;
    char line[600];
};

static void hear(void *ctx, enum gs_log_level level, const char *line)
{
    struct heard *heard = ctx;

    heard->lines++;
    heard->level = level;
    strncpy(heard->line, line, sizeof heard->line - 1);
}

static void log_reaches_the_callback_only(void **state)
{
    struct heard heard = {.lines = 0};

    (void)state;
    gs_log(GS_LOG_WARN, "nobody listens");
    gs_set_log(hear, &heard);
    gs_log(GS_LOG_WARN, "chunk %d", 3);
    assert_int_equal(heard.lines, 1);
    assert_int_equal(heard.level, GS_LOG_WARN);
    assert_string_equal(heard.line, "chunk 3");
    gs_set_log(NULL, NULL);
    gs_log(GS_LOG_INFO, "again nobody");
    assert_int_equal(heard.lines, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_error_wins),
        cmocka_unit_test(null_is_allowed),
        cmocka_unit_test(nomem_names_what),
        cmocka_unit_test(prefix_goes_before),
        cmocka_unit_test(control_characters_are_masked),
        cmocka_unit_test(long_messages_are_cut_within_their_room),
        cmocka_unit_test(log_reaches_the_callback_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
