/* SPDX-License-Identifier: MIT */
#include "recipe/keep.h"

#include <regex.h>
#include <string.h>

#include "core/alloc.h"
#include "grid/format.h"

struct keep {
    regex_t regex;
    const char *text;
    enum gs_type type;
    bool used;
};

struct gs_keeps {
    size_t n;
    struct keep *list;
};

static bool is_wanted(int type)
{
    return type == GS_TYPE_F32 || type == GS_TYPE_F16 || type == GS_TYPE_BF16 ||
           (type >= 0 && gs_format_find((enum gs_type)type));
}

static int parse(const char *text, struct keep *out, struct gs_err *err)
{
    const char *equals = strrchr(text, '=');
    char message[128], *pattern;
    int type = equals ? gs_type_find(equals + 1) : -1, rc;

    if (!equals || equals == text)
        return gs_fail(err, GS_E_ARG, "%s: should be REGEX=TYPE", text);
    if (!is_wanted(type))
        return gs_fail(err, GS_E_ARG, "%s: there is no type %s to quantize to", text, equals + 1);
    pattern = gs_strndup(text, (size_t)(equals - text));
    if (!pattern)
        return gs_fail_nomem(err, text);
    rc = regcomp(&out->regex, pattern, REG_EXTENDED | REG_NOSUB);
    gs_free(&pattern);
    if (rc) {
        regerror(rc, &out->regex, message, sizeof message);
        return gs_fail(err, GS_E_ARG, "%s: %s", text, message);
    }
    out->text = text;
    out->type = (enum gs_type)type;
    return GS_OK;
}

int gs_keeps_create(const char *const *texts, size_t n, struct gs_keeps **out,
                    struct gs_err *err)
{
    struct gs_keeps *keeps = gs_alloc(1, sizeof *keeps);
    int rc = GS_OK;

    *out = keeps;
    if (keeps)
        keeps->list = gs_alloc(n, sizeof *keeps->list);
    if (!keeps || (n && !keeps->list)) {
        gs_keeps_destroy(out);
        return gs_fail_nomem(err, "types by name");
    }
    for (size_t i = 0; !rc && i < n; i++) {
        rc = parse(texts[i], &keeps->list[i], err);
        keeps->n += rc == GS_OK;
    }
    if (rc)
        gs_keeps_destroy(out);
    return rc;
}

void gs_keeps_destroy(struct gs_keeps **keeps)
{
    if (!*keeps)
        return;
    for (size_t i = 0; i < (*keeps)->n; i++)
        regfree(&(*keeps)->list[i].regex);
    gs_free(&(*keeps)->list);
    gs_free(keeps);
}

int gs_keeps_find(struct gs_keeps *keeps, const char *name)
{
    for (size_t i = 0; keeps && i < keeps->n; i++)
        if (!regexec(&keeps->list[i].regex, name, 0, NULL, 0)) {
            keeps->list[i].used = true;
            return (int)keeps->list[i].type;
        }
    return -1;
}

int gs_keeps_check(const struct gs_keeps *keeps, struct gs_err *err)
{
    for (size_t i = 0; keeps && i < keeps->n; i++)
        if (!keeps->list[i].used)
            return gs_fail(err, GS_E_ARG, "%s: matches no matrix of the model that an earlier "
                           "pattern did not", keeps->list[i].text);
    return GS_OK;
}
