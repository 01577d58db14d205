/* SPDX-License-Identifier: MIT
 * Scales of a row by search on the row's output error e H eᵀ, e = w − ŵ with ŵ the nearest points:
 * EasyQuant's turns (arXiv:2006.16669) and Evol-Q's evolution (arXiv:2308.10814), whose steps are
 * those of codebook/scale_search.h. Rows do not see each other in a layer's output, so each is
 * searched by itself, which makes a few candidates go far.
 *
 * When one scale changes, only its group's part d of ŵ does:
 *
 *     loss(e + d) = loss(e) + 2 d·G + d H dᵀ,   G = e H
 *
 * EasyQuant maximises a cosine, which does not see a wrong gain, and has activations in turn;
 * Evol-Q compares outputs of the whole network. What H knows of a layer is exact here. */
#include <math.h>
#include <string.h>

#include "codebook/scale_search.h"
#include "core/alloc.h"
#include "linalg/mul.h"
#include "part/members.h"

/* The evolution's children, for one to some dozen scales. */
#define CHILDREN 60u

struct search {
    const struct gs_part_work *work;
    int (*find)(const struct gs_scale_search *search, float *scales, size_t n, double *before,
                double *after, struct gs_err *err);
    size_t bytes;  /* of a worker */
    uint8_t *scratch;
    bool *failed;  /* by worker: no memory */
};

/* A row in work. Values are those of `scales`. */
struct row {
    const struct gs_part_work *work;
    size_t row, n;
    struct gs_group *groups; /* (n_group_cols) */
    float *scales;           /* (n_group_cols) */
    float *e, *g, *d, *y;    /* (n) e, G, a change, new values of a group */
    double loss;
    size_t last;             /* the scale that changed in the call before */
};

/* out[j] += Σ_i x_i H_ij over i in [first, end). */
static void add_product(const struct row *r, const float *x, size_t first, size_t end, float *out)
{
    const struct gs_part_input *in = r->work->input;

    for (size_t i = first; i < end; i++) {
        if (!in->h32) {
            out[i] += x[i] * (float)in->diagonal[i];
            continue;
        }
        const float *h = in->h32 + i * r->n;
        for (size_t j = 0; j < r->n; j++)
            out[j] += x[i] * h[j];
    }
}

/* d H dᵀ of a change within [first, end). */
static double quadratic(const struct row *r, size_t first, size_t end)
{
    const struct gs_part_input *in = r->work->input;
    double sum = 0;

    for (size_t i = first; i < end; i++) {
        float inner = in->h32 ? 0 : r->d[i] * (float)in->diagonal[i];
        for (size_t j = first; in->h32 && j < end; j++)
            inner += in->h32[i * r->n + j] * r->d[j];
        sum += (double)inner * (double)r->d[i];
    }
    return sum;
}

static size_t group_end(const struct row *r, size_t group)
{
    return GS_MIN((group + 1) * r->work->form->group_cols, r->n);
}

/* y: the values of a group with this scale. */
static void take_nearest(const struct row *r, size_t group, float scale)
{
    const struct gs_part_form *f = r->work->form;
    struct gs_group one = r->groups[group];

    one.scale = scale;
    for (size_t c = group * f->group_cols; c < group_end(r, group); c += f->codebook->dim)
        gs_codebook_nearest(f->codebook, &one, r->work->w + r->row * r->n + c, NULL, r->y + c);
}

/* e of the group with the values y; d: what changes. */
static void differ(const struct row *r, size_t group)
{
    const float *w = r->work->w + r->row * r->n;
    const uint8_t *mask = r->work->mask ? r->work->mask + r->row * r->n : NULL;

    for (size_t c = group * r->work->form->group_cols; c < group_end(r, group); c++)
        r->d[c] = (mask && mask[c] ? 0 : w[c] - r->y[c]) - r->e[c];
}

static double try_one(const struct row *r, size_t group, float scale)
{
    size_t first = group * r->work->form->group_cols, end = group_end(r, group);
    double sum = 0;

    take_nearest(r, group, scale);
    differ(r, group);
    for (size_t c = first; c < end; c++)
        sum += (double)r->d[c] * (double)r->g[c];
    return r->loss + 2 * sum + quadratic(r, first, end);
}

