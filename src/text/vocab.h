/* SPDX-License-Identifier: MIT
 * The vocabulary of a tokenizer: token texts as GGUF stores them, their types and scores,
 * and one hash table from text to token.
 *
 * Texts stay where the metadata has them. Types are GGUF's numbers; 0 (undefined) and
 * anything else that a file may hold count as normal. */
#ifndef GS_TEXT_VOCAB_H
#define GS_TEXT_VOCAB_H

#include "core/meta.h"

enum gs_token_type {
    GS_TOKEN_NORMAL = 1,
    GS_TOKEN_UNKNOWN = 2, /* stands for what can't be written */
    GS_TOKEN_CONTROL = 3, /* has no text of its own: <s>, <|im_end|> */
    GS_TOKEN_USER = 4,    /* matched before everything else, in any text */
    GS_TOKEN_UNUSED = 5,
    GS_TOKEN_BYTE = 6     /* "<0x41>": one byte */
};

struct gs_vocab {
    uint32_t n;
    uint32_t max_bytes;         /* of the longest text */
    const struct gs_str *text;  /* n, borrowed from the metadata */
    uint8_t *type;              /* n, enum gs_token_type */
    float *score;               /* n, or NULL if the model has none */
    struct gs_vocab_slot *slots;
    uint32_t slot_mask;
};

/* Reads tokenizer.ggml.{tokens,token_type,scores}. `where` prefixes messages. */
int gs_vocab_load(struct gs_vocab *v, const struct gs_meta *meta, const char *where,
                  struct gs_err *err) GS_MUST_USE;
void gs_vocab_clear(struct gs_vocab *v);

/* The token whose text is exactly these bytes, or negative. */
int32_t gs_vocab_find(const struct gs_vocab *v, const char *text, size_t n);

#endif
