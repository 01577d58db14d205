/* SPDX-License-Identifier: MIT
 * Tasks: items of a JSONL file, each a few texts whose likelihoods decide.
 *
 * A kind turns a line into (context, continuation) options; the scorer in task.c knows no
 * kinds. New kind: one file, one line in the list in task.c. */
#ifndef GS_EVAL_TASK_H
#define GS_EVAL_TASK_H

#include "core/arena.h"
#include "core/json.h"
#include "core/meta.h"

#define GS_TASK_OPTIONS_MAX 64

struct gs_task_option {
    struct gs_str context, continuation; /* read as one text, the second part is scored */
    size_t answer_bytes;                 /* > 0: what length-normalised scores divide by */
};

struct gs_task_item {
    size_t n_options; /* 1 … GS_TASK_OPTIONS_MAX */
    struct gs_task_option options[GS_TASK_OPTIONS_MAX];
    size_t gold;      /* < n_options */
};

struct gs_task_kind {
    const char *name;
    /* One option: right if every token of it is the model's first choice. Else: right if
     * the gold option is the likeliest. */
    bool greedy;
    /* True if the members of the object are those of this kind. */
    bool (*probe)(const json_t *line);
    /* Texts are borrowed from the line or made in the arena; the message names the member
     * and its rule. */
    int (*parse)(const json_t *line, struct gs_arena *arena, struct gs_task_item *out,
                 struct gs_err *err);
};

extern const struct gs_task_kind gs_task_multiple_choice, gs_task_last_word, gs_task_winograd;

/* For kinds. A member that must be a string that is not blank. */
int gs_task_text(const json_t *line, const char *key, struct gs_str *out, struct gs_err *err)
    GS_MUST_USE;
/* The member `key`: an array of 2 … GS_TASK_OPTIONS_MAX strings that are not blank, one an
 * option into out; returns their number. */
int gs_task_texts(const json_t *line, const char *key, struct gs_str *out, struct gs_err *err)
    GS_MUST_USE;
/* The member "gold", an index below `count`. */
int gs_task_gold(const json_t *line, size_t count, size_t *out, struct gs_err *err) GS_MUST_USE;

/* Without white space at the end (context) or the beginning (continuation). */
struct gs_str gs_task_trim_end(struct gs_str s);
struct gs_str gs_task_trim_start(struct gs_str s);

/* a, glue and b in one text of the arena; data NULL if out of memory. */
struct gs_str gs_task_join(struct gs_arena *arena, struct gs_str a, const char *glue,
                           struct gs_str b);

#endif
