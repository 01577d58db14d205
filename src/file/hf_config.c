/* SPDX-License-Identifier: MIT
 * config.json into GGUF keys: the common keys, the architecture's own, and RoPE in its three
 * spellings (rope_parameters; rope_scaling plus rope_theta; with or without one object per
 * kind of layer). Multimodal models keep their text model's part under text_config. */
#define _XOPEN_SOURCE 700 /* realpath */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file/hf_folder.h"

#define SIZE_LIMIT INT32_MAX /* no dimension of a real model is larger */

static const struct gs_hf_key common_keys[] = {
    {"block_count", GS_HF_UINT, {"num_hidden_layers", "n_layer"}, false, 0},
    {"context_length", GS_HF_UINT, {"max_position_embeddings", "n_ctx", "n_positions"}, false, 0},
    {"embedding_length", GS_HF_UINT, {"hidden_size", "n_embd"}, false, 0},
    {"feed_forward_length", GS_HF_UINT, {"intermediate_size", "n_inner"}, false, 0},
    {"attention.head_count", GS_HF_UINT, {"num_attention_heads", "n_head"}, false, 0},
    {"attention.head_count_kv", GS_HF_UINT, {"num_key_value_heads"}, false, 0},
    {"attention.layer_norm_rms_epsilon", GS_HF_FLOAT, {"rms_norm_eps"}, false, 0},
    {"attention.layer_norm_epsilon", GS_HF_FLOAT, {"layer_norm_eps", "layer_norm_epsilon"},
     false, 0},
    {"attention.key_length", GS_HF_UINT, {"head_dim"}, false, 0},
    {"attention.value_length", GS_HF_UINT, {"head_dim"}, false, 0},
    {NULL, GS_HF_UINT, {NULL}, false, 0},
};

#define NAMES_MAX 4

/* The member, or NULL if absent or null. */
static const json_t *member(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return json_is_null(v) ? NULL : v;
}

/* The object that holds the first present name. */
static const json_t *holder(const struct gs_hf *hf, const char *const *names, const char **name)
{
    for (size_t i = 0; i < NAMES_MAX && names[i]; i++) {
        *name = names[i];
        if (member(hf->text, names[i]))
            return hf->text;
        if (member(hf->config, names[i]))
            return hf->config;
    }
    return NULL;
}

static int in_config(const struct gs_hf *hf, int rc, struct gs_err *err)
{
    return rc < 0 ? gs_err_prefix(err, rc, hf->config_text->path) : rc;
}

int gs_hf_get_uint(const struct gs_hf *hf, const char *const *names, uint64_t *out,
                   struct gs_err *err)
{
    const char *name = NULL;
    const json_t *object = holder(hf, names, &name);
    uint64_t u = 0;
    int rc = object ? gs_json_get_uint(object, name, &u, err) : 0;

    if (rc > 0 && u > SIZE_LIMIT)
        rc = gs_fail(err, GS_E_FORMAT, "\"%s\" is %" PRIu64 ", the limit is %d", name, u,
                     SIZE_LIMIT);
    if (rc > 0)
        *out = u;
    return in_config(hf, rc, err);
}

int gs_hf_get_float(const struct gs_hf *hf, const char *const *names, double *out,
                    struct gs_err *err)
{
    const char *name = NULL;
    const json_t *object = holder(hf, names, &name);

    return in_config(hf, object ? gs_json_get_float(object, name, out, err) : 0, err);
}

const char *gs_hf_key(const struct gs_hf *hf, const char *key, char *buffer)
{
    snprintf(buffer, GS_HF_KEY_BYTES, "%s.%s", hf->arch->arch, key);
    return buffer;
}

/* ---- RoPE ------------------------------------------------------------------------------- */

/* From the newest spelling to the oldest: rope_parameters.full_attention, rope_parameters,
 * rope_scaling, and keys beside them. */
