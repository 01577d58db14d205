/* SPDX-License-Identifier: MIT
 * Additive quantization: a vector is a sum of one vector of each of several books (Babenko &
 * Lempitsky, CVPR 2014; Egiazarian et al., AQLM, arXiv:2401.06118).
 *
 *     w ≈ scale · Σ_m C_m[i_m],   m < books,   i_m < 2^k        code: i_m at bits m · k …
 *
 * with k = bits · dim / books.
 *
 * encode   a beam over books: the `beam` best sums of the first m vectors, each with every
 *          vector of the next book; then single books are chosen again while that helps. Up to
 *          2^12 sums are a table instead, and the nearest is exact.
 * learn    residual k-means, book after book; then rounds of encoding and of least squares,
 *          one book at a time: given all others, its best vectors are the means of what is left
 *          to it. A round that gains less than 1 % is the last, as in AQLM.
 *
 * AQLM fits to the layer's output, tr(E H Eᵀ), by gradients; here importances stand for H, and
 * a rounder with feedback for what is off its diagonal.
 *
 * file     C_1, C_2, …, each (dim, 2^k), in f16 */
#include <math.h>
#include <string.h>

#include "codebook/members.h"
#include "codebook/scale_fit.h"
#include "codebook/vector.h"
#include "core/alloc.h"

enum {
    BOOKS_MAX = 16, DIM_MAX = 16, BITS_MAX = 10, BEAM_MAX = 10,
    SUMS_BITS = 12,   /* so many are a table */
    ROUNDS = 20, ITERATIONS = 25, REPAIRS = 4
};

struct additive_book {
    struct gs_codebook base;
    unsigned books, bits, beam;
    float *tables;   /* (books, dim, 2^bits) */
    float *sums;     /* (dim, 2^(books · bits)) all points; NULL if they are too many */
};

static struct additive_book *book_of(struct gs_codebook *codebook)
{
    return (struct additive_book *)codebook;
}

static const struct additive_book *const_book_of(const struct gs_codebook *codebook)
{
    return (const struct additive_book *)codebook;
}

static float *table_of(const struct additive_book *book, unsigned m)
{
    return book->tables + (((size_t)m * book->base.dim) << book->bits);
}

static size_t table_count(const struct additive_book *book)
{
    return ((size_t)book->books * book->base.dim) << book->bits;
}

static int additive_create(const struct gs_codebook_kind *kind, const double *values,
                           struct gs_codebook **out, struct gs_err *err)
{
    struct additive_book facts = {.books = (unsigned)values[0], .beam = (unsigned)values[3]};
    int rc = gs_vector_bits(kind->name, values[1], values[2] / values[0], BITS_MAX, &facts.bits,
                            err);
    unsigned bits = facts.books * facts.bits, dim = (unsigned)values[2];

    if (rc)
        return rc;
    if (bits > 64)
        return gs_fail(err, GS_E_ARG, "codebook %s: books: %u of %u bits are more than the 64 "
                       "bits of a code", kind->name, facts.books, facts.bits);
    facts.base.dim = dim;
    facts.base.states = bits < 64 ? UINT64_C(1) << bits : 0;
    facts.base.has_scale = true;
    facts.base.approximate = bits > SUMS_BITS;
    facts.base.shared_bits = 16 * (uint64_t)table_count(&facts);
    struct additive_book *book = gs_alloc(1, sizeof *book);
    facts.tables = gs_alloc(table_count(&facts), sizeof *facts.tables);
    if (bits <= SUMS_BITS)
        facts.sums = gs_alloc((size_t)dim << bits, sizeof *facts.sums);
    if (!book || !facts.tables || (bits <= SUMS_BITS && !facts.sums)) {
        gs_free(&book);
        gs_free(&facts.tables);
        gs_free(&facts.sums);
        return gs_fail_nomem(err, "codebook");
    }
    *book = facts;
    *out = &book->base;
    return GS_OK;
}

static void additive_destroy(struct gs_codebook *codebook)
{
    gs_free(&book_of(codebook)->tables);
    gs_free(&book_of(codebook)->sums);
}

