/* SPDX-License-Identifier: MIT
 * Pyramid vector quantization (Fischer, "A pyramid vector quantizer", IEEE Trans. Inf. Theory
 * 32, 1986; for language models arXiv:2410.16926): a gain times a shape, the shape being an
 * integer point on an octahedron.
 *
 *     w ≈ scale · g · p / ‖p‖,   p in Zᴰ,   Σ |p_i| = K  (dim = D, pulses = K)
 *
 *     code = index of p · 2^gain + index of g
 *
 * Points are counted by N(D, K) = N(D−1, K) + N(D, K−1) + N(D−1, K−1), N(D, 0) = 1, N(0, K) = 0,
 * and ordered by their first coordinate: 0, then 1, −1, 2, −2, … An index is a sum of counts of
 * what stands before; reading subtracts them again. N · 2^gain must fit 64 bits.
 *
 * Gains. Of a row of many Gaussian weights with unit mean square (or of one that was rotated at
 * random), D neighbours have the share Beta(D/2, (ROW − D)/2) of the energy. Levels of g are
 * its quantiles (i + ½) / 2^gain (rule 0), or those of least squared error (rule 1).
 *
 * The nearest shape has the largest ⟨x, p⟩² / ⟨p, p⟩: pulses in proportion to |x|, those left
 * over one by one where they help most, then single pulses moved while that helps. With
 * importances the products are weighted. Not always the nearest of all: 999 times of 1000. */
#include <math.h>
#include <string.h>

#include "codebook/members.h"
#include "codebook/scale_fit.h"
#include "core/alloc.h"

enum {
    PULSES_MAX = 64, GAIN_MAX = 4,
    ROW = 4096,      /* weights that share the scale, as far as gains go */
    CELLS = 2048,    /* of the density of energies */
    LLOYD = 60, MOVES = 64
};

struct pyramid_book {
    struct gs_codebook base;
    unsigned pulses, gain_bits;
    float level[1 << GAIN_MAX];
    uint64_t count[GS_CODEBOOK_DIM + 1][PULSES_MAX + 1]; /* N(d, k); UINT64_MAX: too many */
};

static const struct pyramid_book *book_of(const struct gs_codebook *codebook)
{
    return (const struct pyramid_book *)codebook;
}

/* ---- gains -------------------------------------------------------------------------------- */

/* √x to the n-th power, by squaring: the same bits everywhere. */
static double half_power(double x, unsigned n)
{
    double result = 1, square = sqrt(x);

    for (; n; n >>= 1, square *= square)
        if (n & 1)
            result *= square;
    return result;
}

/* The largest energy of D weights that counts. */
static double most_energy(unsigned dim)
{
    return dim + 12 * sqrt(2.0 * dim) + 20;
}

/* weight[i] in proportion to the chances that the energy of D weights is in cell i. */
static void fill_cells(unsigned dim, double *weight)
{
    double width = most_energy(dim) / CELLS;

    for (unsigned i = 0; i < CELLS; i++) {
        double energy = (i + 0.5) * width;
        weight[i] = half_power(energy / dim, dim - 2) *
                    half_power((ROW - energy) / (ROW - dim), ROW - dim - 2);
    }
}

/* Lloyd and Max's iterations over the cells, from levels in ascending order. */
static void improve_levels(const double *weight, double width, unsigned n, double *level)
{
    for (unsigned round = 0; round < LLOYD; round++) {
        double sum[1 << GAIN_MAX] = {0}, total[1 << GAIN_MAX] = {0};
        unsigned at = 0;
        for (unsigned i = 0; i < CELLS; i++) {
            double size = sqrt((i + 0.5) * width);
            while (at + 1 < n && size > 0.5 * (level[at] + level[at + 1]))
                at++;
            sum[at] += weight[i] * size;
            total[at] += weight[i];
        }
        for (unsigned k = 0; k < n; k++)
            level[k] = total[k] > 0 ? sum[k] / total[k] : level[k];
    }
}