static int read_rope(struct gs_hf *hf, struct gs_err *err)
{
    struct gs_hf_rope *r = &hf->rope;
    const char *name = NULL;
    const char *const objects[] = {"rope_parameters", "rope_scaling", NULL};
    const json_t *object = holder(hf, objects, &name);
    object = object ? member(object, name) : NULL;
    if (object && !json_is_object(object))
        return in_config(hf, gs_fail(err, GS_E_FORMAT, "\"%s\" must be an object", name), err);

    const json_t *full = member(object, "full_attention");
    r->object = full ? full : object;
    r->type = "default";
    int rc = gs_json_get_str(r->object, "rope_type", &r->type, err);
    if (!rc)
        rc = gs_json_get_str(r->object, "type", &r->type, err);
    if (rc >= 0)
        rc = gs_json_get_float(r->object, "rope_theta", &r->theta, err);
    if (rc >= 0)
        rc = gs_json_get_float(member(object, "sliding_attention"), "rope_theta",
                               &r->local_theta, err);
    if (rc >= 0)
        rc = gs_json_get_uint(r->object, "original_max_position_embeddings", &r->ctx_orig, err);
    if (rc >= 0)
        rc = gs_json_get_float(r->object, "partial_rotary_factor", &r->partial, err);
    if (rc < 0)
        return in_config(hf, rc, err);

    /* What the object leaves open stands beside it. */
    const char *const theta[] = {"rope_theta", "rotary_emb_base", NULL};
    const char *const local[] = {"rope_local_base_freq", NULL};
    const char *const ctx[] = {"original_max_position_embeddings", NULL};
    const char *const part[] = {"partial_rotary_factor", "rotary_pct", NULL};
    if (r->theta == 0)
        rc = gs_hf_get_float(hf, theta, &r->theta, err);
    if (rc >= 0 && r->local_theta == 0)
        rc = gs_hf_get_float(hf, local, &r->local_theta, err);
    if (rc >= 0 && !r->ctx_orig)
        rc = gs_hf_get_uint(hf, ctx, &r->ctx_orig, err);
    if (rc >= 0 && r->partial == 0)
        rc = gs_hf_get_float(hf, part, &r->partial, err);
    return GS_MIN(rc, 0);
}

static int set_float(struct gs_hf *hf, const char *key, double f, struct gs_err *err)
{
    char buffer[GS_HF_KEY_BYTES];
    return gs_meta_set_f32(gs_store_meta_edit(hf->store), gs_hf_key(hf, key, buffer), f, err);
}

/* Copies a number of the rope object, if it is there. */
static int copy_rope_float(struct gs_hf *hf, const char *name, const char *key,
                           struct gs_err *err)
{
    double f;
    int rc = gs_json_get_float(hf->rope.object, name, &f, err);

    if (rc > 0)
        rc = set_float(hf, key, f, err);
    return in_config(hf, rc, err);
}

static int write_yarn(struct gs_hf *hf, struct gs_err *err)
{
    static const char *const numbers[][2] = {
        {"extrapolation_factor", "rope.scaling.yarn_ext_factor"},
        {"attn_factor", "rope.scaling.yarn_attn_factor"},
        {"attention_factor", "rope.scaling.yarn_attn_factor"},
        {"beta_fast", "rope.scaling.yarn_beta_fast"},
        {"beta_slow", "rope.scaling.yarn_beta_slow"},
    };
    char buffer[GS_HF_KEY_BYTES];

    if (!hf->rope.ctx_orig)
        return in_config(hf, gs_fail(err, GS_E_FORMAT, "yarn scaling lacks "
                                     "\"original_max_position_embeddings\""), err);
    int rc = gs_meta_set_uint(gs_store_meta_edit(hf->store),
                              gs_hf_key(hf, "rope.scaling.original_context_length", buffer),
                              hf->rope.ctx_orig, err);
    for (size_t i = 0; rc >= 0 && i < GS_COUNT(numbers); i++)
        rc = copy_rope_float(hf, numbers[i][0], numbers[i][1], err);
    return rc;
}

/* llama3 scaling becomes the tensor rope_freqs, longrope the rope_factors: here only their
 * type is accepted. */
static int write_rope(struct gs_hf *hf, struct gs_err *err)
{
    const struct gs_hf_rope *r = &hf->rope;
    bool linear = !strcmp(r->type, "linear"), yarn = !strcmp(r->type, "yarn");
    bool longrope = !strcmp(r->type, "longrope") || !strcmp(r->type, "su");
    char buffer[GS_HF_KEY_BYTES];
    int rc = 0;

    if (linear || yarn || longrope) {
        const char *type = longrope ? "longrope" : r->type;
        rc = gs_meta_set_str(gs_store_meta_edit(hf->store),
                             gs_hf_key(hf, "rope.scaling.type", buffer),
                             (struct gs_str){type, strlen(type)}, err);
        if (!rc && !longrope)
            rc = copy_rope_float(hf, "factor", "rope.scaling.factor", err);
        if (rc >= 0 && yarn)
            rc = write_yarn(hf, err);
    } else if (strcmp(r->type, "default") && strcmp(r->type, "llama3")) {
        rc = in_config(hf, gs_fail(err, GS_E_UNSUPPORTED,
                                   "RoPE scaling \"%.32s\" is not supported", r->type), err);
    }
    if (rc >= 0 && r->theta != 0)
        rc = set_float(hf, "rope.freq_base", r->theta, err);
    if (rc >= 0 && r->local_theta != 0)
        rc = set_float(hf, "rope.freq_base_swa", r->local_theta, err);
    return GS_MIN(rc, 0);
}

