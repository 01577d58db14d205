/* SPDX-License-Identifier: MIT
 * Slots, their reasons, the folded file. */
#include "recipe/fold.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/hash.h"
#include "file/gguf.h"
#include "recipe/recode.h"
#include "transform/hadamard.h"

/* Floats of an embedding that are held at a time. */
#define STRIP_FLOATS ((size_t)4 << 20)
#define HEAD_NAME "output.weight"

/* ---- slots -------------------------------------------------------------------------------- */

static bool is_tied(const struct gs_lm *lm)
{
    return lm->model.output.data == lm->model.token_embd.data;
}

static const char *refuse_residual(const struct gs_lm *lm, unsigned wanted)
{
    if (lm->config.arch->norm != GS_NORM_RMS)
        return "its norms subtract the mean, which is another in every basis";
    if (lm->blocks[0].attn_post_norm || lm->blocks[0].ffn_post_norm)
        return "norms weigh the channels of what attention and FFN add to the stream";
    if (is_tied(lm) && !(wanted >> GS_FOLD_UNTIE & 1))
        return "the embedding is the head too, and cannot take the last norm's weights (untie "
               "gives the head a matrix of its own)";
    return NULL;
}

static const char *refuse_untie(const struct gs_lm *lm, unsigned wanted)
{
    if (!is_tied(lm))
        return "the head has a matrix of its own";
    return wanted >> GS_FOLD_ROTATE_RESIDUAL & 1 ? NULL : "it only serves rotate-residual";
}

static const char *refuse_rotate_values(const struct gs_lm *lm, unsigned wanted GS_UNUSED)
{
    size_t q;

    return gs_hadamard_order(lm->config.head_v, 0, &q) > 1
               ? NULL : "there is no Hadamard matrix of the size of its heads";
}

static const char *refuse_ffn(const struct gs_lm *lm, unsigned wanted GS_UNUSED)
{
    return lm->config.arch->gated ? NULL : "its FFN has no gate: nothing enters it linearly";
}

static const struct gs_fold_slot slots[GS_FOLD_COUNT] = {
    [GS_FOLD_UNTIE] = {.name = "untie", .on_demand = true, .refuse = refuse_untie},
    [GS_FOLD_ROTATE_RESIDUAL] = {.name = "rotate-residual", .refuse = refuse_residual},
    [GS_FOLD_ROTATE_VALUES] = {.name = "rotate-values", .refuse = refuse_rotate_values},
    [GS_FOLD_SCALE_VALUES] = {.name = "scale-values", .fitted = true},
    [GS_FOLD_SCALE_NORMS] = {.name = "scale-norms", .fitted = true},
    [GS_FOLD_SCALE_FFN] = {.name = "scale-ffn", .fitted = true, .refuse = refuse_ffn},
};

const struct gs_fold_slot *gs_fold_slot(enum gs_fold_id id)
{
    return &slots[id];
}

/* Bits of the names in a list. */
static int parse(const char *list, unsigned *out, struct gs_err *err)
{
    *out = 0;
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ","), i = 0;
        while (i < GS_FOLD_COUNT && (strlen(slots[i].name) != n || memcmp(slots[i].name, p, n)))
            i++;
        if (i == GS_FOLD_COUNT)
            return gs_fail(err, GS_E_ARG, "fold %.*s: there are untie, rotate-residual, "
                           "rotate-values, scale-values, scale-norms, scale-ffn; auto; none",
                           (int)GS_MIN(n, (size_t)40), p);
        *out |= 1u << i;
        p += n + (p[n] == ',');
    }
    return *out ? GS_OK : gs_fail(err, GS_E_ARG, "fold: the list is empty");
}

/* What is asked for, less what cannot be. */
static int choose(struct gs_fold *fold, struct gs_err *err)
{
    const char *list = fold->options.list;
    unsigned asked = 0;

    fold->by_name = strcmp(list, "auto") != 0;
    for (size_t i = 0; !fold->by_name && i < GS_FOLD_COUNT; i++)
        asked |= slots[i].on_demand ? 0u : 1u << i;
    if (fold->by_name) {
        int rc = parse(list, &asked, err);
        if (rc)
            return rc;
    }
    for (size_t i = 0; i < GS_FOLD_COUNT; i++) {
        if (!(asked >> i & 1))
            continue;
        const char *why = slots[i].refuse ? slots[i].refuse(fold->lm, asked) : NULL;
        if ((slots[i].fitted || !fold->by_name) && !fold->options.calib)
            return gs_fail(err, GS_E_ARG, "fold %s: is fitted to a calibration text, and there "
                           "is none", fold->by_name ? slots[i].name : "auto");
        if (why && fold->by_name)
            return gs_fail(err, GS_E_UNSUPPORTED, "%s: fold %s: %s",
                           gs_store_path(fold->lm->store), slots[i].name, why);
        fold->outcomes[i].why = why;
        fold->wanted |= why ? 0 : 1u << i;
    }
    return GS_OK;
}

