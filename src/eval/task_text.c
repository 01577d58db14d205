/* SPDX-License-Identifier: MIT
 * What the kinds of tasks share: typed members of a line, and joining of texts. */
#include "eval/task.h"

#include <inttypes.h>
#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct gs_str gs_task_trim_end(struct gs_str s)
{
    while (s.size && is_space(s.data[s.size - 1]))
        s.size--;
    return s;
}

struct gs_str gs_task_trim_start(struct gs_str s)
{
    while (s.size && is_space(s.data[0])) {
        s.data++;
        s.size--;
    }
    return s;
}

struct gs_str gs_task_join(struct gs_arena *arena, struct gs_str a, const char *glue,
                           struct gs_str b)
{
    size_t n = strlen(glue), size = a.size + n + b.size;
    char *text = gs_arena_alloc(arena, size + 1, 1);

    if (!text)
        return (struct gs_str){NULL, 0};
    memcpy(text, a.data, a.size);
    memcpy(text + a.size, glue, n);
    memcpy(text + a.size + n, b.data, b.size);
    return (struct gs_str){text, size};
}

/* GS_OK and the string if it is one that is not blank. */
static bool get_text(const json_t *value, struct gs_str *out)
{
    if (!json_is_string(value))
        return false;
    *out = (struct gs_str){json_string_value(value), json_string_length(value)};
    return gs_task_trim_start(*out).size > 0;
}

int gs_task_text(const json_t *line, const char *key, struct gs_str *out, struct gs_err *err)
{
    if (!get_text(json_object_get(line, key), out))
        return gs_fail(err, GS_E_FORMAT, "\"%s\" must be a string that is not blank", key);
    return GS_OK;
}

int gs_task_texts(const json_t *line, const char *key, struct gs_str *out, struct gs_err *err)
{
    const json_t *array = json_object_get(line, key);
    size_t n = json_array_size(array);

    if (n < 2 || n > GS_TASK_OPTIONS_MAX)
        return gs_fail(err, GS_E_FORMAT, "\"%s\" must be an array of 2 to %d strings", key,
                       GS_TASK_OPTIONS_MAX);
    for (size_t i = 0; i < n; i++)
        if (!get_text(json_array_get(array, i), &out[i]))
            return gs_fail(err, GS_E_FORMAT,
                           "\"%s\": element %zu must be a string that is not blank", key, i);
    return (int)n;
}

int gs_task_gold(const json_t *line, size_t count, size_t *out, struct gs_err *err)
{
    uint64_t gold;
    int rc = gs_json_get_uint(line, "gold", &gold, err);

    if (rc < 0)
        return rc;
    if (!rc || gold >= count)
        return gs_fail(err, GS_E_FORMAT, "\"gold\" must be an index below %zu", count);
    *out = (size_t)gold;
    return GS_OK;
}