/* y (dim) = Σ C_m[i_m] over the first `books`. */
static void sum_first(const struct additive_book *book, unsigned books, uint64_t code, float *y)
{
    size_t k = (size_t)1 << book->bits;

    memset(y, 0, book->base.dim * sizeof *y);
    for (unsigned m = 0; m < books; m++, code >>= book->bits) {
        const float *at = table_of(book, m) + (code & (k - 1));
        for (unsigned j = 0; j < book->base.dim; j++)
            y[j] += at[j * k];
    }
}

static void sum_of(const struct additive_book *book, uint64_t code, float *y)
{
    sum_first(book, book->books, code, y);
}

/* Lists all points, where there are few. */
static void list_sums(struct additive_book *book)
{
    float y[DIM_MAX];
    size_t n = (size_t)book->base.states;

    for (size_t code = 0; book->sums && code < n; code++) {
        sum_of(book, code, y);
        for (unsigned j = 0; j < book->base.dim; j++)
            book->sums[j * n + code] = y[j];
    }
}

/* ---- encoding ----------------------------------------------------------------------------- */

/* What is left of x after the first books, by one way of choosing their vectors. */
struct path {
    uint64_t code;
    float cost;
    float rest[DIM_MAX];
};

/* Puts a way into the sorted list of the best. */
static unsigned keep(struct path *best, unsigned n, unsigned beam, uint64_t code, float cost)
{
    if (n == beam && !(cost < best[n - 1].cost))
        return n;
    unsigned at = n < beam ? n++ : n - 1;
    for (; at > 0 && cost < best[at - 1].cost; at--)
        best[at] = best[at - 1];
    best[at] = (struct path){.code = code, .cost = cost};
    return n;
}

/* cost[c] = Σ h (rest − C_m[c])². */
static void costs_of(const struct additive_book *book, unsigned m, const float *rest,
                     const float *h, float *cost)
{
    size_t k = (size_t)1 << book->bits;

    memset(cost, 0, k * sizeof *cost);
    for (unsigned j = 0; j < book->base.dim; j++) {
        const float *points = table_of(book, m) + j * k;
        float w = h ? h[j] : 1;
        for (size_t c = 0; c < k; c++)
            cost[c] += w * ((rest[j] - points[c]) * (rest[j] - points[c]));
    }
}

static uint64_t beam_search(const struct additive_book *book, const float *x, const float *h)
{
    struct path paths[2][BEAM_MAX];
    unsigned n = 1, dim = book->base.dim, k = 1u << book->bits;
    float cost[1 << BITS_MAX];

    paths[0][0] = (struct path){0};
    memcpy(paths[0][0].rest, x, dim * sizeof *x);
    for (unsigned m = 0; m < book->books; m++) {
        struct path *from = paths[m & 1], *to = paths[!(m & 1)];
        unsigned kept = 0;
        for (unsigned p = 0; p < n; p++) {
            costs_of(book, m, from[p].rest, h, cost);
            for (unsigned c = 0; c < k; c++)
                kept = keep(to, kept, book->beam,
                            from[p].code | (uint64_t)c << (m * book->bits), cost[c]);
        }
        for (unsigned p = 0; p < kept; p++) {
            sum_first(book, m + 1, to[p].code, to[p].rest);
            for (unsigned j = 0; j < dim; j++)
                to[p].rest[j] = x[j] - to[p].rest[j];
        }
        n = kept;
    }
    return paths[book->books & 1][0].code;
}

/* Chooses single books again, given the others, while the error falls. */
static uint64_t repair(const struct additive_book *book, const float *x, const float *h,
                       uint64_t code)
{
    uint64_t mask = (UINT64_C(1) << book->bits) - 1;
    float rest[DIM_MAX];
    bool changed = true;

    for (int round = 0; round < REPAIRS && changed; round++) {
        changed = false;
        for (unsigned m = 0; m < book->books; m++) {
            unsigned shift = m * book->bits, now = (unsigned)(code >> shift & mask);
            const float *at = table_of(book, m) + now;
            sum_of(book, code, rest);
            for (unsigned j = 0; j < book->base.dim; j++)
                rest[j] = x[j] - rest[j] + at[(size_t)j << book->bits];
            unsigned best = gs_vector_nearest(table_of(book, m), 1u << book->bits,
                                              book->base.dim, rest, h);
            changed = changed || best != now;
            code = (code & ~(mask << shift)) | (uint64_t)best << shift;
        }
    }
    return code;
}