int gs_fold_check(const struct gs_lm *lm, const char *list, bool calibrated, struct gs_err *err)
{
    static const struct gs_calib some;
    struct gs_fold fold = {.lm = lm, .options = {.list = list, .calib = calibrated ? &some : NULL}};

    return choose(&fold, err);
}

/* ---- what came of it ---------------------------------------------------------------------- */

static GS_PRINTF(3, 4) void append(char *text, size_t size, const char *fmt, ...)
{
    size_t used = strlen(text);
    va_list args;

    va_start(args, fmt);
    vsnprintf(text + used, size - used, fmt, args);
    va_end(args);
}

static void describe(struct gs_fold *fold)
{
    for (size_t i = 0; i < GS_FOLD_COUNT; i++) {
        const struct gs_fold_outcome *o = &fold->outcomes[i];
        char *text = fold->text;
        size_t size = sizeof fold->text;
        if (fold->on >> i & 1)
            append(fold->names, sizeof fold->names, "%s%s", *fold->names ? "," : "",
                   slots[i].name);
        if (o->why)
            append(text, size, "fold %s: off, %s\n", slots[i].name, o->why);
        else if (o->sites && !o->on)
            append(text, size, "fold %s: off, it makes layer errors %.3f times as large\n",
                   slots[i].name, exp(-o->log_tried / (double)o->matrices));
        else if (o->sites)
            append(text, size, "fold %s: in %zu of %zu places, layer errors are %.3f of those "
                   "without it\n", slots[i].name, o->on, o->sites,
                   exp(-o->log_gain / (double)o->matrices));
        else if (fold->on >> i & 1)
            append(text, size, "fold %s: on\n", slots[i].name);
    }
}

/* Everything that the folded weights depend on beside the source. */
static void hash(struct gs_fold *fold)
{
    const struct gs_config *c = &fold->lm->config;
    const size_t n[] = {[GS_SCALE_ATTN_NORM] = c->n_embd,
                        [GS_SCALE_VALUES] = (size_t)c->n_head_kv * c->head_v,
                        [GS_SCALE_FFN_NORM] = c->n_embd, [GS_SCALE_FFN] = c->n_ff};
    const uint64_t facts[] = {fold->on, fold->options.seed};

    fold->hash = gs_fingerprint(1, facts, sizeof facts);
    for (uint32_t il = 0; il < c->n_layer; il++) {
        const struct gs_fold_layer *layer = &fold->layers[il];
        uint64_t flags = layer->rotate_values;
        for (size_t k = 0; k < GS_SCALE_COUNT; k++)
            flags |= (uint64_t)(layer->scale[k] != NULL) << (k + 1);
        fold->hash = gs_fingerprint(fold->hash, &flags, sizeof flags);
        for (size_t k = 0; k < GS_SCALE_COUNT; k++)
            if (layer->scale[k])
                fold->hash = gs_fingerprint(fold->hash, layer->scale[k],
                                            n[k] * sizeof *layer->scale[k]);
    }
}

/* The most that fitting holds: states, one block in f32, its moments and a factor of each. */
static uint64_t count_memory(const struct gs_fold *fold)
{
    const struct gs_config *c = &fold->lm->config;
    uint64_t C = c->n_embd, F = c->n_ff, A = (uint64_t)c->n_head * c->head_v;
    uint64_t block = 4 * (2 * A * C + 2 * C * (uint64_t)c->n_head_kv * c->head_v + 3 * C * F);
    const struct gs_calib *calib = fold->options.calib;

    if (!calib)
        return block;
    return block + 8 * (2 * C * C + A * A + F * F) + 8 * GS_MAX(F * F, GS_MAX(A * A, C * C)) +
           4 * calib->sequences * calib->ctx * C;
}

int gs_fold_create(const struct gs_lm *lm, const struct gs_fold_options *options,
                   struct gs_fold **out, struct gs_err *err)
{
    const struct gs_transform_fit fit = {.seed = options->seed};
    struct gs_fold *fold = gs_alloc(1, sizeof *fold);
    uint32_t n_layer = lm->config.n_layer;
    int rc;

