/* SPDX-License-Identifier: MIT
 * Opening a model: for every row of weights.def that the architecture needs or may have,
 * the tensor is found in the store, its shape and type are checked against the
 * configuration, and the field is filled in through its offset.
 *
 * A tensor that no row claims is an error: a weight left out gives wrong numbers. */
#include "model/weights.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/log.h"
#include "kernels/kernels.h"
#include "model/arch.h"

#define NAME_MAX_BYTES 80

enum dim {
    GS_DIM_NONE, GS_DIM_EMBD, GS_DIM_VOCAB, GS_DIM_CTX, GS_DIM_ROT, GS_DIM_HEAD, GS_DIM_Q,
    GS_DIM_K, GS_DIM_V, GS_DIM_QKV, GS_DIM_ATT, GS_DIM_FF, GS_DIM_FF2
};

static uint64_t dim_size(const struct gs_config *c, enum dim dim)
{
    uint64_t q = (uint64_t)c->n_head * c->head_k, k = (uint64_t)c->n_head_kv * c->head_k;
    uint64_t v = (uint64_t)c->n_head_kv * c->head_v;
    const uint64_t sizes[] = {
        [GS_DIM_NONE] = 1, [GS_DIM_EMBD] = c->n_embd, [GS_DIM_VOCAB] = c->n_vocab,
        [GS_DIM_CTX] = c->n_ctx_train, [GS_DIM_ROT] = c->rope_dims / 2,
        [GS_DIM_HEAD] = c->head_k, [GS_DIM_Q] = q, [GS_DIM_K] = k, [GS_DIM_V] = v,
        [GS_DIM_QKV] = q + k + v, [GS_DIM_ATT] = (uint64_t)c->n_head * c->head_v,
        [GS_DIM_FF] = c->n_ff, [GS_DIM_FF2] = 2 * (uint64_t)c->n_ff,
    };

    return sizes[dim];
}

struct row {
    const char *name;
    size_t offset;     /* of the field in its struct */
    enum dim in, out;  /* out GS_DIM_NONE: a vector */
};

