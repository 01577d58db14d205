/* SPDX-License-Identifier: MIT
 * LAMBADA: the last word of a passage that needs the whole passage to be guessed
 * (Paperno et al., ACL 2016).
 *
 *     {"context": "… I don't care about", "continuation": "signs"}
 *
 * The word is scored with the space before it, " signs", which is how running text contains
 * it. It is right if each of its tokens is the model's first choice. */
#include "eval/task.h"

static bool probe(const json_t *line)
{
    return json_object_get(line, "context") && json_object_get(line, "continuation");
}

static int parse(const json_t *line, struct gs_arena *arena, struct gs_task_item *out,
                 struct gs_err *err)
{
    struct gs_str context, word;
    int rc;

    if ((rc = gs_task_text(line, "context", &context, err)) < 0 ||
        (rc = gs_task_text(line, "continuation", &word, err)) < 0)
        return rc;
    word = gs_task_trim_start(word);
    struct gs_str spaced = gs_task_join(arena, GS_STR(""), " ", word);
    if (!spaced.data)
        return gs_fail_nomem(err, "a task item");
    out->n_options = 1;
    out->gold = 0;
    out->options[0] = (struct gs_task_option){gs_task_trim_end(context), spaced, word.size};
    return GS_OK;
}

const struct gs_task_kind gs_task_last_word = {
    .name = "last-word", .greedy = true, .probe = probe, .parse = parse,
};
