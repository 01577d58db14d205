/* SPDX-License-Identifier: MIT
 * gosset run: continues a text. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "generation.h"
#include "output.h"
#include "terminal.h"

static int print_result(const struct generation *g, const struct gs_run_stats *stats)
{
    json_t *root = json_object();

    json_put(root, "text", json_text(g->text, g->n));
    json_put(root, "prompt_tokens", json_count(stats->prompt_tokens));
    json_put(root, "tokens", json_count(stats->tokens));
    json_put(root, "ended", json_boolean(stats->ended));
    json_put(root, "prompt_per_second",
             json_number(per_second(stats->prompt_tokens, stats->prompt_seconds)));
    json_put(root, "predicted_per_second",
             json_number(per_second(stats->tokens, stats->predict_seconds)));
    return print_json(root);
}

static int answer(struct generation *g, const char *prompt, size_t n, int flags)
{
    const struct settings *s = g->settings;
    struct gs_run_stats stats = {0};

    if (s->echo && g->stream)
        fwrite(prompt, 1, n, stdout);
    int code = generation_answer(g, prompt, n, flags, s->sampling.seed, &stats);
    if (code == EXIT_FAILED)
        return code;
    if (s->json) {
        int printed = print_result(g, &stats);
        return code ? code : printed;
    }
    putchar('\n');
    if (flush_output())
        generation_note(&stats);
    return code;
}

/* The prompt as a user's message in the model's own chat format. */
static int answer_message(struct generation *g, const char *prompt)
{
    const struct settings *s = g->settings;
    struct gs_chat_message messages[2] = {{"system", s->system}, {"user", prompt}};
    size_t first = s->system ? 0 : 1;
    struct gs_err err = {0};
    char *text = NULL;

    if (gs_chat_format(g->model, messages + first, 2 - first, true, &text, &err))
        return failure(&err);
    int code = answer(g, text, strlen(text), GS_TOKENIZE_BOS | GS_TOKENIZE_SPECIAL);
    gs_text_free(&text);
    return code;
}

static int run(const struct settings *s)
{
    struct generation g = {0};
    char *data = NULL;
    size_t n = 0;
    int code;

    if (!s->prompt == !s->prompt_file)
        return usage_error("run", "give --prompt or --file, one of them");
    if (s->system && !s->chat)
        return usage_error("run", "--system needs --chat");
    if (s->prompt_file && (code = read_input(s->prompt_file, &data, &n)))
        return code;
    const char *prompt = data ? data : s->prompt;
    if (!data)
        n = strlen(prompt);
    if (s->chat && memchr(prompt, 0, n))
        code = failure_text("%s: a message cannot hold a zero byte", s->prompt_file);
    else if (!(code = generation_open(&g, s)))
        code = s->chat ? answer_message(&g, prompt) : answer(&g, prompt, n, GS_TOKENIZE_BOS);
    generation_close(&g);
    free(data);
    return code;
}

static const struct option options[] = {
    {'p', "prompt", "TEXT", "the text to continue", &kind_string,
     offsetof(struct settings, prompt), 0, 0},
    {'f', "file", "FILE", "a file with the text; - is standard input", &kind_string,
     offsetof(struct settings, prompt_file), 0, 0},
    {0, "chat", NULL, "take the text as a message and answer it, by the model's chat format",
     &kind_flag, offsetof(struct settings, chat), 0, 0},
    {'s', "system", "TEXT", "with --chat: instructions for the model", &kind_string,
     offsetof(struct settings, system), 0, 0},
    {0, "echo", NULL, "print the text before its continuation", &kind_flag,
     offsetof(struct settings, echo), 0, 0},
};
static const struct option_group group = {"Prompt", options, COUNT(options)};

const struct command command_run = {
    .name = "run",
    .summary = "continue a text",
    .arguments = "MODEL",
    .details = "Prints the continuation as it comes. A text longer than the context is an error;\n"
               "generation ends where the context is full.\n",
    .examples = "  gosset run model.gguf -p 'Once upon a time' -n 100\n"
                "  gosset run model.gguf --chat -p 'Why is the sky blue?' --temp 0\n"
                "  gosset run model.gguf -f prompt.txt -n 64 --json\n",
    .n_arguments = 1,
    .groups = {&group, &group_sampling, &group_context, &group_compute, &group_output},
    .run = run,
};
