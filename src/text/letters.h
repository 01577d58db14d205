/* SPDX-License-Identifier: MIT
 * The alphabet of byte-level BPE (Radford et al. 2019): one printable character for each of
 * the 256 bytes. A byte that is a printable Latin-1 character stands for itself, the n-th of
 * the others is U+0100 + n, so that a space is written Ġ. */
#ifndef GS_TEXT_LETTERS_H
#define GS_TEXT_LETTERS_H

#include "core/attr.h"

/* Code points are below this: 256 + the 68 bytes that are not printable. */
#define GS_LETTERS_END 324

/* letter[b] = the code point that stands for byte b. */
void gs_letters(uint16_t letter[256]);

#endif
