/* SPDX-License-Identifier: MIT
 * The simplest pipeline: any store to one GGUF file.
 *
 *   store → plan (a type for each tensor) → header → for each tensor: decode, check, encode
 *
 * A file in pieces may be cut on the way (slice.h).
 *
 * Types by the habits of the stock converters, since their runtimes expect them so: what is
 * no matrix, norms, and a few tensors that are read as f32 stay or become F32; integers stay
 * as they are; matrices take the wanted type, or F16 where a row is no whole number of Q8_0
 * blocks. Each tensor is read once and its pages are given back, so the resident set is a
 * few MiB and one tensor. */
#include "recipe/convert.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "core/alloc.h"
#include "core/log.h"
#include "file/gguf.h"
#include "recipe/fold.h"
#include "recipe/recode.h"
#include "recipe/slice.h"

#define QUANTIZATION_VERSION 2 /* of ggml's block layouts */

/* What a user may ask for; file_type is llama.h's number for it. */
static const struct target {
    const char *name;
    enum gs_type type;
    uint32_t file_type;
} targets[] = {
    {"f32", GS_TYPE_F32, 0},
    {"f16", GS_TYPE_F16, 1},
    {"q8_0", GS_TYPE_Q8_0, 7},
    {"bf16", GS_TYPE_BF16, 32},
};

struct conversion {
    struct gs_store *store;
    const struct target *target; /* NULL: as stored */
    struct gs_slice *slice;      /* NULL: all pieces stay */
    size_t count;                /* tensors of the file */
    struct gs_tensor *plan;      /* (count) each with its new type, and what it comes from */
    const struct gs_tensor **source;
    struct gs_meta *meta;
    struct gs_team *team;
    struct gs_recoder *recoder;
    struct gs_gguf_writer *writer;
    const struct gs_convert_options *options;
    size_t index;                /* of the tensor in work */
    uint64_t read, total;        /* bytes of the source */
};

static int find_target(const char *name, const struct target **out, struct gs_err *err)
{
    *out = NULL;
    if (!name)
        return GS_OK;
    for (size_t i = 0; i < GS_COUNT(targets); i++)
        if (!strcasecmp(targets[i].name, name))
            *out = &targets[i];
    if (*out)
        return GS_OK;
    return gs_fail(err, GS_E_ARG, "type %s: files are converted to f32, f16, bf16 or q8_0", name);
}

/* Without it no reader knows what the tensors are. */
static int check_architecture(const struct gs_store *store, struct gs_err *err)
{
    if (gs_meta_find(gs_store_meta(store), "general.architecture"))
        return GS_OK;
    return gs_fail(err, GS_E_UNSUPPORTED,
                   "%s: no architecture is given (a safetensors file needs its folder with "
                   "config.json; an imatrix is no model)", gs_store_path(store));
}

/* ---- the output may not be an input ------------------------------------------------------ */

