/* SPDX-License-Identifier: MIT
 * gosset.h: what a codebook loses on Gaussian weights in groups. */
#include <math.h>

#include "codebook/codebook.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "core/err.h"
#include "core/rng.h"

/* Weights come as matrices of this size; groups are runs of one, whole codes each. */
enum { ROWS = 256, COLS = 256, WEIGHTS = ROWS * COLS };

struct bench {
    struct gs_codebook *codebook;
    const struct gs_scale_rule *rule;
    struct gs_team *team;
    size_t group, groups; /* weights of a group, groups of a matrix */
    float *x, *tables;    /* [ROWS][COLS], [groups][table_floats] */
    double *errors;       /* [groups] */
};

static int bench_create(struct bench *b, const char *name, uint64_t group, const char *scale,
                        int threads, struct gs_err *err)
{
    int rc;

    if (!(b->rule = gs_scale_rule_find(scale)))
        return gs_fail(err, GS_E_ARG, "there is no scale '%s'", scale);
    if ((rc = gs_codebook_create(name, &b->codebook, err)) ||
        (rc = gs_team_create(threads, &b->team, err)))
        return rc;
    b->group = group && group < WEIGHTS ? (size_t)group : WEIGHTS;
    b->group -= b->group % b->codebook->dim;
    if (b->group == 0)
        return gs_fail(err, GS_E_ARG, "codebook %s: a group has at least the %u weights of a "
                       "code", name, b->codebook->dim);
    b->groups = WEIGHTS / b->group;
    b->x = gs_alloc(WEIGHTS, sizeof *b->x);
    b->tables = gs_alloc(b->groups, b->codebook->table_floats * sizeof *b->tables);
    b->errors = gs_alloc(b->groups, sizeof *b->errors);
    return b->x && b->tables && b->errors ? GS_OK : gs_fail_nomem(err, "codebook measurement");
}

static void bench_destroy(struct bench *b)
{
    gs_free(&b->x);
    gs_free(&b->tables);
    gs_free(&b->errors);
    gs_codebook_destroy(&b->codebook);
    gs_team_destroy(&b->team);
}

static void round_groups(void *ctx, size_t begin, size_t end, int worker)
{
    struct bench *b = ctx;
    float y[GS_CODEBOOK_DIM];

    (void)worker;
    for (size_t g = begin; g < end; g++) {
        const float *x = b->x + g * b->group;
        struct gs_group group;
        gs_codebook_fit(b->codebook, b->rule, x, NULL, b->group,
                        b->tables + g * b->codebook->table_floats, &group);
        b->errors[g] = 0;
        for (size_t i = 0; i < b->group; i += b->codebook->dim) {
            gs_codebook_nearest(b->codebook, &group, x + i, NULL, y);
            for (size_t k = 0; k < b->codebook->dim; k++)
                b->errors[g] += ((double)x[i + k] - y[k]) * ((double)x[i + k] - y[k]);
        }
    }
}

/* One matrix: tables are learned from the first and serve all, as they would in a model. */
static int round_matrix(struct bench *b, uint64_t seed, uint64_t number, double *sum,
                        struct gs_err *err)
{
    struct gs_codebook_data data = {.w = b->x, .rows = ROWS, .cols = COLS, .stride = COLS,
                                    .seed = seed, .team = b->team};
    struct gs_rng rng;
    int rc;

    gs_rng_init(&rng, seed, number);
    for (size_t i = 0; i < WEIGHTS; i++)
        b->x[i] = (float)gs_rng_normal(&rng);
    if (number == 0 && (rc = gs_codebook_learn(b->codebook, &data, err)))
        return rc;
    gs_team_run(b->team, b->groups, 1, round_groups, b);
    for (size_t g = 0; g < b->groups; g++)
        *sum += b->errors[g];
    return GS_OK;
}

const char *gs_codebook_name(size_t index)
{
    const struct gs_codebook_kind *kind = gs_codebook_at(index);

    return kind ? kind->name : NULL;
}

int gs_codebook_measure(const char *codebook, uint64_t group, const char *scale,
                        const struct gs_grid_options *options, struct gs_codebook_result *out,
                        struct gs_err *err)
{
    uint64_t weights = options->weights ? options->weights : UINT64_C(1) << 18;
    uint64_t n = weights / WEIGHTS + (weights % WEIGHTS != 0);
    struct bench b = {0};
    double sum = 0, start = gs_cpu_seconds();
    int rc;

    *out = (struct gs_codebook_result){0};
    if ((rc = bench_create(&b, codebook, group, scale, options->threads, err)))
        goto out;
    for (uint64_t i = 0; i < n; i++) {
        if (options->progress && options->progress(options->progress_ctx, "matrices", i, n)) {
            rc = gs_fail(err, GS_E_STOPPED, "codebook %s: stopped", codebook);
            goto out;
        }
        if ((rc = round_matrix(&b, options->seed, i, &sum, err)))
            goto out;
    }
    uint64_t bits = gs_codebook_group_bits(b.codebook, b.rule) +
                    gs_codebook_code_bits(b.codebook, b.group);
    out->group = b.group;
    out->weights = n * b.groups * b.group;
    out->bpw = (double)bits / (double)b.group;
    out->shared_bits = b.codebook->shared_bits;
    out->mse = sum / (double)out->weights;
    out->theory = b.codebook->gaussian_mse;
    out->bound = pow(4, -out->bpw);
    out->cpu_seconds = gs_cpu_seconds() - start;
out:
    bench_destroy(&b);
    return rc;
}
