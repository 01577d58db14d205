/* SPDX-License-Identifier: MIT
 * k-means with an importance for every number (Lloyd, "Least squares quantization in PCM",
 * 1957/1982), seeded by k-means++ (Arthur & Vassilvitskii, SODA 2007).
 *
 *     assign   a(i) = argmin_c Σ_j h_ij (x_ij − c_j)²          over the team
 *     move     c_j  = Σ_{a(i) = c} h_ij x_ij / Σ h_ij          in the order of i, in double
 *
 * A point that nothing is near moves to the vector with the largest error.
 *
 * Candidates (VQ4DiT, arXiv:2408.17131). Lloyd's iterations get stuck where a vector is bound
 * to one point too early. So the first half of them can mix: each vector is shared by its
 * `candidates` nearest points with the weights of a softmax over −d / T (near enough), where d
 * is a squared distance and T falls from a quarter of the mean error to nothing. (There,
 * gradients of a block's output decide the shares; here, with weights alone, distances do.) */
#include "codebook/vector.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/rng.h"

enum {
    CANDIDATES_MAX = 16,
    MOVED_MAX = 64, /* lonely points in an iteration: each looks at all vectors */
    GRAIN = 256
};

struct search {
    const struct gs_kmeans *means;
    const struct gs_vectors *v;
    float *table;               /* (dim, k) */
    uint32_t *code;             /* (n, shared) nearest points, the nearest first */
    float *share;               /* (n, shared) */
    float *error;               /* (n) of the nearest */
    double *sum, *weight;       /* (dim, k) */
    unsigned shared;            /* points that a vector is shared by, in this iteration */
    double temperature;
    unsigned newest;            /* seeding: the point whose distance is to be told */
};

static const float *row_x(const struct search *s, size_t i)
{
    return s->v->x + i * s->v->stride + s->means->first;
}

static const float *row_h(const struct search *s, size_t i)
{
    return s->v->h + i * s->v->stride + s->means->first;
}

static float distance_to(const struct search *s, size_t i, unsigned c)
{
    const float *x = row_x(s, i), *h = row_h(s, i);
    float sum = 0;

    for (unsigned j = 0; j < s->means->dim; j++) {
        float d = x[j] - s->table[(size_t)j * s->means->k + c];
        sum += h[j] * (d * d);
    }
    return sum;
}

static void place(struct search *s, unsigned c, size_t i)
{
    for (unsigned j = 0; j < s->means->dim; j++)
        s->table[(size_t)j * s->means->k + c] = row_x(s, i)[j];
}

/* ---- seeding ------------------------------------------------------------------------------ */

static void seed_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct search *s = ctx;

    (void)worker;
    for (size_t i = begin; i < end; i++) {
        float d = distance_to(s, i, s->newest);
        s->error[i] = s->newest ? GS_MIN(s->error[i], d) : d;
    }
}

/* Draws a vector with chances in proportion to its error. */
static size_t draw(const struct search *s, struct gs_rng *rng)
{
    double total = 0, at;

    for (size_t i = 0; i < s->v->n; i++)
        total += (double)s->error[i];
    at = gs_rng_f64(rng) * total;
    for (size_t i = 0; i < s->v->n; i++) {
        at -= (double)s->error[i];
        if (at < 0 && s->error[i] > 0)
            return i;
    }
    return (size_t)gs_rng_below(rng, s->v->n);
}

static void seed(struct search *s)
{
    struct gs_rng rng;

    gs_rng_init(&rng, s->means->seed, s->means->first + 1);
    for (unsigned c = 0; c < s->means->k; c++) {
        place(s, c, c ? draw(s, &rng) : (size_t)gs_rng_below(&rng, s->v->n));
        s->newest = c;
        gs_team_run(s->means->team, s->v->n, 4 * GRAIN, seed_run, s);
    }
}

/* ---- iterations --------------------------------------------------------------------------- */

/* Near enough e^−z, in operations that give the same bits everywhere. */
static float decay(double z)
{
    double one = 1 / (1 + z / 16), two = one * one, four = two * two;

    return (float)(four * four * four * four);
}

/* The nearest points of vector i, sorted, and their shares. */
static void find_candidates(const struct search *s, size_t i, uint32_t *code, float *share)
{
    float d[CANDIDATES_MAX];
    unsigned n = 0;
    double total = 0;

    for (unsigned c = 0; c < s->means->k; c++) {
        float one = distance_to(s, i, c);
        if (n == s->shared && !(one < d[n - 1]))
            continue;
        unsigned at = n < s->shared ? n++ : n - 1;
        for (; at > 0 && one < d[at - 1]; at--) {
            d[at] = d[at - 1];
            code[at] = code[at - 1];
        }
        d[at] = one;
        code[at] = c;
    }
    for (unsigned m = 0; m < s->shared; m++) {
        share[m] = m < n ? decay((double)(d[m] - d[0]) / s->temperature) : 0;
        code[m] = m < n ? code[m] : 0;
        total += (double)share[m];
    }
    for (unsigned m = 0; m < s->shared; m++)
        share[m] = (float)((double)share[m] / total);
}

