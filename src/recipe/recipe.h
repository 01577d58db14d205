/* SPDX-License-Identifier: MIT
 * Recipes: which parts make up a method, as text.
 *
 *     # QuIP#'s order of work on a trellis        '#' begins a comment
 *     grid = trellis8                             one `key = value` a line, or
 *     rounder = ldlq                              pairs with commas: grid=trellis8,seed=7
 *
 * A recipe rounds either to a `grid`, whose rate the budget decides (grid/grid.h), or to a
 * `codebook`, whose groups have numbers of their own (part/part.h):
 *
 *     codebook = uniform:bits=4, rounder = gptq, scale = group, group = 128
 *
 * One table of fields in recipe.c says what there is: parsing, writing back and the help come
 * from it. Parts are looked up by name in the lists of their folders. Recipes of the folder
 * recipes/ are compiled in and go by their names. */
#ifndef GS_RECIPE_RECIPE_H
#define GS_RECIPE_RECIPE_H

#include "part/part.h"

#define GS_RECIPE_NAME 24
#define GS_RECIPE_TEXT 160

struct gs_recipe {
    char grid[GS_RECIPE_NAME], rounder[GS_RECIPE_NAME];
    char transform_in[GS_RECIPE_NAME], transform_out[GS_RECIPE_NAME];
    bool full_search;   /* where the grid has a faster one */
    bool rescale;       /* a diagonal rescale, folded into transform_in */
    char rescale_by[GS_RECIPE_NAME]; /* its rule (transform/diagonal.c) */
    bool refit;         /* least-squares row scales after rounding */
    double damping;     /* added to H's diagonal, over its mean; 0: gs_recipe_damping */
    double head_bits;   /* bits that embedding and output head get above the blocks */
    uint64_t seed;
    uint64_t tokens;    /* of calibration; 0 = 32768 of a text, 4096 of own samples */
    uint64_t ctx;       /* tokens of a calibration sequence */
    struct gs_part_spec part; /* with a codebook; rounder and damping are those above */
    char paper[GS_RECIPE_TEXT], claim[GS_RECIPE_TEXT]; /* whose it is, and what it promises */
};

/* Recipes compiled in, by name; NULL past the end. */
struct gs_recipe_file {
    const char *name, *text;
};
const struct gs_recipe_file *gs_recipe_at(size_t index);

/* See gs_recipe_info in gosset.h. */
int gs_recipe_describe(size_t index, struct gs_recipe_info *out, struct gs_err *err)
    GS_MUST_USE;

void gs_recipe_default(struct gs_recipe *recipe);

/* Changes what the text names. `where` is for messages, which name the line and the rule. */
int gs_recipe_parse(struct gs_recipe *recipe, const char *text, size_t n, const char *where,
                    struct gs_err *err) GS_MUST_USE;

/* `arg`: the name of a recipe, the path of a file, or pairs; also pairs behind one of the
 * others, "gptq,seed=7". NULL changes nothing. */
int gs_recipe_read(struct gs_recipe *recipe, const char *arg, struct gs_err *err) GS_MUST_USE;

/* Combinations of fields. */
int gs_recipe_check(const struct gs_recipe *recipe, struct gs_err *err) GS_MUST_USE;

/* Does it round to a codebook? */
static inline bool gs_recipe_has_codebook(const struct gs_recipe *recipe)
{
    return recipe->part.codebook[0] != 0;
}

/* Does T_in have factors that do not follow from the seed? */
bool gs_recipe_fits_input(const struct gs_recipe *recipe);

/* What gs_part_round takes, for matrices of blocks. */
struct gs_part_spec gs_recipe_part(const struct gs_recipe *recipe);

/* The damping of second moments (n, n) of `tokens` tokens, over H's diagonal: `given`, or by the
 * text if it is 0: the less there is of it, the less H's correlations are to be trusted. */
double gs_recipe_damping(double given, size_t n, size_t tokens);

/* Are second moments of inputs needed; squared gradients? */
bool gs_recipe_needs_h(const struct gs_recipe *recipe);
bool gs_recipe_needs_fisher(const struct gs_recipe *recipe);

/* Every field a line, so that parsing it gives the same recipe; for gs_free. */
char *gs_recipe_text(const struct gs_recipe *recipe);

#endif
