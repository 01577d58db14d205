/* SPDX-License-Identifier: MIT
 * Text to tokens and back.
 *
 * A tokenizer is made from metadata in GGUF's vocabulary (tokenizer.ggml.*); for a Hugging
 * Face folder tokenizer_json.h fills that vocabulary in. Kinds (`struct gs_tokenizer_kind`,
 * one list): "llama" (SentencePiece: merges by score, byte fallback) and "gpt2" (byte-level
 * BPE behind a pre-tokenizer; the families are one list of PCRE2 patterns in pretokenizer.c). */
#ifndef GS_TEXT_TOKENIZER_H
#define GS_TEXT_TOKENIZER_H

#include "core/meta.h"

struct gs_tokenizer;

/* A growing array of tokens; zero-initialise, gs_tokens_clear frees. */
struct gs_tokens {
    int32_t *data;
    size_t count, capacity;
};
void gs_tokens_clear(struct gs_tokens *tokens);

/* Borrows strings from meta, which must outlive it. `where` names the file in messages. */
int gs_tokenizer_create(const struct gs_meta *meta, const char *where,
                        struct gs_tokenizer **out, struct gs_err *err) GS_MUST_USE;
void gs_tokenizer_destroy(struct gs_tokenizer **tokenizer);

uint32_t gs_tokenizer_n_vocab(const struct gs_tokenizer *t);

/* Negative if the model has none. */
int32_t gs_tokenizer_bos(const struct gs_tokenizer *t);
int32_t gs_tokenizer_eos(const struct gs_tokenizer *t);
bool gs_tokenizer_add_bos(const struct gs_tokenizer *t);
bool gs_tokenizer_add_eos(const struct gs_tokenizer *t);

/* Ends a generation: eos, eot, eom and their known names (<|im_end|>, <end_of_turn> …). */
bool gs_tokenizer_is_end(const struct gs_tokenizer *t, int32_t token);
/* Control and unknown tokens, which have no text of their own. */
bool gs_tokenizer_is_control(const struct gs_tokenizer *t, int32_t token);
/* Negative if no token is written exactly so. */
int32_t gs_tokenizer_find(const struct gs_tokenizer *t, const char *text, size_t n);

/* Appends the tokens of n bytes; flags are enum gs_tokenize_flag (gosset.h). Thread-safe.
 * Any byte sequence is valid: each maximal ill-formed part of it is read as U+FFFD, as the
 * references see it (docs/text.md). On an error `out` keeps the tokens that it had. */
int gs_tokenizer_encode(const struct gs_tokenizer *t, const char *text, size_t n, int flags,
                        struct gs_tokens *out, struct gs_err *err) GS_MUST_USE;

/* The token's bytes in running text, as gs_token_bytes in gosset.h; returns their number
 * (at most `capacity` are written). */
size_t gs_tokenizer_bytes(const struct gs_tokenizer *t, int32_t token, bool special, char *out,
                          size_t capacity);

/* Whole tokens to text: appends to *text (gs_alloc'd, NUL-terminated, *n bytes). Drops the
 * space that a SentencePiece model puts before the first word. */
int gs_tokenizer_decode(const struct gs_tokenizer *t, const int32_t *tokens, size_t n_tokens,
                        bool special, char **text, size_t *n, struct gs_err *err) GS_MUST_USE;

/* Incremental output: holds back the bytes of an unfinished UTF-8 character. */
struct gs_utf8_stream {
    char pending[4];
    int n;
};

/* Takes n bytes, writes those that complete characters to out (capacity n + 4 suffices) and
 * returns their number. Bytes that can never become valid are replaced by U+FFFD (capacity
 * 3·(n + 4) then). gs_utf8_flush ends the text: a pending fragment becomes one U+FFFD. */
size_t gs_utf8_push(struct gs_utf8_stream *s, const char *bytes, size_t n, char *out);
size_t gs_utf8_flush(struct gs_utf8_stream *s, char *out);

#endif
