/* SPDX-License-Identifier: MIT
 * Pre-tokenizers: how byte-level BPE models cut a text into words before merging.
 *
 * A family is a row of PCRE2 patterns. The first cuts the text into its matches and what
 * lies between them, the next cuts each of those pieces, and so on; the last pieces are the
 * words. tokenizer.ggml.pre names the family. */
#ifndef GS_TEXT_PRETOKENIZER_H
#define GS_TEXT_PRETOKENIZER_H

#include "core/err.h"

#define GS_MAX_SPLITS 6

struct gs_pretokenizer {
    const char *names; /* of tokenizer.ggml.pre, separated by spaces; the first is ours */
    const char *patterns[GS_MAX_SPLITS]; /* NULL at the end */
    bool ignore_merges; /* a word that is a token needs no merging */
    bool add_bos;       /* where tokenizer.ggml.add_bos_token does not say */
    bool nfc;           /* the text is brought to Unicode's form C first */
};

/* The family of that name, or NULL. */
const struct gs_pretokenizer *gs_pretokenizer_find(const char *name, size_t n);
/* For walking the list; NULL behind the last. */
const struct gs_pretokenizer *gs_pretokenizer_at(size_t index);

struct gs_splitter;

int gs_splitter_create(const struct gs_pretokenizer *family, struct gs_splitter **out,
                       struct gs_err *err) GS_MUST_USE;
void gs_splitter_destroy(struct gs_splitter **splitter);

/* Told each word in turn; negative stops and is returned. */
typedef int (*gs_word_fn)(void *ctx, const char *word, size_t n);

/* Cuts n bytes of well-formed UTF-8. Several threads may use one splitter. */
int gs_splitter_run(const struct gs_splitter *s, const char *text, size_t n, gs_word_fn word,
                    void *ctx, struct gs_err *err) GS_MUST_USE;

#endif
