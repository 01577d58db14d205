/* SPDX-License-Identifier: MIT
 * A Hugging Face tokenizer.json translated into GGUF's vocabulary. */
#ifndef GS_TEXT_TOKENIZER_JSON_H
#define GS_TEXT_TOKENIZER_JSON_H

#include "core/json.h"
#include "core/meta.h"

struct gs_hf_tokenizer {
    const char *text; /* tokenizer.json, n bytes */
    size_t n;
    const char *path;             /* for messages */
    const json_t *config;         /* tokenizer_config.json or NULL */
    const json_t *generation;     /* generation_config.json or NULL */
    const json_t *model;          /* config.json or NULL (token ids as a last resort) */
    const char *chat_template;    /* contents of chat_template.jinja or NULL */
    uint64_t n_vocab;             /* config.json's vocab_size; 0 = as many as there are.
                                   * Shorter vocabularies are filled with [PADi] (unused) */
};

/* Sets tokenizer.ggml.{model,pre,tokens,scores,token_type,merges,*_token_id,add_bos_token,
 * add_eos_token,add_space_prefix} and tokenizer.chat_template as the stock converter would. */
int gs_tokenizer_json_to_meta(const struct gs_hf_tokenizer *in, struct gs_meta *meta,
                              struct gs_err *err) GS_MUST_USE;

#endif
