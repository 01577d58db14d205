/* SPDX-License-Identifier: MIT
 * A choice of tables for each group (the idea of BitMoD, with tables of our own).
 *
 *     ŵ = s · table[choice][code] / 127
 *
 * Groups of 32 to 128 weights differ in shape: where their outliers are, on one side or on both.
 * A few tables of signed bytes serve them better than one. Tables need not be symmetric, so the
 * scale's sign, where its rule has one, doubles the choice for nothing.
 *
 *     learn = 0   the tables of codebook_choice_table.h, learned from Gaussian groups
 *     learn = 1   tables of the matrix, 8 bits a point: from those, each group takes the table
 *                 that suits it and each table becomes the k-means of its groups' weights in
 *                 units of their scales, in turns; tables=1 is k-means with group scales */
#include <math.h>
#include <string.h>

#include "codebook/codebook_choice_table.h"
#include "codebook/kmeans_line.h"
#include "codebook/members.h"
#include "codebook/points.h"
#include "codebook/sample.h"
#include "core/alloc.h"

enum { KEY_BITS, KEY_TABLES, KEY_LEARN, KEY_GROUP };

static const struct gs_codebook_key choice_keys[] = {
    {"bits", "bits of a code", 2, 4, 4, true},
    {"tables", "tables to choose from: 1, 2 or 4", 1, 4, 4, true},
    {"learn", "0 built-in tables, 1 learned for each matrix", 0, 1, 0, true},
    {"group", "columns of a group while learning; 0: a row", 0, 65536, 64, true},
    {0},
};

/* Weights to learn from, and turns of doing so. */
enum { SAMPLE = 1 << 17, TURNS = 6, MOST_TABLES = 4, UNIT = 127 };

struct choice {
    struct gs_codebook base;
    unsigned tables;
    struct gs_points points[MOST_TABLES];
};

static void set_table(struct choice *self, unsigned table, const int8_t *values)
{
    float points[GS_POINTS];

    for (unsigned i = 0; i < self->base.states; i++)
        points[i] = (float)values[i] / UNIT;
    gs_points_set(&self->points[table], points, (unsigned)self->base.states);
}

static int choice_create(const struct gs_codebook_kind *kind, const double *values,
                         struct gs_codebook **out, struct gs_err *err)
{
    unsigned bits = (unsigned)values[KEY_BITS], tables = (unsigned)values[KEY_TABLES];
    const struct gs_choice_tables *built_in = &gs_choice_tables[bits - 2];

    if (tables == 3)
        return gs_fail(err, GS_E_ARG, "codebook %s: tables: 3 is none of 1, 2, 4", kind->name);
    struct choice *self = gs_alloc(1, sizeof *self);
    if (!self)
        return gs_fail_nomem(err, "codebook");
    self->tables = tables;
    self->base.states = UINT64_C(1) << bits;
    self->base.has_scale = true;
    self->base.choice_bits = tables / 2; /* 0, 1, 2 */
    self->base.shared_bits = values[KEY_LEARN] == 1 ? 8 * tables * self->base.states : 0;
    self->base.gaussian_mse = 1;
    for (unsigned i = 0; i < tables; i++) {
        set_table(self, i, built_in->value[tables - 1 + i]);
        self->base.gaussian_mse = fmin(self->base.gaussian_mse, gs_points_gaussian_mse(
            &self->points[i], GS_ZERO_NONE));
    }
    *out = &self->base;
    return GS_OK;
}

/* ---- groups ------------------------------------------------------------------------------- */

static void choice_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                       const float *x, const float *h, size_t n, float *table,
                       struct gs_group *out)
{
    const struct choice *self = (const struct choice *)codebook;
    double least = INFINITY;

    (void)table;
    for (unsigned i = 0; i < self->tables; i++) {
        struct gs_group group = {.choice = i};
        double error = gs_points_fit(&self->points[i], GS_ZERO_NONE, rule, x, h, n, &group);
        if (error < least) {
            least = error;
            *out = group;
        }
    }
}

/* Of a file, 2 bits may name a table; whatever they name, there is one. */
static const struct gs_points *points_of(const struct gs_codebook *codebook,
                                         const struct gs_group *group)
{
    const struct choice *self = (const struct choice *)codebook;

    return &self->points[GS_MIN(group->choice, self->tables - 1)];
}

static uint64_t choice_nearest(const struct gs_codebook *codebook, const struct gs_group *group,
                               const float *x, const float *h, float *y)
{
    (void)h;
    return gs_points_nearest(points_of(codebook, group), group->scale, 0, *x, y);
}

static void choice_value(const struct gs_codebook *codebook, const struct gs_group *group,
                         uint64_t code, float *y)
{
    *y = gs_points_value(points_of(codebook, group), group->scale, 0, code);
}

