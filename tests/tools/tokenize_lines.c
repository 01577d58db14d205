/* SPDX-License-Identifier: MIT
 * tokenize_lines MODEL < LINES: the tokens of each line of standard input, ids separated by
 * spaces, one line a line; BOS is not added. MODEL is anything that holds a vocabulary, or a
 * tokenizer.json. For comparisons with other tokenizers (compare_tokenizers.py). --special
 * parses control tokens; --lf means that "\\n" and "\\\\" in the input stand for a line feed
 * and a backslash; --whole takes the input as one text; --time tells the speed on stderr. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/err.h"
#include "file/store.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"

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

/* Processor time: the machine may have other things to do. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct options {
    const char *path;
    int flags;
    bool lf, whole, timed;
};

static bool parse(int argc, char **argv, struct options *o)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--special"))
            o->flags |= GS_TOKENIZE_SPECIAL;
        else if (!strcmp(argv[i], "--lf"))
            o->lf = true;
        else if (!strcmp(argv[i], "--whole"))
            o->whole = true;
        else if (!strcmp(argv[i], "--time"))
            o->timed = true;
        else
            o->path = argv[i];
    }
    return o->path != NULL;
}

/* All that is left of the file; negative if it is nothing. */
static ssize_t read_all(FILE *in, char **text, size_t *room)
{
    size_t n = 0, got;

    do {
        if (*room - n < 65536) {
            char *grown = realloc(*text, *room = 2 * *room + 131072);
            if (!grown)
                return -1;
            *text = grown;
        }
        got = fread(*text + n, 1, *room - n, in);
        n += got;
    } while (got > 0);
    return n ? (ssize_t)n : -1;
}

/* The next line without its end, or all of the input; negative at the end. */
static ssize_t next_text(const struct options *o, char **text, size_t *room)
{
    ssize_t n = o->whole ? read_all(stdin, text, room) : getline(text, room, stdin);

    if (n > 0 && !o->whole && (*text)[n - 1] == '\n')
        n--;
    return n >= 0 && o->lf ? (ssize_t)unescape(*text, (size_t)n) : n;
}

static int tokenize(const struct gs_tokenizer *t, const struct options *o, struct gs_err *err)
{
    struct gs_tokens tokens = {0};
    char *text = NULL;
    size_t room = 0, bytes = 0;
    double spent = 0;
    ssize_t n;
    int rc = GS_OK;

    while (rc == GS_OK && (n = next_text(o, &text, &room)) >= 0) {
        double start = now();
        tokens.count = 0;
        rc = gs_tokenizer_encode(t, text, (size_t)n, o->flags, &tokens, err);
        spent += now() - start;
        bytes += (size_t)n;
        for (size_t i = 0; i < tokens.count; i++)
            printf("%s%d", i ? " " : "", tokens.data[i]);
        putchar('\n');
    }
    if (o->timed)
        fprintf(stderr, "%zu bytes in %.3f s: %.1f MB/s\n", bytes, spent,
                1e-6 * (double)bytes / spent);
    free(text);
    gs_tokens_clear(&tokens);
    return rc;
}

/* A bare tokenizer.json. */
static int read_json(const char *path, struct gs_meta **meta, struct gs_err *err)
{
    struct gs_hf_tokenizer in = {.path = path};
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t room = 0;
    ssize_t n = file ? read_all(file, &text, &room) : -1;
    int rc = n < 0 ? gs_fail(err, GS_E_IO, "%s: cannot be read", path) : gs_meta_create(meta, err);

    in.text = text;
    in.n = n < 0 ? 0 : (size_t)n;
    if (rc == GS_OK)
        rc = gs_tokenizer_json_to_meta(&in, *meta, err);
    free(text);
    if (file)
        fclose(file);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct gs_store *store = NULL;
    struct gs_meta *meta = NULL;
    struct gs_tokenizer *t = NULL;
    struct gs_err err = {0};

    gs_set_log(print_log, NULL);
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "usage: tokenize_lines [--special] [--lf] [--whole] [--time] MODEL\n");
        return 2;
    }
    size_t n = strlen(o.path);
    bool json = n > 5 && !strcmp(o.path + n - 5, ".json");
    double start = now();
    int rc = json ? read_json(o.path, &meta, &err) : gs_store_open(o.path, &store, &err);
    double opened = now();
    if (rc == GS_OK)
        rc = gs_tokenizer_create(json ? meta : gs_store_meta(store), o.path, &t, &err);
    if (rc == GS_OK && o.timed)
        fprintf(stderr, "opened in %.1f ms, tokenizer made in %.1f ms\n",
                1e3 * (opened - start), 1e3 * (now() - opened));
    if (rc == GS_OK)
        rc = tokenize(t, &o, &err);
    if (rc < 0)
        fprintf(stderr, "tokenize_lines: %s\n", err.msg);
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&meta);
    gs_store_close(&store);
    return rc < 0;
}
