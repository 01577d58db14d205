/* SPDX-License-Identifier: MIT
 * The table of fields, and text to recipe and back. */
#include "recipe/recipe.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "file/map.h"
#include "grid/grid.h"
#include "round/round.h"
#include "transform/transform.h"

#define VALUE_BYTES 64

static bool is_grid(const char *name)
{
    return gs_grid_find(name) != NULL;
}

static bool is_rounder(const char *name)
{
    return gs_rounder_find(name) != NULL;
}

/* A transform that is fitted needs factors beside signs; `rescale` is the way to it. */
static bool is_transform(const char *name)
{
    const struct gs_transform_kind *kind = gs_transform_find(name);

    return kind && !kind->needs_fit;
}

enum kind { NAME, BOOL, UINT, FLOAT };

static const struct field {
    const char *key;
    enum kind kind;
    size_t offset;
    bool (*known)(const char *name); /* NAME */
    double min, max;                 /* UINT, FLOAT */
} fields[] = {
#define AT(field) offsetof(struct gs_recipe, field)
    {"grid", NAME, AT(grid), is_grid, 0, 0},
    {"rounder", NAME, AT(rounder), is_rounder, 0, 0},
    {"transform_in", NAME, AT(transform_in), is_transform, 0, 0},
    {"transform_out", NAME, AT(transform_out), is_transform, 0, 0},
    {"rescale", BOOL, AT(rescale), NULL, 0, 0},
    {"refit", BOOL, AT(refit), NULL, 0, 0},
    {"damping", FLOAT, AT(damping), NULL, 1e-6, 10},
    {"head_bits", FLOAT, AT(head_bits), NULL, 0, 4},
    {"seed", UINT, AT(seed), NULL, 0, 4294967295.0},
    {"tokens", UINT, AT(tokens), NULL, 0, 1e9},
    {"ctx", UINT, AT(ctx), NULL, 16, 32768},
#undef AT
};

void gs_recipe_default(struct gs_recipe *recipe)
{
    *recipe = (struct gs_recipe){.grid = "trellis8", .rounder = "ldlq",
                                 .transform_in = "hadamard", .transform_out = "hadamard",
                                 .rescale = true, .refit = true, .damping = 0.01,
                                 .head_bits = 1, .ctx = 512};
}

/* ---- parsing ------------------------------------------------------------------------------ */

static int set_number(const struct field *f, const char *value, void *at, struct gs_err *err)
{
    char *end;
    double v;

    errno = 0;
    v = strtod(value, &end);
    if (end == value || *end || errno || !isfinite(v))
        return gs_fail(err, GS_E_ARG, "%s: '%s' is not a number", f->key, value);
    if (v < f->min || v > f->max)
        return gs_fail(err, GS_E_ARG, "%s: %s is not within %.10g to %.10g", f->key, value,
                       f->min, f->max);
    if (f->kind == FLOAT)
        *(double *)at = v;
    else if (v != floor(v))
        return gs_fail(err, GS_E_ARG, "%s: '%s' is not a whole number", f->key, value);
    else
        *(uint64_t *)at = (uint64_t)v;
    return GS_OK;
}

static int set_field(struct gs_recipe *recipe, const char *key, const char *value,
                     struct gs_err *err)
{
    const struct field *f = NULL;

    for (size_t i = 0; i < GS_COUNT(fields); i++)
        if (!strcmp(fields[i].key, key))
            f = &fields[i];
    if (!f)
        return gs_fail(err, GS_E_ARG, "'%s' is no key of a recipe", key);
    void *at = (char *)recipe + f->offset;
    if (f->kind == UINT || f->kind == FLOAT)
        return set_number(f, value, at, err);
    if (f->kind == BOOL) {
        if (strcmp(value, "yes") && strcmp(value, "no"))
            return gs_fail(err, GS_E_ARG, "%s: '%s' is neither yes nor no", key, value);
        *(bool *)at = value[0] == 'y';
        return GS_OK;
    }
    if (strlen(value) >= GS_RECIPE_NAME || !f->known(value))
        return gs_fail(err, GS_E_ARG, "%s: there is no '%s'", key, value);
    memcpy(at, value, strlen(value) + 1);
    return GS_OK;
}

