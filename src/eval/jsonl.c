/* SPDX-License-Identifier: MIT
 * Memory is the longest line; a line may hold any bytes, NUL among them. */
#include "eval/jsonl.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/alloc.h"

#define LINE_MAX_BYTES (64u << 20)

int gs_jsonl_open(struct gs_jsonl *j, const char *path, struct gs_err *err)
{
    *j = (struct gs_jsonl){.path = path, .file = fopen(path, "rb")};
    if (!j->file)
        return gs_fail(err, GS_E_IO, "%s: %s", path, strerror(errno));
    return GS_OK;
}

void gs_jsonl_close(struct gs_jsonl *j)
{
    if (j->file)
        fclose(j->file);
    j->file = NULL;
    gs_free(&j->text);
}

int gs_jsonl_rewind(struct gs_jsonl *j, struct gs_err *err)
{
    if (fseek(j->file, 0, SEEK_SET))
        return gs_fail(err, GS_E_IO, "%s: cannot be read twice: %s", j->path, strerror(errno));
    j->line = 0;
    return GS_OK;
}

int gs_jsonl_fail(const struct gs_jsonl *j, int code, struct gs_err *err)
{
    char prefix[400];

    snprintf(prefix, sizeof prefix, "%s:%" PRIu64, j->path, j->line);
    return gs_err_prefix(err, code, prefix);
}

static bool reserve(struct gs_jsonl *j, size_t size)
{
    if (size < j->capacity)
        return true;
    size_t capacity = j->capacity ? 2 * j->capacity : 4096;
    char *text = gs_realloc(j->text, j->capacity, capacity);
    if (!text)
        return false;
    j->text = text;
    j->capacity = capacity;
    return true;
}

/* Bytes of the next line without its end, or a negative code; *more is false at the end of
 * the file. */
static int64_t read_line(struct gs_jsonl *j, bool *more, struct gs_err *err)
{
    size_t n = 0;
    int c;

    while ((c = getc(j->file)) != EOF && c != '\n') {
        if (n == LINE_MAX_BYTES)
            return gs_fail(err, GS_E_FORMAT, "line %" PRIu64 " is longer than %u bytes",
                           j->line + 1, LINE_MAX_BYTES);
        if (!reserve(j, n))
            return gs_fail_nomem(err, "a line");
        j->text[n++] = (char)c;
    }
    if (ferror(j->file))
        return gs_fail(err, GS_E_IO, "%s", strerror(errno));
    *more = c != EOF || n > 0;
    j->line += *more;
    return (int64_t)n;
}

static bool is_blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\r", text[i]) || !text[i])
            return false;
    return true;
}

int gs_jsonl_next(struct gs_jsonl *j, json_t **out, struct gs_err *err)
{
    char where[400];
    bool more;
    int64_t n;

    do {
        n = read_line(j, &more, err);
        if (n < 0)
            return gs_err_prefix(err, (int)n, j->path);
        if (!more)
            return 0;
    } while (is_blank(j->text, (size_t)n));

    snprintf(where, sizeof where, "%s:%" PRIu64, j->path, j->line);
    int rc = gs_json_parse(j->text, (size_t)n, where, out, err);
    if (rc < 0)
        return rc;
    if (!json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        return gs_fail(err, GS_E_FORMAT, "%s: must be a JSON object", where);
    }
    return 1;
}
