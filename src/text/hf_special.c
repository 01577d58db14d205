/* SPDX-License-Identifier: MIT
 * Special tokens of a Hugging Face folder. Four files speak about them; the order of trust is
 * the stock converter's: names in tokenizer_config.json, then ids in generation_config.json
 * and config.json; whether BOS and EOS are added is tokenizer_config.json's word, or else
 * that of the post_processor's template. */
#include <inttypes.h>
#include <string.h>

#include "core/log.h"
#include "text/hf.h"

static const struct {
    const char *name, *token, *id, *key;
} roles[] = {
    {"bos", "bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id"},
    {"eos", "eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id"},
    {"unk", "unk_token", "unk_token_id", "tokenizer.ggml.unknown_token_id"},
    {"pad", "pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id"},
};
enum { BOS, EOS, UNK, N_ROLES = GS_COUNT(roles) };

/* "bos_token": "<s>" or {"content": "<s>", …}; NULL if neither. */
static const char *token_name(const json_t *config, const char *key)
{
    const json_t *v = json_object_get(config, key);
    const char *name = json_string_value(v);
    return name ? name : json_string_value(json_object_get(v, "content"));
}

/* An id, or the first of a list of ids; negative if neither. */
static int64_t token_id(const struct gs_hf *hf, const json_t *config, const char *key)
{
    const json_t *v = json_object_get(config, key);

    if (json_is_array(v))
        v = json_array_get(v, 0);
    int64_t id = json_is_integer(v) ? json_integer_value(v) : -1;
    return id >= 0 && (uint64_t)id < hf->n ? id : -1;
}

static int64_t find_role(const struct gs_hf *hf, size_t role)
{
    const json_t *configs[] = {hf->in->generation, hf->in->model,
                               json_object_get(hf->in->model, "text_config")};
    const char *name = token_name(hf->in->config, roles[role].token);
    int64_t id = name ? gs_hf_find(hf, name) : -1;

    for (size_t i = 0; i < GS_COUNT(configs) && id < 0; i++)
        id = token_id(hf, configs[i], roles[role].id);
    if (id < 0 && role == UNK) { /* the model itself may know: BPE by name, Unigram by id */
        name = token_name(hf->model, "unk_token");
        id = name ? gs_hf_find(hf, name) : token_id(hf, hf->model, "unk_id");
    }
    return id;
}

/* "generation_config.json": eos_token_id may list several tokens that end a generation.
 * GGUF has room for three: eos, eot and eom. */
static int set_more_ends(const struct gs_hf *hf, int64_t eos, struct gs_err *err)
{
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const json_t *list = json_object_get(hf->in->generation, "eos_token_id");
    int64_t eom = gs_hf_find(hf, "<|eom_id|>");
    size_t used = 0;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        int64_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || (uint64_t)id >= hf->n || id == eos)
            continue;
        size_t slot = id == eom ? 1 : used++;
        if (slot >= GS_COUNT(keys) || gs_meta_find(hf->meta, keys[slot]))
            continue;
        int rc = gs_meta_set_uint(hf->meta, keys[slot], (uint64_t)id, err);
        if (rc < 0)
            return rc;
    }
    return GS_OK;
}

/* The token at one end of the post_processor's template for a single text, or NULL. */
static const char *template_token(const json_t *root, bool last)
{
    const json_t *processor = json_object_get(root, "post_processor");
    const json_t *list = json_object_get(processor, "processors");

    for (size_t i = 0; i < json_array_size(list); i++)
        if (!strcmp(gs_hf_type(json_array_get(list, i)), "TemplateProcessing"))
            processor = json_array_get(list, i);
    if (strcmp(gs_hf_type(processor), "TemplateProcessing"))
        return NULL;
    const json_t *single = json_object_get(processor, "single");
    size_t n = json_array_size(single);
    if (n < 2)
        return NULL;
    const json_t *item = json_array_get(single, last ? n - 1 : 0);
    return json_string_value(json_object_get(json_object_get(item, "SpecialToken"), "id"));
}

/* SmolLM and the small Granite models share Llama's architecture but not its BOS; their
 * files say nothing, the vocabulary's size does. */
static bool never_adds_bos(const struct gs_hf *hf)
{
    const char *type = json_string_value(json_object_get(hf->in->model, "model_type"));
    return type && !strcmp(type, "llama") && hf->n == 49152;
}

/* add_bos_token or add_eos_token; not set where nobody says. */
static int set_added(const struct gs_hf *hf, size_t role, int64_t id, struct gs_err *err)
{
    char key[32], meta_key[48];
    bool add = false;

    snprintf(key, sizeof key, "add_%s_token", roles[role].name);
    snprintf(meta_key, sizeof meta_key, "tokenizer.ggml.%s", key);
    int known = gs_json_get_bool(hf->in->config, key, &add, err);
    if (known < 0)
        return gs_err_prefix(err, known, "tokenizer_config.json");
    const char *in_template = template_token(hf->root, role == EOS);
    if (!known && in_template) {
        add = id >= 0 && gs_hf_find(hf, in_template) == id;
        known = 1;
    }
    if (role == BOS && never_adds_bos(hf)) {
        add = false;
        known = 1;
    }
    return known ? gs_meta_set_bool(hf->meta, meta_key, add, err) : GS_OK;
}

static int set_template(const struct gs_hf *hf, const char *name, const char *text,
                        struct gs_err *err)
{
    char key[96] = "tokenizer.chat_template";

    if (strcmp(name, "default"))
        snprintf(key, sizeof key, "tokenizer.chat_template.%.64s", name);
    return gs_meta_set_str(hf->meta, key, (struct gs_str){text, strlen(text)}, err);
}

/* A template, a list of named ones, or the file chat_template.jinja. */
static int set_templates(const struct gs_hf *hf, struct gs_err *err)
{
    const json_t *v = json_object_get(hf->in->config, "chat_template");
    const char *text = json_is_string(v) ? json_string_value(v) : hf->in->chat_template;
    int rc = GS_OK;

    if (!json_is_array(v))
        return text ? set_template(hf, "default", text, err) : GS_OK;
    for (size_t i = 0; i < json_array_size(v) && rc == GS_OK; i++) {
        const json_t *item = json_array_get(v, i);
        const char *name = json_string_value(json_object_get(item, "name"));
        text = json_string_value(json_object_get(item, "template"));
        if (!name || !text)
            return gs_fail(err, GS_E_FORMAT, "tokenizer_config.json: chat_template[%zu] must "
                           "have the strings \"name\" and \"template\"", i);
        rc = set_template(hf, name, text, err);
    }
    return rc;
}

int gs_hf_special(const struct gs_hf *hf, struct gs_err *err)
{
    int64_t ids[N_ROLES];
    int rc = GS_OK;

    for (size_t i = 0; i < N_ROLES && rc == GS_OK; i++) {
        ids[i] = find_role(hf, i);
        if (ids[i] >= 0)
            rc = gs_meta_set_uint(hf->meta, roles[i].key, (uint64_t)ids[i], err);
    }
    if (rc == GS_OK)
        rc = set_more_ends(hf, ids[EOS], err);
    if (rc == GS_OK)
        rc = set_added(hf, BOS, ids[BOS], err);
    if (rc == GS_OK)
        rc = set_added(hf, EOS, ids[EOS], err);
    return rc == GS_OK ? set_templates(hf, err) : rc;
}
