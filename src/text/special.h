/* SPDX-License-Identifier: MIT
 * Tokens that are found in a text before it is split into words: user-defined ones always,
 * control and unknown ones when the caller asks. At each place the longest one wins, and
 * the leftmost place comes first, as Hugging Face's added tokens do. */
#ifndef GS_TEXT_SPECIAL_H
#define GS_TEXT_SPECIAL_H

#include "text/vocab.h"

struct gs_special;

/* Borrows the texts of v. */
int gs_special_create(const struct gs_vocab *v, struct gs_special **out, struct gs_err *err)
    GS_MUST_USE;
void gs_special_destroy(struct gs_special **special);

/* The first special token in n bytes: its length, *at and *id, or 0 if there is none.
 * control: control and unknown tokens count too. */
size_t gs_special_find(const struct gs_special *s, const char *text, size_t n, bool control,
                       size_t *at, int32_t *id);

#endif
