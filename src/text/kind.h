/* SPDX-License-Identifier: MIT
 * The inside of a tokenizer, for its kinds. A kind is one file and one line in the list of
 * tokenizer.c; it owns what it hangs on `rules`. */
#ifndef GS_TEXT_KIND_H
#define GS_TEXT_KIND_H

#include "text/encoder.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

struct gs_special;

struct gs_tokenizer {
    const struct gs_tokenizer_kind *kind;
    char *where; /* prefix of messages */
    struct gs_vocab vocab;
    struct gs_special *special;
    uint8_t *is_end;          /* vocab.n: ends a generation */
    int32_t bos, eos, unk;    /* negative: none */
    bool add_bos, add_eos, add_space_prefix;
    bool special_rstrip;      /* special tokens swallow the white space after them */
    void *rules;              /* the kind's own tables */
};

struct gs_tokenizer_kind {
    const char *name; /* tokenizer.ggml.model */
    /* What a file means that does not say. */
    int32_t bos, eos, unk;
    bool add_bos, add_space_prefix;

    /* Fills t->rules; t->vocab is loaded. May change the defaults above in t. */
    int (*load)(struct gs_tokenizer *t, const struct gs_meta *meta, struct gs_err *err);
    void (*clear)(struct gs_tokenizer *t);

    /* Appends the tokens of n > 0 bytes of well-formed UTF-8 without special tokens;
     * `first`: at the beginning of the text or after a special token. */
    int (*encode)(const struct gs_tokenizer *t, struct gs_encoder *e, const char *text,
                  size_t n, bool first);

    /* The bytes of a normal token in running text, as gs_tokenizer_bytes. */
    size_t (*bytes)(const struct gs_tokenizer *t, int32_t token, char *out, size_t capacity);
};

extern const struct gs_tokenizer_kind gs_tokenizer_spm, gs_tokenizer_bpe;

/* The value of "<0x41>", or negative if the text is not of this form. */
int gs_byte_token_value(struct gs_str text);

#endif
