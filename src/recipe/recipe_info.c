/* SPDX-License-Identifier: MIT
 * What a recipe is made of, for lists: derived from the recipe itself, so that it is true. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "grid/grid.h"
#include "recipe/plan.h"
#include "recipe/recipe.h"

/* Bits are told for a matrix of this order, as in a model of about 7·10⁹ weights. */
#define ORDER 4096u

struct text {
    char *out;
    size_t size, used;
};

static GS_PRINTF(2, 3) void add(struct text *t, const char *fmt, ...)
{
    va_list args;

    if (t->used && t->used + 3 < t->size) {
        memcpy(t->out + t->used, ", ", 3);
        t->used += 2;
    }
    va_start(args, fmt);
    int n = vsnprintf(t->out + t->used, t->size - t->used, fmt, args);
    va_end(args);
    if (n > 0)
        t->used = GS_MIN(t->used + (size_t)n, t->size - 1);
}

static void describe_codebook(const struct gs_recipe *r, struct text *t)
{
    const struct gs_part_spec *p = &r->part;

    add(t, "%s", p->codebook);
    if (p->group)
        add(t, "scale %s %d", p->scale, (int)p->group);
    else
        add(t, "scale %s", p->scale);
    if (strcmp(p->scale_format, "f16"))
        add(t, "scales %s", p->scale_format);
    if (p->scale_bits)
        add(t, "scales of %d bits in %d", (int)p->scale_bits, (int)p->scale_group);
    if (strcmp(p->importance, "none"))
        add(t, "importance %s", p->importance);
    if (p->rate > 0)
        add(t, "rate %g", p->rate);
    if (strcmp(p->search, "none"))
        add(t, "search %s", p->search);
}

static void describe_parts(const struct gs_recipe *r, char *out, size_t size)
{
    struct text t = {.out = out, .size = size};

    if (strcmp(r->transform_in, "none"))
        add(&t, "in %s", r->transform_in);
    if (strcmp(r->transform_out, "none"))
        add(&t, "out %s", r->transform_out);
    if (r->rescale)
        add(&t, strcmp(r->rescale_by, "quip") ? "rescale by %s" : "rescale", r->rescale_by);
    if (gs_recipe_has_codebook(r))
        describe_codebook(r, &t);
    else
        add(&t, "%s", r->grid);
    add(&t, "rounder %s", r->rounder);
    if (strcmp(r->part.sparse_by, "none"))
        add(&t, "outliers %s", r->part.sparse_by);
    if (r->part.low_rank)
        add(&t, "rank %d%s", (int)r->part.low_rank, r->part.whiten ? " whitened" : "");
    if (gs_part_corrects(&r->part))
        add(&t, "corrects %s", r->part.correct);
    if (r->part.blocks)
        add(&t, "%d blocks", (int)r->part.blocks);
    if (r->part.act_order)
        add(&t, "act order");
    if (r->part.sweeps)
        add(&t, "%d sweeps", (int)r->part.sweeps);
}

/* Bits of a weight with the spec; 0 if it does not go together. */
static double spec_bits(const struct gs_recipe *r, const struct gs_part_spec *spec)
{
    uint64_t bytes, header;

    if (gs_part_bytes(spec, ORDER, ORDER, r->transform_in, r->transform_out,
                      gs_recipe_fits_input(r), &bytes, &header, NULL))
        return 0;
    if (gs_part_corrects(spec)) /* a bias in f32 */
        bytes += ORDER * sizeof(float);
    return 8 * (double)(bytes - header) / ORDER / ORDER;
}

static void count_bits(const struct gs_recipe *r, struct gs_recipe_info *out)
{
    struct gs_part_spec spec = gs_recipe_part(r);

    if (!gs_recipe_has_codebook(r)) {
        const struct gs_grid *grid = gs_grid_find(r->grid);
        out->bits_least = grid->rate_min / 8.0;
        out->bits_most = grid->rate_max / 8.0;
        return;
    }
    const struct gs_codebook_key *key = gs_plan_codebook_bits(spec.codebook);
    out->bits = out->bits_least = out->bits_most = spec_bits(r, &spec);
    for (double bits = key ? key->low : 1; key && bits <= key->high;
         bits += gs_plan_bits_step(key)) {
        gs_plan_set_codebook_bits(&spec, bits);
        double of = spec_bits(r, &spec);
        out->bits_least = of > 0 ? GS_MIN(out->bits_least, of) : out->bits_least;
        out->bits_most = GS_MAX(out->bits_most, of);
    }
}

int gs_recipe_describe(size_t index, struct gs_recipe_info *out, struct gs_err *err)
{
    const struct gs_recipe_file *file = gs_recipe_at(index);
    struct gs_recipe r;
    int rc;

    if (!file)
        return 0;
    gs_recipe_default(&r);
    *out = (struct gs_recipe_info){.name = file->name};
    if ((rc = gs_recipe_parse(&r, file->text, strlen(file->text), file->name, err)) ||
        (rc = gs_recipe_check(&r, err)))
        return gs_err_prefix(err, rc, file->name);
    count_bits(&r, out);
    snprintf(out->paper, sizeof out->paper, "%s", r.paper);
    snprintf(out->claim, sizeof out->claim, "%s", r.claim);
    describe_parts(&r, out->parts, sizeof out->parts);
    out->needs = gs_recipe_needs_fisher(&r) ? "gradients"
                 : gs_recipe_needs_h(&r) ? "calibration" : "nothing";
    return 1;
}