    *out = fold;
    if (!fold)
        return gs_fail_nomem(err, "folding");
    fold->lm = lm;
    fold->options = *options;
    fold->layers = gs_alloc(n_layer, sizeof *fold->layers);
    rc = fold->layers ? choose(fold, err) : gs_fail_nomem(err, "folding");
    if (!rc && fold->wanted >> GS_FOLD_ROTATE_RESIDUAL & 1)
        rc = gs_transform_create(gs_transform_find("hadamard"), lm->config.n_embd, &fit,
                                 &fold->residual, err);
    if (!rc && options->calib)
        rc = gs_fold_fit(fold, err);
    for (uint32_t il = 0; !rc && il < n_layer && !options->calib; il++)
        fold->layers[il].rotate_values = fold->wanted >> GS_FOLD_ROTATE_VALUES & 1;
    if (rc) {
        gs_fold_destroy(out);
        return rc;
    }
    for (size_t i = 0; i < GS_FOLD_COUNT; i++)
        if (fold->wanted >> i & 1 && (!fold->outcomes[i].sites || fold->outcomes[i].on))
            fold->on |= 1u << i;
    if (fold->on)
        hash(fold);
    fold->memory = count_memory(fold);
    describe(fold);
    return GS_OK;
}

void gs_fold_destroy(struct gs_fold **fp)
{
    struct gs_fold *fold = *fp;

    if (!fold)
        return;
    gs_transform_destroy(&fold->residual);
    gs_free(&fold->layers);
    gs_arena_clear(&fold->arena);
    gs_free(fp);
}

/* ---- the file ----------------------------------------------------------------------------- */

struct writing {
    const struct gs_fold *fold;
    struct gs_gguf_writer *file;
    const struct gs_tensor **sources; /* of the file's tensors */
    struct gs_tensor *tensors;
    size_t n, at;
};

static bool is_of_block(const char *name, uint32_t il)
{
    char prefix[24];
    int n = snprintf(prefix, sizeof prefix, "blk.%" PRIu32 ".", il);

    return !strncmp(name, prefix, (size_t)n);
}

static bool is_rotated(const struct gs_fold *fold, const char *name)
{
    return fold->residual && (!strcmp(name, "token_embd.weight") || !strcmp(name, HEAD_NAME) ||
                              !strcmp(name, "output_norm.weight"));
}

static void list(struct writing *w, const struct gs_tensor *t, const char *name, bool f32)
{
    w->sources[w->n] = t;
    w->tensors[w->n] = *t;
    w->tensors[w->n].name = name;
    if (f32)
        w->tensors[w->n].type = GS_TYPE_F32;
    w->n++;
}

/* Blocks first, in the order in which they are folded. */
static int list_tensors(struct writing *w, struct gs_err *err)
{
    const struct gs_store *store = w->fold->lm->store;
    size_t n = gs_store_count(store);

    w->sources = gs_alloc(n + 1, sizeof(struct gs_tensor *));
    w->tensors = gs_alloc(n + 1, sizeof *w->tensors);
    if (!w->sources || !w->tensors)
        return gs_fail_nomem(err, "the folded model");
    for (uint32_t il = 0; il < w->fold->lm->config.n_layer; il++)
        for (size_t i = 0; i < n; i++) {
            const struct gs_tensor *t = gs_store_tensor(store, i);
            if (is_of_block(t->name, il))
                list(w, t, t->name, true);
        }
    for (size_t i = 0; i < n; i++) {
        const struct gs_tensor *t = gs_store_tensor(store, i);
        if (strncmp(t->name, "blk.", 4))
            list(w, t, t->name, is_rotated(w->fold, t->name));
    }
    if (w->fold->on >> GS_FOLD_UNTIE & 1)
        list(w, gs_store_find(store, "token_embd.weight"), HEAD_NAME, true);
    return GS_OK;
}

static int write_block(struct writing *w, uint32_t il, struct gs_err *err)
{
    const struct gs_fold *fold = w->fold;
    const struct gs_fold_layer *layer = &fold->layers[il];
    struct gs_fold_block b;
    int rc = gs_fold_load(fold, il, &b, err);

    if (!rc && fold->residual)
        rc = gs_fold_rotate_residual(fold, &b, err);
    if (!rc && layer->rotate_values)
        rc = gs_fold_rotate_values(fold, &b, false, err);
    for (size_t k = 0; !rc && k < GS_SCALE_COUNT; k++)
        if (layer->scale[k])
            gs_fold_scale_block(fold, &b, (enum gs_fold_scale)k, layer->scale[k]);
    for (; !rc && w->at < w->n && is_of_block(w->tensors[w->at].name, il); w->at++) {
        const struct gs_tensor *t = w->sources[w->at];
        for (size_t i = 0; !rc && i < b.n; i++)
            if (b.tensors[i].source == t)
                rc = gs_gguf_write(w->file, w->at, b.tensors[i].data,
                                   t->dim[0] * t->dim[1] * sizeof(float), err);
        gs_store_release(fold->lm->store, t);
    }
    gs_fold_unload(&b);
    return rc;
}

