/* SPDX-License-Identifier: MIT
 * One translation of tokenizer.json (tokenizer_json.c), as its parts see it:
 *
 *   tokenizer.json      model.vocab, model.merges, added_tokens   -> tokenizer_json.c
 *                       normalizer, pre_tokenizer                 -> hf_pretokenizer.c
 *                       post_processor                            -> hf_special.c
 *   tokenizer_config.json, generation_config.json, config.json    -> hf_special.c */
#ifndef GS_TEXT_HF_H
#define GS_TEXT_HF_H

#include "core/json.h"
#include "core/meta.h"
#include "text/tokenizer_json.h"

struct gs_hf {
    const struct gs_hf_tokenizer *in;
    const json_t *root;   /* tokenizer.json */
    const json_t *model;  /* its "model" */
    const json_t *added;  /* its "added_tokens", an array or NULL */
    struct gs_meta *meta; /* to be filled */
    bool sentencepiece;   /* GGUF's "llama" rather than "gpt2" */
    uint64_t n;           /* tokens, padding included */
};

/* Sets tokenizer.ggml.pre, and for SentencePiece add_space_prefix, from the normalizer and
 * pre_tokenizer. An unknown structure gives the closest family and a warning. */
int gs_hf_pretokenizer(const struct gs_hf *hf, struct gs_err *err) GS_MUST_USE;

/* Whether the text reaches the model as byte-level letters. */
bool gs_hf_is_byte_level(const json_t *root);

/* Sets the ids of special tokens, add_bos_token, add_eos_token and the chat template. */
int gs_hf_special(const struct gs_hf *hf, struct gs_err *err) GS_MUST_USE;

/* "type" of a component, or "". */
const char *gs_hf_type(const json_t *component);

/* The id of the token with this text, or negative. */
int64_t gs_hf_find(const struct gs_hf *hf, const char *text);

#endif
