/* SPDX-License-Identifier: MIT
 * WinoGrande and the Winograd schemas: the contexts differ, what follows is the same.
 *
 *     {"context_options": ["… because Sarah", "… because Maria"],
 *      "continuation": "always got the easier cases.", "gold": 1}
 *
 * Only the common continuation is scored ("partial evaluation", Trinh and Le 2018), so the
 * lengths of the names do not matter and both scores are the same. */
#include "eval/task.h"

static bool probe(const json_t *line)
{
    return json_object_get(line, "context_options") && json_object_get(line, "continuation");
}

static int parse(const json_t *line, struct gs_arena *arena, struct gs_task_item *out,
                 struct gs_err *err)
{
    struct gs_str contexts[GS_TASK_OPTIONS_MAX], rest;
    int rc, n;

    if ((n = gs_task_texts(line, "context_options", contexts, err)) < 0)
        return n;
    if ((rc = gs_task_text(line, "continuation", &rest, err)) < 0 ||
        (rc = gs_task_gold(line, (size_t)n, &out->gold, err)) < 0)
        return rc;
    rest = gs_task_trim_start(rest);
    struct gs_str spaced = gs_task_join(arena, GS_STR(""), " ", rest);
    if (!spaced.data)
        return gs_fail_nomem(err, "a task item");
    out->n_options = (size_t)n;
    for (int i = 0; i < n; i++)
        out->options[i] = (struct gs_task_option){gs_task_trim_end(contexts[i]), spaced,
                                                  rest.size};
    return GS_OK;
}

const struct gs_task_kind gs_task_winograd = {
    .name = "winograd", .probe = probe, .parse = parse,
};