/* The scale of a group is kept: e, G and the loss follow. */
static void keep_one(struct row *r, size_t group, float scale)
{
    size_t first = group * r->work->form->group_cols, end = group_end(r, group);

    r->loss = try_one(r, group, scale);
    add_product(r, r->d, first, end, r->g);
    for (size_t c = first; c < end; c++)
        r->e[c] += r->d[c];
    r->scales[group] = scale;
}

static void take_all(struct row *r, const float *scales, size_t n)
{
    memset(r->e, 0, r->n * sizeof *r->e);
    memset(r->g, 0, r->n * sizeof *r->g);
    for (size_t group = 0; group < n; group++) {
        take_nearest(r, group, scales[group]);
        differ(r, group);
    }
    memcpy(r->e, r->d, r->n * sizeof *r->e);
    memcpy(r->scales, scales, n * sizeof *scales);
    add_product(r, r->e, 0, r->n, r->g);
    r->loss = 0;
    for (size_t c = 0; c < r->n; c++)
        r->loss += (double)r->e[c] * (double)r->g[c];
}

static int row_loss(void *ctx, const float *scales, size_t n, size_t changed, double *loss,
                    struct gs_err *err GS_UNUSED)
{
    struct row *r = ctx;

    if (changed == SIZE_MAX) {
        take_all(r, scales, n);
        *loss = r->loss;
        return GS_OK;
    }
    if (changed != r->last && scales[r->last] != r->scales[r->last])
        keep_one(r, r->last, scales[r->last]);
    r->last = changed;
    *loss = try_one(r, changed, scales[changed]);
    return GS_OK;
}

static size_t aligned(size_t floats)
{
    return (floats * sizeof(float) + 63) / 64 * 64;
}

static void search_run(void *ctx, size_t begin, size_t end, int worker)
{
    const struct search *s = ctx;
    const struct gs_part_form *f = s->work->form;
    size_t n = f->n_group_cols;
    uint8_t *at = s->scratch + (size_t)worker * s->bytes;
    struct row r = {.work = s->work, .n = f->cols};
    float **planes[] = {&r.e, &r.g, &r.d, &r.y};
    struct gs_scale_search search;
    double before, after;

    for (size_t i = 0; i < GS_COUNT(planes); i++, at += aligned(f->cols))
        *planes[i] = (float *)(void *)at;
    r.scales = (float *)(void *)at;
    float *scales = (float *)(void *)(at + aligned(n));
    gs_scale_search_default(&search);
    search.rule = f->rule;
    search.loss = row_loss;
    search.ctx = &r;
    search.children = CHILDREN;
    for (r.row = begin; r.row < end; r.row++) {
        r.groups = s->work->groups.list + r.row * n;
        r.last = 0;
        search.seed = f->seed + r.row;
        for (size_t g = 0; g < n; g++)
            scales[g] = r.groups[g].scale;
        if (s->find(&search, scales, n, &before, &after, NULL))
            s->failed[worker] = true;
        for (size_t g = 0; g < n; g++)
            r.groups[g].scale = scales[g];
    }
}

static const struct {
    const char *name;
    int (*find)(const struct gs_scale_search *search, float *scales, size_t n, double *before,
                double *after, struct gs_err *err);
} searches[] = {
    {"none", NULL},
    {"easyquant", gs_scale_search_easyquant},
    {"evolution", gs_scale_search_evolution},
};

const char *gs_part_search_name(size_t index)
{
    return index < GS_COUNT(searches) ? searches[index].name : NULL;
}

int gs_part_search_scales(const struct gs_part_work *work, struct gs_team *team,
                          struct gs_err *err)
{
    const struct gs_part_form *f = work->form;
    struct search s = {.work = work,
                       .bytes = 4 * aligned(f->cols) + 2 * aligned(f->n_group_cols)};
    int rc = GS_OK;

    for (size_t i = 0; i < GS_COUNT(searches); i++)
        if (!strcmp(searches[i].name, work->spec->search))
            s.find = searches[i].find;
    if (!s.find)
        return GS_OK;
    s.scratch = gs_work_create(team, s.bytes);
    s.failed = gs_alloc((size_t)gs_team_size(team), sizeof *s.failed);
    if (s.scratch && s.failed)
        gs_team_run(team, f->rows, 4, search_run, &s);
    else
        rc = gs_fail_nomem(err, "the search of scales");
    for (int i = 0; !rc && i < gs_team_size(team); i++)
        if (s.failed[i])
            rc = gs_fail_nomem(err, "the search of scales");
    gs_free(&s.scratch);
    gs_free(&s.failed);
    return rc;
}
