/* SPDX-License-Identifier: MIT
 * GGUF metadata to struct gs_config. Keys are "ARCH.name"; which are optional and what they
 * default to is the convention of the stock runtime (llama.cpp), in docs/models.md.
 *
 * Everything that a later layer multiplies, divides or indexes by is bounded here, so that
 * products of two sizes fit 64 bits and no constant is zero, infinite or NaN. */
#include "model/config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/arch.h"

/* Far above any model; products of two of these stay below 2^63. */
#define LAYERS_MAX 1024u
#define SIZE_MAX_ANY ((uint32_t)1 << 24) /* C, F, H·D */
#define VOCAB_MAX ((uint32_t)1 << 26)
#define CTX_MAX ((uint32_t)1 << 30)

struct reader {
    const struct gs_meta *meta;
    const char *where, *arch;
    char key[128];
    struct gs_err *err;
};

enum presence { OPTIONAL, REQUIRED };

static const char *key_of(struct reader *r, const char *name)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch, name);
    return r->key;
}

static int missing(struct reader *r)
{
    return gs_fail(r->err, GS_E_FORMAT, "%s: key %s is missing", r->where, r->key);
}

/* A key that may be one number or one a layer: *out becomes the number if all are equal.
 * Returns as the getters of core/meta.h. */
static int get_number(struct reader *r, uint64_t *out)
{
    const struct gs_value *value = gs_meta_find(r->meta, r->key);
    struct gs_array array;
    int rc;

    if (!value || value->type != GS_VALUE_ARRAY) {
        rc = gs_meta_get_uint(r->meta, r->key, out, r->err);
        return rc < 0 ? gs_err_prefix(r->err, rc, r->where) : rc;
    }
    rc = gs_meta_get_array(r->meta, r->key, GS_VALUE_I64, &array, r->err);
    if (rc < 0)
        return gs_err_prefix(r->err, rc, r->where);
    if (!array.count)
        return missing(r);
    int64_t first = gs_array_int(&array, 0);
    for (uint64_t i = 1; i < array.count; i++)
        if (gs_array_int(&array, i) != first)
            return gs_fail(r->err, GS_E_UNSUPPORTED,
                           "%s: key %s differs between layers (%" PRId64 ", %" PRId64
                           "), which is not supported", r->where, r->key, first,
                           gs_array_int(&array, i));
    if (first < 0)
        return gs_fail(r->err, GS_E_FORMAT, "%s: key %s is negative", r->where, r->key);
    *out = (uint64_t)first;
    return 1;
}

/* An integer from lo to hi; *out keeps its default when the key is absent and optional. */
static int get_u32(struct reader *r, const char *name, enum presence presence, uint32_t lo,
                   uint32_t hi, uint32_t *out)
{
    uint64_t u = *out;

    key_of(r, name);
    int rc = get_number(r, &u);
    if (rc < 0)
        return rc;
    if (!rc && presence == REQUIRED)
        return missing(r);
    if (rc && (u < lo || u > hi))
        return gs_fail(r->err, GS_E_FORMAT,
                       "%s: key %s is %" PRIu64 ", expected %" PRIu32 " to %" PRIu32, r->where,
                       r->key, u, lo, hi);
    *out = (uint32_t)u;
    return GS_OK;
}

/* A finite number from lo to hi. */
static int get_f32(struct reader *r, const char *name, enum presence presence, double lo,
                   double hi, float *out)
{
    double f = *out;

    int rc = gs_meta_get_float(r->meta, key_of(r, name), &f, r->err);
    if (rc < 0)
        return gs_err_prefix(r->err, rc, r->where);
    if (!rc && presence == REQUIRED)
        return missing(r);
    if (rc && !(f >= lo && f <= hi)) /* so written, NaN fails too */
        return gs_fail(r->err, GS_E_FORMAT, "%s: key %s is %g, expected %g to %g", r->where,
                       r->key, f, lo, hi);
    *out = (float)f;
    return GS_OK;
}

