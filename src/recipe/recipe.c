/* SPDX-License-Identifier: MIT
 * The table of fields, and text to recipe and back. */
#include "recipe/recipe.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/name.h"
#include "file/map.h"
#include "grid/grid.h"
#include "linalg/factor.h"
#include "recipe/recipe_list.h"
#include "round/round.h"
#include "transform/transform.h"

#define VALUE_BYTES 192

/* ---- names that fields may have ----------------------------------------------------------- */

static const char *grid_name(const void *ctx GS_UNUSED, size_t i)
{
    const struct gs_grid *grid = gs_grid_at(i);

    return grid ? grid->name : NULL;
}

/* Of grids, then of codebooks; some are in both lists. */
static const char *rounder_name(const void *ctx GS_UNUSED, size_t i)
{
    size_t n = 0;

    while (gs_rounder_at(n))
        n++;
    return i < n ? gs_rounder_at(i)->name : gs_part_rounder_name(i - n);
}

static const char *rule_name(const void *ctx GS_UNUSED, size_t i)
{
    return gs_diagonal_rule_at(i) ? gs_diagonal_rule_at(i)->name : NULL;
}

/* Inputs have: `diagonal`, fitted by rescale_by, and `act-order`. */
static const char *input_transform_name(const void *ctx GS_UNUSED, size_t i)
{
    return gs_transform_at(i) ? gs_transform_at(i)->name : NULL;
}

/* Outputs have no factors in the file: nothing fitted. */
static const char *transform_name(const void *ctx GS_UNUSED, size_t i)
{
    const struct gs_transform_kind *kind;

    for (size_t at = 0; (kind = gs_transform_at(at)); at++)
        if (!kind->needs_fit && i-- == 0)
            return kind->name;
    return NULL;
}

static const char *scale_name(const void *ctx GS_UNUSED, size_t i)
{
    return gs_part_scale_name(i);
}

static const char *format_name(const void *ctx GS_UNUSED, size_t i)
{
    return gs_part_format_name(i);
}

static const char *importance_name(const void *ctx GS_UNUSED, size_t i)
{
    return gs_part_importance_name(i);
}

static const char *sparse_name(const void *ctx GS_UNUSED, size_t i)
{
    return gs_part_sparse_name(i);
}

static const char *factor_name(const void *ctx GS_UNUSED, size_t i)
{
    return gs_part_factor_name(i);
}

static const char *correct_name(const void *ctx GS_UNUSED, size_t i)
{
    return gs_part_correct_name(i);
}

static const char *search_name(const void *ctx GS_UNUSED, size_t i)
{
    return gs_part_search_name(i);
}

static const char *recipe_name(const void *ctx GS_UNUSED, size_t i)
{
    return gs_recipe_at(i) ? gs_recipe_at(i)->name : NULL;
}

/* TEXT: to the end of a line, commas and all. CODEBOOK: its own keys belong to it. */
enum kind { NAME, BOOL, UINT, FLOAT, TEXT, CODEBOOK };

/* Which recipes have it: of grids, of codebooks, all. */
enum use { GRID = 1, PART = 2, ALL = 3 };

