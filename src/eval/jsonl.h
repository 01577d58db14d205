/* SPDX-License-Identifier: MIT
 * A file of JSON objects, one a line. */
#ifndef GS_EVAL_JSONL_H
#define GS_EVAL_JSONL_H

#include <stdio.h>

#include "core/json.h"

struct gs_jsonl {
    FILE *file;
    const char *path;     /* borrowed */
    uint64_t line;        /* number of the last line read, from 1 */
    char *text;           /* that line */
    size_t capacity;
};

int gs_jsonl_open(struct gs_jsonl *j, const char *path, struct gs_err *err) GS_MUST_USE;
void gs_jsonl_close(struct gs_jsonl *j);

/* Begins anew. GS_E_IO if the file can't be read twice (a pipe). */
int gs_jsonl_rewind(struct gs_jsonl *j, struct gs_err *err) GS_MUST_USE;

/* The next object: 1 and *out, to be released with json_decref; 0 at the end of the file.
 * Blank lines are skipped. Messages begin with "PATH:LINE: ". */
int gs_jsonl_next(struct gs_jsonl *j, json_t **out, struct gs_err *err) GS_MUST_USE;

/* Puts "PATH:LINE: " before the message. */
int gs_jsonl_fail(const struct gs_jsonl *j, int code, struct gs_err *err);

#endif