/* ---- everything else -------------------------------------------------------------------- */

/* The model class decides everything else. A nested text model may name its own. */
static int find_arch(struct gs_hf *hf, struct gs_err *err)
{
    const json_t *classes = member(hf->text, "architectures");
    const json_t *quantized = member(hf->config, "quantization_config");

    if (!classes)
        classes = member(hf->config, "architectures");
    const char *name = json_string_value(json_array_get(classes, 0));
    if (!name)
        return gs_fail(err, GS_E_FORMAT, "\"architectures\" names no model class");
    hf->arch = gs_hf_arch_find(name);
    if (!hf->arch)
        return gs_fail(err, GS_E_UNSUPPORTED, "model class %.64s is not supported", name);
    if (!quantized)
        quantized = member(hf->text, "quantization_config");
    if (quantized) {
        const char *method = json_string_value(json_object_get(quantized, "quant_method"));
        return gs_fail(err, GS_E_UNSUPPORTED,
                       "the model is already quantized (%.32s); the original is needed",
                       method ? method : "quantization_config");
    }
    return GS_OK;
}

/* The sizes that tensors and extra keys depend on. */
static int read_sizes(struct gs_hf *hf, struct gs_err *err)
{
    const struct {
        const char *names[4];
        uint64_t *out;
        uint64_t fallback; /* 0: required */
    } sizes[] = {
        {{"num_hidden_layers", "n_layer"}, &hf->n_layer, 0},
        {{"hidden_size", "n_embd"}, &hf->n_embd, 0},
        {{"num_attention_heads", "n_head"}, &hf->n_head, hf->arch->n_head},
    };

    for (size_t i = 0; i < GS_COUNT(sizes); i++) {
        *sizes[i].out = sizes[i].fallback;
        int rc = gs_hf_get_uint(hf, sizes[i].names, sizes[i].out, err);
        if (rc < 0)
            return rc;
        if (!*sizes[i].out)
            return in_config(hf, gs_fail(err, GS_E_FORMAT, "\"%s\" is missing or 0",
                                         sizes[i].names[0]), err);
    }
    hf->n_head_kv = hf->arch->n_head_kv ? hf->arch->n_head_kv : hf->n_head;
    hf->head_dim = hf->arch->head_dim ? hf->arch->head_dim : hf->n_embd / hf->n_head;
    hf->tied = hf->arch->tied;
    int rc = gs_hf_get_uint(hf, (const char *const[]){"num_key_value_heads", NULL},
                            &hf->n_head_kv, err);
    if (rc >= 0)
        rc = gs_hf_get_uint(hf, (const char *const[]){"head_dim", NULL}, &hf->head_dim, err);
    if (rc >= 0)
        rc = gs_hf_get_uint(hf, (const char *const[]){"vocab_size", NULL}, &hf->n_vocab, err);
    if (rc >= 0)
        rc = gs_hf_get_uint(hf, common_keys[1].json, &hf->ctx, err);
    const char *name = NULL;
    const char *const tie[] = {"tie_word_embeddings", NULL};
    const json_t *object = holder(hf, tie, &name);
    if (rc >= 0 && object)
        rc = in_config(hf, gs_json_get_bool(object, name, &hf->tied, err), err);
    if (rc >= 0 && (!hf->n_head_kv || !hf->head_dim || hf->head_dim > 65536))
        rc = in_config(hf, gs_fail(err, GS_E_FORMAT, "%" PRIu64 " key/value heads of size %"
                                   PRIu64 " are not possible", hf->n_head_kv, hf->head_dim), err);
    return GS_MIN(rc, 0);
}

int gs_hf_config_read(struct gs_hf *hf, struct gs_err *err)
{
    const struct gs_map *m = hf->config_text;

    int rc = gs_json_parse((const char *)m->data, m->size, m->path, &hf->config, err);
    if (rc)
        return rc;
    if (!json_is_object(hf->config))
        return gs_fail(err, GS_E_FORMAT, "%s: not a JSON object", m->path);
    const json_t *text = member(hf->config, "text_config");
    hf->text = json_is_object(text) ? text : hf->config;
    rc = find_arch(hf, err);
    if (rc)
        return in_config(hf, rc, err);
    rc = read_sizes(hf, err);
    return rc ? rc : read_rope(hf, err);
}