static const struct field {
    const char *key;
    enum kind kind;
    enum use use;
    size_t offset;
    const char *(*name_at)(const void *ctx, size_t index); /* NAME */
    double min, max;                 /* UINT, FLOAT */
} fields[] = {
#define AT(field) offsetof(struct gs_recipe, field)
    {"paper", TEXT, ALL, AT(paper), NULL, 0, 0},
    {"claim", TEXT, ALL, AT(claim), NULL, 0, 0},
    {"grid", NAME, GRID, AT(grid), grid_name, 0, 0},
    {"full_search", BOOL, GRID, AT(full_search), NULL, 0, 0},
    {"codebook", CODEBOOK, PART, AT(part.codebook), NULL, 0, 0},
    {"scale", NAME, PART, AT(part.scale), scale_name, 0, 0},
    {"group", UINT, PART, AT(part.group), NULL, 0, 65536},
    {"scale_format", NAME, PART, AT(part.scale_format), format_name, 0, 0},
    {"scale_group", UINT, PART, AT(part.scale_group), NULL, 0, 65536},
    {"scale_bits", UINT, PART, AT(part.scale_bits), NULL, 0, 16},
    {"importance", NAME, PART, AT(part.importance), importance_name, 0, 0},
    {"rate", FLOAT, PART, AT(part.rate), NULL, 0, 1},
    {"search", NAME, PART, AT(part.search), search_name, 0, 0},
    {"rounder", NAME, ALL, AT(rounder), rounder_name, 0, 0},
    {"act_order", BOOL, PART, AT(part.act_order), NULL, 0, 0},
    {"static_groups", BOOL, PART, AT(part.static_groups), NULL, 0, 0},
    {"sweeps", UINT, PART, AT(part.sweeps), NULL, 0, 10000},
    {"sparse_by", NAME, PART, AT(part.sparse_by), sparse_name, 0, 0},
    {"sparse", FLOAT, PART, AT(part.sparse), NULL, 0, 0.5},
    {"sparse_range", FLOAT, PART, AT(part.sparse_range), NULL, -1, 100},
    {"sparse_threshold", FLOAT, PART, AT(part.sparse_threshold), NULL, 0, 1e6},
    {"low_rank", UINT, PART, AT(part.low_rank), NULL, 0, 1024},
    {"low_rank_format", NAME, PART, AT(part.low_rank_format), factor_name, 0, 0},
    {"whiten", BOOL, PART, AT(part.whiten), NULL, 0, 0},
    {"blocks", UINT, PART, AT(part.blocks), NULL, 0, GS_PART_PIECES},
    {"low_rank_steps", UINT, PART, AT(part.low_rank_steps), NULL, 0, 64},
    {"correct", NAME, PART, AT(part.correct), correct_name, 0, 0},
    {"transform_in", NAME, ALL, AT(transform_in), input_transform_name, 0, 0},
    {"transform_out", NAME, ALL, AT(transform_out), transform_name, 0, 0},
    {"rescale", BOOL, ALL, AT(rescale), NULL, 0, 0},
    {"rescale_by", NAME, ALL, AT(rescale_by), rule_name, 0, 0},
    {"refit", BOOL, GRID, AT(refit), NULL, 0, 0},
    {"damping", FLOAT, ALL, AT(damping), NULL, 0, 10},
    {"head_bits", FLOAT, ALL, AT(head_bits), NULL, 0, 4},
    {"seed", UINT, ALL, AT(seed), NULL, 0, 4294967295.0},
    {"tokens", UINT, ALL, AT(tokens), NULL, 0, 1e9},
    {"ctx", UINT, ALL, AT(ctx), NULL, 16, 32768},
#undef AT
};

static const char *field_name(const void *ctx GS_UNUSED, size_t i)
{
    return i < GS_COUNT(fields) ? fields[i].key : NULL;
}