/* ---- learning ----------------------------------------------------------------------------- */

struct learning {
    struct choice *self;
    struct gs_sample sample;
    struct gs_group *groups; /* of the pieces */
    float *x, *h;            /* (weights of the sample) of one table, in units of the scales */
};

static void fit_pieces(void *ctx, size_t begin, size_t end, int worker)
{
    struct learning *l = ctx;

    (void)worker;
    for (size_t i = begin; i < end; i++) {
        struct gs_piece piece = gs_sample_at(&l->sample, i);
        choice_fit(&l->self->base, gs_scale_rule_find("f32"), piece.x, piece.h, piece.n, NULL,
                   &l->groups[i]);
    }
}

/* What is far away from 0 in a table decides its unit. */
static void learn_table(struct learning *l, unsigned table)
{
    float centers[GS_KMEANS_LINE_CENTERS], most = 0;
    int8_t values[GS_KMEANS_LINE_CENTERS];
    unsigned states = (unsigned)l->self->base.states;
    size_t n = 0;

    for (size_t i = 0; i < l->sample.count; i++) {
        struct gs_piece piece = gs_sample_at(&l->sample, i);
        float scale = l->groups[i].scale;
        if (l->groups[i].choice != table || scale == 0)
            continue;
        for (size_t k = 0; k < piece.n; k++, n++) {
            l->x[n] = piece.x[k] / scale;
            l->h[n] = (piece.h ? piece.h[k] : 1) * scale * scale;
        }
    }
    if (n < 8 * states) /* hardly a group: the table stays */
        return;
    gs_kmeans_line(l->x, l->h, n, centers, states);
    for (unsigned i = 0; i < states; i++)
        most = fmaxf(most, fabsf(centers[i]));
    if (!(most > 0) || !isfinite(most))
        return;
    for (unsigned i = 0; i < states; i++)
        values[i] = (int8_t)rintf(centers[i] / most * UNIT);
    set_table(l->self, table, values);
}

static int choice_learn(struct gs_codebook *codebook, const struct gs_codebook_data *data,
                        struct gs_err *err)
{
    struct learning l = {.self = (struct choice *)codebook};
    int rc = GS_OK;

    if (!codebook->shared_bits)
        return GS_OK;
    gs_sample_init(&l.sample, data, (size_t)codebook->values[KEY_GROUP], SAMPLE);
    l.groups = gs_alloc(l.sample.count, sizeof *l.groups);
    l.x = gs_alloc(l.sample.count * l.sample.group, sizeof *l.x);
    l.h = gs_alloc(l.sample.count * l.sample.group, sizeof *l.h);
    if (!l.groups || !l.x || !l.h)
        rc = gs_fail_nomem(err, "learning tables");
    for (int turn = 0; !rc && turn < TURNS; turn++) {
        gs_team_run(data->team, l.sample.count, 8, fit_pieces, &l);
        for (unsigned i = 0; i < l.self->tables; i++)
            learn_table(&l, i);
    }
    gs_free(&l.groups);
    gs_free(&l.x);
    gs_free(&l.h);
    return rc;
}

static void choice_write(const struct gs_codebook *codebook, uint8_t *dst)
{
    const struct choice *self = (const struct choice *)codebook;

    for (unsigned i = 0; codebook->shared_bits && i < self->tables; i++)
        for (unsigned k = 0; k < codebook->states; k++)
            *dst++ = (uint8_t)(int8_t)rintf(self->points[i].of[k] * UNIT);
}

static int choice_read(struct gs_codebook *codebook, const uint8_t *src, struct gs_err *err)
{
    struct choice *self = (struct choice *)codebook;
    int8_t values[GS_KMEANS_LINE_CENTERS];

    for (unsigned i = 0; codebook->shared_bits && i < self->tables; i++) {
        memcpy(values, src + i * codebook->states, (size_t)codebook->states);
        for (unsigned k = 0; k < codebook->states; k++)
            if (values[k] < -UNIT)
                return gs_fail(err, GS_E_FORMAT, "codebook choice: point %u of table %u is -128; "
                               "the least is -127", k, i);
        set_table(self, i, values);
    }
    return GS_OK;
}

const struct gs_codebook_kind gs_codebook_choice = {
    .name = "choice",
    .paper = "after Chen et al., BitMoD: bit-serial mixture-of-datatype LLM acceleration, "
             "arXiv:2411.11745",
    .keys = choice_keys,
    .create = choice_create,
    .learn = choice_learn,
    .write = choice_write,
    .read = choice_read,
    .fit = choice_fit,
    .nearest = choice_nearest,
    .value = choice_value,
};
