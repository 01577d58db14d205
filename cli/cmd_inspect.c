/* SPDX-License-Identifier: MIT
 * gosset inspect: what is in a model file. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "terminal.h"

#define TYPES_MAX 64

/* Tensors of one type, for the summary. */
struct type_row {
    const char *type;
    uint64_t tensors, bytes;
};

static size_t collect_types(const struct gs_model *model, size_t n_tensors,
                            struct type_row rows[TYPES_MAX])
{
    struct gs_tensor_info t;
    size_t n = 0;

    for (size_t i = 0; i < n_tensors; i++) {
        size_t r = 0;
        if (gs_model_tensor(model, i, &t, NULL))
            break;
        while (r < n && strcmp(rows[r].type, t.type))
            r++;
        if (r == TYPES_MAX)
            continue;
        if (r == n)
            rows[n++] = (struct type_row){.type = t.type};
        rows[r].tensors++;
        rows[r].bytes += t.bytes;
    }
    return n;
}

static void print_field(const char *name, const char *text)
{
    printf("%-12s", name);
    print_clean(*text ? text : "-");
    putchar('\n');
}

static void print_summary(const struct gs_model *model, const struct gs_model_info *info)
{
    struct gs_err why = {0};
    char size[32], count[32], text[sizeof why.msg + 8];

    print_field("name", info->name);
    print_field("arch", info->arch);
    print_field("format", info->format);
    format_count(info->parameters, count, sizeof count);
    printf("%-12s%s (%" PRIu64 ")\n", "parameters", count, info->parameters);
    format_bytes(info->bytes, size, sizeof size);
    printf("%-12s%s (%" PRIu64 " bytes), %.3f bits per weight\n", "size", size, info->bytes,
           info->bpw);
    snprintf(text, sizeof text,
             "%" PRIu32 " layers, embedding %" PRIu32 ", heads %" PRIu32 " (%" PRIu32
             " for keys and values), vocabulary %" PRIu32 ", context %" PRIu32,
             info->n_layer, info->n_embd, info->n_head, info->n_head_kv, info->n_vocab,
             info->n_ctx_train);
    print_field("shape", info->n_layer ? text : "");
    bool runs = gs_model_runnable(model, &why) == GS_OK;
    snprintf(text, sizeof text, runs ? "yes" : "no: %s", why.msg);
    print_field("runs", text);
}

/* Names of codebooks are longer than those of types. */
static int type_width(const struct type_row *rows, size_t n)
{
    size_t width = 10;

    for (size_t i = 0; i < n; i++)
        width = strlen(rows[i].type) > width ? strlen(rows[i].type) : width;
    return (int)width;
}

static void print_types(const struct gs_model *model, const struct gs_model_info *info)
{
    struct type_row rows[TYPES_MAX];
    size_t n = collect_types(model, info->n_tensors, rows);
    int width = type_width(rows, n);
    char size[32];

    printf("\n%-*s %8s %12s %8s\n", width, "type", "tensors", "size", "share");
    for (size_t i = 0; i < n; i++) {
        format_bytes(rows[i].bytes, size, sizeof size);
        printf("%-*s %8" PRIu64 " %12s %7.2f%%\n", width, rows[i].type, rows[i].tensors, size,
               info->bytes ? 100.0 * (double)rows[i].bytes / (double)info->bytes : 0);
    }
    format_bytes(info->bytes, size, sizeof size);
    printf("%-*s %8zu %12s\n", width, "all", info->n_tensors, size);
}

/* "576 x 49152", innermost first as in the file */
static void format_shape(const struct gs_tensor_info *t, char *out, size_t size)
{
    size_t used = 0;

    *out = 0;
    for (uint32_t d = 0; d < t->n_dims && used < size; d++)
        used += (size_t)snprintf(out + used, size - used, "%s%" PRIu64, d ? " x " : "",
                                 t->shape[d]);
}

static int print_tensors(const struct gs_model *model, size_t n, struct gs_err *err)
{
    struct gs_tensor_info t;
    char shape[96];
    int rc;

    printf("\n%-10s %16s %14s  %s\n", "type", "shape", "bytes", "tensor");
    for (size_t i = 0; i < n; i++) {
        if ((rc = gs_model_tensor(model, i, &t, err)))
            return rc;
        format_shape(&t, shape, sizeof shape);
        printf("%-10s %16s %14" PRIu64 "  ", t.type, shape, t.bytes);
        print_clean(t.name);
        putchar('\n');
    }
    return GS_OK;
}

static int print_meta(struct gs_model *model, size_t n, struct gs_err *err)
{
    const char *key, *type, *value;
    int rc;

    printf("\n%-44s %-16s %s\n", "key", "type", "value");
    for (size_t i = 0; i < n; i++) {
        if ((rc = gs_model_meta(model, i, &key, &type, &value, err)))
            return rc;
        char *clean_key = clean_text(key, strlen(key), false);
        printf("%-44s %-16s ", clean_key ? clean_key : "?", type);
        free(clean_key);
        print_clean(value);
        putchar('\n');
    }
    return GS_OK;
}

