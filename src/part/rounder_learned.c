/* SPDX-License-Identifier: MIT
 * Rounding that is learned by gradient descent on the loss of a layer, tr(E H Eᵀ), E = W − Ŵ.
 * Its gradient is −2 E H, so no batches and no backpropagation are needed. n weights of a row:
 *
 *   adaround   ŵ = below + ρ(v) (above − below), ρ(v) = clamp(1.2 σ(v) − 0.1, 0, 1), where below
 *              and above are the points beside w; a term Σ 1 − |2ρ − 1|^β drives ρ to 0 or 1,
 *              β falling from 20 to 2 after a fifth of the steps (Nagel et al., arXiv:2004.10568)
 *   discquant  ŵ = below + x (above − below), x in 0 … 1 from random beginnings; the linear term
 *              −(2 f − 1) x, f being w's own place between the two, leaves few x inside once the
 *              loss is balanced (Chee et al., arXiv:2501.06417), the nearer point is taken then
 *   flexround  ŵ = nearest(w e^−Δ), the gradient straight through: weights move the further the
 *              larger they are, by several points if need be (Lee et al., arXiv:2306.00317)
 *
 * AdaRound and FlexRound as published learn on a layer's or block's outputs for samples, DiscQuant
 * on the divergence of the whole model's predictions; with H in place of samples the layer's
 * output is met exactly. Losses are taken over what a step of every weight costs, so that rates
 * suit any layer. Adam. A row whose nearest points are better keeps these. Points beside w are
 * found where neighbouring codes are neighbouring points; a weight without a second one stays. */
#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "kernels/math.h"
#include "linalg/mul.h"
#include "part/members.h"

#define STRIP 32u
#define PLANES 9u /* (STRIP, n) floats each */
#define BETA1 0.9f
#define BETA2 0.95f

struct learner {
    const struct gs_part_work *work;
    size_t row, rows, n;
    uint64_t steps;
    float done;            /* steps taken, of all */
    float power1, power2;  /* BETA1, BETA2 to the number of this step */
    float *y, *e, *g;      /* values now; E = W − y; E H */
    float *low, *span;     /* the point below, distance to that above: 0 where there is none */
    float *x, *m, *v;      /* what is learned, its moments */
    float *best;           /* the best values of whole points so far */
    float cost;            /* mean of H_ii step²: what a step costs */
    double loss[STRIP];    /* of best */
    void *mul;
};

static size_t plane_bytes(const struct gs_part_work *work)
{
    return (STRIP * work->form->cols * sizeof(float) + 63) / 64 * 64;
}

static size_t learned_scratch(const struct gs_part_work *work)
{
    return PLANES * plane_bytes(work) + GS_MUL_WORK_F32;
}

static const float *weights_of(const struct learner *l, size_t r)
{
    return l->work->w + (l->row + r) * l->n;
}

static const struct gs_group *group_of(const struct learner *l, size_t r, size_t c)
{
    return gs_part_group_of(l->work->form, &l->work->groups, l->row + r, c);
}

static void differentiate(struct learner *l)
{
    size_t n = l->n;
    const uint8_t *mask = l->work->mask ? l->work->mask + l->row * n : NULL;

    for (size_t r = 0; r < l->rows; r++)
        for (size_t c = 0; c < n; c++)
            l->e[r * n + c] = mask && mask[r * n + c]
                                  ? 0 : weights_of(l, r)[c] - l->y[r * n + c];
    memset(l->g, 0, l->rows * n * sizeof *l->g);
    for (size_t c = 0; c < n; c += GS_MUL_TILE)
        gs_mul_block_f32(l->rows, GS_MIN(GS_MUL_TILE, n - c), n, 1,
                         (struct gs_operand_f32){l->e, n, 1},
                         (struct gs_operand_f32){l->work->input->h32 + c, n, 1}, l->g + c, n,
                         l->mul);
}

/* Keeps y, all whole points, for the rows where nothing better was seen; g is that of y. */
static void keep_better(struct learner *l)
{
    size_t n = l->n;

    for (size_t r = 0; r < l->rows; r++) {
        double loss = 0;
        for (size_t c = 0; c < n; c++)
            loss += (double)l->e[r * n + c] * (double)l->g[r * n + c];
        if (loss < l->loss[r]) {
            l->loss[r] = loss;
            memcpy(l->best + r * n, l->y + r * n, n * sizeof *l->y);
        }
    }
}

/* ---- beginning ---------------------------------------------------------------------------- */

/* The point on the other side of w from y, among the neighbours of its code; y if there is none. */
static float other_side(const struct learner *l, size_t r, size_t c, uint64_t code, float y)
{
    const struct gs_codebook *book = l->work->form->codebook;
    float w = weights_of(l, r)[c], best = y;

    for (int side = -1; side <= 1; side += 2) {
        float v;
        if ((side < 0 && !code) || (side > 0 && book->states && code + 1 >= book->states))
            continue;
        gs_codebook_value(book, group_of(l, r, c), side < 0 ? code - 1 : code + 1, &v);
        bool across = y <= w ? v > w : v < w;
        if (across && (best == y || fabsf(v - w) < fabsf(best - w)))
            best = v;
    }
    return best;
}

