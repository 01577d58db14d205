/* SPDX-License-Identifier: MIT
 * gosset recipes: the methods that quantize knows by name. */
#include "commands.h"
#include "output.h"
#include "terminal.h"

static json_t *recipe_json(const struct gs_recipe_info *r)
{
    json_t *row = json_object(), *bits = json_object();

    json_put(row, "name", json_string(r->name));
    json_put(row, "paper", json_string(r->paper));
    json_put(row, "claim", json_string(r->claim));
    json_put(row, "parts", json_string(r->parts));
    json_put(row, "needs", json_string(r->needs));
    json_put(row, "bits", json_number(r->bits));
    json_put(bits, "least", json_number(r->bits_least));
    json_put(bits, "most", json_number(r->bits_most));
    json_put(row, "budget", bits);
    return row;
}

static void print_recipe(const struct gs_recipe_info *r)
{
    char bits[32];

    if (r->bits > 0)
        snprintf(bits, sizeof bits, "%.3f", r->bits);
    else
        snprintf(bits, sizeof bits, "%g-%g", r->bits_least, r->bits_most);
    printf("%-16s %7s  %-11s  %s\n", r->name, bits, r->needs, r->parts);
    if (*r->paper)
        printf("%-16s %7s  %-11s  %s\n", "", "", "", r->paper);
}

static int run(const struct settings *s)
{
    struct gs_recipe_info info;
    struct gs_err err = {0};
    json_t *root = json_object(), *list = json_array();
    int rc;

    if (!s->json)
        printf("%-16s %7s  %-11s  %s\n", "recipe", "bits", "needs", "parts");
    for (size_t i = 0; (rc = gs_recipe_info(i, &info, &err)) > 0; i++) {
        if (s->json)
            json_add(list, recipe_json(&info));
        else
            print_recipe(&info);
    }
    json_put(root, "recipes", list);
    if (rc < 0 || !s->json) {
        json_decref(root);
        return rc < 0 ? failure(&err) : EXIT_OK;
    }
    return print_json(root);
}

const struct command command_recipes = {
    .name = "recipes",
    .summary = "the methods that quantize knows by name",
    .arguments = "",
    .details = "Bits are those of a weight in a 4096 x 4096 matrix, everything counted; where a\n"
               "range is told, --bpw decides. quantize --recipe NAME takes them.\n",
    .examples = "  gosset recipes\n"
                "  gosset recipes --json\n",
    .groups = {&group_output},
    .run = run,
};
