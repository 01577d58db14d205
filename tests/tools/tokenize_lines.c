/* SPDX-License-Identifier: MIT
 * tokenize_lines MODEL < LINES: the tokens of each line of standard input, ids separated by
 * spaces, one line a line; BOS is not added. For comparisons with other tokenizers
 * (compare_tokenizers.py). --special parses control tokens; --lf means that "\\n" and "\\\\"
 * in the input stand for a line feed and a backslash; --time prints the speed on stderr. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "file/store.h"
#include "text/tokenizer.h"

static void print_log(void *ctx, enum gs_log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

static size_t unescape(char *s, size_t n)
{
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\\' && i + 1 < n) {
            i++;
            s[at++] = s[i] == 'n' ? '\n' : s[i];
        } else {
            s[at++] = s[i];
        }
    }
    return at;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    struct gs_store *store = NULL;
    struct gs_tokenizer *t = NULL;
    struct gs_tokens tokens = {0};
    struct gs_err err = {0};
    bool lf = false, timed = false;
    int flags = 0, rc = 1;
    const char *path = NULL;
    char *line = NULL;
    size_t room = 0, bytes = 0;
    double spent = 0;
    ssize_t got;

    gs_set_log(print_log, NULL);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--special"))
            flags |= GS_TOKENIZE_SPECIAL;
        else if (!strcmp(argv[i], "--lf"))
            lf = true;
        else if (!strcmp(argv[i], "--time"))
            timed = true;
        else
            path = argv[i];
    }
    if (!path) {
        fprintf(stderr, "usage: tokenize_lines [--special] [--lf] [--time] MODEL < LINES\n");
        return 2;
    }
    double start = now();
    if (gs_store_open(path, &store, &err) < 0)
        goto out;
    double opened = now();
    if (gs_tokenizer_create(gs_store_meta(store), path, &t, &err) < 0)
        goto out;
    if (timed)
        fprintf(stderr, "opened in %.1f ms, tokenizer made in %.1f ms\n",
                1e3 * (opened - start), 1e3 * (now() - opened));
    while ((got = getline(&line, &room, stdin)) >= 0) {
        size_t n = (size_t)got - (got > 0 && line[got - 1] == '\n');
        if (lf)
            n = unescape(line, n);
        start = now();
        tokens.count = 0;
        if (gs_tokenizer_encode(t, line, n, flags, &tokens, &err) < 0)
            goto out;
        spent += now() - start;
        bytes += n;
        for (size_t i = 0; i < tokens.count; i++)
            printf("%s%d", i ? " " : "", tokens.data[i]);
        putchar('\n');
    }
    if (timed)
        fprintf(stderr, "%zu bytes in %.3f s: %.1f MB/s\n", bytes, spent,
                1e-6 * (double)bytes / spent);
    rc = 0;
out:
    if (err.code)
        fprintf(stderr, "tokenize_lines: %s\n", err.msg);
    free(line);
    gs_tokens_clear(&tokens);
    gs_tokenizer_destroy(&t);
    gs_store_close(&store);
    return rc;
}
