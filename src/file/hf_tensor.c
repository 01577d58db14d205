/* SPDX-License-Identifier: MIT
 * Stored tensors of a Hugging Face folder as GGUF tensors: names by the architecture's table,
 * shapes reversed, and the adaptations, each a rule for where a row comes from:
 *
 *   rope_q, rope_k   a head's rows [first half | second half] -> pairs interleaved, since
 *                    GGUF's llama rotates neighbours (2j, 2j + 1), transformers (j, j + D/2)
 *   qkv              [head][q k v][D] -> [q k v][head][D]
 *   transpose        [in, out] -> [out, in]
 *   plus_one         w -> 1 + w
 *
 * Vectors, norms and position embeddings are F32, as the stock converter has them; matrices
 * keep their type (F64 becomes F32). Whatever needs no change stays in the file's mapping. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/cursor.h"
#include "core/half.h"
#include "file/hf_folder.h"

#define NAME_SHOWN 96

/* ---- the adaptations ---------------------------------------------------------------------- */

static uint64_t rope_row(uint64_t r, uint64_t rows, uint64_t heads)
{
    uint64_t d = rows / heads, head = r / d, i = r % d;
    return head * d + i % 2 * (d / 2) + i / 2;
}

static uint64_t qkv_row(uint64_t r, uint64_t rows, uint64_t heads)
{
    uint64_t d = rows / 3 / heads, part = r / (rows / 3), head = r % (rows / 3) / d;
    return (head * 3 + part) * d + r % d;
}

const struct gs_hf_adapt gs_hf_rope_q = {"rope_q", rope_row, 2, false, false, 0, false, false};
const struct gs_hf_adapt gs_hf_rope_k = {"rope_k", rope_row, 2, true, false, 0, false, false};
const struct gs_hf_adapt gs_hf_transpose = {"transpose", NULL, 0, false, true, 0, false, false};
const struct gs_hf_adapt gs_hf_qkv = {"qkv", qkv_row, 3, false, false, 0, false, false};
const struct gs_hf_adapt gs_hf_plus_one = {"plus_one", NULL, 0, false, false, 1, false, false};
const struct gs_hf_adapt gs_hf_head = {"head", NULL, 0, false, false, 0, true, false};
const struct gs_hf_adapt gs_hf_embedding = {"embedding", NULL, 0, false, false, 0, false, true};

static const struct gs_hf_adapt none = {.name = "none"};

/* ---- building ----------------------------------------------------------------------------- */

/* Elements n at distance `stride` to n adjacent ones. */
typedef void (*convert_fn)(uint8_t *out, const uint8_t *in, uint64_t n, uint64_t stride);

