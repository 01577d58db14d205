/* SPDX-License-Identifier: MIT
 * gosset chat: a conversation that keeps its history.
 *
 * The whole conversation is formatted anew for each turn; the session recognises what it has
 * already computed, so only the new part costs. A turn is a line of input; lines that a paste
 * brings at once, and lines ended by a backslash, form one turn. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "generation.h"
#include "output.h"
#include "terminal.h"

#define PASTE_MILLISECONDS 30 /* lines of a paste follow each other faster than typed ones */

struct chat {
    struct generation g;
    struct gs_chat_message *messages; /* contents are ours to free, except the system's */
    size_t n, capacity;
    uint64_t turn;
    bool terminal;
    /* Bytes read ahead of the line in work; stdio would hide them from poll. */
    char ahead[4096];
    size_t ahead_at, ahead_n;
    bool ended;
};

/* ---- history -------------------------------------------------------------------------- */

static bool add_message(struct chat *c, const char *role, const char *content)
{
    if (c->n == c->capacity) {
        size_t capacity = 2 * c->capacity + 8;
        struct gs_chat_message *more = realloc(c->messages, capacity * sizeof *more);
        if (!more)
            return false;
        c->messages = more;
        c->capacity = capacity;
    }
    char *copy = malloc(strlen(content) + 1);
    if (!copy)
        return false;
    strcpy(copy, content);
    c->messages[c->n++] = (struct gs_chat_message){role, copy};
    return true;
}

/* Drops the messages from `keep` on. */
static void forget(struct chat *c, size_t keep)
{
    while (c->n > keep) {
        union { const char *in; void *out; } content = {c->messages[--c->n].content};
        free(content.out);
    }
}

static size_t system_messages(const struct chat *c)
{
    return c->g.settings->system ? 1 : 0;
}

/* ---- input ---------------------------------------------------------------------------- */

/* Next byte of standard input, or -1 at its end or after an interrupt. */
static int next_byte(struct chat *c)
{
    if (c->ahead_at == c->ahead_n) {
        ssize_t got = c->ended ? 0 : read(STDIN_FILENO, c->ahead, sizeof c->ahead);
        c->ahead_at = 0;
        c->ahead_n = got > 0 ? (size_t)got : 0;
        if (got <= 0) {
            c->ended = !(got < 0 && errno == EINTR);
            return -1;
        }
    }
    return (unsigned char)c->ahead[c->ahead_at++];
}

static bool more_at_once(struct chat *c)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};

    if (c->ahead_at < c->ahead_n)
        return true;
    return !c->ended && poll(&in, 1, PASTE_MILLISECONDS) > 0 && (in.revents & POLLIN);
}

/* The next turn as a string for free(), NULL at the end, after an interrupt, or when memory
 * is out. Zero bytes are dropped: a message is a C string. */
static char *read_turn(struct chat *c)
{
    size_t n = 0, capacity = 0;
    char *text = NULL;

    for (;;) {
        int byte = next_byte(c);
        if (n + 2 > capacity) {
            capacity = 2 * capacity + 256;
            char *more = realloc(text, capacity);
            if (!more)
                break;
            text = more;
        }
        if (byte < 0) {
            if (n == 0 || interrupted())
                break;
            text[n] = 0;
            return text;
        }
        if (byte == '\n' && n > 0 && text[n - 1] == '\\') {
            text[n - 1] = '\n'; /* the backslash continues the turn */
            continue;
        }
        if (byte == '\n' && !(c->terminal && more_at_once(c))) {
            text[n] = 0;
            return text;
        }
        if (byte)
            text[n++] = (char)byte;
    }
    free(text);
    return NULL;
}

/* ---- turns ---------------------------------------------------------------------------- */

static int print_turn(const struct chat *c, const struct gs_run_stats *stats)
{
    json_t *root = json_object();

    json_put(root, "role", json_string("assistant"));
    json_put(root, "content", json_text(c->g.text, c->g.n));
    json_put(root, "prompt_tokens", json_count(stats->prompt_tokens));
    json_put(root, "tokens", json_count(stats->tokens));
    json_put(root, "ended", json_boolean(stats->ended));
    json_put(root, "prompt_per_second",
             json_number(per_second(stats->prompt_tokens, stats->prompt_seconds)));
    json_put(root, "predicted_per_second",
             json_number(per_second(stats->tokens, stats->predict_seconds)));
    return print_json(root);
}

