/* SPDX-License-Identifier: MIT
 * ARC, PIQA, HellaSwag, OpenBookQA, COPA as llm-foundry writes them:
 *
 *     {"query": "Question: …", "choices": ["…", "…"], "gold": 0}
 *
 * A query that begins with "Question:" is continued as "\nAnswer: CHOICE", any other as
 * " CHOICE"; these are the zero-shot prompts of lm-evaluation-harness for these sets. */
#include "eval/task.h"

#include <string.h>

static bool probe(const json_t *line)
{
    return json_object_get(line, "query") && json_object_get(line, "choices");
}

static int parse(const json_t *line, struct gs_arena *arena, struct gs_task_item *out,
                 struct gs_err *err)
{
    static const char question[] = "Question:";
    struct gs_str query, choices[GS_TASK_OPTIONS_MAX];
    int rc, n;

    if ((rc = gs_task_text(line, "query", &query, err)) < 0)
        return rc;
    if ((n = gs_task_texts(line, "choices", choices, err)) < 0)
        return n;
    if ((rc = gs_task_gold(line, (size_t)n, &out->gold, err)) < 0)
        return rc;
    bool asks = query.size >= strlen(question) &&
                !memcmp(query.data, question, strlen(question));
    struct gs_str context = gs_task_join(arena, gs_task_trim_end(query),
                                         asks ? "\nAnswer:" : "", GS_STR(""));
    if (!context.data)
        return gs_fail_nomem(err, "a task item");
    out->n_options = (size_t)n;
    for (int i = 0; i < n; i++) {
        struct gs_str choice = gs_task_trim_start(choices[i]);
        struct gs_str answer = gs_task_join(arena, GS_STR(""), " ", choice);
        if (!answer.data)
            return gs_fail_nomem(err, "a task item");
        out->options[i] = (struct gs_task_option){context, answer, choice.size};
    }
    return GS_OK;
}

const struct gs_task_kind gs_task_multiple_choice = {
    .name = "multiple-choice", .probe = probe, .parse = parse,
};
