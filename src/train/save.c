/* SPDX-License-Identifier: MIT */
#include "train/save.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include "core/alloc.h"
#include "file/gguf.h"

#define PIECE_FLOATS ((size_t)64 * 1024)

/* file_type is llama.h's number for a file of that type. */
static const struct target {
    const char *name;
    enum gs_type type;
    uint32_t file_type;
    float largest;
} targets[] = {
    {"f16", GS_TYPE_F16, 1, 65504.0f},
    {"f32", GS_TYPE_F32, 0, 3.4e38f},
    {"bf16", GS_TYPE_BF16, 32, 3.38e38f},
};

bool gs_save_type(const char *name, enum gs_type *out)
{
    for (size_t i = 0; i < GS_COUNT(targets); i++)
        if (!strcasecmp(targets[i].name, name)) {
            *out = targets[i].type;
            return true;
        }
    return false;
}

static const struct target *target_of(enum gs_type type)
{
    const struct target *t = targets;

    while (t->type != type)
        t++;
    return t;
}

static int make_meta(const struct gs_meta *source, const struct target *target,
                     struct gs_meta **out, struct gs_err *err)
{
    int rc = gs_meta_create(out, err);

    for (size_t i = 0; !rc && i < gs_meta_count(source); i++) {
        const char *key = gs_meta_key(source, i);
        rc = gs_meta_set(*out, (struct gs_str){key, strlen(key)}, gs_meta_value(source, i),
                         err);
    }
    return rc ? rc : gs_meta_set_uint(*out, "general.file_type", target->file_type, err);
}

/* The n values at `from` in the tensor's new type. */
static int write_values(struct gs_gguf_writer *w, size_t index, const struct gs_tensor *t,
                        const float *from, size_t n, struct gs_err *err)
{
    const struct gs_kernels *k = gs_kernels();
    float largest = target_of(t->type)->largest;
    size_t bytes = gs_type_info(t->type)->bytes;
    uint8_t *piece = gs_alloc(PIECE_FLOATS, sizeof *from);
    int rc = piece ? GS_OK : gs_fail_nomem(err, "a piece of a tensor");

    for (size_t i = 0; !rc && i < n; i += PIECE_FLOATS) {
        size_t m = GS_MIN(PIECE_FLOATS, n - i);
        for (size_t j = 0; !rc && j < m; j++)
            if (!(fabsf(from[i + j]) <= largest))
                rc = gs_fail(err, GS_E_UNSUPPORTED,
                             "tensor %s: weight %zu is %g, which %s cannot hold", t->name,
                             i + j, (double)from[i + j], gs_type_info(t->type)->name);
        if (rc)
            break;
        k->encode[t->type](from + i, piece, m);
        rc = gs_gguf_write(w, index, piece, m * bytes, err);
    }
    gs_free(&piece);
    return rc;
}

static int write_tensors(const struct gs_params *p, struct gs_gguf_writer *w,
                         const struct gs_tensor *plan, struct gs_err *err)
{
    struct gs_store *store = p->lm->store;
    int rc = GS_OK;

    for (size_t i = 0; !rc && i < gs_store_count(store); i++) {
        const struct gs_param *param = gs_params_find(p, plan[i].name);
        const void *data;
        if (param)
            rc = write_values(w, i, &plan[i], p->values + param->offset, param->count, err);
        else if (!(rc = gs_store_data(store, gs_store_tensor(store, i), &data, err)))
            rc = gs_gguf_write(w, i, data, plan[i].bytes, err);
    }
    return rc;
}

int gs_params_save(const struct gs_params *p, enum gs_type type, const char *path,
                   bool overwrite, uint64_t *bytes, struct gs_err *err)
{
    struct gs_store *store = p->lm->store;
    size_t n = gs_store_count(store);
    struct gs_tensor *plan = gs_alloc(n, sizeof *plan);
    struct gs_gguf_writer *w = NULL;
    struct gs_meta *meta = NULL;
    int rc = plan ? GS_OK : gs_fail_nomem(err, "the list of tensors");

    for (size_t i = 0; !rc && i < n; i++) {
        plan[i] = *gs_store_tensor(store, i);
        const struct gs_param *param = gs_params_find(p, plan[i].name);
        if (param)
            plan[i].type = param->matrix ? type : GS_TYPE_F32;
    }
    if (rc || (rc = make_meta(gs_store_meta(store), target_of(type), &meta, err)) ||
        (rc = gs_gguf_create(path, overwrite, meta, plan, n, &w, err)) ||
        (rc = write_tensors(p, w, plan, err)))
        goto out;
    rc = gs_gguf_commit(&w, bytes, err);
out:
    gs_gguf_abort(&w);
    gs_meta_destroy(&meta);
    gs_free(&plan);
    return rc;
}
