#!/bin/sh
# The files of a folder of recipes as a C table (src/recipe/recipe_list.h), by name.
# usage: sh tools/recipes.sh FILE.recipe... >recipe_list.c
export LC_ALL=C
echo '/* Made by tools/recipes.sh from recipes/. */'
echo '#include "recipe/recipe_list.h"'
echo
echo 'const struct gs_recipe_file gs_recipe_files[] = {'
for file; do
    printf '    {"%s",\n' "$(basename "$file" .recipe)"
    sed 's/[\\"]/\\&/g; s/.*/     "&\\n"/' "$file"
    echo '    },'
done
echo '};'
echo 'const size_t gs_recipe_files_count = sizeof gs_recipe_files / sizeof *gs_recipe_files;'