static uint64_t encode(const struct additive_book *book, const float *x, const float *h)
{
    if (book->sums)
        return gs_vector_nearest(book->sums, (unsigned)book->base.states, book->base.dim, x, h);
    return repair(book, x, h, beam_search(book, x, h));
}

/* ---- learning ----------------------------------------------------------------------------- */

struct learner {
    struct additive_book *book;
    const struct gs_vectors *v;
    uint64_t *code;   /* (n) */
    float *error;     /* (n) */
    double *sum, *weight; /* (dim, 2^bits) */
};

static void encode_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct learner *l = ctx;
    unsigned dim = l->book->base.dim;
    float y[DIM_MAX];

    (void)worker;
    for (size_t i = begin; i < end; i++) {
        const float *x = l->v->x + i * dim, *h = l->v->h + i * dim;
        l->code[i] = encode(l->book, x, h);
        sum_of(l->book, l->code[i], y);
        l->error[i] = 0;
        for (unsigned j = 0; j < dim; j++)
            l->error[i] += h[j] * ((x[j] - y[j]) * (x[j] - y[j]));
    }
}

/* Book m by least squares: means of what the other books leave. */
static void solve_book(struct learner *l, unsigned m)
{
    struct additive_book *book = l->book;
    unsigned dim = book->base.dim;
    size_t k = (size_t)1 << book->bits;
    float *table = table_of(book, m), y[DIM_MAX];

    memset(l->sum, 0, dim * k * sizeof *l->sum);
    memset(l->weight, 0, dim * k * sizeof *l->weight);
    for (size_t i = 0; i < l->v->n; i++) {
        const float *x = l->v->x + i * dim, *h = l->v->h + i * dim;
        size_t c = l->code[i] >> (m * book->bits) & (k - 1);
        sum_of(book, l->code[i], y);
        for (unsigned j = 0; j < dim; j++) {
            double rest = (double)x[j] - (double)y[j] + (double)table[j * k + c];
            l->sum[j * k + c] += (double)h[j] * rest;
            l->weight[j * k + c] += (double)h[j];
        }
    }
    for (size_t i = 0; i < dim * k; i++)
        if (l->weight[i] > 0)
            table[i] = (float)(l->sum[i] / l->weight[i]);
}

static void improve(struct learner *l, struct gs_team *team)
{
    double before = INFINITY;

    for (int round = 0; round < ROUNDS; round++) {
        double error = 0;
        list_sums(l->book);
        gs_team_run(team, l->v->n, 64, encode_run, l);
        for (size_t i = 0; i < l->v->n; i++)
            error += (double)l->error[i];
        if (!(error < 0.99 * before))
            break;
        before = error;
        for (int sweep = 0; sweep < 2; sweep++)
            for (unsigned m = 0; m < l->book->books; m++)
                solve_book(l, m);
    }
}

/* Residual k-means: each book learns what those before it leave. Works on v->x and restores
 * it from `copy`. */
static int start(struct additive_book *book, const struct gs_codebook_data *data,
                 struct gs_vectors *v, const float *copy, struct gs_err *err)
{
    struct gs_kmeans means = {.k = 1u << book->bits, .dim = book->base.dim,
                              .iterations = ITERATIONS, .candidates = 1, .team = data->team};
    size_t k = means.k;

    for (unsigned m = 0; m < book->books; m++) {
        means.seed = data->seed + m;
        int rc = gs_kmeans_run(&means, v, table_of(book, m), err);
        if (rc)
            return rc;
        for (size_t i = 0; i < v->n; i++) {
            float *x = v->x + i * means.dim;
            unsigned c = gs_vector_nearest(table_of(book, m), means.k, means.dim, x,
                                           v->h + i * means.dim);
            for (unsigned j = 0; j < means.dim; j++)
                x[j] -= table_of(book, m)[j * k + c];
        }
    }
    memcpy(v->x, copy, v->n * v->stride * sizeof *copy);
    return GS_OK;
}

