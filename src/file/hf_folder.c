/* SPDX-License-Identifier: MIT
 * A Hugging Face folder as a store: which files there are, and what is said when the folder
 * is not a model in safetensors.
 *
 *   config.json                       required
 *   model.safetensors.index.json      weight_map: tensor -> file beside it, or
 *   model.safetensors                 all tensors
 *   tokenizer.json, tokenizer_config.json, generation_config.json, chat_template.jinja */
#include "file/hf_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"

#define INDEX "model.safetensors.index.json"

static char *join(struct gs_store *store, const char *folder, const char *name)
{
    size_t n = strlen(folder), m = strlen(name);
    char *path = gs_arena_alloc(gs_store_arena(store), n + m + 2, 1);

    if (path)
        snprintf(path, n + m + 2, "%s/%s", folder, name);
    return path;
}

static bool has(const struct gs_hf *hf, const char *name)
{
    char *path = join(hf->store, hf->folder, name);
    return path && !access(path, F_OK);
}

/* *out stays NULL if there is no such file. */
static int open_text(struct gs_hf *hf, const char *name, const struct gs_map **out,
                     struct gs_err *err)
{
    struct gs_map *map;
    char *path = join(hf->store, hf->folder, name);

    if (!path)
        return gs_fail_nomem(err, name);
    if (access(path, F_OK))
        return GS_OK;
    int rc = gs_map_open(path, &map, err);
    *out = map;
    return rc;
}

/* ---- weights -------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct gs_st_tensor *)a)->name, ((const struct gs_st_tensor *)b)->name);
}

static int find_name(const void *key, const void *t)
{
    return strcmp(key, ((const struct gs_st_tensor *)t)->name);
}

/* A plain file name: nothing that leaves the folder. */
static bool is_plain(const char *name)
{
    return *name && *name != '.' && !strchr(name, '/') && !strchr(name, '\\');
}

static int read_weights(struct gs_hf *hf, const char *name, struct gs_err *err)
{
    const struct gs_map *map;
    char *path = join(hf->store, hf->folder, name);

    if (!path)
        return gs_fail_nomem(err, name);
    int rc = gs_store_map(hf->store, path, &map, err);
    return rc ? rc : gs_st_read(map, &hf->st, NULL, err);
}

/* Reads each file that the map names, once. `seen` is a set of names. */
static int read_shards(struct gs_hf *hf, const json_t *weight_map, json_t *seen,
                       struct gs_err *err)
{
    const char *tensor;
    json_t *file;

    json_object_foreach((json_t *)gs_unconst(weight_map), tensor, file) {
        const char *name = json_string_value(file);
        if (!name || !is_plain(name))
            return gs_fail(err, GS_E_FORMAT, "%s/" INDEX ": tensor %.96s is said to be in "
                           "\"%.96s\", which is no file of this folder", hf->folder, tensor,
                           name ? name : "(not a string)");
        if (json_object_get(seen, name))
            continue;
        if (json_object_set_new(seen, name, json_true()))
            return gs_fail_nomem(err, INDEX);
        int rc = read_weights(hf, name, err);
        if (rc)
            return rc;
    }
    return GS_OK;
}

/* Each tensor is where the index says, and in one file only. */
static int check_index(const struct gs_hf *hf, const json_t *weight_map, struct gs_err *err)
{
    const char *name;
    json_t *file;
    struct gs_st_tensor *sorted = gs_alloc(hf->st.count, sizeof *sorted);
    int rc = sorted ? GS_OK : gs_fail_nomem(err, INDEX);

    if (sorted && hf->st.count) {
        memcpy(sorted, hf->st.tensors, hf->st.count * sizeof *sorted);
        qsort(sorted, hf->st.count, sizeof *sorted, compare_names);
    }
    for (size_t i = 1; !rc && i < hf->st.count; i++)
        if (!strcmp(sorted[i].name, sorted[i - 1].name))
            rc = gs_fail(err, GS_E_FORMAT, "%s: tensor %.96s is also in %s",
                         sorted[i].map->path, sorted[i].name, sorted[i - 1].map->path);
    json_object_foreach((json_t *)gs_unconst(weight_map), name, file) {
        if (rc)
            break;
        const struct gs_st_tensor *t = bsearch(name, sorted, hf->st.count, sizeof *sorted,
                                               find_name);
        const char *slash = t ? strrchr(t->map->path, '/') : NULL;
        if (!slash || strcmp(slash + 1, json_string_value(file)))
            rc = gs_fail(err, GS_E_FORMAT, "%s/" INDEX ": %s has no tensor %.96s", hf->folder,
                         json_string_value(file), name);
    }
    gs_free(&sorted);
    return rc;
}

static int read_index(struct gs_hf *hf, struct gs_err *err)
{
    const struct gs_map *text = NULL;
    json_t *index = NULL, *seen = json_object();

    int rc = open_text(hf, INDEX, &text, err);
    if (!rc && !seen)
        rc = gs_fail_nomem(err, INDEX);
    if (!rc)
        rc = gs_json_parse((const char *)text->data, text->size, text->path, &index, err);
    const json_t *weight_map = json_object_get(index, "weight_map");
    if (!rc && !json_object_size(weight_map))
        rc = gs_fail(err, GS_E_FORMAT, "%s: \"weight_map\" is missing or empty", text->path);
    if (!rc)
        rc = read_shards(hf, weight_map, seen, err);
    if (!rc)
        rc = check_index(hf, weight_map, err);
    json_decref(index);
    json_decref(seen);
    struct gs_map *map = gs_unconst(text);
    gs_map_close(&map);
    return rc;
}