/* y: the nearest points. */
static void take_nearest(struct learner *l)
{
    size_t n = l->n, dim = l->work->form->codebook->dim;

    for (size_t i = 0; i < l->rows * n; i += dim)
        gs_codebook_nearest(l->work->form->codebook, group_of(l, i / n, i % n),
                            weights_of(l, i / n) + i % n, NULL, l->y + i);
}

/* low and span, from y; and what a step costs. */
static void find_between(struct learner *l)
{
    const struct gs_codebook *book = l->work->form->codebook;
    size_t n = l->n, spans = 0;
    double cost = 0;

    for (size_t i = 0; i < l->rows * n; i++) {
        float v, other;
        uint64_t code = gs_codebook_nearest(book, group_of(l, i / n, i % n), l->y + i, NULL, &v);
        other = other_side(l, i / n, i % n, code, l->y[i]);
        l->low[i] = fminf(other, l->y[i]);
        l->span[i] = fabsf(other - l->y[i]);
        cost += l->work->input->diagonal[i % n] * (double)l->span[i] * (double)l->span[i];
        spans += l->span[i] > 0;
    }
    l->cost = cost > 0 ? (float)(cost / (double)spans) : 1;
}

/* ---- steps -------------------------------------------------------------------------------- */

static void start_step(struct learner *l, uint64_t step)
{
    l->done = (float)step / (float)l->steps;
    l->power1 = step ? l->power1 * BETA1 : BETA1;
    l->power2 = step ? l->power2 * BETA2 : BETA2;
}

/* Adam on element i; the rate falls to nothing. */
static void move(struct learner *l, size_t i, float gradient, float rate)
{
    l->m[i] = BETA1 * l->m[i] + (1 - BETA1) * gradient;
    l->v[i] = BETA2 * l->v[i] + (1 - BETA2) * gradient * gradient;
    l->x[i] -= rate * (1 - l->done) * (l->m[i] / (1 - l->power1)) /
               (sqrtf(l->v[i] / (1 - l->power2)) + 1e-6f);
}

/* Where w lies between its two points: 0 … 1. */
static float place_of(const struct learner *l, size_t r, size_t c)
{
    size_t at = r * l->n + c;

    return (weights_of(l, r)[c] - l->low[at]) / l->span[at];
}

static void adaround_begin(struct learner *l, size_t r, size_t c)
{
    float h = fminf(fmaxf(place_of(l, r, c), 1e-3f), 1 - 1e-3f);

    l->x[r * l->n + c] = -logf(1.2f / (h + 0.1f) - 1);
}

/* x^n */
static float power(float x, unsigned n)
{
    float y = 1;

    for (; n; n >>= 1, x *= x)
        if (n & 1)
            y *= x;
    return y;
}

static float adaround_step(struct learner *l, size_t r, size_t c, float gradient)
{
    const float weight = 0.3f, warm = 0.2f;
    size_t at = r * l->n + c;
    float s = 1 / (1 + gs_exp(-l->x[at])), h = 1.2f * s - 0.1f;

    if (!(h > 0 && h < 1)) /* decided */
        return h > 0 ? 1 : 0;
    if (l->done > warm) {
        unsigned beta = 2 + (unsigned)(18 * (1 - (l->done - warm) / (1 - warm)));
        float d = 2 * h - 1;
        gradient -= weight * 2 * (float)beta * copysignf(power(fabsf(d), beta - 1), d);
    }
    move(l, at, gradient * 1.2f * s * (1 - s), 0.1f);
    return fminf(fmaxf(1.2f / (1 + gs_exp(-l->x[at])) - 0.1f, 0), 1);
}

static void discquant_begin(struct learner *l, size_t r, size_t c)
{
    uint64_t place = (uint64_t)(l->row + r) * l->n + c; /* the same in any chunk */
    struct gs_rng rng;

    gs_rng_init(&rng, l->work->form->seed, place);
    l->x[r * l->n + c] = (float)(gs_rng_u64(&rng) >> 40) * 0x1p-24f;
}

static float discquant_step(struct learner *l, size_t r, size_t c, float gradient)
{
    const float strength = 4, clip = 2;
    size_t at = r * l->n + c;

    move(l, at, fminf(fmaxf(strength * gradient, -clip), clip) - (2 * place_of(l, r, c) - 1),
         0.08f);
    return l->x[at] = fminf(fmaxf(l->x[at], 0), 1);
}

/* What is learned is a place between two points. */
struct between {
    void (*begin)(struct learner *l, size_t r, size_t c);
    float (*step)(struct learner *l, size_t r, size_t c, float gradient);
};

