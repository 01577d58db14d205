/* SPDX-License-Identifier: MIT
 * A session and the text that it produces, for run and chat. */
#ifndef CLI_GENERATION_H
#define CLI_GENERATION_H

#include <gosset.h>

#include "options.h"

struct generation {
    const struct settings *settings;
    struct gs_model *model;
    struct gs_session *session;
    bool stream; /* show text as it comes */
    bool out_of_memory;
    char *text; /* the last answer, n bytes and a NUL */
    size_t n, capacity;
};

/* Opens the model and a session. Each returns an exit code, after a message if not EXIT_OK. */
int generation_open(struct generation *g, const struct settings *settings);
void generation_close(struct generation *g);

/* Makes the model's network by --bits and --memory, for sessions with these options. */
int load_model(struct gs_model *model, const struct settings *settings,
               const struct gs_session_options *session, struct gs_err *err);

/* Answers a prompt that stands for the whole conversation: what the session has already seen
 * of it is not computed again. The answer is in g->text. EXIT_INTERRUPTED keeps what was
 * generated. */
int generation_answer(struct generation *g, const char *prompt, size_t n, int flags,
                      uint64_t seed, struct gs_run_stats *stats);

/* "prompt 12 tokens, 340.1/s; 128 tokens, 45.2/s" as a note. */
void generation_note(const struct gs_run_stats *stats);

/* Tokens per second, 0 where nothing was timed. */
double per_second(uint64_t tokens, double seconds);

#endif