static void make_levels(struct pyramid_book *book, bool best)
{
    double weight[CELLS], level[1 << GAIN_MAX], total = 0, below = 0;
    double width = most_energy(book->base.dim) / CELLS;
    unsigned n = 1u << book->gain_bits, found = 0;

    fill_cells(book->base.dim, weight);
    for (unsigned i = 0; i < CELLS; i++)
        total += weight[i];
    for (unsigned i = 0; i < CELLS; below += weight[i++])
        for (; found < n; found++) {
            double want = total * (found + 0.5) / n;
            if (below + weight[i] < want)
                break;
            level[found] = sqrt((i + (want - below) / weight[i]) * width);
        }
    if (best)
        improve_levels(weight, width, n, level);
    for (unsigned k = 0; k < n; k++)
        book->level[k] = (float)level[k];
}

static unsigned nearest_level(const struct pyramid_book *book, double size)
{
    unsigned best = 0;

    for (unsigned k = 1; k < 1u << book->gain_bits; k++)
        if (fabs((double)book->level[k] - size) < fabs((double)book->level[best] - size))
            best = k;
    return best;
}

/* ---- points and their numbers ------------------------------------------------------------- */

static uint64_t add(uint64_t a, uint64_t b)
{
    uint64_t sum;

    return gs_add_ok(a, b, &sum) ? sum : UINT64_MAX;
}

static void count_points(struct pyramid_book *book)
{
    for (unsigned d = 0; d <= book->base.dim; d++)
        for (unsigned k = 0; k <= book->pulses; k++)
            book->count[d][k] = k == 0 ? 1 : d == 0 ? 0
                : add(book->count[d - 1][k], add(book->count[d][k - 1],
                                                 book->count[d - 1][k - 1]));
}

/* The number of p (dim): what stands before it. */
static uint64_t number_of(const struct pyramid_book *book, const int *p)
{
    unsigned rest = book->pulses;
    uint64_t number = 0;

    for (unsigned i = 0; i < book->base.dim && rest; i++) {
        const uint64_t *count = book->count[book->base.dim - 1 - i];
        unsigned size = (unsigned)(p[i] < 0 ? -p[i] : p[i]);
        if (size == 0)
            continue;
        number += count[rest];
        for (unsigned j = 1; j < size; j++)
            number += 2 * count[rest - j];
        rest -= size;
        if (p[i] < 0)
            number += count[rest];
    }
    return number;
}

static void point_of(const struct pyramid_book *book, uint64_t number, int *p)
{
    unsigned rest = book->pulses, dim = book->base.dim;

    memset(p, 0, dim * sizeof *p);
    number = GS_MIN(number, book->count[dim][rest] - 1);
    for (unsigned i = 0; i < dim && rest; i++) {
        const uint64_t *count = book->count[dim - 1 - i];
        unsigned size = 1;
        if (number < count[rest])
            continue;
        number -= count[rest];
        while (size < rest && number >= 2 * count[rest - size])
            number -= 2 * count[rest - size++];
        rest -= size;
        bool negative = number >= count[rest];
        number -= negative ? count[rest] : 0;
        p[i] = negative ? -(int)size : (int)size;
    }
}

/* ---- the nearest shape -------------------------------------------------------------------- */

/* ⟨x, p⟩ and ⟨p, p⟩, with each coordinate's part of one pulse. */
struct shape {
    unsigned dim;
    double gain[GS_CODEBOOK_DIM];   /* h |x| */
    double cost[GS_CODEBOOK_DIM];   /* h */
    int p[GS_CODEBOOK_DIM];         /* without signs */
    double product, square;
    double norm;                    /* Σ p², which gains refer to */
};

/* Whether a² / b > c² / d; what weighs nothing loses. */
static bool is_better(double a, double b, double c, double d)
{
    return d <= 0 ? b > 0 : a * a * d > c * c * b;
}

static void change(struct shape *s, unsigned i, int by)
{
    s->product += s->gain[i] * by;
    s->square += s->cost[i] * (2 * s->p[i] * by + 1);
    s->norm += 2 * s->p[i] * by + 1;
    s->p[i] += by;
}

