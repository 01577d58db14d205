/* SPDX-License-Identifier: MIT
 * The files of the folder recipes/, made into a C table by tools/recipes.sh when the library
 * is built, by name. */
#ifndef GS_RECIPE_RECIPE_LIST_H
#define GS_RECIPE_RECIPE_LIST_H

#include "recipe/recipe.h"

extern const struct gs_recipe_file gs_recipe_files[];
extern const size_t gs_recipe_files_count;

#endif