/* Answers the conversation so far. */
static int answer(struct chat *c, struct gs_run_stats *stats)
{
    struct gs_err err = {0};
    char *prompt = NULL;

    if (gs_chat_format(c->g.model, c->messages, c->n, true, &prompt, &err))
        return failure(&err);
    int code = generation_answer(&c->g, prompt, strlen(prompt),
                                 GS_TOKENIZE_BOS | GS_TOKENIZE_SPECIAL,
                                 c->g.settings->sampling.seed + c->turn, stats);
    gs_text_free(&prompt);
    return code;
}

/* One turn. At a terminal a failed one is taken back and the conversation goes on, and an
 * interrupt ends only the answer. */
static int take_turn(struct chat *c, const char *text)
{
    struct gs_run_stats stats = {0};
    size_t before = c->n;
    int code = EXIT_FAILED;

    if (!add_message(c, "user", text))
        return failure_text("out of memory for the conversation");
    code = answer(c, &stats);
    if (code == EXIT_FAILED) {
        forget(c, before);
        return c->terminal ? EXIT_OK : code;
    }
    if (code == EXIT_INTERRUPTED && (!c->terminal || !interrupt_taken()))
        return code;
    if (!add_message(c, "assistant", c->g.text))
        return failure_text("out of memory for the conversation");
    c->turn++;
    if (c->g.settings->json)
        return print_turn(c, &stats);
    putchar('\n');
    if (!flush_output())
        return EXIT_FAILED;
    if (c->terminal)
        generation_note(&stats);
    return EXIT_OK;
}

static bool is_word(const char *text, const char *word)
{
    return !strcmp(text, word);
}

/* Handles "/word". True if the text was a command; *bye then tells whether to end. */
static bool take_command(struct chat *c, const char *text, bool *bye)
{
    *bye = is_word(text, "/bye");
    if (*bye)
        return true;
    if (is_word(text, "/reset")) {
        forget(c, system_messages(c));
        note("the conversation starts anew");
        return true;
    }
    if (is_word(text, "/help")) {
        note("/reset  forget the conversation\n/bye    end (or end of input)\n"
             "A line that ends with \\ goes on in the next line.");
        return true;
    }
    return false;
}

static int converse(struct chat *c)
{
    int code = EXIT_OK;
    bool bye = false;

    while (!code && !bye) {
        if (c->terminal)
            fputs("> ", stderr);
        char *text = read_turn(c);
        if (!text)
            break;
        if (*text && !take_command(c, text, &bye))
            code = take_turn(c, text);
        free(text);
    }
    if (!code && interrupted()) {
        fputc('\n', stderr);
        return EXIT_INTERRUPTED;
    }
    return code;
}

static int run(const struct settings *s)
{
    struct chat c = {.terminal = isatty(STDIN_FILENO)};
    int code = generation_open(&c.g, s);

    if (!code && s->system && !add_message(&c, "system", s->system))
        code = failure_text("out of memory for the conversation");
    if (!code && c.terminal)
        note("/help lists what else can be typed; end of input or /bye ends");
    if (!code)
        code = converse(&c);
    forget(&c, 0);
    free(c.messages);
    generation_close(&c.g);
    return code;
}

static const struct option options[] = {
    {'s', "system", "TEXT", "instructions for the model", &kind_string,
     offsetof(struct settings, system), 0, 0},
};
static const struct option_group group = {"Conversation", options, COUNT(options)};

const struct command command_chat = {
    .name = "chat",
    .summary = "talk with a model",
    .arguments = "MODEL",
    .details =
        "Each line is a turn; pasted lines stay together, and a line that ends with \\ goes on\n"
        "in the next one. /help, /reset and /bye are commands; the end of input ends. Where\n"
        "standard input is no terminal, its lines are the turns and answers go to standard\n"
        "output, one after the other. A conversation longer than the context is an error.\n",
    .examples = "  gosset chat model.gguf\n"
                "  gosset chat model.gguf -s 'Answer in one sentence.' --temp 0\n"
                "  gosset chat model.gguf --json < questions.txt\n",
    .n_arguments = 1,
    .groups = {&group, &group_sampling, &group_context, &group_compute, &group_output},
    .run = run,
};