static const struct row rows[GS_SLOT_COUNT] = {
#define M(field, name, in, out) \
    [GS_SLOT_##field] = {name, offsetof(struct SCOPE, field), GS_DIM_##in, GS_DIM_##out},
#define V(field, name, n) \
    [GS_SLOT_##field] = {name, offsetof(struct SCOPE, field), GS_DIM_##n, GS_DIM_NONE},
#define GS_MODEL_TENSORS
#define SCOPE gs_model_weights
#include "model/weights.def"
#undef GS_MODEL_TENSORS
#undef SCOPE
#define GS_BLOCK_TENSORS
#define SCOPE gs_block_weights
#include "model/weights.def"
#undef GS_BLOCK_TENSORS
#undef SCOPE
#undef M
#undef V
};

static void shape_text(const uint64_t *dim, uint32_t n, char *out, size_t size)
{
    size_t used = 0;

    for (uint32_t i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%" PRIu64, i ? ", " : "", dim[i]);
}

static int check_shape(const struct gs_lm *lm, const struct gs_tensor *t, const struct row *row,
                       struct gs_err *err)
{
    const struct gs_native_facts *native = gs_natives_facts(lm->natives, t);
    const struct gs_part_facts *part = gs_part_file_facts(lm->parts, t);
    uint64_t want[2] = {dim_size(&lm->config, row->in), dim_size(&lm->config, row->out)};
    const uint64_t logical[2] = {native ? native->cols : part ? part->cols : 0,
                                 native ? native->rows : part ? part->rows : 0};
    const uint64_t *dim = native || part ? logical : t->dim;
    uint32_t n = row->out == GS_DIM_NONE ? 1 : 2, n_dims = part ? 2 : t->n_dims;
    char wanted[64], found[96];

    if (n_dims == n && dim[0] == want[0] && (n == 1 || dim[1] == want[1]))
        return GS_OK;
    shape_text(want, n, wanted, sizeof wanted);
    shape_text(dim, n_dims, found, sizeof found);
    return gs_fail(err, GS_E_FORMAT, "%s: tensor %s: expected shape [%s], found [%s]", t->file,
                   t->name, wanted, found);
}

static int bind_matrix(struct gs_lm *lm, const struct gs_tensor *t, struct gs_matrix *out,
                       struct gs_err *err)
{
    const struct gs_lm_options *o = lm->options;
    const struct gs_native *native = gs_natives_matrix(lm->natives, t);
    uint64_t row_bytes;

    if (native) {
        *out = (struct gs_matrix){.type = t->type, .rows = native->rows, .cols = native->cols,
                                  .data = native->codes, .native = native};
        return GS_OK;
    }
    const struct gs_part_facts *part = gs_part_file_facts(lm->parts, t);
    if (part) {
        const struct gs_part_stack *stack;
        const struct gs_part_stored *s;
        int failed = gs_part_file_stack(lm->parts, t, &stack, err);
        if (failed || stack) {
            *out = (struct gs_matrix){.type = t->type, .rows = part->rows, .cols = part->cols,
                                      .data = failed ? NULL : stack->block[0], .stack = stack};
            return failed;
        }
        failed = gs_part_file_weights(lm->parts, t, o->exact, o->team, &s, err);
        *out = (struct gs_matrix){.type = s->type, .rows = part->rows, .cols = part->cols,
                                  .row_bytes = s->row_bytes, .data = s->data};
        return failed;
    }
    if (!gs_kernels()->decode[t->type])
        return gs_fail(err, GS_E_UNSUPPORTED, "%s: tensor %s: type %s cannot be decoded",
                       t->file, t->name, gs_type_info(t->type)->name);
    int rc = gs_type_row_bytes(t->type, t->dim[0], &row_bytes, err);
    if (rc)
        return rc;
    *out = (struct gs_matrix){.type = t->type, .rows = t->dim[1], .cols = t->dim[0],
                              .row_bytes = row_bytes};
    return gs_store_data(lm->store, t, &out->data, err);
}

static int bind_vector(struct gs_lm *lm, const struct gs_tensor *t, const float **out,
                       struct gs_err *err)
{
    const void *data;

    if (t->type != GS_TYPE_F32 && t->type != GS_TYPE_F16 && t->type != GS_TYPE_BF16)
        return gs_fail(err, GS_E_FORMAT,
                       "%s: tensor %s: expected type F32, F16 or BF16, found %s", t->file,
                       t->name, gs_type_info(t->type)->name);
    int rc = gs_store_data(lm->store, t, &data, err);
    if (rc)
        return rc;
    float *copy = gs_arena_alloc(&lm->vectors, t->dim[0], sizeof *copy);
    if (!copy)
        return gs_fail_nomem(err, t->name);
    gs_kernels()->decode[t->type](data, copy, t->dim[0]);
    *out = copy;
    return GS_OK;
}

/* Slots first … end-1 named in `want` go into *base; those in `need` must be there. */
static int bind_rows(struct gs_lm *lm, int first, int end, const char *prefix, uint64_t need,
                     uint64_t want, void *base, size_t *bound, struct gs_err *err)
{
    char name[NAME_MAX_BYTES];

    for (int slot = first; slot < end; slot++) {
        if (!(want >> slot & 1))
            continue;
        const struct row *row = &rows[slot];
        snprintf(name, sizeof name, "%s%s", prefix, row->name);
        const struct gs_tensor *t = gs_store_find(lm->store, name);
        if (!t && !(need >> slot & 1))
            continue;
        if (!t)
            return gs_fail(err, GS_E_FORMAT, "%s: tensor %s is missing (architecture %s)",
                           gs_store_path(lm->store), name, lm->config.arch->name);
        void *field = (char *)base + row->offset;
        int rc = check_shape(lm, t, row, err);
        if (!rc)
            rc = row->out == GS_DIM_NONE ? bind_vector(lm, t, field, err)
                                         : bind_matrix(lm, t, field, err);
        if (rc)
            return rc;
        ++*bound;
    }
    return GS_OK;
}

/* Rows first … first+n-1 of w. */
static struct gs_matrix matrix_rows(const struct gs_matrix *w, size_t first, size_t n)
{
    struct gs_matrix view = *w;

    assert(first + n <= w->rows);
    if (w->native || w->stack)
        view.first += first;
    else
        view.data = (const char *)w->data + first * w->row_bytes;
    view.rows = n;
    return view;
}

/* A native matrix can be cut only where a block row begins, and not behind a transform that
 * mixes its rows. */
static int check_native_cut(const struct gs_lm *lm, const struct gs_matrix *w,
                            const size_t cuts[2], const char *name, struct gs_err *err)
{
    size_t block = w->native ? w->native->codec->grid->block_rows : 1;

    if (!w->native || (cuts[0] % block == 0 && cuts[1] % block == 0 &&
                       !gs_transform_kind_of(w->native->out)->apply_f32))
        return GS_OK;
    return gs_fail(err, GS_E_UNSUPPORTED,
                   "%s: tensor %s: fused projections cannot be taken apart on this grid",
                   gs_store_path(lm->store), name);
}

/* Rows of an embedding are looked up one by one; transforms fit the scratch of a run. */
static int check_native_model(const struct gs_lm *lm, struct gs_err *err)
{
    const struct gs_native *embd = lm->model.token_embd.native;

    if (lm->model.position_embd.native || lm->model.position_embd.stack ||
        (embd && gs_transform_kind_of(embd->out)->apply_f32))
        return gs_fail(err, GS_E_UNSUPPORTED,
                       "%s: an embedding whose rows are mixed cannot be looked up",
                       gs_store_path(lm->store));
    return GS_OK;
}

void gs_block_split(const struct gs_config *c, struct gs_block_weights *b)
{
    size_t q = dim_size(c, GS_DIM_Q), k = dim_size(c, GS_DIM_K), v = dim_size(c, GS_DIM_V);

    if (b->attn_qkv.data) {
        b->attn_q = matrix_rows(&b->attn_qkv, 0, q);
        b->attn_k = matrix_rows(&b->attn_qkv, q, k);
        b->attn_v = matrix_rows(&b->attn_qkv, q + k, v);
    }
    if (b->attn_qkv_b) {
        b->attn_q_b = b->attn_qkv_b;
        b->attn_k_b = b->attn_qkv_b + q;
        b->attn_v_b = b->attn_qkv_b + q + k;
    }
    if (b->ffn_gate_up.data) {
        b->ffn_gate = matrix_rows(&b->ffn_gate_up, 0, c->n_ff);
        b->ffn_up = matrix_rows(&b->ffn_gate_up, c->n_ff, c->n_ff);
    }
}

static int bind_block(struct gs_lm *lm, uint32_t il, size_t *bound, struct gs_err *err)
{
    const struct gs_arch *arch = lm->config.arch;
    const uint64_t split = GS_BIT(attn_q) | GS_BIT(attn_k) | GS_BIT(attn_v) |
                           GS_BIT(attn_q_b) | GS_BIT(attn_k_b) | GS_BIT(attn_v_b);
    uint64_t need = arch->need, want = arch->need | arch->may;
    char prefix[24], name[NAME_MAX_BYTES];

    snprintf(prefix, sizeof prefix, "blk.%" PRIu32 ".", il);
    snprintf(name, sizeof name, "%s%s", prefix, rows[GS_SLOT_attn_qkv].name);
    if (want & GS_BIT(attn_qkv) && gs_store_find(lm->store, name)) {
        need &= ~split;
        want &= ~split;
    } else {
        want &= ~GS_BIT(attn_qkv_b);
    }
    int rc = bind_rows(lm, GS_SLOT_MODEL_COUNT + 1, GS_SLOT_COUNT, prefix, need, want,
                       &lm->blocks[il], bound, err);
    if (rc)
        return rc;
    const struct gs_config *c = &lm->config;
    struct gs_block_weights *b = &lm->blocks[il];
    size_t q = dim_size(c, GS_DIM_Q), k = dim_size(c, GS_DIM_K);
    rc = check_native_cut(lm, &b->attn_qkv, (const size_t[2]){q, q + k}, "attn_qkv", err);
    if (!rc)
        rc = check_native_cut(lm, &b->ffn_gate_up, (const size_t[2]){c->n_ff, 0}, "ffn_up",
                              err);
    if (!rc)
        gs_block_split(c, b);
    return rc;
}

/* True if some slot of the architecture goes by this name. */
static bool is_claimed(const struct gs_lm *lm, const char *name)
{
    uint64_t want = lm->config.arch->need | lm->config.arch->may;
    int first = 0, end = GS_SLOT_MODEL_COUNT;

    if (!strncmp(name, "blk.", 4)) {
        char *rest;
        unsigned long il = strtoul(name + 4, &rest, 10);
        if (rest == name + 4 || *rest != '.' || il >= lm->config.n_layer)
            return false;
        name = rest + 1;
        first = GS_SLOT_MODEL_COUNT + 1;
        end = GS_SLOT_COUNT;
    }
    for (int slot = first; slot < end; slot++)
        if (want >> slot & 1 && !strcmp(rows[slot].name, name))
            return true;
    return false;
}

static int refuse_unclaimed(const struct gs_lm *lm, size_t bound, struct gs_err *err)
{
    size_t n = gs_store_count(lm->store);

    if (bound + gs_natives_sides(lm->natives) + gs_part_file_sides(lm->parts) == n)
        return GS_OK;
    for (size_t i = 0; i < n; i++) {
        const struct gs_tensor *t = gs_store_tensor(lm->store, i);
        if (!gs_natives_is_side(lm->natives, t) && !gs_part_file_is_side(lm->parts, t) &&
            !is_claimed(lm, t->name))
            return gs_fail(err, GS_E_UNSUPPORTED,
                           "%s: tensor %s has no place in architecture %s (%" PRIu32 " layers)",
                           t->file, t->name, lm->config.arch->name, lm->config.n_layer);
    }
    return gs_fail(err, GS_E_UNSUPPORTED,
                   "%s: both fused and separate attention projections are there",
                   gs_store_path(lm->store));
}

/* RoPE factors divide frequencies. */
static int check_factors(const struct gs_lm *lm, const float *f, enum gs_tensor_slot slot,
                         struct gs_err *err)
{
    for (uint32_t i = 0; f && i < lm->config.rope_dims / 2; i++)
        if (!(f[i] >= 1e-6f && f[i] <= 1e9f))
            return gs_fail(err, GS_E_FORMAT,
                           "%s: tensor %s: factor %" PRIu32 " is %g, expected 1e-6 to 1e9",
                           gs_store_path(lm->store), rows[slot].name, i, (double)f[i]);
    return GS_OK;
}

static int bind_all(struct gs_lm *lm, struct gs_err *err)
{
    const struct gs_arch *arch = lm->config.arch;
    struct gs_model_weights *m = &lm->model;
    size_t bound = 0;
    int rc;

    rc = bind_rows(lm, 0, GS_SLOT_MODEL_COUNT, "", arch->need, arch->need | arch->may, m,
                   &bound, err);
    for (uint32_t il = 0; !rc && il < lm->config.n_layer; il++)
        rc = bind_block(lm, il, &bound, err);
    if (rc || (rc = refuse_unclaimed(lm, bound, err)) ||
        (rc = check_factors(lm, m->rope_freqs, GS_SLOT_rope_freqs, err)) ||
        (rc = check_factors(lm, m->rope_long, GS_SLOT_rope_long, err)) ||
        (rc = check_factors(lm, m->rope_short, GS_SLOT_rope_short, err)) ||
        (rc = check_native_model(lm, err)))
        return rc;
    if (!m->output.data)
        m->output = m->token_embd;
    return GS_OK;
}

/* Bytes of tensors that are used as they lie in the file. */
static uint64_t mapped_bytes(const struct gs_lm *lm)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < gs_store_count(lm->store); i++) {
        const struct gs_tensor *t = gs_store_tensor(lm->store, i);
        if (!gs_part_file_facts(lm->parts, t) && !gs_part_file_is_side(lm->parts, t))
            bytes += t->bytes;
    }
    return bytes;
}

/* What of the file is loaded, by precision and by memory, which a run has to share. */
static int choose_pieces(struct gs_lm *lm, struct gs_err *err)
{
    const struct gs_lm_options *o = lm->options;
    struct gs_part_choice c = {.bits = o->bits};
    uint64_t run = 0, fixed = mapped_bytes(lm);
    int rc = GS_OK;

    if (o->run)
        run = gs_decoder_need(lm, o->run);
    fixed += run;
    if (o->memory)
        c.memory = fixed < o->memory ? o->memory - fixed : 1;
    if (lm->parts)
        rc = gs_part_file_choose(lm->parts, &c, err);
    else if (o->bits)
        return gs_fail(err, GS_E_ARG, "%s: %" PRIu32 " bits: the file has one precision",
                       gs_store_path(lm->store), o->bits);
    if (rc)
        return rc;
    if (o->memory && fixed + c.bytes > o->memory)
        return gs_fail(err, GS_E_ARG, "%s: %.1f MiB of memory are too few: weights need %.1f MiB "
                       "at least, context and buffers %.1f MiB", gs_store_path(lm->store),
                       (double)o->memory / 0x1p20, (double)(fixed - run + c.bytes) / 0x1p20,
                       (double)run / 0x1p20);
    if (c.of)
        gs_log(GS_LOG_INFO, "%" PRIu64 " of %" PRIu64 " pieces: matrices of %.3f bits a "
               "weight; %.1f MiB of weights, %.1f MiB for context and buffers", c.pieces, c.of,
               8 * c.stored / c.weights, (double)(fixed - run + c.bytes) / 0x1p20,
               (double)run / 0x1p20);
    return GS_OK;
}

int gs_lm_open(struct gs_store *store, struct gs_lm **out, struct gs_err *err)
{
    static const struct gs_lm_options defaults = {.exact = true};

    return gs_lm_open_with(store, &defaults, out, err);
}

/* All but the weights: configuration, kinds of matrices, pieces that are chosen. */
static int open_unbound(struct gs_store *store, const struct gs_lm_options *options,
                        struct gs_lm **out, struct gs_err *err)
{
    struct gs_lm *lm = *out = gs_alloc(1, sizeof *lm);
    int rc;

    if (!lm)
        return gs_fail_nomem(err, "the model");
    lm->store = store;
    lm->options = options;
    if ((rc = gs_config_read(gs_store_meta(store), gs_store_path(store), &lm->config, err)))
        return rc;
    if (lm->config.n_layer > gs_store_count(store))
        return gs_fail(err, GS_E_FORMAT, "%s: %" PRIu32 " layers but only %zu tensors",
                       gs_store_path(store), lm->config.n_layer, gs_store_count(store));
    if ((rc = gs_natives_open(store, &lm->natives, err)) ||
        (rc = gs_part_file_open(store, &lm->parts, err)))
        return rc;
    return options->bits || options->memory ? choose_pieces(lm, err) : GS_OK;
}

int gs_lm_open_with(struct gs_store *store, const struct gs_lm_options *options,
                    struct gs_lm **out, struct gs_err *err)
{
    struct gs_lm *lm;
    int rc = open_unbound(store, options, &lm, err);

    if (!rc && !(lm->blocks = gs_alloc(lm->config.n_layer, sizeof *lm->blocks)))
        rc = gs_fail_nomem(err, "the model's layers");
    if (!rc && lm->natives)
        rc = gs_natives_load(lm->natives, err);
    if (!rc)
        rc = bind_all(lm, err);
    if (rc)
        gs_lm_close(&lm);
    else
        lm->options = NULL;
    *out = lm;
    return rc;
}

int gs_lm_choose(struct gs_store *store, const struct gs_lm_options *options,
                 struct gs_part_file **out, struct gs_err *err)
{
    struct gs_lm *lm;
    int rc = open_unbound(store, options, &lm, err);

    *out = rc ? NULL : lm->parts;
    if (!rc)
        lm->parts = NULL;
    gs_lm_close(&lm);
    return rc;
}

void gs_lm_close(struct gs_lm **lmp)
{
    struct gs_lm *lm = *lmp;

    if (!lm)
        return;
    gs_natives_close(&lm->natives);
    gs_part_file_close(&lm->parts);
    gs_arena_clear(&lm->vectors);
    gs_free(&lm->blocks);
    gs_free(lmp);
}

const struct gs_config *gs_lm_config(const struct gs_lm *lm)
{
    return &lm->config;
}