/* The text from p to end without white space at both ends, as a C string. */
static bool copy_trimmed(const char *p, const char *end, char out[VALUE_BYTES])
{
    while (p < end && strchr(" \t\r", *p))
        p++;
    while (p < end && strchr(" \t\r", end[-1]))
        end--;
    if (end - p >= VALUE_BYTES || memchr(p, 0, (size_t)(end - p)))
        return false;
    memcpy(out, p, (size_t)(end - p));
    out[end - p] = 0;
    return true;
}

static int parse_pair(struct gs_recipe *recipe, const char *p, const char *end,
                      struct gs_err *err)
{
    char key[VALUE_BYTES], value[VALUE_BYTES];
    const char *equals = memchr(p, '=', (size_t)(end - p));

    if (!copy_trimmed(p, equals ? equals : end, key) ||
        !copy_trimmed(equals ? equals + 1 : end, end, value))
        return gs_fail(err, GS_E_ARG, "longer than %d characters", VALUE_BYTES - 1);
    if (!*key && !equals)
        return GS_OK;
    if (!equals)
        return gs_fail(err, GS_E_ARG, "'%s' is no 'key = value'", key);
    return set_field(recipe, key, value, err);
}

int gs_recipe_parse(struct gs_recipe *recipe, const char *text, size_t n, const char *where,
                    struct gs_err *err)
{
    const char *end = text + n;
    unsigned line = 1;

    for (const char *p = text; p < end; line++) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        const char *stop = eol ? eol : end;
        const char *comment = memchr(p, '#', (size_t)(stop - p));
        const char *last = comment ? comment : stop;
        while (p <= last) {
            const char *comma = memchr(p, ',', (size_t)(last - p));
            int rc = parse_pair(recipe, p, comma ? comma : last, err);
            if (rc) {
                char place[256];
                snprintf(place, sizeof place, "%.230s:%u", where, line);
                return gs_err_prefix(err, rc, place);
            }
            p = comma ? comma + 1 : last + 1;
        }
        p = stop + 1;
    }
    return GS_OK;
}

int gs_recipe_read(struct gs_recipe *recipe, const char *arg, struct gs_err *err)
{
    struct gs_map *map;

    if (!arg)
        return GS_OK;
    if (strchr(arg, '='))
        return gs_recipe_parse(recipe, arg, strlen(arg), "recipe", err);
    int rc = gs_map_open(arg, &map, err);
    if (rc)
        return rc;
    if (map->size > 65536)
        rc = gs_fail(err, GS_E_FORMAT, "%s: a recipe has at most 64 KiB", arg);
    else
        rc = gs_recipe_parse(recipe, (const char *)map->data, (size_t)map->size, arg, err);
    gs_map_close(&map);
    return rc;
}

int gs_recipe_check(const struct gs_recipe *r, struct gs_err *err)
{
    if (r->rescale && !gs_transform_find(r->transform_in)->apply_f32)
        return gs_fail(err, GS_E_ARG, "recipe: rescale = yes is folded into transform_in, "
                       "which is %s", r->transform_in);
    return GS_OK;
}

char *gs_recipe_text(const struct gs_recipe *recipe)
{
    size_t size = GS_COUNT(fields) * (2 * GS_RECIPE_NAME + 32), used = 0;
    char *text = gs_alloc(size, 1);

    for (size_t i = 0; text && i < GS_COUNT(fields); i++) {
        const struct field *f = &fields[i];
        const void *at = (const char *)recipe + f->offset;
        char value[32];
        if (f->kind == NAME)
            snprintf(value, sizeof value, "%s", (const char *)at);
        else if (f->kind == BOOL)
            snprintf(value, sizeof value, "%s", *(const bool *)at ? "yes" : "no");
        else if (f->kind == UINT)
            snprintf(value, sizeof value, "%" PRIu64, *(const uint64_t *)at);
        else
            snprintf(value, sizeof value, "%.17g", *(const double *)at);
        used += (size_t)snprintf(text + used, size - used, "%s = %s\n", f->key, value);
    }
    return text;
}
