/* SPDX-License-Identifier: MIT
 * The tokenizer of a Hugging Face folder and what generation_config.json recommends. */
#include <string.h>

#include "file/hf_folder.h"
#include "text/tokenizer_json.h"

/* generation_config.json's defaults under GGUF's names. */
static int write_sampling(struct gs_hf *hf, const json_t *generation, struct gs_err *err)
{
    static const struct {
        const char *json, *key;
        bool integer;
    } keys[] = {
        {"top_k", "general.sampling.top_k", true},
        {"top_p", "general.sampling.top_p", false},
        {"min_p", "general.sampling.min_p", false},
        {"temperature", "general.sampling.temp", false},
    };
    struct gs_meta *meta = gs_store_meta_edit(hf->store);
    int rc = GS_OK;

    for (size_t i = 0; !rc && i < GS_COUNT(keys); i++) {
        const json_t *v = json_object_get(generation, keys[i].json);
        if (keys[i].integer && json_is_integer(v) && json_integer_value(v) >= 0)
            rc = gs_meta_set_uint(meta, keys[i].key, (uint64_t)json_integer_value(v), err);
        else if (!keys[i].integer && json_is_number(v))
            rc = gs_meta_set_f32(meta, keys[i].key, json_number_value(v), err);
    }
    return rc;
}

static int parse(const struct gs_map *map, json_t **out, struct gs_err *err)
{
    *out = NULL;
    return map ? gs_json_parse((const char *)map->data, map->size, map->path, out, err) : GS_OK;
}

/* What the converter decides by architecture rather than by tokenizer. */
static int write_habits(struct gs_hf *hf, struct gs_err *err)
{
    struct gs_meta *meta = gs_store_meta_edit(hf->store);

    /* SmolLM and Granite share this vocabulary size and want no BOS. */
    if (!strcmp(hf->arch->arch, "llama") && hf->n_vocab == 49152)
        return gs_meta_set_bool(meta, "tokenizer.ggml.add_bos_token", false, err);
    return GS_OK;
}

int gs_hf_tokenizer_write(struct gs_hf *hf, struct gs_err *err)
{
    json_t *config = NULL, *generation = NULL;
    const struct gs_map *text = hf->tokenizer_text;
    char *chat_template = NULL;

    int rc = parse(hf->tokenizer_config_text, &config, err);
    if (!rc)
        rc = parse(hf->generation_text, &generation, err);
    if (!rc)
        rc = write_sampling(hf, generation, err);
    if (rc || !text)
        goto out;
    if (hf->template_text) {
        chat_template = gs_arena_strndup(gs_store_arena(hf->store),
                                         (const char *)hf->template_text->data,
                                         hf->template_text->size);
        if (!chat_template) {
            rc = gs_fail_nomem(err, hf->template_text->path);
            goto out;
        }
    }
    struct gs_hf_tokenizer in = {
        .text = (const char *)text->data, .n = text->size, .path = text->path, .config = config,
        .generation = generation, .model = hf->text, .chat_template = chat_template,
        .n_vocab = hf->n_vocab,
    };
    rc = gs_tokenizer_json_to_meta(&in, gs_store_meta_edit(hf->store), err);
    if (!rc)
        rc = write_habits(hf, err);
out:
    json_decref(config);
    json_decref(generation);
    return rc;
}