static bool is_same_file(const char *path, const struct stat *st)
{
    struct stat other;

    return !stat(path, &other) && other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

/* True for a GGUF file, and for an empty one. */
static bool is_replaceable(const char *path)
{
    char magic[4];
    size_t n;
    FILE *f = fopen(path, "rb");

    if (!f)
        return false;
    n = fread(magic, 1, sizeof magic, f);
    fclose(f);
    return n == 0 || (n == sizeof magic && !memcmp(magic, "GGUF", sizeof magic));
}

/* A shell wildcard in the wrong place has cost people their only copy: only a GGUF file that
 * is not being read is ever replaced. */
int gs_convert_check_output(const struct gs_store *store, const char *dst, bool overwrite,
                            struct gs_err *err)
{
    struct stat st;
    const char *file;
    bool same;

    if (stat(dst, &st))
        return GS_OK; /* not there; other obstacles show when it is created */
    same = is_same_file(gs_store_path(store), &st);
    for (size_t i = 0; !same && (file = gs_store_file(store, i)); i++)
        same = is_same_file(file, &st);
    if (same)
        return gs_fail(err, GS_E_ARG, "%s: is part of the model that is being read", dst);
    if (overwrite && S_ISREG(st.st_mode) && !is_replaceable(dst))
        return gs_fail(err, GS_E_ARG, "%s: is no GGUF file, so it is not replaced", dst);
    return GS_OK;
}

/* ---- pieces ------------------------------------------------------------------------------- */

static bool wants_slice(const struct gs_convert_options *o)
{
    return o->load && (o->load->bits || o->load->memory);
}

static int find_slice(struct conversion *c, struct gs_err *err)
{
    if (!wants_slice(c->options))
        return GS_OK;
    return gs_slice_create(c->store, c->options->load, c->team, &c->slice, err);
}

/* ---- plan --------------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *tail)
{
    size_t n = strlen(name), m = strlen(tail);

    return n >= m && !strcmp(name + n - m, tail);
}

/* Tensors of more than one dimension that stock runtimes read as f32. */
static bool is_always_f32(const char *name)
{
    static const char *const tails[] = {"_norm.weight", "ffn_gate_inp.weight",
                                        "position_embd.weight", "token_types.weight"};

    for (size_t i = 0; i < GS_COUNT(tails); i++)
        if (ends_with(name, tails[i]))
            return true;
    return false;
}

static bool is_integer(enum gs_type type)
{
    return type >= GS_TYPE_I8 && type <= GS_TYPE_I64;
}

static enum gs_type planned_type(const struct gs_tensor *t, const struct target *target)
{
    if (is_integer(t->type))
        return t->type;
    if (t->n_dims < 2 || is_always_f32(t->name))
        return GS_TYPE_F32;
    if (!target)
        return t->type == GS_TYPE_F64 ? GS_TYPE_F32 : t->type;
    if (t->dim[0] % gs_type_info(target->type)->block) {
        gs_log(GS_LOG_INFO, "tensor %s: a row of %" PRIu64 " weights is no whole number of %s "
               "blocks; it becomes F16", t->name, t->dim[0], gs_type_info(target->type)->name);
        return GS_TYPE_F16;
    }
    return target->type;
}

static int make_plan(struct conversion *c, struct gs_err *err)
{
    size_t n = gs_store_count(c->store), requantized = 0;

    c->plan = gs_alloc(n, sizeof *c->plan);
    c->source = gs_alloc(n, sizeof *c->source);
    if (!c->plan || !c->source)
        return gs_fail_nomem(err, "the plan");
    for (size_t i = 0; i < n; i++) {
        const struct gs_tensor *t = gs_store_tensor(c->store, i);
        struct gs_tensor *p = &c->plan[c->count];
        *p = *t;
        p->type = planned_type(t, c->target);
        if (gs_slice_cuts(c->slice, t))
            p->dim[0] = p->bytes = gs_slice_bytes(c->slice);
        if (!p->dim[0])
            continue; /* nothing is left of it */
        c->source[c->count++] = t;
        c->total += t->bytes;
        requantized += gs_type_info(t->type)->quantized && p->type != t->type &&
                       gs_type_info(p->type)->quantized;
    }
    if (requantized)
        gs_log(GS_LOG_INFO, "%zu tensors are quantized already; %s adds its own error to theirs",
               requantized, c->target->name);
    return GS_OK;
}

/* llama.h's number for the file as a whole: the target's, the source's own, or that of the
 * type that most matrix bytes have. False if there is none. */
static bool file_type(const struct conversion *c, uint32_t *out)
{
    uint64_t bytes[GS_COUNT(targets)] = {0}, most = 0, others = 0;

    if (c->target) {
        *out = c->target->file_type;
        return true;
    }
    if (gs_meta_find(gs_store_meta(c->store), "general.file_type"))
        return false; /* it is copied */
    for (size_t i = 0; i < c->count; i++) {
        const struct gs_tensor *t = &c->plan[i];
        size_t k = 0;
        while (k < GS_COUNT(targets) && targets[k].type != t->type)
            k++;
        if (t->n_dims < 2)
            continue;
        if (k == GS_COUNT(targets))
            others += t->bytes;
        else
            bytes[k] += t->bytes;
    }
    for (size_t k = 0; k < GS_COUNT(targets); k++)
        if (bytes[k] > most) {
            most = bytes[k];
            *out = targets[k].file_type;
        }
    return most > others;
}

/* The source's pairs, borrowed, and what the new file says of itself. */
static int make_meta(struct conversion *c, struct gs_err *err)
{
    const struct gs_meta *source = gs_store_meta(c->store);
    uint32_t type;
    int rc = gs_meta_create(&c->meta, err);

    for (size_t i = 0; !rc && i < gs_meta_count(source); i++) {
        const char *key = gs_meta_key(source, i);
        if (gs_slice_drops(c->slice, key))
            continue;
        rc = gs_meta_set(c->meta, (struct gs_str){key, strlen(key)}, gs_meta_value(source, i),
                         err);
    }
    if (!rc && file_type(c, &type))
        rc = gs_meta_set_uint(c->meta, "general.file_type", type, err);
    if (!rc)
        rc = gs_meta_set_uint(c->meta, "general.quantization_version", QUANTIZATION_VERSION,
                              err);
    return rc || !c->slice ? rc : gs_slice_set_meta(c->slice, c->meta, err);
}

/* ---- data --------------------------------------------------------------------------------- */

static int write_piece(void *ctx, const void *data, uint64_t n, uint64_t read,
                       struct gs_err *err)
{
    struct conversion *c = ctx;
    const struct gs_convert_options *o = c->options;
    int rc = gs_gguf_write(c->writer, c->index, data, n, err);

    c->read += read;
    if (!rc && o->progress && o->progress(o->progress_ctx, "bytes", c->read, c->total))
        rc = gs_fail(err, GS_E_STOPPED, "converting was stopped");
    return rc;
}

static int write_tensors(struct conversion *c, struct gs_err *err)
{
    int rc = GS_OK;

    for (c->index = 0; !rc && c->index < c->count; c->index++) {
        const struct gs_tensor *t = c->source[c->index];
        const void *data;
        if ((rc = gs_store_data(c->store, t, &data, err)))
            return rc;
        if (gs_slice_cuts(c->slice, t))
            rc = gs_slice_write(c->slice, write_piece, c, err);
        else
            rc = gs_recode(c->recoder, t, data, c->plan[c->index].type, write_piece, c, err);
        gs_store_release(c->store, t);
    }
    return rc;
}

int gs_convert_store(struct gs_store *store, const char *dst,
                     const struct gs_convert_options *options, struct gs_convert_result *out,
                     struct gs_err *err)
{
    static const struct gs_convert_options defaults;
    struct conversion c = {.store = store, .options = options ? options : &defaults};
    uint64_t bytes = 0;
    int rc;

    if ((rc = find_target(c.options->type, &c.target, err)) ||
        (rc = check_architecture(store, err)) ||
        (rc = gs_convert_check_output(store, dst, c.options->overwrite, err)) ||
        (rc = gs_team_create(c.options->threads, &c.team, err)) ||
        (rc = gs_recoder_create(c.team, &c.recoder, err)) || (rc = find_slice(&c, err)) ||
        (rc = make_plan(&c, err)) || (rc = make_meta(&c, err)) ||
        (rc = gs_gguf_create(dst, c.options->overwrite, c.meta, c.plan, c.count, &c.writer,
                             err)) ||
        (rc = write_tensors(&c, err)))
        goto out;
    rc = gs_gguf_commit(&c.writer, &bytes, err);
    if (!rc && out)
        *out = (struct gs_convert_result){.tensors = c.count, .bytes = bytes};
out:
    gs_gguf_abort(&c.writer);
    gs_slice_destroy(&c.slice);
    gs_recoder_destroy(&c.recoder);
    gs_team_destroy(&c.team);
    gs_meta_destroy(&c.meta);
    gs_free(&c.plan);
    gs_free(&c.source);
    return rc;
}

/* The folded model, from a file that has no name any more. */
static int fold_store(struct gs_store *store, const char *dst,
                      const struct gs_convert_options *options, struct gs_store **out,
                      struct gs_err *err)
{
    struct gs_fold_options fold_options = {.list = options->fold};
    struct gs_fold *fold = NULL;
    struct gs_lm *lm = NULL;
    int rc = gs_convert_check_output(store, dst, options->overwrite, err);

    if (rc || (rc = gs_team_create(options->threads, &fold_options.team, err)))
        return rc;
    if (!(rc = gs_lm_open(store, &lm, err)) &&
        !(rc = gs_fold_create(lm, &fold_options, &fold, err)))
        rc = gs_fold_open(fold, dst, out, NULL, err);
    gs_fold_destroy(&fold);
    gs_lm_close(&lm);
    gs_team_destroy(&fold_options.team);
    return rc;
}

int gs_convert_model(const char *src, const char *dst, const struct gs_convert_options *options,
                     struct gs_convert_result *out, struct gs_err *err)
{
    struct gs_convert_options o = options ? *options : (struct gs_convert_options){.type = NULL};
    struct gs_store *store = NULL, *folded = NULL;
    int rc = gs_store_open(src, &store, err);

    if (!rc && o.fold && wants_slice(&o))
        rc = gs_fail(err, GS_E_ARG, "%s: folded matrices are of one precision: choose either "
                     "what to fold or what to keep", src);
    if (!rc && o.fold && !(rc = fold_store(store, dst, &o, &folded, err)) && !o.type)
        o.type = "f32";
    if (!rc)
        rc = gs_convert_store(folded ? folded : store, dst, &o, out, err);
    gs_store_close(&folded);
    gs_store_close(&store);
    return rc;
}