/* Embedding or head in the basis of R: E R, W diag(γ) R. */
static int write_rotated(struct writing *w, bool head, struct gs_err *err)
{
    const struct gs_fold *fold = w->fold;
    const struct gs_tensor *t = w->sources[w->at];
    const float *gamma = fold->lm->model.output_norm;
    size_t C = t->dim[0], strip = GS_MAX(STRIP_FLOATS / C, 1u);
    float *rows = gs_alloc(GS_MIN(strip, t->dim[1]) * C, sizeof *rows);
    int rc = rows ? GS_OK : gs_fail_nomem(err, t->name);

    for (size_t first = 0; !rc && first < t->dim[1]; first += strip) {
        size_t n = GS_MIN(strip, t->dim[1] - first);
        rc = gs_decode_rows(fold->lm->store, fold->options.team, t, first, n, rows, err);
        for (size_t i = 0; !rc && head && i < n * C; i++)
            rows[i] *= gamma[i % C];
        if (!rc)
            rc = gs_transform_rows(fold->residual, head ? GS_TRANSFORM_DUAL
                                                        : GS_TRANSFORM_FORWARD,
                                   fold->options.team, rows, n, C, err);
        if (!rc)
            rc = gs_gguf_write(w->file, w->at, rows, n * C * sizeof *rows, err);
    }
    gs_free(&rows);
    return rc;
}

/* A tensor of the model's own. */
static int write_own(struct writing *w, struct gs_err *err)
{
    const struct gs_tensor *t = &w->tensors[w->at], *source = w->sources[w->at];
    const void *data;
    int rc;

    if (!is_rotated(w->fold, t->name)) {
        rc = gs_store_data(w->fold->lm->store, source, &data, err);
        return rc ? rc : gs_gguf_write(w->file, w->at, data, source->bytes, err);
    }
    if (t->n_dims > 1)
        return write_rotated(w, !strcmp(t->name, HEAD_NAME), err);
    rc = GS_OK;
    for (uint64_t i = 0; !rc && i < t->dim[0]; i++)
        rc = gs_gguf_write(w->file, w->at, &(const float){1}, sizeof(float), err);
    return rc;
}

int gs_fold_write(const struct gs_fold *fold, const char *path, uint64_t *bytes,
                  struct gs_err *err)
{
    struct writing w = {.fold = fold};
    int rc = list_tensors(&w, err);

    if (!rc)
        rc = gs_gguf_create(path, false, gs_store_meta(fold->lm->store), w.tensors, w.n, &w.file,
                            err);
    for (uint32_t il = 0; !rc && il < fold->lm->config.n_layer; il++)
        rc = write_block(&w, il, err);
    for (; !rc && w.at < w.n; w.at++)
        rc = write_own(&w, err);
    if (!rc)
        rc = gs_gguf_commit(&w.file, bytes, err);
    gs_gguf_abort(&w.file);
    gs_free(&w.sources);
    gs_free(&w.tensors);
    return rc;
}

int gs_fold_size(const struct gs_fold *fold, uint64_t *bytes, struct gs_err *err)
{
    struct writing w = {.fold = fold};
    int rc = list_tensors(&w, err);

    if (!rc)
        rc = gs_gguf_size(gs_store_meta(fold->lm->store), w.tensors, w.n, bytes, err);
    gs_free(&w.sources);
    gs_free(&w.tensors);
    return rc;
}

int gs_fold_open(const struct gs_fold *fold, const char *beside, struct gs_store **out,
                 uint64_t *bytes, struct gs_err *err)
{
    size_t n = strlen(beside) + 32;
    char *path = gs_alloc(n, 1);
    int rc;

    *out = NULL;
    if (!path)
        return gs_fail_nomem(err, beside);
    snprintf(path, n, "%s.%ld.fold", beside, (long)getpid());
    rc = gs_fold_write(fold, path, bytes, err);
    if (!rc) {
        rc = gs_store_open(path, out, err);
        unlink(path);
    }
    gs_free(&path);
    return rc;
}
