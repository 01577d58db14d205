/* SPDX-License-Identifier: MIT */
#include "core/json.h"

int gs_json_parse(const char *text, size_t n, const char *where, json_t **out,
                  struct gs_err *err)
{
    json_error_t e;

    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    if (*out)
        return GS_OK;
    if (json_error_code(&e) == json_error_out_of_memory)
        return gs_fail_nomem(err, where);
    return gs_fail_at(err, GS_E_FORMAT, e.position > 0 ? (uint64_t)e.position : 0,
                      "%s: line %d, column %d: not valid JSON: %s", where, e.line, e.column,
                      e.text);
}

static json_t *member(const json_t *object, const char *key)
{
    json_t *v = json_object_get(object, key);
    return json_is_null(v) ? NULL : v;
}

static int wrong_kind(const char *key, const char *want, struct gs_err *err)
{
    return gs_fail(err, GS_E_FORMAT, "\"%s\" must be %s", key, want);
}

int gs_json_get_uint(const json_t *object, const char *key, uint64_t *out, struct gs_err *err)
{
    const json_t *v = member(object, key);

    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return wrong_kind(key, "a non-negative integer", err);
    *out = (uint64_t)json_integer_value(v);
    return 1;
}

int gs_json_get_float(const json_t *object, const char *key, double *out, struct gs_err *err)
{
    const json_t *v = member(object, key);

    if (!v)
        return 0;
    if (!json_is_number(v))
        return wrong_kind(key, "a number", err);
    *out = json_number_value(v);
    return 1;
}

int gs_json_get_bool(const json_t *object, const char *key, bool *out, struct gs_err *err)
{
    const json_t *v = member(object, key);

    if (!v)
        return 0;
    if (!json_is_boolean(v))
        return wrong_kind(key, "true or false", err);
    *out = json_is_true(v);
    return 1;
}

int gs_json_get_str(const json_t *object, const char *key, const char **out,
                    struct gs_err *err)
{
    const json_t *v = member(object, key);

    if (!v)
        return 0;
    if (!json_is_string(v))
        return wrong_kind(key, "a string", err);
    *out = json_string_value(v);
    return 1;
}