static void copy_2(uint8_t *out, const uint8_t *in, uint64_t n, uint64_t stride)
{
    if (stride == 2) {
        memcpy(out, in, 2 * n);
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        memcpy(out + 2 * i, in + i * stride, 2);
}

static void copy_4(uint8_t *out, const uint8_t *in, uint64_t n, uint64_t stride)
{
    if (stride == 4) {
        memcpy(out, in, 4 * n);
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        memcpy(out + 4 * i, in + i * stride, 4);
}

static void widen_f16(uint8_t *out, const uint8_t *in, uint64_t n, uint64_t stride)
{
    for (uint64_t i = 0; i < n; i++) {
        float f = gs_f16_to_f32(gs_load_u16(in + i * stride));
        memcpy(out + 4 * i, &f, 4);
    }
}

static void widen_bf16(uint8_t *out, const uint8_t *in, uint64_t n, uint64_t stride)
{
    for (uint64_t i = 0; i < n; i++) {
        float f = gs_bf16_to_f32(gs_load_u16(in + i * stride));
        memcpy(out + 4 * i, &f, 4);
    }
}

static void narrow_f64(uint8_t *out, const uint8_t *in, uint64_t n, uint64_t stride)
{
    for (uint64_t i = 0; i < n; i++) {
        float f = (float)gs_load_f64(in + i * stride);
        memcpy(out + 4 * i, &f, 4);
    }
}

static const struct conversion {
    enum gs_type from, to;
    convert_fn fn;
} conversions[] = {
    {GS_TYPE_F32, GS_TYPE_F32, copy_4},     {GS_TYPE_F16, GS_TYPE_F16, copy_2},
    {GS_TYPE_BF16, GS_TYPE_BF16, copy_2},   {GS_TYPE_F16, GS_TYPE_F32, widen_f16},
    {GS_TYPE_BF16, GS_TYPE_F32, widen_bf16}, {GS_TYPE_F64, GS_TYPE_F32, narrow_f64},
};

static convert_fn find_conversion(int from, enum gs_type to)
{
    for (size_t i = 0; i < GS_COUNT(conversions); i++)
        if ((int)conversions[i].from == from && conversions[i].to == to)
            return conversions[i].fn;
    return NULL;
}

/* How to build one tensor. It outlives the folder's reading, in the store's arena, because
 * the building happens at the first use of the weights. */
struct recipe {
    const struct gs_hf_adapt *adapt; /* never NULL */
    convert_fn convert;
    uint64_t rows, cols, heads; /* of the result */
    uint32_t in_bytes;          /* of a stored element */
};

static int make(const struct gs_tensor *tensor, const struct gs_source *source, void *dst,
                struct gs_err *err)
{
    const struct recipe *p = source->ctx;
    const uint8_t *in = source->map->data + source->offset;
    uint64_t row_bytes = tensor->bytes / p->rows;
    (void)err;

    for (uint64_t r = 0; r < p->rows; r++) {
        uint8_t *out = (uint8_t *)dst + r * row_bytes;
        if (p->adapt->transpose) { /* row r is stored column r */
            p->convert(out, in + r * p->in_bytes, p->cols, p->rows * p->in_bytes);
            continue;
        }
        uint64_t from = p->adapt->source_row ? p->adapt->source_row(r, p->rows, p->heads) : r;
        p->convert(out, in + from * p->cols * p->in_bytes, p->cols, p->in_bytes);
    }
    if (p->adapt->shift != 0) { /* such tensors are F32 */
        float *f = dst;
        for (uint64_t i = 0; i < p->rows * p->cols; i++)
            f[i] += p->adapt->shift;
    }
    return GS_OK;
}

static const struct gs_build build_adapted = {"adapted", make};

static int make_vector(const struct gs_tensor *tensor, const struct gs_source *source, void *dst,
                       struct gs_err *err)
{
    (void)err;
    memcpy(dst, source->ctx, tensor->bytes);
    return GS_OK;
}

static const struct gs_build build_vector = {"vector", make_vector};

int gs_hf_vector_add(struct gs_hf *hf, const char *name, const float *data, uint64_t n,
                     struct gs_err *err)
{
    struct gs_source source = {.build = &build_vector, .ctx = data};
    return gs_store_add(hf->store, (struct gs_str){name, strlen(name)}, GS_TYPE_F32, 1, &n,
                        &source, err);
}

/* ---- names -------------------------------------------------------------------------------- */

/* Matches `name` up to `end` against a pattern with at most one '*', which stands for a
 * number; *layer is that number, or UINT64_MAX for a pattern without one. */
static bool match(const char *pattern, const char *name, const char *end, uint64_t *layer)
{
    *layer = UINT64_MAX;
    for (; *pattern; pattern++) {
        if (*pattern != '*') {
            if (name == end || *name++ != *pattern)
                return false;
            continue;
        }
        const char *digits = name;
        for (*layer = 0; name < end && *name >= '0' && *name <= '9' && name - digits < 9; name++)
            *layer = 10 * *layer + (uint64_t)(*name - '0');
        if (name == digits)
            return false;
    }
    return name == end;
}

/* Takes off what a saved class puts around the same text model: "language_model." anywhere,
 * "transformer." in front. False if the name is too long to be one of ours. */
static bool normalise(const char *name, char *out, size_t capacity)
{
    static const char nested[] = "language_model.", root[] = "transformer.";
    const char *at;

    if (strlen(name) >= capacity)
        return false;
    if (!strncmp(name, root, sizeof root - 1))
        name += sizeof root - 1;
    strcpy(out, name);
    at = strstr(name, nested);
    if (at)
        strcpy(out + (at - name), at + sizeof nested - 1);
    return true;
}

/* Buffers and other models' parts, which a text model in GGUF does not have. */
static bool is_skipped(const struct gs_hf *hf, const char *name)
{
    static const char *const suffixes[] = {
        ".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias",
        ".attention.masked_bias",
    };
    size_t n = strlen(name);

    if (hf->text != hf->config && (strstr(name, "vision") || strstr(name, "projector")))
        return true;
    for (size_t i = 0; i < GS_COUNT(suffixes); i++) {
        size_t m = strlen(suffixes[i]);
        if (n > m && !strcmp(name + n - m, suffixes[i]))
            return true;
    }
    return false;
}

struct target {
    char name[64];
    const struct gs_hf_adapt *adapt;
};

static int find_target(const struct gs_hf *hf, const struct gs_st_tensor *t, struct target *out,
                       struct gs_err *err)
{
    char plain[256];
    uint64_t layer;
    const char *dot = normalise(t->name, plain, sizeof plain) ? strrchr(plain, '.') : NULL;

    for (const struct gs_hf_name *n = hf->arch->names; dot && n->hf; n++) {
        if (strcmp(dot, ".weight") && strcmp(dot, ".bias"))
            break;
        if (!match(n->hf, plain, dot, &layer))
            continue;
        if (layer != UINT64_MAX && layer >= hf->n_layer)
            return gs_fail(err, GS_E_UNSUPPORTED,
                           "it is in layer %" PRIu64 ", the model has %" PRIu64, layer,
                           hf->n_layer);
        const char *star = strchr(n->gguf, '*');
        if (star)
            snprintf(out->name, sizeof out->name, "%.*s%" PRIu64 "%s%s", (int)(star - n->gguf),
                     n->gguf, layer, star + 1, dot);
        else
            snprintf(out->name, sizeof out->name, "%s%s", n->gguf, dot);
        out->adapt = n->adapt ? n->adapt : &none;
        return GS_OK;
    }
    return gs_fail(err, GS_E_UNSUPPORTED, "a %s model has no such tensor", hf->arch->arch);
}

uint64_t gs_hf_embedding_rows(const struct gs_hf *hf)
{
    struct target to;

    for (size_t i = 0; i < hf->st.count; i++)
        if (!find_target(hf, hf->st.tensors + i, &to, NULL) && to.adapt->embedding)
            return hf->st.tensors[i].dim[1];
    return 0;
}

/* ---- adding ------------------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && !strcmp(s + n - m, suffix);
}

/* What the stock converter widens: kernels for these exist in f32 only, and they are small. */
static bool is_f32(const struct gs_st_tensor *t, const char *name)
{
    return t->n_dims <= 1 || ends_with(name, "_norm.weight") || !ends_with(name, ".weight") ||
           !strcmp(name, "position_embd.weight");
}

/* The row rules divide by heads and parts: what they assume is checked here. */
static int check_rows(const struct gs_hf_adapt *a, const struct recipe *p, uint32_t n_dims,
                      struct gs_err *err)
{
    if (n_dims > 2 && (a->source_row || a->transpose))
        return gs_fail(err, GS_E_FORMAT, "%" PRIu32 " dimensions, at most 2 are expected", n_dims);
    if (a->row_parts && p->rows % (a->row_parts * p->heads))
        return gs_fail(err, GS_E_FORMAT, "%" PRIu64 " rows are no multiple of %" PRIu32
                       " times %" PRIu64 " heads", p->rows, a->row_parts, p->heads);
    return GS_OK;
}

/* Adds one tensor under its GGUF name. */
static int add(struct gs_hf *hf, const struct gs_st_tensor *t, const struct target *to,
               struct gs_err *err)
{
    const struct gs_hf_adapt *a = to->adapt;
    uint64_t dim[4] = {t->dim[0], t->dim[1], t->dim[2], t->dim[3]};
    uint32_t n_dims = GS_MAX(t->n_dims, 1);
    bool matrix = n_dims >= 2, transpose = a->transpose && matrix;
    struct gs_source source = {.map = t->map, .offset = t->offset, .bytes = t->bytes};
    enum gs_type type = is_f32(t, to->name) || t->type == GS_TYPE_F64 ? GS_TYPE_F32
                                                                     : (enum gs_type)t->type;

    if (transpose)
        dim[0] = t->dim[1], dim[1] = t->dim[0];
    struct recipe p = {
        .adapt = a, .convert = find_conversion(t->type, type),
        .cols = matrix ? dim[0] : 1,
        .rows = matrix ? dim[1] * dim[2] * dim[3] : dim[0], /* at most the file's elements */
        .heads = a->kv_heads ? hf->n_head_kv : hf->n_head,
        .in_bytes = gs_type_info((uint32_t)t->type)->bytes,
    };
    if (!p.convert)
        return gs_fail(err, GS_E_UNSUPPORTED, "%s is no type for weights", t->dtype);
    int rc = check_rows(a, &p, n_dims, err);
    if (rc)
        return rc;
    if (a->embedding && matrix && hf->n_vocab && dim[1] > hf->n_vocab) {
        source.bytes = source.bytes / dim[1] * hf->n_vocab;
        p.rows = dim[1] = hf->n_vocab;
    }
    /* A vector is not transposed: Conv1D's biases are as they should be. */
    if ((int)type != t->type || a->source_row || transpose || a->shift != 0) {
        if (a->transpose && !transpose)
            p.adapt = &none;
        struct recipe *kept = gs_arena_alloc(gs_store_arena(hf->store), 1, sizeof *kept);
        if (!kept)
            return gs_fail_nomem(err, to->name);
        *kept = p;
        source.build = &build_adapted;
        source.ctx = kept;
    }
    return gs_store_add(hf->store, (struct gs_str){to->name, strlen(to->name)}, type, n_dims, dim,
                        &source, err);
}

int gs_hf_tensors_add(struct gs_hf *hf, struct gs_err *err)
{
    for (size_t i = 0; i < hf->st.count; i++) {
        const struct gs_st_tensor *t = hf->st.tensors + i;
        struct target to;
        if (is_skipped(hf, t->name))
            continue;
        int rc = find_target(hf, t, &to, err);
        if (!rc && to.adapt->head && hf->tied)
            continue;
        if (!rc)
            rc = gs_st_check_usable(t, err);
        if (!rc)
            rc = add(hf, t, &to, err);
        if (rc && rc != GS_E_NOMEM) {
            char where[NAME_SHOWN + 16];
            snprintf(where, sizeof where, "tensor %.*s", NAME_SHOWN, t->name);
            gs_err_prefix(err, rc, where);
            return gs_err_prefix(err, rc, t->map->path);
        }
        if (rc)
            return rc;
    }
    return GS_OK;
}
