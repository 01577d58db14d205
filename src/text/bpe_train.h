/* SPDX-License-Identifier: MIT
 * Making a byte-level BPE vocabulary from text (Gage 1994; Sennrich, Haddow & Birch,
 * arXiv:1508.07909; bytes: Radford et al. 2019).
 *
 * The text is cut into words by a pre-tokenizer, each word starts as its bytes, and again and
 * again the pair of neighbours that occurs most often becomes a token. The result is what a
 * GGUF file stores of a tokenizer, so gs_tokenizer_create and stock runtimes take it:
 *
 *   token 0                 the end of a text ("<|endoftext|>"), a control token: bos and eos
 *   tokens 1 to 256         the letters of the bytes, by code point
 *   tokens 257 to n_vocab-1 merges, in the order in which they were found
 *
 * Every byte string can be written with it. The same text gives the same vocabulary: of
 * pairs that occur equally often the one with the smaller left, then right token is first. */
#ifndef GS_TEXT_BPE_TRAIN_H
#define GS_TEXT_BPE_TRAIN_H

#include "core/meta.h"

#define GS_BPE_TOKENS_MIN 257    /* the bytes and the end of a text */
#define GS_BPE_TOKENS_MAX 1048576

struct gs_bpe_options {
    uint32_t n_vocab;         /* tokens in all, GS_BPE_TOKENS_MIN to _MAX */
    const char *pre;          /* family of the pre-tokenizer; NULL: "gpt-2" */
    const char *end;          /* text of token 0, printable ASCII; NULL: "<|endoftext|>" */
    uint32_t max_token_bytes; /* no longer tokens; 0: 64 */
    uint64_t min_count;       /* a pair that occurs less often is never merged; 0: 2 */
};

/* Learns from n_texts texts (any bytes; ill-formed UTF-8 is read as U+FFFD, as in encoding)
 * and writes tokenizer.ggml.{model,pre,tokens,token_type,merges,bos_token_id,eos_token_id,
 * add_bos_token} into `meta`. What is between two of `end` is a text of its own. A text with
 * too few different pairs for n_vocab is GS_E_ARG, and the message says how many it has.
 * Time O(n log n) in the bytes of different words, whatever the text. */
int gs_bpe_train(const struct gs_bpe_options *options, const struct gs_str *texts,
                 size_t n_texts, struct gs_meta *meta, struct gs_err *err) GS_MUST_USE;

#endif
