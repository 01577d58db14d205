/* SPDX-License-Identifier: MIT
 * gosset tokenize: text to tokens, one line per piece of text. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "terminal.h"

/* The next piece of [*at, end): up to the next line equal to `line`, whose preceding newline
 * is part of the cut. NULL when nothing is left. */
static const char *next_piece(const char **at, const char *end, const char *line, size_t *n)
{
    size_t length = strlen(line);
    const char *start = *at;

    if (start >= end)
        return NULL;
    for (const char *p = start; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *stop = newline ? newline : end;
        if ((size_t)(stop - p) == length && !memcmp(p, line, length)) {
            *n = p > start ? (size_t)(p - start) - 1 : 0;
            *at = newline ? newline + 1 : end;
            return start;
        }
        p = newline ? newline + 1 : end;
    }
    *n = (size_t)(end - start);
    *at = end;
    return start;
}

static void print_ids(const int32_t *tokens, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        printf("%s%" PRId32, i ? " " : "", tokens[i]);
    putchar('\n');
}

/* The bytes of a token for free(), or NULL. */
static char *token_text(const struct gs_model *model, int32_t token, size_t *n)
{
    int64_t size = gs_token_bytes(model, token, true, NULL, 0);
    char *text = malloc(size > 0 ? (size_t)size + 1 : 1);

    *n = 0;
    if (text && size > 0)
        *n = (size_t)gs_token_bytes(model, token, true, text, (size_t)size);
    return text;
}

/* The token's text in quotes; its bytes as \xNN where they are not whole characters. */
static void print_quoted(const char *text, size_t n)
{
    char *clean = clean_text(text, n, true);
    bool whole = clean && strlen(clean) == n && !memcmp(clean, text, n);

    putchar('\'');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n')
            fputs("\\n", stdout);
        else if (c == '\\' || c == '\'')
            printf("\\%c", c);
        else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !whole))
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    putchar('\'');
    free(clean);
}

static void print_readable(const struct gs_model *model, const int32_t *tokens, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        size_t size;
        char *text = token_text(model, tokens[i], &size);
        printf("%s%" PRId32, i ? " " : "", tokens[i]);
        print_quoted(text ? text : "", size);
        free(text);
    }
    putchar('\n');
}

static json_t *piece_json(const struct gs_model *model, const int32_t *tokens, int64_t n,
                          bool only_ids)
{
    json_t *piece = json_object(), *ids = json_array(), *texts = json_array();

    for (int64_t i = 0; i < n; i++) {
        json_add(ids, json_integer(tokens[i]));
        if (!only_ids) {
            size_t size;
            char *text = token_text(model, tokens[i], &size);
            json_add(texts, text ? json_text(text, size) : NULL);
            free(text);
        }
    }
    json_put(piece, "ids", ids);
    if (only_ids)
        json_decref(texts);
    else
        json_put(piece, "texts", texts);
    return piece;
}

static int show_piece(const struct gs_model *model, const struct settings *s, const char *text,
                      size_t n)
{
    int flags = (s->bos ? GS_TOKENIZE_BOS : 0) | (s->special ? GS_TOKENIZE_SPECIAL : 0);
    int32_t *tokens = NULL;
    struct gs_err err = {0};
    int code = EXIT_OK;
    int64_t count = gs_tokenize(model, text, n, flags, &tokens, &err);

    if (count < 0)
        code = failure(&err);
    else if (s->json)
        code = print_json(piece_json(model, tokens, count, s->ids));
    else if (s->ids)
        print_ids(tokens, count);
    else
        print_readable(model, tokens, count);
    gs_tokens_free(&tokens);
    return code;
}

static int show_pieces(const struct gs_model *model, const struct settings *s, const char *text,
                       size_t n)
{
    const char *at = text, *end = text + n, *piece;
    size_t size;
    int code = EXIT_OK;

    if (!s->split)
        return show_piece(model, s, text, n);
    while (!code && (piece = next_piece(&at, end, s->split, &size))) {
        if (interrupted())
            return EXIT_INTERRUPTED;
        code = show_piece(model, s, piece, size);
    }
    return code;
}

static int run(const struct settings *s)
{
    struct gs_model *model = NULL;
    struct gs_err err = {0};
    char *data = NULL;
    size_t n = 0;
    int code = EXIT_FAILED;

    if (!s->text == !s->file)
        return usage_error("tokenize", "give --text or --file, one of them");
    if (s->split && !s->file)
        return usage_error("tokenize", "--split needs --file");
    if (s->file && (code = read_input(s->file, &data, &n)))
        return code;
    if (gs_model_open(s->argument[0], &model, &err))
        code = failure(&err);
    else
        code = show_pieces(model, s, data ? data : s->text, data ? n : strlen(s->text));
    gs_model_close(&model);
    free(data);
    return code;
}

static const struct option options[] = {
    {'p', "text", "TEXT", "the text", &kind_string, offsetof(struct settings, text), 0, 0},
    {'f', "file", "FILE", "a file with the text; - is standard input", &kind_string,
     offsetof(struct settings, file), 0, 0},
    {0, "split", "LINE", "cut the file at lines equal to LINE; one line of output a piece",
     &kind_string, offsetof(struct settings, split), 0, 0},
    {0, "ids", NULL, "print only the numbers", &kind_flag, offsetof(struct settings, ids), 0, 0},
    {0, "bos", NULL, "add the tokens that the model wants at begin and end", &kind_flag,
     offsetof(struct settings, bos), 0, 0},
    {0, "special", NULL, "text such as <|im_end|> becomes its control token", &kind_flag,
     offsetof(struct settings, special), 0, 0},
};
static const struct option_group group = {"Text", options, COUNT(options)};

const struct command command_tokenize = {
    .name = "tokenize",
    .summary = "text to tokens",
    .arguments = "MODEL",
    .details = "Prints each token as its number and its text in quotes.\n",
    .examples = "  gosset tokenize model.gguf --text 'Hello world'\n"
                "  gosset tokenize model.gguf --file book.txt --ids\n"
                "  gosset tokenize model.gguf --file tests.inp --split '---' --ids\n",
    .n_arguments = 1,
    .groups = {&group, &group_output},
    .run = run,
};
