/* SPDX-License-Identifier: MIT
 * What recipes are calibrated on and what they are measured on: two texts, or one that is cut.
 *
 *     text   |---- measured on ----|-- calibrated on --|      at most half is measured on
 */
#ifndef GS_COMPARE_TEXTS_H
#define GS_COMPARE_TEXTS_H

#include "file/map.h"
#include "report/comparison.h"
#include "text/tokenizer.h"

struct gs_compare_texts {
    struct gs_map *map;
    const char *text;          /* measured on; borrowed from map */
    size_t bytes;
    const char *const *calib;  /* paths for gs_quantize_options */
    size_t n_calib;
    char *piece;               /* path of the end of the text, written beside; NULL: none */
    const char *piece_path;
};

/* Reads the texts and tells their facts; `folder` is where a piece may be written. */
int gs_compare_texts_open(const struct gs_compare_options *options,
                          const struct gs_tokenizer *tokenizer, const char *folder,
                          struct gs_comparison *comparison, struct gs_compare_texts *out,
                          struct gs_err *err) GS_MUST_USE;
/* Removes the piece. */
void gs_compare_texts_close(struct gs_compare_texts *texts);

#endif