/* Keys that change the computation in a way that no layer here knows. */
static int refuse_unsupported(struct reader *r)
{
    static const struct {
        const char *name, *what;
    } keys[] = {
        {"expert_count", "mixture of experts"},
        {"attention.max_alibi_bias", "ALiBi"},
        {"attention.clamp_kqv", "clamping of q, k and v"},
        {"attention.q_lora_rank", "low-rank attention"},
        {"attention.kv_lora_rank", "low-rank attention"},
    };

    for (size_t i = 0; i < GS_COUNT(keys); i++) {
        double f = 0;
        int rc = gs_meta_get_float(r->meta, key_of(r, keys[i].name), &f, r->err);
        if (rc < 0)
            return gs_err_prefix(r->err, rc, r->where);
        if (f != 0)
            return gs_fail(r->err, GS_E_UNSUPPORTED, "%s: key %s: %s is not supported",
                           r->where, r->key, keys[i].what);
    }
    bool causal = true;
    int rc = gs_meta_get_bool(r->meta, key_of(r, "attention.causal"), &causal, r->err);
    if (rc < 0)
        return gs_err_prefix(r->err, rc, r->where);
    if (!causal)
        return gs_fail(r->err, GS_E_UNSUPPORTED,
                       "%s: key %s: attention that is not causal is not supported", r->where,
                       r->key);
    return GS_OK;
}

/* The vocabulary is as large as the tokenizer's list; a file without one may say its size. */
static int read_vocab(struct reader *r, struct gs_config *c)
{
    struct gs_array tokens;

    int rc = gs_meta_get_array(r->meta, "tokenizer.ggml.tokens", GS_VALUE_STRING, &tokens,
                               r->err);
    if (rc < 0)
        return gs_err_prefix(r->err, rc, r->where);
    if (!rc)
        return get_u32(r, "vocab_size", REQUIRED, 1, VOCAB_MAX, &c->n_vocab);
    if (!tokens.count || tokens.count > VOCAB_MAX)
        return gs_fail(r->err, GS_E_FORMAT,
                       "%s: key tokenizer.ggml.tokens has %" PRIu64 " entries, expected 1 to "
                       "%" PRIu32, r->where, tokens.count, VOCAB_MAX);
    c->n_vocab = (uint32_t)tokens.count;
    return GS_OK;
}

static int read_heads(struct reader *r, struct gs_config *c)
{
    int rc;

    if ((rc = get_u32(r, "attention.head_count", REQUIRED, 1, SIZE_MAX_ANY, &c->n_head)))
        return rc;
    c->n_head_kv = c->n_head;
    if ((rc = get_u32(r, "attention.head_count_kv", OPTIONAL, 1, c->n_head, &c->n_head_kv)))
        return rc;
    if (c->n_head % c->n_head_kv)
        return gs_fail(r->err, GS_E_FORMAT,
                       "%s: key %s is %" PRIu32 ", which does not divide the %" PRIu32 " heads",
                       r->where, r->key, c->n_head_kv, c->n_head);

    uint32_t d_max = SIZE_MAX_ANY / c->n_head;
    if ((rc = get_u32(r, "attention.key_length", OPTIONAL, 1, d_max, &c->head_k)) ||
        (rc = get_u32(r, "attention.value_length", OPTIONAL, 1, d_max, &c->head_v)))
        return rc;
    if ((!c->head_k || !c->head_v) && c->n_embd % c->n_head)
        return gs_fail(r->err, GS_E_FORMAT,
                       "%s: key %s is %" PRIu32 ", which does not divide the embedding length "
                       "%" PRIu32, r->where, key_of(r, "attention.head_count"), c->n_head,
                       c->n_embd);
    if (!c->head_k)
        c->head_k = c->n_embd / c->n_head;
    if (!c->head_v)
        c->head_v = c->n_embd / c->n_head;
    c->attn_scale = c->arch->attn_scale_layers == c->n_layer
                        ? 1.0f / sqrtf((float)(c->n_embd / c->n_head))
                        : 1.0f / sqrtf((float)c->head_k);
    return get_f32(r, "attn_logit_softcapping", OPTIONAL, 0, 1e6, &c->attn_softcap);
}

