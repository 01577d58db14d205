/* SPDX-License-Identifier: MIT
 * For tests that need a whole model: tiny GGUF files made by tests/tools/make_tiny (which
 * stands beside the test programs), opened, and changed copies of them. */
#ifndef GS_TEST_TINY_H
#define GS_TEST_TINY_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "file/gguf.h"
#include "model/model.h"

static char tiny_tool[512], tiny_folder[300];
static char tiny_variants[64][64]; /* what the tool lists */
static size_t tiny_n_variants;

/* Call first in main. */
static inline void tiny_init(const char *program)
{
    const char *slash = strrchr(program, '/');
    const char *base = getenv("TMPDIR");

    snprintf(tiny_tool, sizeof tiny_tool, "%.*s../tools/make_tiny",
             slash ? (int)(slash - program + 1) : 0, program);
    snprintf(tiny_folder, sizeof tiny_folder, "%.200s/gosset-test-XXXXXX",
             base && *base ? base : "/tmp");
    if (!mkdtemp(tiny_folder))
        abort();

    char command[600];
    snprintf(command, sizeof command, "'%s' --list", tiny_tool);
    FILE *list = popen(command, "r");
    while (list && tiny_n_variants < 64 &&
           fscanf(list, "%63s", tiny_variants[tiny_n_variants]) == 1)
        tiny_n_variants++;
    if (!list || pclose(list) || !tiny_n_variants)
        abort();
}

static inline void tiny_exit(void)
{
    rmdir(tiny_folder);
}

static inline const char *tiny_path(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%.63s.gguf", tiny_folder, name);
    return path;
}

/* Writes the variant's file; its path. */
static inline const char *tiny_make(const char *variant)
{
    int status;
    const char *path = tiny_path(variant);
    pid_t child = fork();

    if (!child) {
        execl(tiny_tool, tiny_tool, variant, path, (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || status)
        fail_msg("%s %s failed", tiny_tool, variant);
    return path;
}

/* A begin token and n - 1 others, which every variant knows. */
static inline void tiny_tokens(int32_t *tokens, int n)
{
    tokens[0] = 1;
    for (int i = 1; i < n; i++)
        tokens[i] = 3 + (7 * i * i + 31 * i) % 315;
}

/* The file is unlinked once it is mapped. */
static inline struct gs_store *tiny_open_file(const char *path)
{
    struct gs_err err = {0};
    struct gs_store *store;

    if (gs_store_open(path, &store, &err))
        fail_msg("%s", err.msg);
    unlink(path);
    return store;
}

static inline struct gs_store *tiny_open(const char *variant)
{
    return tiny_open_file(tiny_make(variant));
}

/* What to change in a copy; returns false to leave the tensor out. `data` (bytes) may be
 * replaced by a block of malloc, which is freed when it is written. */
typedef bool (*tiny_edit_fn)(void *ctx, struct gs_tensor *tensor, const void **data);

/* A copy of `store` with `meta` (NULL: its own), every tensor passed through edit. */
static inline struct gs_store *tiny_copy(struct gs_store *store, const struct gs_meta *meta,
                                         tiny_edit_fn edit, void *ctx)
{
    static struct gs_tensor tensors[256];
    static const void *data[256], *original[256];
    struct gs_err err = {0};
    struct gs_gguf_writer *w;
    size_t n = 0;
    int rc = 0;

    assert_true(gs_store_count(store) < 256);
    for (size_t i = 0; i < gs_store_count(store); i++) {
        tensors[n] = *gs_store_tensor(store, i);
        rc |= gs_store_data(store, gs_store_tensor(store, i), &data[n], &err);
        original[n] = data[n];
        n += edit(ctx, &tensors[n], &data[n]);
    }
    const char *path = tiny_path("copy");
    rc |= gs_gguf_create(path, true, meta ? meta : gs_store_meta(store), tensors, n, &w, &err);
    for (size_t i = 0; i < n && !rc; i++) {
        uint64_t row;
        rc = gs_type_row_bytes(tensors[i].type, tensors[i].dim[0], &row, &err);
        if (!rc)
            rc = gs_gguf_write(w, i, data[i], row * tensors[i].dim[1], &err);
        if (data[i] != original[i])
            free(gs_unconst(data[i]));
    }
    if (rc || gs_gguf_commit(&w, NULL, &err))
        fail_msg("%s", err.msg);
    return tiny_open_file(path);
}

#endif
