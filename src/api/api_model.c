/* SPDX-License-Identifier: MIT
 * gosset.h: models. A model is a store; its tokenizer and its network are built when first
 * asked for, so that inspecting works on files that hold neither. */
#include "api/api.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "kernels/kernels.h"

struct gs_model_parts {
    pthread_mutex_t lock;
    struct gs_tokenizer *tokenizer;
    struct gs_lm *lm;
    struct gs_err tokenizer_err, lm_err; /* code 0: not tried, or built */
};

const char *gs_version(void)
{
    return GS_VERSION;
}

const char *gs_cpu_level(size_t index)
{
    struct gs_kernels table;

    for (size_t i = 0; gs_kernels_level(i); i++)
        if (gs_kernels_resolve(i, &table) && index-- == 0)
            return gs_kernels_level(i)->name;
    return NULL;
}

const char *gs_cpu_selected(void)
{
    return gs_kernels()->name;
}

int gs_cpu_select(const char *level, struct gs_err *err)
{
    return gs_kernels_select(level, err);
}

/* The architecture's key "ARCH.suffix", or 0: inspecting shows what is there. */
static uint32_t arch_uint(const struct gs_meta *meta, const char *arch, const char *suffix)
{
    char key[128];
    uint64_t value = 0;

    if ((size_t)snprintf(key, sizeof key, "%s.%s", arch, suffix) >= sizeof key)
        return 0;
    if (gs_meta_get_uint(meta, key, &value, NULL) <= 0 || value > UINT32_MAX)
        return 0;
    return (uint32_t)value;
}

/* A string of the metadata as a C string in the map's arena; "" if absent. */
static int copy_string(struct gs_model *model, const char *key, const char **out,
                       struct gs_err *err)
{
    const struct gs_meta *meta = gs_store_meta(model->store);
    struct gs_str s = {"", 0};

    if (gs_meta_get_str(meta, key, &s, NULL) < 0)
        s = GS_STR("");
    char *copy = gs_strndup(s.data, s.size);
    if (!copy)
        return gs_fail_nomem(err, key);
    *out = copy;
    return GS_OK;
}

static int read_info(struct gs_model *model, struct gs_err *err)
{
    struct gs_model_info *info = &model->info;
    const struct gs_meta *meta = gs_store_meta(model->store);
    struct gs_array tokens;
    int rc;

    if ((rc = copy_string(model, "general.architecture", &info->arch, err)) ||
        (rc = copy_string(model, "general.name", &info->name, err)))
        return rc;
    info->format = gs_store_format(model->store);
    info->n_tensors = gs_store_count(model->store);
    info->n_meta = gs_meta_count(meta);
    for (size_t i = 0; i < info->n_tensors; i++) {
        const struct gs_tensor *t = gs_store_tensor(model->store, i);
        const struct gs_native_facts *native = gs_natives_facts(model->natives, t);
        const struct gs_part_facts *part = gs_part_file_facts(model->part_file, t);
        if (native)
            info->parameters += (uint64_t)native->rows * native->cols;
        else if (part)
            info->parameters += (uint64_t)part->rows * part->cols;
        else if (!gs_natives_is_side(model->natives, t) &&
                 !gs_part_file_is_side(model->part_file, t))
            info->parameters += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
        info->bytes += t->bytes;
    }
    info->bpw = info->parameters ? 8.0 * (double)info->bytes / (double)info->parameters : 0;
    info->n_ctx_train = arch_uint(meta, info->arch, "context_length");
    info->n_embd = arch_uint(meta, info->arch, "embedding_length");
    info->n_layer = arch_uint(meta, info->arch, "block_count");
    info->n_head = arch_uint(meta, info->arch, "attention.head_count");
    info->n_head_kv = arch_uint(meta, info->arch, "attention.head_count_kv");
    if (!info->n_head_kv)
        info->n_head_kv = info->n_head;
    info->n_vocab = arch_uint(meta, info->arch, "vocab_size");
    if (gs_meta_get_array(meta, "tokenizer.ggml.tokens", GS_VALUE_STRING, &tokens, NULL) > 0) {
        info->has_tokenizer = true;
        if (!info->n_vocab && tokens.count <= UINT32_MAX)
            info->n_vocab = (uint32_t)tokens.count;
    }
    return GS_OK;
}