/* rope.scaling.type and .factor. */
static int read_rope_scaling(struct reader *r, struct gs_config *c)
{
    static const char *const names[] = {
        [GS_ROPE_UNSCALED] = "none", [GS_ROPE_LINEAR] = "linear", [GS_ROPE_YARN] = "yarn",
        [GS_ROPE_LONGROPE] = "longrope"};
    struct gs_str type = GS_STR("linear");
    int rc = gs_meta_get_str(r->meta, key_of(r, "rope.scaling.type"), &type, r->err);

    if (rc < 0)
        return gs_err_prefix(r->err, rc, r->where);
    size_t kind = 0;
    while (kind < GS_COUNT(names) && !gs_str_equal(type, names[kind]))
        kind++;
    if (kind == GS_COUNT(names))
        return gs_fail(r->err, GS_E_UNSUPPORTED,
                       "%s: key %s: scaling '%.*s' is not supported", r->where, r->key,
                       (int)GS_MIN(type.size, 40u), type.data);
    c->rope_scaling = (enum gs_rope_scaling)kind;

    /* The older key first: the newer one, if there, replaces it. Zero means absent. */
    if ((rc = get_f32(r, "rope.scale_linear", OPTIONAL, 0, 1e6, &c->rope_factor)) ||
        (rc = get_f32(r, "rope.scaling.factor", OPTIONAL, 0, 1e6, &c->rope_factor)))
        return rc;
    if (c->rope_factor == 0 || c->rope_scaling == GS_ROPE_UNSCALED)
        c->rope_factor = 1;
    if (c->rope_factor < 1e-3f)
        return gs_fail(r->err, GS_E_FORMAT, "%s: key %s is %g, expected at least 0.001",
                       r->where, r->key, (double)c->rope_factor);
    if (c->rope_scaling == GS_ROPE_LINEAR && c->rope_factor == 1)
        c->rope_scaling = GS_ROPE_UNSCALED;
    return GS_OK;
}

static int read_rope(struct reader *r, struct gs_config *c)
{
    int rc;

    c->rope_base = 10000;
    c->rope_base_local = c->arch->rope_base_local;
    c->rope_factor = 0;
    c->rope_attn_factor = 1;
    c->rope_beta_fast = 32;
    c->rope_beta_slow = 1;
    c->rope_ctx_orig = c->n_ctx_train;
    if (c->arch->rope == GS_ROPE_NONE) {
        c->rope_factor = 1;
        return GS_OK;
    }
    c->rope_dims = c->head_k;
    if ((rc = get_u32(r, "rope.dimension_count", OPTIONAL, 2, c->head_k, &c->rope_dims)))
        return rc;
    if (c->rope_dims % 2)
        return gs_fail(r->err, GS_E_FORMAT, "%s: key %s is %" PRIu32 ", expected an even number",
                       r->where, r->key, c->rope_dims);
    if (c->arch->rope_whole_head && c->rope_dims != c->head_k)
        return gs_fail(r->err, GS_E_FORMAT,
                       "%s: key %s is %" PRIu32 ", expected the head size %" PRIu32, r->where,
                       r->key, c->rope_dims, c->head_k);
    if ((rc = get_f32(r, "rope.freq_base", OPTIONAL, 1.0001, 1e15, &c->rope_base)))
        return rc;
    if (c->rope_base_local != 0 &&
        (rc = get_f32(r, "rope.freq_base_swa", OPTIONAL, 1.0001, 1e15, &c->rope_base_local)))
        return rc;
    if ((rc = read_rope_scaling(r, c)) ||
        (rc = get_f32(r, "rope.scaling.attn_factor", OPTIONAL, 1e-3, 1e3,
                      &c->rope_attn_factor)) ||
        (rc = get_f32(r, "rope.scaling.yarn_beta_fast", OPTIONAL, 1e-3, 1e6,
                      &c->rope_beta_fast)) ||
        (rc = get_f32(r, "rope.scaling.yarn_beta_slow", OPTIONAL, 1e-3, 1e6,
                      &c->rope_beta_slow)))
        return rc;
    return get_u32(r, "rope.scaling.original_context_length", OPTIONAL, 1, CTX_MAX,
                   &c->rope_ctx_orig);
}