static int find_weights(struct gs_hf *hf, struct gs_err *err)
{
    static const struct {
        const char *name, *what;
    } others[] = {
        {"adapter_model.safetensors", "a LoRA adapter; merge it into its base model first"},
        {"pytorch_model.bin", "only PyTorch weights; save the model as safetensors first"},
        {"pytorch_model.bin.index.json",
         "only PyTorch weights; save the model as safetensors first"},
        {"consolidated.safetensors",
         "weights in Mistral's own layout; the Hugging Face layout is needed"},
        {"consolidated.00.pth", "only PyTorch weights; the Hugging Face layout is needed"},
        {"tf_model.h5", "only TensorFlow weights; save the model as safetensors first"},
    };

    if (has(hf, INDEX))
        return read_index(hf, err);
    if (has(hf, "model.safetensors"))
        return read_weights(hf, "model.safetensors", err);
    for (size_t i = 0; i < GS_COUNT(others); i++)
        if (has(hf, others[i].name))
            return gs_fail(err, GS_E_UNSUPPORTED, "%s: %s", hf->folder, others[i].what);
    return gs_fail(err, GS_E_FORMAT, "%s: neither model.safetensors nor " INDEX, hf->folder);
}

/* ---- the folder ------------------------------------------------------------------------------ */

static int open_texts(struct gs_hf *hf, struct gs_err *err)
{
    const struct {
        const char *name;
        const struct gs_map **out;
    } texts[] = {
        {"config.json", &hf->config_text},
        {"tokenizer.json", &hf->tokenizer_text},
        {"tokenizer_config.json", &hf->tokenizer_config_text},
        {"generation_config.json", &hf->generation_text},
        {"chat_template.jinja", &hf->template_text},
    };
    int rc = GS_OK;

    for (size_t i = 0; !rc && i < GS_COUNT(texts); i++)
        rc = open_text(hf, texts[i].name, texts[i].out, err);
    if (!rc && !hf->config_text)
        rc = gs_fail(err, has(hf, "adapter_config.json") ? GS_E_UNSUPPORTED : GS_E_FORMAT,
                     "%s: %s", hf->folder,
                     has(hf, "adapter_config.json")
                         ? "a LoRA adapter; merge it into its base model first"
                         : "no config.json: not a Hugging Face model folder");
    if (!rc && !hf->tokenizer_text && has(hf, "tokenizer.model"))
        rc = gs_fail(err, GS_E_UNSUPPORTED, "%s: tokenizer.model without tokenizer.json: save the "
                     "tokenizer as a fast tokenizer first", hf->folder);
    return rc;
}

static void close_texts(struct gs_hf *hf)
{
    const struct gs_map *texts[] = {hf->config_text, hf->tokenizer_text,
                                    hf->tokenizer_config_text, hf->generation_text,
                                    hf->template_text};

    for (size_t i = 0; i < GS_COUNT(texts); i++) {
        struct gs_map *map = gs_unconst(texts[i]);
        gs_map_close(&map);
    }
}

int gs_hf_fill(struct gs_hf *hf, struct gs_err *err)
{
    int rc = gs_hf_config_read(hf, err);
    if (!rc)
        rc = gs_hf_config_write(hf, err);
    if (!rc && !hf->n_vocab)
        hf->n_vocab = gs_hf_embedding_rows(hf); /* a config.json that does not say */
    if (!rc)
        rc = gs_hf_tokenizer_write(hf, err);
    if (!rc && hf->arch->extra_tensors)
        rc = hf->arch->extra_tensors(hf, err);
    return rc ? rc : gs_hf_tensors_add(hf, err);
}

void gs_hf_clear(struct gs_hf *hf)
{
    json_decref(hf->config);
    hf->config = NULL;
    gs_st_clear(&hf->st);
}

static bool probe(const char *path, const struct gs_map *map)
{
    size_t n = strlen(path), m = sizeof INDEX - 1;
    return !map || (n > m && path[n - m - 1] == '/' && !strcmp(path + n - m, INDEX));
}

static int open_folder(struct gs_store *store, const char *path, const struct gs_map *map,
                       struct gs_err *err)
{
    struct gs_hf hf = {.store = store};
    size_t n = strlen(path);

    if (map) /* the index was named: its folder is meant */
        n -= sizeof INDEX;
    while (!map && n > 1 && path[n - 1] == '/')
        n--;
    hf.folder = gs_arena_strndup(gs_store_arena(store), path, n);
    int rc = hf.folder ? open_texts(&hf, err) : gs_fail_nomem(err, path);
    if (!rc)
        rc = find_weights(&hf, err);
    if (!rc)
        rc = gs_hf_fill(&hf, err);
    gs_hf_clear(&hf);
    close_texts(&hf);
    return rc;
}

const struct gs_format gs_format_hf = {"safetensors", probe, open_folder};