static int open_store(struct gs_model *model, const char *path, const char *delta,
                      struct gs_err *err)
{
    if (!delta)
        return gs_store_open(path, &model->store, err);
    int rc = gs_overlay_open(path, delta, &model->overlay, err);
    model->store = model->overlay.store;
    return rc;
}

static int open_model(const char *path, const char *delta, struct gs_model **out,
                      struct gs_err *err)
{
    int rc;

    *out = NULL;
    struct gs_model *model = gs_alloc(1, sizeof *model);
    struct gs_model_parts *parts = gs_alloc(1, sizeof *parts);
    if (!model || !parts) {
        gs_free(&model);
        gs_free(&parts);
        return gs_fail_nomem(err, "a model");
    }
    pthread_mutex_init(&parts->lock, NULL);
    model->parts = parts;
    rc = open_store(model, path, delta, err);
    /* A native file that cannot be understood still opens; running it will say why. */
    if (!rc && gs_natives_open(model->store, &model->natives, NULL) == GS_E_NOMEM)
        rc = gs_fail_nomem(err, path);
    if (!rc && gs_part_file_open(model->store, &model->part_file, NULL) == GS_E_NOMEM)
        rc = gs_fail_nomem(err, path);
    if (rc || (rc = read_info(model, err))) {
        gs_model_close(&model);
        return rc;
    }
    *out = model;
    return GS_OK;
}

int gs_model_open(const char *path, struct gs_model **out, struct gs_err *err)
{
    return open_model(path, NULL, out, err);
}

int gs_model_open_delta(const char *base, const char *delta, struct gs_model **out,
                        struct gs_err *err)
{
    return open_model(base, delta, out, err);
}

void gs_model_close(struct gs_model **modelp)
{
    struct gs_model *model = *modelp;

    if (!model)
        return;
    gs_lm_close(&model->parts->lm);
    gs_tokenizer_destroy(&model->parts->tokenizer);
    pthread_mutex_destroy(&model->parts->lock);
    gs_free(&model->parts);
    gs_free(&model->info.arch);
    gs_free(&model->info.name);
    gs_free(&model->meta_value);
    gs_natives_close(&model->natives);
    gs_part_file_close(&model->part_file);
    if (model->overlay.store)
        gs_overlay_close(&model->overlay);
    else
        gs_store_close(&model->store);
    gs_free(modelp);
}

void gs_model_info(const struct gs_model *model, struct gs_model_info *out)
{
    *out = model->info;
}

int gs_model_tensor(const struct gs_model *model, size_t index, struct gs_tensor_info *out,
                    struct gs_err *err)
{
    if (index >= model->info.n_tensors)
        return gs_fail(err, GS_E_ARG, "tensor %zu of %zu", index, model->info.n_tensors);
    const struct gs_tensor *t = gs_store_tensor(model->store, index);
    *out = (struct gs_tensor_info){.name = t->name,
                                   .type = gs_type_info(t->type)->name,
                                   .n_dims = t->n_dims,
                                   .bytes = t->bytes};
    memcpy(out->shape, t->dim, sizeof out->shape);
    const struct gs_native_facts *native = gs_natives_facts(model->natives, t);
    if (native) {
        out->type = native->grid->name;
        out->shape[0] = native->cols;
        out->shape[1] = native->rows;
    }
    const struct gs_part_facts *part = gs_part_file_facts(model->part_file, t);
    if (part) {
        out->type = part->codebook;
        out->n_dims = 2;
        out->shape[0] = part->cols;
        out->shape[1] = part->rows;
    }
    return GS_OK;
}

/* Passes a kept failure on. Lack of memory is not kept: a later call may do better. */
static int tell(struct gs_err *kept, struct gs_err *err)
{
    int code = gs_fail(err, kept->code, "%s", kept->msg);

    if (code == GS_E_NOMEM)
        *kept = (struct gs_err){0};
    return code;
}

