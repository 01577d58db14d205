/* SPDX-License-Identifier: MIT
 * The text that a model learns from, as one row of tokens, and which part of it is next.
 *
 *   | doc | end | doc | end | …        text i of the run: T tokens and, one later, T targets
 *
 * An epoch walks over the row in pieces of T tokens in random order; each epoch begins them
 * elsewhere, so that what was cut once is whole another time. The piece depends on nothing
 * but the seed and the number of the text: a run that goes on needs no other memory. */
#ifndef GS_TRAIN_CORPUS_H
#define GS_TRAIN_CORPUS_H

#include "text/tokenizer.h"

struct gs_corpus;

/* Reads the files and encodes them; control tokens written in the text ("<|endoftext|>") are
 * taken as such, and the tokenizer's end follows each file. GS_E_ARG if there is less than
 * one piece of ctx tokens and its target. */
int gs_corpus_create(const struct gs_tokenizer *tokenizer, const char *const *paths, size_t n,
                     uint32_t ctx, uint64_t seed, struct gs_corpus **out, struct gs_err *err)
    GS_MUST_USE;
void gs_corpus_destroy(struct gs_corpus **corpus);

uint64_t gs_corpus_tokens(const struct gs_corpus *c);
uint64_t gs_corpus_bytes(const struct gs_corpus *c);  /* of text */
uint64_t gs_corpus_pieces(const struct gs_corpus *c); /* in an epoch */
uint64_t gs_corpus_fingerprint(const struct gs_corpus *c);

/* Text number `index` of the run: ctx tokens and their targets. */
void gs_corpus_text(struct gs_corpus *c, uint64_t index, int32_t *tokens, int32_t *target);

/* Piece `index` < pieces in the order of the row, for measuring. */
void gs_corpus_piece(const struct gs_corpus *c, uint64_t index, int32_t *tokens,
                     int32_t *target);

#endif