static void assign_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct search *s = ctx;

    (void)worker;
    for (size_t i = begin; i < end; i++) {
        uint32_t *code = s->code + i * s->shared;
        if (s->shared > 1)
            find_candidates(s, i, code, s->share + i * s->shared);
        else
            *code = gs_vector_nearest(s->table, s->means->k, s->means->dim, row_x(s, i),
                                      row_h(s, i));
        s->error[i] = distance_to(s, i, *code);
    }
}

/* A point without vectors goes where the error is largest. */
static void place_at_worst(struct search *s, unsigned c)
{
    size_t worst = 0;

    for (size_t i = 1; i < s->v->n; i++)
        if (s->error[i] > s->error[worst])
            worst = i;
    if (s->error[worst] > 0)
        place(s, c, worst);
    s->error[worst] = 0;
}

/* Moves points to the means of their vectors. */
static void move(struct search *s)
{
    unsigned k = s->means->k, dim = s->means->dim;

    memset(s->sum, 0, (size_t)dim * k * sizeof *s->sum);
    memset(s->weight, 0, (size_t)dim * k * sizeof *s->weight);
    for (size_t i = 0; i < s->v->n * s->shared; i++) {
        const float *x = row_x(s, i / s->shared), *h = row_h(s, i / s->shared);
        double share = s->shared > 1 ? (double)s->share[i] : 1;
        for (unsigned j = 0; j < dim; j++) {
            size_t at = (size_t)j * k + s->code[i];
            s->sum[at] += share * (double)h[j] * (double)x[j];
            s->weight[at] += share * (double)h[j];
        }
    }
    for (unsigned c = 0, moved = 0; c < k; c++) {
        double used = 0;
        for (unsigned j = 0; j < dim; j++) {
            size_t at = (size_t)j * k + c;
            used += s->weight[at];
            if (s->weight[at] > 0)
                s->table[at] = (float)(s->sum[at] / s->weight[at]);
        }
        if (!(used > 0) && moved++ < MOVED_MAX)
            place_at_worst(s, c);
    }
}

static double total_error(const struct search *s)
{
    double total = 0;

    for (size_t i = 0; i < s->v->n; i++)
        total += (double)s->error[i];
    return total;
}

static void iterate(struct search *s)
{
    unsigned soft = s->means->candidates > 1 ? s->means->iterations / 2 : 0;
    double before = INFINITY, start = 0;

    for (unsigned n = 0; n < s->means->iterations; n++) {
        /* The first assignment is hard: it tells how large errors are. */
        bool mixed = n > 0 && n <= soft;
        s->shared = mixed ? GS_MIN(s->means->candidates, s->means->k) : 1;
        s->temperature = start * (double)(soft + 1 - n) / (soft + 1);
        if (mixed && !(start > 0))
            break;
        gs_team_run(s->means->team, s->v->n, GRAIN, assign_run, s);
        double error = total_error(s);
        if (n == 0)
            start = error / (double)s->v->n / 4;
        if (!mixed && n > soft && !(error < before * (1 - 1e-6)))
            break;
        before = error;
        move(s);
    }
}

int gs_kmeans_run(const struct gs_kmeans *means, const struct gs_vectors *v, float *table,
                  struct gs_err *err)
{
    size_t room = v->n * GS_MAX(GS_MIN(means->candidates, means->k), 1);
    struct search s = {.means = means, .v = v, .table = table, .shared = 1};
    int rc = GS_OK;

    memset(table, 0, (size_t)means->dim * means->k * sizeof *table);
    if (!v->n)
        return GS_OK;
    s.code = gs_alloc(room, sizeof *s.code);
    s.share = gs_alloc(room, sizeof *s.share);
    s.error = gs_alloc(v->n, sizeof *s.error);
    s.sum = gs_alloc((size_t)means->dim * means->k, sizeof *s.sum);
    s.weight = gs_alloc((size_t)means->dim * means->k, sizeof *s.weight);
    if (s.code && s.share && s.error && s.sum && s.weight) {
        seed(&s);
        iterate(&s);
    } else {
        rc = gs_fail_nomem(err, "k-means");
    }
    gs_free(&s.code);
    gs_free(&s.share);
    gs_free(&s.error);
    gs_free(&s.sum);
    gs_free(&s.weight);
    return rc;
}