static void learn_between(struct learner *l, const struct between *kind)
{
    size_t n = l->n, all = l->rows * n;

    find_between(l);
    for (size_t i = 0; i < all; i++)
        if (l->span[i] > 0) {
            kind->begin(l, i / n, i % n);
            l->y[i] = weights_of(l, i / n)[i % n];
        }
    for (uint64_t step = 0; step < l->steps; step++) {
        start_step(l, step);
        differentiate(l);
        for (size_t i = 0; i < all; i++)
            if (l->span[i] > 0)
                l->y[i] = l->low[i] + l->span[i] *
                          kind->step(l, i / n, i % n, -2 * l->g[i] * l->span[i] / l->cost);
    }
    for (size_t i = 0; i < all; i++)
        if (l->span[i] > 0)
            l->y[i] = l->y[i] - l->low[i] < l->span[i] / 2 ? l->low[i] : l->low[i] + l->span[i];
    differentiate(l);
    keep_better(l);
}

static void learn_division(struct learner *l)
{
    const struct gs_codebook *book = l->work->form->codebook;
    size_t n = l->n, all = l->rows * n, dim = book->dim;
    float x[GS_CODEBOOK_DIM];

    for (uint64_t step = 0; step < l->steps; step++) {
        start_step(l, step);
        for (size_t i = 0; i < all; i++)
            move(l, i, 2 * l->g[i] * weights_of(l, i / n)[i % n], 4e-3f);
        for (size_t i = 0; i < all; i += dim) {
            for (size_t j = 0; j < dim; j++)
                x[j] = weights_of(l, i / n)[i % n + j] * gs_exp(-l->x[i + j]);
            gs_codebook_nearest(book, group_of(l, i / n, i % n), x, NULL, l->y + i);
        }
        differentiate(l);
        keep_better(l);
    }
}

/* ---- the whole ---------------------------------------------------------------------------- */

/* The best values as codes. */
static void put_best(const struct learner *l, const struct gs_part_rows *rows)
{
    const struct gs_codebook *book = l->work->form->codebook;
    size_t n = l->n, first = l->row - rows->row, dim = book->dim;

    for (size_t i = 0; i < l->rows * n; i += dim)
        rows->codes[(first * n + i) / dim] =
            gs_codebook_nearest(book, group_of(l, i / n, i % n), l->best + i, NULL,
                                l->work->y + l->row * n + i);
}

static void learned_run(const struct gs_part_rows *rows, const struct between *kind)
{
    const struct gs_part_work *work = rows->work;
    struct learner l = {.work = work, .n = work->form->cols, .steps = work->sweeps};
    float **planes[PLANES] = {&l.y, &l.e, &l.g, &l.low, &l.span, &l.x, &l.m, &l.v, &l.best};
    uint8_t *at = rows->scratch;

    for (size_t i = 0; i < PLANES; i++, at += plane_bytes(work))
        *planes[i] = (float *)(void *)at;
    l.mul = at;
    for (size_t first = 0; first < rows->rows; first += STRIP) {
        l.row = rows->row + first;
        l.rows = GS_MIN(STRIP, rows->rows - first);
        for (size_t i = 0; i < PLANES; i++)
            memset(*planes[i], 0, l.rows * l.n * sizeof(float));
        for (size_t r = 0; r < l.rows; r++)
            l.loss[r] = INFINITY;
        take_nearest(&l);
        differentiate(&l);
        keep_better(&l);
        if (kind)
            learn_between(&l, kind);
        else
            learn_division(&l);
        put_best(&l, rows);
    }
}

static void adaround_run(const struct gs_part_rows *rows)
{
    learned_run(rows, &(struct between){adaround_begin, adaround_step});
}

static void discquant_run(const struct gs_part_rows *rows)
{
    learned_run(rows, &(struct between){discquant_begin, discquant_step});
}

static void flexround_run(const struct gs_part_rows *rows)
{
    learned_run(rows, NULL);
}

const struct gs_part_rounder gs_part_rounder_adaround = {
    .name = "adaround",
    .paper = "Nagel et al., arXiv:2004.10568",
    .uses_h = true, .descends = true, .learns = true, .single = true,
    .sweeps = 200,
    .scratch = learned_scratch,
    .run = adaround_run,
};

const struct gs_part_rounder gs_part_rounder_discquant = {
    .name = "discquant",
    .paper = "Chee et al., arXiv:2501.06417",
    .uses_h = true, .descends = true, .learns = true, .single = true,
    .sweeps = 100,
    .scratch = learned_scratch,
    .run = discquant_run,
};

const struct gs_part_rounder gs_part_rounder_flexround = {
    .name = "flexround",
    .paper = "Lee et al., arXiv:2306.00317",
    .uses_h = true, .descends = true, .learns = true,
    .sweeps = 150,
    .scratch = learned_scratch,
    .run = flexround_run,
};