static int read_window(struct reader *r, struct gs_config *c)
{
    int rc;

    if (c->arch->window == GS_WINDOW_UNUSED)
        return GS_OK;
    if ((rc = get_u32(r, "attention.sliding_window", OPTIONAL, 0, UINT32_MAX, &c->window)))
        return rc;
    if (c->arch->window == GS_WINDOW_ALL || !c->window)
        return GS_OK;
    c->window_pattern = c->arch->window_pattern;
    return get_u32(r, "attention.sliding_window_pattern", OPTIONAL, 0, LAYERS_MAX,
                   &c->window_pattern);
}

static int read_arch(struct reader *r, struct gs_config *c)
{
    struct gs_str name;

    int rc = gs_meta_get_str(r->meta, "general.architecture", &name, r->err);
    if (rc < 0)
        return gs_err_prefix(r->err, rc, r->where);
    if (!rc)
        return gs_fail(r->err, GS_E_FORMAT, "%s: key general.architecture is missing",
                       r->where);
    c->arch = gs_arch_find(name.data, name.size);
    if (!c->arch)
        return gs_fail(r->err, GS_E_UNSUPPORTED,
                       "%s: key general.architecture: '%.*s' is not supported", r->where,
                       (int)GS_MIN(name.size, 40u), name.data);
    r->arch = c->arch->name;
    return GS_OK;
}

int gs_config_read(const struct gs_meta *meta, const char *where, struct gs_config *out,
                   struct gs_err *err)
{
    struct reader reader = {.meta = meta, .where = where, .err = err}, *r = &reader;
    struct gs_config config = {0}, *c = &config;
    int rc;

    if ((rc = read_arch(r, c)) || (rc = refuse_unsupported(r)) || (rc = read_vocab(r, c)) ||
        (rc = get_u32(r, "context_length", REQUIRED, 1, CTX_MAX, &c->n_ctx_train)) ||
        (rc = get_u32(r, "embedding_length", REQUIRED, 1, SIZE_MAX_ANY, &c->n_embd)) ||
        (rc = get_u32(r, "block_count", REQUIRED, 1, LAYERS_MAX, &c->n_layer)) ||
        (rc = get_u32(r, "feed_forward_length", REQUIRED, 1, SIZE_MAX_ANY, &c->n_ff)))
        return rc;

    const char *eps = c->arch->norm == GS_NORM_RMS ? "attention.layer_norm_rms_epsilon"
                                                   : "attention.layer_norm_epsilon";
    if ((rc = get_f32(r, eps, REQUIRED, 0, 1, &c->norm_eps)) || (rc = read_heads(r, c)) ||
        (rc = read_rope(r, c)) || (rc = read_window(r, c)) ||
        (rc = get_f32(r, "final_logit_softcapping", OPTIONAL, 0, 1e6, &c->logit_softcap)))
        return rc;

    c->embd_scale = c->arch->scale_embd ? sqrtf((float)c->n_embd) : 1.0f;
    if (c->arch->parallel) {
        rc = gs_meta_get_bool(meta, key_of(r, "use_parallel_residual"), &c->parallel_residual,
                              err);
        if (rc < 0)
            return gs_err_prefix(err, rc, where);
        if (!rc)
            return missing(r);
    }
    *out = config;
    return GS_OK;
}

bool gs_config_is_windowed(const struct gs_config *c, uint32_t il)
{
    if (!c->window)
        return false;
    return !c->window_pattern || il % c->window_pattern < c->window_pattern - 1;
}