static int additive_learn(struct gs_codebook *codebook, const struct gs_codebook_data *data,
                          struct gs_err *err)
{
    struct additive_book *book = book_of(codebook);
    size_t k = (size_t)1 << book->bits;
    struct learner l = {.book = book};
    struct gs_vectors v;
    float *copy = NULL;
    int rc = gs_vectors_gather(data, codebook->dim, true, gs_vectors_enough(k), &v, err);

    if (rc)
        return rc;
    l.v = &v;
    l.code = gs_alloc(v.n, sizeof *l.code);
    l.error = gs_alloc(v.n, sizeof *l.error);
    l.sum = gs_alloc(codebook->dim * k, sizeof *l.sum);
    l.weight = gs_alloc(codebook->dim * k, sizeof *l.weight);
    copy = gs_alloc(v.n * v.stride, sizeof *copy);
    if (!l.code || !l.error || !l.sum || !l.weight || !copy) {
        rc = gs_fail_nomem(err, "additive codebook");
        goto out;
    }
    memcpy(copy, v.x, v.n * v.stride * sizeof *copy);
    if ((rc = start(book, data, &v, copy, err)) == GS_OK)
        improve(&l, data->team);
    gs_table_round(book->tables, table_count(book));
    list_sums(book);
out:
    gs_free(&l.code);
    gs_free(&l.error);
    gs_free(&l.sum);
    gs_free(&l.weight);
    gs_free(&copy);
    gs_vectors_clear(&v);
    return rc;
}

static void additive_write(const struct gs_codebook *codebook, uint8_t *dst)
{
    const struct additive_book *book = const_book_of(codebook);

    gs_table_write(book->tables, table_count(book), dst);
}

static int additive_read(struct gs_codebook *codebook, const uint8_t *src, struct gs_err *err)
{
    struct additive_book *book = book_of(codebook);
    int rc = gs_table_read(book->tables, table_count(book), codebook->kind->name, src, err);

    if (rc == GS_OK)
        list_sums(book);
    return rc;
}

/* ---- the kind ----------------------------------------------------------------------------- */

static void additive_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                         const float *x, const float *h, size_t n, float *table,
                         struct gs_group *out)
{
    (void)table;
    gs_scale_fit(codebook, rule, x, h, n, 1, out);
}

static void additive_value(const struct gs_codebook *codebook, const struct gs_group *group,
                           uint64_t code, float *y)
{
    sum_of(const_book_of(codebook), code, y);
    for (unsigned j = 0; j < codebook->dim; j++)
        y[j] *= group->scale;
}

static uint64_t additive_nearest(const struct gs_codebook *codebook,
                                 const struct gs_group *group, const float *x, const float *h,
                                 float *y)
{
    float inverse = group->scale > 0 ? 1 / group->scale : 0, scaled[DIM_MAX];

    for (unsigned j = 0; j < codebook->dim; j++)
        scaled[j] = x[j] * inverse;
    uint64_t code = encode(const_book_of(codebook), scaled, h);
    additive_value(codebook, group, code, y);
    return code;
}

static const struct gs_codebook_key keys[] = {
    {"books", "vectors that are added", 1, BOOKS_MAX, 2, true},
    {"bits", "bits a weight: 2^(bits · dim / books) vectors in a book, 2 to 1024", 0.0625, 32, 2,
     false},
    {"dim", "weights of a vector", 2, DIM_MAX, 8, true},
    {"beam", "sums that the search follows", 1, BEAM_MAX, 4, true},
    {0},
};

const struct gs_codebook_kind gs_codebook_additive = {
    .name = "additive",
    .paper = "Egiazarian et al., AQLM, arXiv:2401.06118",
    .keys = keys,
    .create = additive_create,
    .destroy = additive_destroy,
    .learn = additive_learn,
    .write = additive_write,
    .read = additive_read,
    .fit = additive_fit,
    .nearest = additive_nearest,
    .value = additive_value,
};