/* One row of a key table: looked up, checked, written; absent and without fallback: left out. */
static int write_key(struct gs_hf *hf, const struct gs_hf_key *k, struct gs_err *err)
{
    struct gs_meta *meta = gs_store_meta_edit(hf->store);
    char buffer[GS_HF_KEY_BYTES];
    const char *key = gs_hf_key(hf, k->key, buffer), *name = NULL;
    uint64_t u = (uint64_t)k->fallback;
    double f = k->fallback;
    bool b = k->fallback != 0;
    const json_t *object;
    int rc;

    switch (k->kind) {
    case GS_HF_UINT: rc = gs_hf_get_uint(hf, k->json, &u, err); break;
    case GS_HF_FLOAT: rc = gs_hf_get_float(hf, k->json, &f, err); break;
    default:
        object = holder(hf, k->json, &name);
        rc = in_config(hf, object ? gs_json_get_bool(object, name, &b, err) : 0, err);
        break;
    }
    if (rc < 0 || (!rc && !k->has_fallback))
        return rc;
    switch (k->kind) {
    case GS_HF_UINT: return gs_meta_set_uint(meta, key, u, err);
    case GS_HF_FLOAT: return gs_meta_set_f32(meta, key, f, err);
    default: return gs_meta_set_bool(meta, key, b, err);
    }
}

static int write_keys(struct gs_hf *hf, const struct gs_hf_key *k, struct gs_err *err)
{
    int rc = GS_OK;

    for (; rc >= 0 && k && k->key; k++)
        rc = write_key(hf, k, err);
    return rc;
}

/* general.name from the folder's name: "SmolLM2-135M-instruct" -> "SmolLM2 135M Instruct". */
static int write_name(struct gs_hf *hf, struct gs_err *err)
{
    char name[128], resolved[PATH_MAX];
    const char *path = realpath(hf->folder, resolved); /* "." has a name, too */

    if (!path)
        path = hf->folder;
    size_t end = strlen(path), begin = end;
    while (begin && path[begin - 1] != '/')
        begin--;
    size_t n = GS_MIN(end - begin, sizeof name - 1);
    for (size_t i = 0, word = 0; i < n; i++) {
        char c = path[begin + i];
        bool first = i == word;
        if (c == '-')
            c = ' ';
        if (c == ' ')
            word = i + 1;
        /* A version such as v0.3 keeps its letter. */
        bool version = c == 'v' && i + 1 < n && path[begin + i + 1] >= '0' &&
                       path[begin + i + 1] <= '9';
        name[i] = first && c >= 'a' && c <= 'z' && !version ? (char)(c - 'a' + 'A') : c;
    }
    return gs_meta_set_str(gs_store_meta_edit(hf->store), "general.name",
                           (struct gs_str){name, n}, err);
}

/* general.file_type in llama.h's numbering, by the first matrix. */
static uint64_t file_type(const struct gs_hf *hf)
{
    for (size_t i = 0; i < hf->st.count; i++) {
        const struct gs_st_tensor *t = hf->st.tensors + i;
        if (t->n_dims >= 2 && t->type >= 0)
            return t->type == GS_TYPE_BF16 ? 32 : t->type == GS_TYPE_F16 ? 1 : 0;
    }
    return 0;
}

int gs_hf_config_write(struct gs_hf *hf, struct gs_err *err)
{
    struct gs_meta *meta = gs_store_meta_edit(hf->store);
    struct gs_str arch = {hf->arch->arch, strlen(hf->arch->arch)};

    int rc = gs_meta_set_str(meta, "general.architecture", arch, err);
    if (!rc)
        rc = gs_meta_set_str(meta, "general.type", GS_STR("model"), err);
    if (!rc)
        rc = write_name(hf, err);
    if (!rc)
        rc = write_keys(hf, common_keys, err);
    if (rc >= 0)
        rc = write_keys(hf, hf->arch->keys, err);
    if (rc >= 0 && hf->arch->rope_keys)
        rc = write_rope(hf, err);
    if (rc >= 0 && hf->arch->extra_keys)
        rc = hf->arch->extra_keys(hf, err);
    if (rc >= 0)
        rc = gs_meta_set_uint(meta, "general.file_type", file_type(hf), err);
    if (!rc)
        rc = gs_meta_set_uint(meta, "general.quantization_version", 2, err);
    return rc;
}