void gs_recipe_default(struct gs_recipe *recipe)
{
    *recipe = (struct gs_recipe){.grid = "trellis8", .rounder = "ldlq",
                                 .transform_in = "hadamard", .transform_out = "hadamard",
                                 .rescale = true, .rescale_by = "quip", .refit = true,
                                 .head_bits = 1, .ctx = 512};
    gs_part_default(&recipe->part);
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

static const struct field *find_field(const char *key)
{
    for (size_t i = 0; i < GS_COUNT(fields); i++)
        if (!strcmp(fields[i].key, key))
            return &fields[i];
    return NULL;
}

static bool is_known(const struct field *f, const char *value)
{
    const char *name;

    for (size_t i = 0; (name = f->name_at(NULL, i)); i++)
        if (!strcmp(name, value))
            return true;
    return false;
}

static int set_text(const struct field *f, const char *value, char *at, struct gs_err *err)
{
    size_t room = f->kind == TEXT ? GS_RECIPE_TEXT : f->kind == CODEBOOK ? GS_PART_TEXT
                                                                         : GS_RECIPE_NAME;

    if (f->kind == NAME && !is_known(f, value))
        return gs_fail(err, GS_E_ARG, "%s: there is no '%s'; the nearest name is '%s'", f->key,
                       value, gs_name_nearest(value, strlen(value), f->name_at, NULL));
    if (strlen(value) >= room)
        return gs_fail(err, GS_E_ARG, "%s: longer than %zu characters", f->key, room - 1);
    memcpy(at, value, strlen(value) + 1);
    return GS_OK;
}

static int set_field(struct gs_recipe *recipe, const char *key, const char *value,
                     struct gs_err *err)
{
    const struct field *f = find_field(key);

    if (!f && !*key)
        return gs_fail(err, GS_E_ARG, "'' is no key of a recipe");
    if (!f)
        return gs_fail(err, GS_E_ARG, "'%s' is no key of a recipe; the nearest is '%s'", key,
                       gs_name_nearest(key, strlen(key), field_name, NULL));
    void *at = (char *)recipe + f->offset;
    if (f->kind == UINT || f->kind == FLOAT)
        return set_number(f, value, at, err);
    if (f->kind != BOOL)
        return set_text(f, value, at, err);
    if (strcmp(value, "yes") && strcmp(value, "no"))
        return gs_fail(err, GS_E_ARG, "%s: '%s' is neither yes nor no", key, value);
    *(bool *)at = value[0] == 'y';
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

/* Where the pair at p ends: at a comma, but for text at the end of the line, and for a codebook
 * where the next key is one of a recipe: "codebook=float:bits=4,exponent=2,seed=1". */
static const char *pair_end(const char *p, const char *end)
{
    char key[VALUE_BYTES];
    const char *equals = memchr(p, '=', (size_t)(end - p));
    const struct field *f = equals && copy_trimmed(p, equals, key) ? find_field(key) : NULL;
    const char *comma = memchr(p, ',', (size_t)(end - p));

    if (f && f->kind == TEXT)
        return end;
    while (f && f->kind == CODEBOOK && comma) {
        const char *next = memchr(comma, '=', (size_t)(end - comma));
        if (!next || !copy_trimmed(comma + 1, next, key) || find_field(key))
            break;
        comma = memchr(comma + 1, ',', (size_t)(end - comma - 1));
    }
    return comma ? comma : end;
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

/* Where a comment begins in [p, stop): a '#' that is no part of a word, as in "QuIP#". */
static const char *comment_or(const char *p, const char *stop)
{
    for (const char *at = p; at < stop; at++)
        if (*at == '#' && (at == p || strchr(" \t", at[-1])))
            return at;
    return stop;
}

int gs_recipe_parse(struct gs_recipe *recipe, const char *text, size_t n, const char *where,
                    struct gs_err *err)
{
    const char *end = text + n;
    unsigned line = 1;

    for (const char *p = text; p < end; line++) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        const char *stop = eol ? eol : end;
        const char *last = comment_or(p, stop);
        while (p <= last) {
            const char *pair = pair_end(p, last);
            int rc = parse_pair(recipe, p, pair, err);
            if (rc) {
                char place[256];
                snprintf(place, sizeof place, "%.230s:%u", where, line);
                return gs_err_prefix(err, rc, place);
            }
            p = pair + 1;
        }
        p = stop + 1;
    }
    return GS_OK;
}

/* ---- recipes by name ---------------------------------------------------------------------- */

const struct gs_recipe_file *gs_recipe_at(size_t index)
{
    return index < gs_recipe_files_count ? &gs_recipe_files[index] : NULL;
}

/* The recipe of this name, or the file of this path. */
static int read_named(struct gs_recipe *recipe, const char *name, struct gs_err *err)
{
    const struct gs_recipe_file *file;
    struct gs_map *map;

    for (size_t i = 0; (file = gs_recipe_at(i)); i++)
        if (!strcmp(file->name, name))
            return gs_recipe_parse(recipe, file->text, strlen(file->text), name, err);
    if (!strpbrk(name, "./") && access(name, F_OK))
        return gs_fail(err, GS_E_ARG, "there is neither a recipe nor a file '%.80s'; the nearest "
                       "name is '%s'", name,
                       gs_name_nearest(name, strlen(name), recipe_name, NULL));
    int rc = gs_map_open(name, &map, err);
    if (rc)
        return rc;
    if (map->size > 65536)
        rc = gs_fail(err, GS_E_FORMAT, "%s: a recipe has at most 64 KiB", name);
    else
        rc = gs_recipe_parse(recipe, (const char *)map->data, (size_t)map->size, name, err);
    gs_map_close(&map);
    return rc;
}

int gs_recipe_read(struct gs_recipe *recipe, const char *arg, struct gs_err *err)
{
    if (!arg)
        return GS_OK;
    const char *comma = strchr(arg, ','), *equals = strchr(arg, '=');
    if (equals && (!comma || equals < comma))
        return gs_recipe_parse(recipe, arg, strlen(arg), "recipe", err);
    char *name = gs_strndup(arg, comma ? (size_t)(comma - arg) : strlen(arg));
    int rc = name ? read_named(recipe, name, err) : gs_fail_nomem(err, "recipe");
    if (!rc && comma)
        rc = gs_recipe_parse(recipe, comma + 1, strlen(comma + 1), "recipe", err);
    gs_free(&name);
    return rc;
}

struct gs_part_spec gs_recipe_part(const struct gs_recipe *recipe)
{
    struct gs_part_spec spec = recipe->part;

    memcpy(spec.rounder, recipe->rounder, sizeof spec.rounder);
    spec.damping = recipe->damping > 0 ? recipe->damping : GS_DAMPING;
    return spec;
}

/* An estimate of n channels' correlations from T tokens is off by about n / T, and even a long text
 * is not the one that the model will meet: measured on texts of other kinds than those calibrated
 * on (docs/stock.md). */
#define DAMPING_BY_TEXT 4.0
#define DAMPING_LEAST 0.3
#define DAMPING_MOST 1.0

double gs_recipe_damping(double given, size_t n, size_t tokens)
{
    double by_text = DAMPING_BY_TEXT * (double)n / (double)GS_MAX(tokens, 1);

    return given > 0 ? given : GS_MIN(GS_MAX(by_text, DAMPING_LEAST), DAMPING_MOST);
}

bool gs_recipe_fits_input(const struct gs_recipe *recipe)
{
    return recipe->rescale || gs_transform_find(recipe->transform_in)->needs_fit;
}

bool gs_recipe_needs_h(const struct gs_recipe *recipe)
{
    const struct gs_rounder *rounder = gs_rounder_find(recipe->rounder);
    const struct gs_part_spec spec = gs_recipe_part(recipe);

    if (gs_transform_find(recipe->transform_in)->arrange)
        return true;
    if (recipe->rescale && !gs_diagonal_rule_find(recipe->rescale_by)->needs_source)
        return true;
    return gs_recipe_has_codebook(recipe) ? gs_part_needs_h(&spec) : rounder->uses_h;
}

bool gs_recipe_needs_fisher(const struct gs_recipe *recipe)
{
    return gs_recipe_has_codebook(recipe) && gs_part_needs_fisher(&recipe->part);
}

int gs_recipe_check(const struct gs_recipe *r, struct gs_err *err)
{
    const struct gs_part_spec spec = gs_recipe_part(r);

    if (r->rescale && !gs_transform_find(r->transform_in)->apply_f32)
        return gs_fail(err, GS_E_ARG, "recipe: rescale = yes is folded into transform_in, "
                       "which is %s", r->transform_in);
    const struct gs_transform_kind *in = gs_transform_find(r->transform_in);
    if (in->needs_fit && (!in->arrange != r->rescale || !gs_recipe_has_codebook(r)))
        return gs_fail(err, GS_E_ARG, "recipe: transform_in = %s goes with a codebook and rescale "
                       "= %s", r->transform_in, in->arrange ? "no" : "yes");
    if (!r->rescale && strcmp(r->rescale_by, "quip"))
        return gs_fail(err, GS_E_ARG, "recipe: rescale_by = %s goes with rescale = yes",
                       r->rescale_by);
    if (gs_recipe_needs_fisher(r) && (strcmp(r->transform_in, "none") ||
                                      strcmp(r->transform_out, "none")))
        return gs_fail(err, GS_E_ARG, "recipe: gradients are those of the weights as they are: "
                       "transform_in = none, transform_out = none");
    if (!gs_recipe_has_codebook(r) && !gs_rounder_find(r->rounder))
        return gs_fail(err, GS_E_ARG, "recipe: rounder = %s goes with a codebook, not with grid "
                       "= %s", r->rounder, r->grid);
    int rc = gs_recipe_has_codebook(r) ? gs_part_check(&spec, err) : GS_OK;
    return rc ? gs_err_prefix(err, rc, "recipe") : GS_OK;
}

char *gs_recipe_text(const struct gs_recipe *recipe)
{
    enum use use = gs_recipe_has_codebook(recipe) ? PART : GRID;
    size_t size = GS_COUNT(fields) * (GS_RECIPE_TEXT + 32), used = 0;
    char *text = gs_alloc(size, 1);

    for (size_t i = 0; text && i < GS_COUNT(fields); i++) {
        const struct field *f = &fields[i];
        const void *at = (const char *)recipe + f->offset;
        char number[32];
        const char *value = number;
        if (!(f->use & use))
            continue;
        if (f->kind == BOOL)
            value = *(const bool *)at ? "yes" : "no";
        else if (f->kind == UINT)
            snprintf(number, sizeof number, "%" PRIu64, *(const uint64_t *)at);
        else if (f->kind == FLOAT)
            snprintf(number, sizeof number, "%.17g", *(const double *)at);
        else
            value = at;
        if (*value)
            used += (size_t)snprintf(text + used, size - used, "%s = %s\n", f->key, value);
    }
    return text;
}