static void add_best(struct shape *s)
{
    double product = 0, square = 0;
    unsigned best = 0;

    for (unsigned i = 0; i < s->dim; i++) {
        double a = s->product + s->gain[i], b = s->square + s->cost[i] * (2 * s->p[i] + 1);
        if (is_better(a, b, product, square)) {
            product = a;
            square = b;
            best = i;
        }
    }
    change(s, best, 1);
}

/* Takes one pulse away and puts it where it is best; false if nothing is better than before. */
static bool move_one(struct shape *s)
{
    for (unsigned i = 0; i < s->dim; i++) {
        if (s->p[i] == 0)
            continue;
        struct shape before = *s;
        change(s, i, -1);
        add_best(s);
        if (is_better(s->product, s->square * (1 + 1e-12), before.product, before.square))
            return true;
        *s = before;
    }
    return false;
}

/* What a shape takes off the error, Σ h x² − Σ h (x − ŵ)², with its best gain. */
static double benefit(const struct pyramid_book *book, double scale, double product,
                      double square, double norm)
{
    double size = square > 0 ? product / square * sqrt(norm) / scale : 0;
    double one = scale * (double)book->level[nearest_level(book, size)] / sqrt(norm);

    return one * (2 * product - one * square);
}

/* As move_one, by what matters in the end. Gains refer to lengths without importances, so with
 * them the best direction alone does not decide. */
static bool move_weighted(const struct pyramid_book *book, double scale, struct shape *s)
{
    double best = benefit(book, scale, s->product, s->square, s->norm) * (1 + 1e-12);
    unsigned from = 0, to = 0;

    for (unsigned i = 0; i < s->dim; i++)
        for (unsigned j = 0; j < s->dim && s->p[i] > 0; j++) {
            double square = s->square - s->cost[i] * (2 * s->p[i] - 1) +
                            s->cost[j] * (2 * s->p[j] + 1);
            double norm = s->norm + 2 * (s->p[j] - s->p[i]) + 2;
            double b = i == j ? best
                              : benefit(book, scale, s->product - s->gain[i] + s->gain[j],
                                        square, norm);
            if (b > best) {
                best = b;
                from = i;
                to = j;
            }
        }
    if (from == to)
        return false;
    change(s, from, -1);
    change(s, to, 1);
    return true;
}

/* Pulses in proportion to |x| times `lean`, of which K are given out. */
static void start_shape(const struct pyramid_book *book, const float *x, const double *lean,
                        struct shape *s)
{
    double sum = 0;
    unsigned used = 0;

    for (unsigned i = 0; i < s->dim; i++) {
        s->p[i] = 0;
        sum += fabs((double)x[i]) * lean[i];
    }
    s->product = s->square = s->norm = 0;
    for (unsigned i = 0; i < s->dim; i++) {
        int start = sum > 0 && sum < INFINITY
                        ? (int)(book->pulses * (fabs((double)x[i]) * lean[i] / sum)) : 0;
        used += (unsigned)start;
        s->p[i] = start;
        s->product += s->gain[i] * start;
        s->square += s->cost[i] * start * start;
        s->norm += (double)start * start;
    }
    for (; used < book->pulses; used++)
        add_best(s);
}

static void find_shape(const struct pyramid_book *book, const float *x, struct shape *s)
{
    double even[GS_CODEBOOK_DIM];

    *s = (struct shape){.dim = book->base.dim};
    for (unsigned i = 0; i < s->dim; i++) {
        even[i] = s->cost[i] = 1;
        s->gain[i] = fabs((double)x[i]);
    }
    start_shape(book, x, even, s);
    for (int n = 0; n < MOVES && move_one(s); n++)
        ;
}

/* The same under importances: the best that is reached from three beginnings, of which the last
 * leaves the length to where it costs least. */
static void find_weighted(const struct pyramid_book *book, double scale, const float *x,
                          const float *h, struct shape *best)
{
    double lean[3][GS_CODEBOOK_DIM] = {{0}}, most = -INFINITY;
    struct shape s = {.dim = book->base.dim};
    unsigned lightest = 0;

    for (unsigned i = 0; i < s.dim; i++) {
        s.cost[i] = (double)h[i];
        s.gain[i] = (double)h[i] * fabs((double)x[i]);
        lean[0][i] = (double)h[i];
        lean[1][i] = 1;
        lightest = h[i] < h[lightest] ? i : lightest;
    }
    lean[2][lightest] = 1;
    for (int k = 0; k < 3; k++) {
        start_shape(book, x, lean[k], &s);
        for (int n = 0; n < MOVES && move_weighted(book, scale, &s); n++)
            ;
        double b = benefit(book, scale, s.product, s.square, s.norm);
        if (k == 0 || b > most) {
            most = b;
            *best = s;
        }
    }
}