static int add_tensors(json_t *root, const struct gs_model *model, size_t n, struct gs_err *err)
{
    struct gs_tensor_info t;
    json_t *list = json_array();
    int rc = GS_OK;

    for (size_t i = 0; i < n && !(rc = gs_model_tensor(model, i, &t, err)); i++) {
        json_t *row = json_object(), *shape = json_array();
        for (uint32_t d = 0; d < t.n_dims; d++)
            json_add(shape, json_count(t.shape[d]));
        json_put(row, "name", json_text(t.name, strlen(t.name)));
        json_put(row, "type", json_string(t.type));
        json_put(row, "shape", shape);
        json_put(row, "bytes", json_count(t.bytes));
        json_add(list, row);
    }
    json_put(root, "tensors", list);
    return rc;
}

static int add_meta(json_t *root, struct gs_model *model, size_t n, struct gs_err *err)
{
    const char *key, *type, *value;
    json_t *list = json_array();
    int rc = GS_OK;

    for (size_t i = 0; i < n && !(rc = gs_model_meta(model, i, &key, &type, &value, err)); i++) {
        json_t *row = json_object();
        json_put(row, "key", json_text(key, strlen(key)));
        json_put(row, "type", json_string(type));
        json_put(row, "value", json_text(value, strlen(value)));
        json_add(list, row);
    }
    json_put(root, "meta", list);
    return rc;
}

static void add_summary(json_t *root, const struct gs_model *model,
                        const struct gs_model_info *info)
{
    struct type_row rows[TYPES_MAX];
    size_t n = collect_types(model, info->n_tensors, rows);
    json_t *types = json_object();
    struct gs_err why = {0};

    json_put(root, "arch", json_text(info->arch, strlen(info->arch)));
    json_put(root, "name", json_text(info->name, strlen(info->name)));
    json_put(root, "format", json_string(info->format));
    json_put(root, "parameters", json_count(info->parameters));
    json_put(root, "bytes", json_count(info->bytes));
    json_put(root, "bpw", json_number(info->bpw));
    json_put(root, "n_layer", json_count(info->n_layer));
    json_put(root, "n_embd", json_count(info->n_embd));
    json_put(root, "n_head", json_count(info->n_head));
    json_put(root, "n_head_kv", json_count(info->n_head_kv));
    json_put(root, "n_vocab", json_count(info->n_vocab));
    json_put(root, "n_ctx_train", json_count(info->n_ctx_train));
    json_put(root, "tokenizer", json_boolean(info->has_tokenizer));
    json_put(root, "runnable", json_boolean(gs_model_runnable(model, &why) == GS_OK));
    for (size_t i = 0; i < n; i++) {
        json_t *row = json_object();
        json_put(row, "tensors", json_count(rows[i].tensors));
        json_put(row, "bytes", json_count(rows[i].bytes));
        json_put(types, rows[i].type, row);
    }
    json_put(root, "types", types);
}

static int show(struct gs_model *model, const struct settings *s, struct gs_err *err)
{
    struct gs_model_info info;
    int rc = GS_OK;

    gs_model_info(model, &info);
    if (s->json) {
        json_t *root = json_object();
        add_summary(root, model, &info);
        rc = add_tensors(root, model, info.n_tensors, err);
        if (!rc && s->meta)
            rc = add_meta(root, model, info.n_meta, err);
        if (rc) {
            json_decref(root);
            return failure(err);
        }
        return print_json(root);
    }
    print_summary(model, &info);
    print_types(model, &info);
    if (s->meta)
        rc = print_meta(model, info.n_meta, err);
    if (!rc && s->tensors)
        rc = print_tensors(model, info.n_tensors, err);
    return rc ? failure(err) : EXIT_OK;
}

static int run(const struct settings *s)
{
    struct gs_model *model = NULL;
    struct gs_err err = {0};
    int code;

    if (gs_model_open(s->argument[0], &model, &err))
        return failure(&err);
    code = show(model, s, &err);
    gs_model_close(&model);
    return code;
}

static const struct option options[] = {
    {0, "tensors", NULL, "list every tensor", &kind_flag, offsetof(struct settings, tensors), 0,
     0},
    {0, "meta", NULL, "list the metadata", &kind_flag, offsetof(struct settings, meta), 0, 0},
};
static const struct option_group group = {"Inspecting", options, COUNT(options)};

const struct command command_inspect = {
    .name = "inspect",
    .summary = "what is in a model file",
    .arguments = "MODEL",
    .details = "Works on every GGUF and safetensors file, also those that gosset cannot run.\n",
    .examples = "  gosset inspect model.gguf --tensors\n"
                "  gosset inspect ./Qwen3-8B --json\n",
    .n_arguments = 1,
    .groups = {&group, &group_output},
    .run = run,
};