int gs_api_tokenizer(const struct gs_model *model, const struct gs_tokenizer **out,
                     struct gs_err *err)
{
    struct gs_model_parts *p = model->parts;
    int rc = GS_OK;

    pthread_mutex_lock(&p->lock);
    if (!p->tokenizer && !p->tokenizer_err.code)
        rc = gs_tokenizer_create(gs_store_meta(model->store), gs_store_path(model->store),
                                 &p->tokenizer, &p->tokenizer_err);
    if (p->tokenizer_err.code)
        rc = tell(&p->tokenizer_err, err);
    *out = p->tokenizer;
    pthread_mutex_unlock(&p->lock);
    return rc;
}

/* With a team of its own where there is something to decode. */
static int open_lm(const struct gs_model *model, const struct gs_load_options *options,
                   struct gs_lm **out, struct gs_err *err)
{
    static const struct gs_session_options defaults;
    const struct gs_session_options *s = options->session ? options->session : &defaults;
    bool chosen = options->bits || options->memory;
    struct gs_lm_options o = {.exact = options->exact, .bits = options->bits,
                              .memory = options->memory};
    int rc = model->part_file || chosen ? gs_team_create(options->threads, &o.team, err) : GS_OK;
    struct gs_decoder_options run = {.team = o.team};

    gs_decoder_for_session(s, model->info.n_ctx_train, &run);
    if (chosen)
        o.run = &run;
    if (!rc)
        rc = gs_lm_open_with(model->store, &o, out, err);
    gs_team_destroy(&o.team);
    return rc;
}

int gs_api_lm(const struct gs_model *model, const struct gs_load_options *options,
              struct gs_lm **out, struct gs_err *err)
{
    struct gs_model_parts *p = model->parts;
    int rc = GS_OK;

    pthread_mutex_lock(&p->lock);
    if (!p->lm && !p->lm_err.code)
        rc = open_lm(model, options, &p->lm, &p->lm_err);
    if (p->lm_err.code)
        rc = tell(&p->lm_err, err);
    *out = p->lm;
    pthread_mutex_unlock(&p->lock);
    return rc;
}

int gs_api_subject(const struct gs_model *model, const struct gs_load_options *options,
                   struct gs_subject *out, struct gs_err *err)
{
    int rc;

    *out = (struct gs_subject){.name = gs_store_path(model->store)};
    if ((rc = gs_api_tokenizer(model, &out->tokenizer, err)))
        return rc;
    return gs_api_lm(model, options, &out->lm, err);
}

int gs_model_load(struct gs_model *model, const struct gs_load_options *options,
                  struct gs_err *err)
{
    static const struct gs_load_options defaults;
    struct gs_lm *lm;

    return gs_api_lm(model, options ? options : &defaults, &lm, err);
}

int gs_model_runnable(const struct gs_model *model, struct gs_err *err)
{
    const struct gs_load_options defaults = {.threads = 0};
    struct gs_lm *lm;

    return gs_api_lm(model, &defaults, &lm, err);
}

int gs_model_meta(struct gs_model *model, size_t index, const char **key, const char **type,
                  const char **value, struct gs_err *err)
{
    const struct gs_meta *meta = gs_store_meta(model->store);

    if (index >= model->info.n_meta)
        return gs_fail(err, GS_E_ARG, "metadata pair %zu of %zu", index, model->info.n_meta);
    const struct gs_value *v = gs_meta_value(meta, index);
    char *text = gs_api_value_text(v);
    if (!text)
        return gs_fail_nomem(err, gs_meta_key(meta, index));
    gs_free(&model->meta_value);
    model->meta_value = text;
    if (v->type == GS_VALUE_ARRAY)
        snprintf(model->meta_type, sizeof model->meta_type, "%s[%llu]",
                 gs_value_type_name(v->as.a.type), (unsigned long long)v->as.a.count);
    else
        snprintf(model->meta_type, sizeof model->meta_type, "%s", gs_value_type_name(v->type));
    *key = gs_meta_key(meta, index);
    *type = model->meta_type;
    *value = text;
    return GS_OK;
}