/* ---- the kind ----------------------------------------------------------------------------- */

static int pyramid_create(const struct gs_codebook_kind *kind, const double *values,
                          struct gs_codebook **out, struct gs_err *err)
{
    struct pyramid_book *book = gs_alloc(1, sizeof *book);

    if (!book)
        return gs_fail_nomem(err, "codebook");
    book->base.dim = (unsigned)values[0];
    book->pulses = (unsigned)values[1];
    book->gain_bits = (unsigned)values[2];
    count_points(book);
    uint64_t points = book->count[book->base.dim][book->pulses];
    if (points == UINT64_MAX || points > UINT64_MAX >> book->gain_bits) {
        gs_free(&book);
        return gs_fail(err, GS_E_ARG, "codebook %s: pulses: codes of %g weights with %g pulses "
                       "and %g bits of gain need more than 64 bits", kind->name, values[0],
                       values[1], values[2]);
    }
    make_levels(book, values[3] != 0);
    book->base.states = points << book->gain_bits;
    book->base.has_scale = true;
    book->base.approximate = true;
    *out = &book->base;
    return GS_OK;
}

static void pyramid_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                        const float *x, const float *h, size_t n, float *table,
                        struct gs_group *out)
{
    (void)table;
    gs_scale_fit(codebook, rule, x, h, n, 1, out);
}

static void pyramid_value(const struct gs_codebook *codebook, const struct gs_group *group,
                          uint64_t code, float *y)
{
    const struct pyramid_book *book = book_of(codebook);
    int p[GS_CODEBOOK_DIM], square = 0;

    point_of(book, code >> book->gain_bits, p);
    for (unsigned i = 0; i < codebook->dim; i++)
        square += p[i] * p[i];
    float level = book->level[code & ((1u << book->gain_bits) - 1)];
    float one = group->scale * (level / sqrtf((float)square));
    for (unsigned i = 0; i < codebook->dim; i++)
        y[i] = one * (float)p[i];
}

static uint64_t pyramid_nearest(const struct gs_codebook *codebook,
                                const struct gs_group *group, const float *x, const float *h,
                                float *y)
{
    const struct pyramid_book *book = book_of(codebook);
    double scale = group->scale > 0 ? (double)group->scale : 1;
    struct shape s;

    if (h)
        find_weighted(book, scale, x, h, &s);
    else
        find_shape(book, x, &s);
    for (unsigned i = 0; i < codebook->dim; i++)
        s.p[i] = x[i] < 0 ? -s.p[i] : s.p[i];
    double size = s.square > 0 ? s.product / s.square * sqrt(s.norm) / scale : 0;
    uint64_t code = number_of(book, s.p) << book->gain_bits | nearest_level(book, size);
    pyramid_value(codebook, group, code, y);
    return code;
}

static const struct gs_codebook_key keys[] = {
    {"dim", "weights of a code", 4, GS_CODEBOOK_DIM, 16, true},
    {"pulses", "sum of the sizes of a point's coordinates", 1, PULSES_MAX, 10, true},
    {"gain", "bits of a code's gain", 0, GAIN_MAX, 3, true},
    {"rule", "levels of gains: 0 quantiles, 1 least error", 0, 1, 1, true},
    {0},
};

const struct gs_codebook_kind gs_codebook_pyramid = {
    .name = "pyramid",
    .paper = "T. Fischer, A pyramid vector quantizer, 1986; van der Ouderaa et al., "
             "arXiv:2410.16926",
    .keys = keys,
    .create = pyramid_create,
    .fit = pyramid_fit,
    .nearest = pyramid_nearest,
    .value = pyramid_value,
};
