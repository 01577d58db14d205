/* SPDX-License-Identifier: MIT
 * A Hugging Face model folder translated into GGUF's vocabulary. For src/file only.
 *
 * Metadata and tensors come out as the stock converter writes them, so that all that follows
 * knows one vocabulary. An architecture is one description (hf_arch.c): which config.json
 * keys it reads, which tensors it has, and how each differs from its GGUF form. */
#ifndef GS_FILE_HF_FOLDER_H
#define GS_FILE_HF_FOLDER_H

#include "core/json.h"
#include "file/safetensors.h"
#include "file/store_impl.h"

struct gs_hf;

/* One metadata key of an architecture, "llama." left off. */
struct gs_hf_key {
    const char *key;
    enum gs_hf_kind { GS_HF_UINT, GS_HF_FLOAT, GS_HF_BOOL } kind;
    const char *json[4]; /* names in config.json, the first present one counts */
    bool has_fallback;   /* what the reference takes when config.json is silent */
    double fallback;
};

/* How a tensor's GGUF form differs from the stored one. Rows are output features. */
struct gs_hf_adapt {
    const char *name;
    /* The stored row that becomes row r; rows = parts · heads · D. NULL: the same row. */
    uint64_t (*source_row)(uint64_t r, uint64_t rows, uint64_t heads);
    uint32_t row_parts;  /* rows must be a multiple of row_parts · heads; 0 = no matter */
    bool kv_heads;       /* heads are the key/value heads */
    bool transpose;      /* stored as [in, out] */
    float shift;         /* added to every element */
    bool head;           /* the output matrix: left out if tied to the embedding */
    bool embedding;      /* rows beyond the vocabulary are left out */
};

extern const struct gs_hf_adapt gs_hf_rope_q, gs_hf_rope_k, gs_hf_transpose, gs_hf_qkv,
    gs_hf_plus_one, gs_hf_head, gs_hf_embedding;

/* "model.layers.*.mlp.up_proj" -> "blk.*.ffn_up"; .weight and .bias stay. */
struct gs_hf_name {
    const char *hf, *gguf;
    const struct gs_hf_adapt *adapt; /* NULL: as it is */
};

struct gs_hf_arch {
    const char *arch;          /* general.architecture */
    const char *classes[4];    /* config.json's "architectures" */
    const struct gs_hf_key *keys; /* beyond the common ones; ends with key NULL */
    const struct gs_hf_name *names; /* ends with hf NULL */
    bool tied;                 /* tie_word_embeddings where config.json is silent */
    bool rope_keys;            /* the common rope.* keys are written */
    uint32_t n_head, n_head_kv, head_dim; /* where config.json is silent; 0: no default */
    int (*extra_keys)(struct gs_hf *hf, struct gs_err *err);    /* may be NULL */
    int (*extra_tensors)(struct gs_hf *hf, struct gs_err *err); /* may be NULL */
};

/* NULL if unknown. */
const struct gs_hf_arch *gs_hf_arch_find(const char *class_name);

/* rope_parameters, rope_scaling and their older spellings in config.json, read once. */
struct gs_hf_rope {
    const json_t *object; /* of the full-attention layers; NULL if there is none */
    const char *type;     /* "llama3", "yarn"…, or "default" */
    double theta, local_theta; /* 0 = not given */
    double partial;       /* partial_rotary_factor; 0 = not given */
    uint64_t ctx_orig;    /* original_max_position_embeddings, 0 if absent */
};

struct gs_hf {
    struct gs_store *store;
    const char *folder; /* for messages */
    /* Texts of the folder; NULL if absent. The caller closes them. */
    const struct gs_map *config_text, *tokenizer_text, *tokenizer_config_text,
        *generation_text, *template_text;
    struct gs_st st;    /* all stored tensors */

    /* From here on filled by gs_hf_fill. */
    json_t *config;
    const json_t *text; /* the text model's part: text_config, or config itself */
    const struct gs_hf_arch *arch;
    struct gs_hf_rope rope;
    uint64_t n_layer, n_embd, n_head, n_head_kv, head_dim, ctx, n_vocab;
    bool tied;
};

/* Fills the store from the texts and stored tensors. gs_hf_clear afterwards, in any case. */
int gs_hf_fill(struct gs_hf *hf, struct gs_err *err) GS_MUST_USE;
void gs_hf_clear(struct gs_hf *hf);

/* hf_config.c: config.json to keys. gs_hf_config_read comes first. */
int gs_hf_config_read(struct gs_hf *hf, struct gs_err *err) GS_MUST_USE;
int gs_hf_config_write(struct gs_hf *hf, struct gs_err *err) GS_MUST_USE;
/* First of the names (NULL-terminated or 4) in the text part, then in the whole: 1, 0 if
 * none is there, or negative. */
int gs_hf_get_uint(const struct gs_hf *hf, const char *const *names, uint64_t *out,
                   struct gs_err *err) GS_MUST_USE;
int gs_hf_get_float(const struct gs_hf *hf, const char *const *names, double *out,
                    struct gs_err *err) GS_MUST_USE;
/* "ARCH.key" into a buffer of GS_HF_KEY_BYTES. */
#define GS_HF_KEY_BYTES 96
const char *gs_hf_key(const struct gs_hf *hf, const char *key, char *buffer);

/* hf_tokenizer.c: tokenizer.json, its companions and the sampling defaults. */
int gs_hf_tokenizer_write(struct gs_hf *hf, struct gs_err *err) GS_MUST_USE;

/* hf_tensor.c: stored tensors to GGUF tensors. */
int gs_hf_tensors_add(struct gs_hf *hf, struct gs_err *err) GS_MUST_USE;
/* Rows of the stored token embedding; 0 if there is none. */
uint64_t gs_hf_embedding_rows(const struct gs_hf *hf);
/* A vector made here, not stored; n floats in the store's arena. */
int gs_hf_vector_add(struct gs_hf *hf, const char *name, const float *data, uint64_t n,
                     struct gs_err *err) GS_MUST_USE;

#endif
