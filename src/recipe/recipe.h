/* SPDX-License-Identifier: MIT
 * Recipes: which parts make up a method, as text.
 *
 *     # QuIP#'s order of work on a trellis        '#' begins a comment
 *     grid = trellis8                             one `key = value` a line, or
 *     rounder = ldlq                              pairs with commas: grid=trellis8,seed=7
 *
 * One table of fields in recipe.c says what there is: parsing, writing back and the help come
 * from it. Parts are looked up by name in the lists of their folders. */
#ifndef GS_RECIPE_RECIPE_H
#define GS_RECIPE_RECIPE_H

#include "core/err.h"

#define GS_RECIPE_NAME 24

struct gs_recipe {
    char grid[GS_RECIPE_NAME], rounder[GS_RECIPE_NAME];
    char transform_in[GS_RECIPE_NAME], transform_out[GS_RECIPE_NAME];
    bool rescale;       /* QuIP's diagonal rescale, folded into transform_in */
    bool refit;         /* least-squares row scales after rounding */
    double damping;     /* added to H's diagonal, over its mean */
    double head_bits;   /* bits that embedding and output head get above the blocks */
    uint64_t seed;
    uint64_t tokens;    /* of calibration; 0 = 32768 of a text, 4096 of own samples */
    uint64_t ctx;       /* tokens of a calibration sequence */
};

void gs_recipe_default(struct gs_recipe *recipe);

/* Changes what the text names. `where` is for messages, which name the line and the rule. */
int gs_recipe_parse(struct gs_recipe *recipe, const char *text, size_t n, const char *where,
                    struct gs_err *err) GS_MUST_USE;

/* `arg` holds pairs if it has a '=', else it is the path of a file; NULL changes nothing. */
int gs_recipe_read(struct gs_recipe *recipe, const char *arg, struct gs_err *err) GS_MUST_USE;

/* Combinations of fields. */
int gs_recipe_check(const struct gs_recipe *recipe, struct gs_err *err) GS_MUST_USE;

/* Every field, one a line, so that parsing it gives the same recipe; for gs_free. */
char *gs_recipe_text(const struct gs_recipe *recipe);

#endif
