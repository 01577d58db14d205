/* SPDX-License-Identifier: MIT
 * QuIP's random orthogonal transform (Chee et al., arXiv:2307.13304, algorithm 1):
 *
 *     T = (O_p ⊗ O_q) · P · diag(factor),   n = p · q, p the largest divisor up to √n
 *
 *     x (n) ──∘ factor──▶ ──permute──▶ Z (p, q) ──▶ O_p Z O_qᵀ        n (p + q) products
 *
 * O_p, O_q are orthogonal matrices and P is a permutation, all drawn at random once and for
 * all: they depend on their size alone, so that a file need not carry them. What differs from
 * tensor to tensor, and what the file carries, are the random signs in `factor` (times 1/t
 * where QuIP's rescale was folded in), as for the Hadamard transforms. The permutation keeps
 * channels that are neighbours, and often alike, from meeting in one factor only.
 *
 * The matrices are Gram and Schmidt's of nearly Gaussian numbers (sums of uniform ones), in
 * operations that IEEE 754 fixes. They are made once per process and shared. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "transform/gradient.h"
#include "transform/members.h"

enum { ORDER_MAX = 1024, SEED = 0x6b72 };

struct orthogonal {
    size_t order;
    float *matrix_f32[2];  /* O, Oᵀ: (order, order) */
    double *matrix_f64[2];
};

static _Atomic(struct orthogonal *) known[ORDER_MAX + 1];

struct gs_kronecker {
    const struct orthogonal *left, *right; /* O_p, O_q */
    uint32_t *order;                       /* (n) P: place i gets channel order[i] */
};

static void orthogonal_destroy(struct orthogonal **o)
{
    if (!*o)
        return;
    for (int t = 0; t < 2; t++) {
        gs_free(&(*o)->matrix_f32[t]);
        gs_free(&(*o)->matrix_f64[t]);
    }
    gs_free(o);
}

/* Rows of nearly Gaussian numbers, orthonormal; numbers in general position are independent. */
static void draw_matrix(double *matrix, size_t order)
{
    struct gs_rng rng;

    gs_rng_init(&rng, SEED, order);
    do {
        for (size_t i = 0; i < order * order; i++)
            matrix[i] = gs_rng_f64(&rng) + gs_rng_f64(&rng) + gs_rng_f64(&rng) +
                        gs_rng_f64(&rng) - 2;
    } while (!gs_orthonormalise(matrix, order));
}

static struct orthogonal *orthogonal_create(size_t order)
{
    struct orthogonal *o = gs_alloc(1, sizeof *o);
    bool ok = o != NULL;

    for (int t = 0; ok && t < 2; t++) {
        o->matrix_f32[t] = gs_alloc(order * order, sizeof *o->matrix_f32[t]);
        o->matrix_f64[t] = gs_alloc(order * order, sizeof *o->matrix_f64[t]);
        ok = o->matrix_f32[t] && o->matrix_f64[t];
    }
    if (!ok) {
        orthogonal_destroy(&o);
        return NULL;
    }
    o->order = order;
    draw_matrix(o->matrix_f64[0], order);
    for (size_t i = 0; i < order; i++)
        for (size_t j = 0; j < order; j++) {
            double v = o->matrix_f64[0][i * order + j];
            o->matrix_f64[1][j * order + i] = v;
            o->matrix_f32[0][i * order + j] = o->matrix_f32[1][j * order + i] = (float)v;
        }
    return o;
}

static const struct orthogonal *orthogonal_get(size_t order)
{
    struct orthogonal *seen = atomic_load(&known[order]), *made;

    if (seen)
        return seen;
    made = orthogonal_create(order);
    if (made && !atomic_compare_exchange_strong(&known[order], &seen, made)) {
        orthogonal_destroy(&made); /* another thread was first */
        return seen;
    }
    return made;
}

/* The largest divisor of n up to its root. */
static size_t smaller_factor(size_t n)
{
    size_t best = 1;

    for (size_t p = 1; p <= n / p; p++)
        if (n % p == 0)
            best = p;
    return best;
}

static void clear(struct gs_transform *t)
{
    if (!t->kronecker)
        return;
    gs_free(&t->kronecker->order);
    gs_free(&t->kronecker);
}

static int prepare(struct gs_transform *t, struct gs_err *err)
{
    size_t p = smaller_factor(t->n), q = t->n / p;
    struct gs_kronecker *k;
    struct gs_rng rng;

    if (q > ORDER_MAX)
        return gs_fail(err, GS_E_UNSUPPORTED, "transform %s: %zu is no product of two numbers "
                       "up to %d", t->kind->name, t->n, ORDER_MAX);
    t->kronecker = k = gs_alloc(1, sizeof *k);
    if (k)
        k->order = gs_alloc(t->n, sizeof *k->order);
    if (!k || !k->order || !(k->left = orthogonal_get(p)) || !(k->right = orthogonal_get(q)))
        return gs_fail_nomem(err, "transform");
    gs_rng_init(&rng, SEED, ORDER_MAX + t->n);
    for (size_t i = 0; i < t->n; i++) { /* Fisher and Yates, from the inside */
        size_t j = (size_t)gs_rng_below(&rng, i + 1);
        k->order[i] = k->order[j];
        k->order[j] = (uint32_t)i;
    }
    return GS_OK;
}

static size_t work_bytes(const struct gs_transform *t)
{
    return t->n * sizeof(double);
}

#define REAL float
#define FN(name) name##_f32
#include "transform/kronecker_real.def"
#undef REAL
#undef FN
#define REAL double
#define FN(name) name##_f64
#include "transform/kronecker_real.def"

/* Σ_j T_ij² h_j: the rotation by the squares of its elements. */
static void hessian_diagonal(const struct gs_transform *t, double *diagonal, double *work)
{
    const struct gs_kronecker *k = t->kronecker;
    size_t p = k->left->order, q = k->right->order;

    for (size_t i = 0; i < t->n; i++) {
        double f = (double)t->factor[k->order[i]];
        work[i] = f * f * diagonal[k->order[i]];
    }
    for (size_t i = 0; i < t->n; i++) { /* (a, j) from (a, b) */
        const double *row = k->right->matrix_f64[0] + i % q * q, *from = work + i / q * q;
        diagonal[i] = 0;
        for (size_t b = 0; b < q; b++)
            diagonal[i] += row[b] * row[b] * from[b];
    }
    for (size_t i = 0; i < t->n; i++) { /* (i, j) from (a, j) */
        const double *row = k->left->matrix_f64[0] + i / q * p, *from = diagonal + i % q;
        work[i] = 0;
        for (size_t a = 0; a < p; a++)
            work[i] += row[a] * row[a] * from[a * q];
    }
    memcpy(diagonal, work, t->n * sizeof *work);
}

const struct gs_transform_kind gs_transform_kronecker = {
    .name = "kronecker",
    .paper = "Chee et al., QuIP, arXiv:2307.13304",
    .fit = gs_transform_fit_signs,
    .apply_f32 = apply_f32,
    .apply_f64 = apply_f64,
    .prepare = prepare,
    .clear = clear,
    .work_bytes = work_bytes,
    .hessian_diagonal = hessian_diagonal,
};
