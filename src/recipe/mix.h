/* SPDX-License-Identifier: MIT
 * Types by name: which block type each matrix of a stock file gets.
 *
 * A mix is a base type and a few rules for single roles; names, rules and file type numbers are
 * those of llama-quantize (with an importance matrix), so that a file of one name has the same
 * types and bytes from either program. Where a row length forbids a type, the one that
 * llama-quantize falls back to is used. */
#ifndef GS_RECIPE_MIX_H
#define GS_RECIPE_MIX_H

#include "core/type.h"

struct gs_mix;

/* What the rules look at. */
struct gs_mix_place {
    const char *name;         /* of the tensor */
    uint32_t il, n_layer;
    uint32_t gqa;             /* query heads over key-value heads */
    bool head;                /* the output matrix, or the embedding if that is tied to it */
    uint64_t cols;
};

/* Case-insensitive; NULL if there is none of this name. */
const struct gs_mix *gs_mix_find(const char *name);
/* NULL past the end. */
const struct gs_mix *gs_mix_at(size_t index);

const char *gs_mix_name(const struct gs_mix *mix);
uint32_t gs_mix_file_type(const struct gs_mix *mix);
enum gs_type gs_mix_base(const struct gs_mix *mix);

/* The type for a matrix; row lengths are not looked at but for the head, as there. */
enum gs_type gs_mix_type(const struct gs_mix *mix, const struct gs_mix_place *place);

/* `type` if rows of `cols` weights are whole blocks of it, else the first of its substitutes
 * that fits: at last F16. */
enum gs_type gs_mix_fallback(enum gs_type type, uint64_t cols);

#endif
