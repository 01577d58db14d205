/* SPDX-License-Identifier: MIT */
#include "transform/hadamard.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "core/alloc.h"
#include "kernels/kernels.h"

/* Hq and its transpose as the panel kernels want them: for each 8 rows, element (i, p) of
 * the panel at p·8 + i. */
struct gs_hadamard_base {
    size_t q;
    float *f32[2];
    double *f64[2];
};

/* Made on first use, by order / 4; kept until the process ends. */
static _Atomic(struct gs_hadamard_base *) bases[GS_HADAMARD_Q_MAX / 4 + 1];

static size_t padded(size_t q)
{
    return (q + GS_PANEL_ROWS - 1) / GS_PANEL_ROWS * GS_PANEL_ROWS;
}

static bool is_prime(size_t n)
{
    for (size_t d = 2; d * d <= n; d++)
        if (n % d == 0)
            return false;
    return n > 1;
}

static bool is_paley_1(size_t q)
{
    return q % 4 == 0 && is_prime(q - 1);
}

static bool is_paley_2(size_t q)
{
    return q % 4 == 0 && (q / 2 - 1) % 4 == 1 && is_prime(q / 2 - 1);
}

/* χ(a) modulo the prime p: 0, or 1 for a square, or −1. */
static int legendre(size_t a, size_t p)
{
    if (a % p == 0)
        return 0;
    for (size_t x = 1; x <= p / 2; x++)
        if (x * x % p == a % p)
            return 1;
    return -1;
}

/* Element (i, j) of the bordered matrix of Legendre symbols, order p + 1. */
static int bordered(size_t i, size_t j, size_t p, int below)
{
    if (i == 0)
        return j > 0;
    return j == 0 ? below : legendre(i + p - j, p);
}

static int paley(size_t q, size_t i, size_t j)
{
    static const int outer[2][2] = {{1, 1}, {1, -1}}, inner[2][2] = {{1, -1}, {-1, -1}};

    if (is_paley_1(q))
        return bordered(i, j, q - 1, -1) + (i == j);
    return bordered(i / 2, j / 2, q / 2 - 1, 1) * outer[i % 2][j % 2] +
           (i / 2 == j / 2 ? inner[i % 2][j % 2] : 0);
}

size_t gs_hadamard_order(size_t n, size_t order_max, size_t *q)
{
    size_t best = 1;

    *q = 1;
    if (order_max == 0)
        order_max = n;
    for (size_t base = 1; base <= GS_HADAMARD_Q_MAX; base = base == 1 ? 4 : base + 4) {
        if (base > 1 && !is_paley_1(base) && !is_paley_2(base))
            continue;
        if (n % base || base > order_max)
            continue;
        size_t order = base;
        while (n % (2 * order) == 0 && order <= order_max / 2)
            order *= 2;
        if (order > best) { /* of equal orders the first has the smallest q */
            best = order;
            *q = base;
        }
    }
    return best;
}

static void base_destroy(struct gs_hadamard_base **base)
{
    if (!*base)
        return;
    for (int t = 0; t < 2; t++) {
        gs_free(&(*base)->f32[t]);
        gs_free(&(*base)->f64[t]);
    }
    gs_free(base);
}

static struct gs_hadamard_base *base_create(size_t q)
{
    struct gs_hadamard_base *base = gs_alloc(1, sizeof *base);
    bool ok = base != NULL;

    for (int t = 0; ok && t < 2; t++) {
        base->f32[t] = gs_alloc(padded(q) * q, sizeof *base->f32[t]);
        base->f64[t] = gs_alloc(padded(q) * q, sizeof *base->f64[t]);
        ok = base->f32[t] && base->f64[t];
    }
    if (!ok) {
        base_destroy(&base);
        return NULL;
    }
    base->q = q;
    for (size_t i = 0; i < q; i++)
        for (size_t j = 0; j < q; j++) {
            int v = paley(q, i, j);
            size_t at = i / GS_PANEL_ROWS * GS_PANEL_ROWS * q + j * GS_PANEL_ROWS +
                        i % GS_PANEL_ROWS;
            size_t transposed = j / GS_PANEL_ROWS * GS_PANEL_ROWS * q + i * GS_PANEL_ROWS +
                                j % GS_PANEL_ROWS;
            base->f32[0][at] = base->f32[1][transposed] = (float)v;
            base->f64[0][at] = base->f64[1][transposed] = v;
        }
    return base;
}

static const struct gs_hadamard_base *base_get(size_t q)
{
    struct gs_hadamard_base *seen = atomic_load(&bases[q / 4]), *made;

    if (seen)
        return seen;
    made = base_create(q);
    if (made && !atomic_compare_exchange_strong(&bases[q / 4], &seen, made)) {
        base_destroy(&made); /* another thread was first */
        return seen;
    }
    return made;
}

int gs_hadamard_init(size_t n, size_t order, struct gs_hadamard *out, struct gs_err *err)
{
    size_t q;

    *out = (struct gs_hadamard){.n = n, .order = order};
    if (n == 0 || order == 0 || n % order || gs_hadamard_order(order, 0, &q) != order)
        return gs_fail(err, GS_E_ARG, "no Hadamard blocks of order %zu for %zu channels", order,
                       n);
    out->q = q;
    if (q > 1 && !(out->base = base_get(q)))
        return gs_fail_nomem(err, "Hadamard matrix");
    return GS_OK;
}

size_t gs_hadamard_work_bytes(const struct gs_hadamard *h)
{
    size_t columns = GS_MAX(GS_PANEL_F32 * sizeof(float), GS_PANEL_F64 * sizeof(double));

    return h->base ? (h->q + padded(h->q)) * columns : 0;
}

/* The butterflies of fwht_f32 in f64; only for Hessians, so not a kernel. */
static void fwht_f64(double *x, size_t n, double scale)
{
    for (size_t h = 1; h < n; h *= 2)
        for (size_t i = 0; i < n; i += 2 * h)
            for (size_t j = i; j < i + h; j++) {
                double a = x[j], b = x[j + h];
                x[j] = a + b;
                x[j + h] = a - b;
            }
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
}

#define REAL float
#define PANEL GS_PANEL_F32
#define PANEL_MUL panel_f32
#define FWHT gs_kernels()->fwht_f32
#define PACKED f32
#define NAME(x) x##_f32
#define APPLY gs_hadamard_apply_f32
#include "transform/hadamard_real.def"

#define REAL double
#define PANEL GS_PANEL_F64
#define PANEL_MUL panel_f64
#define FWHT fwht_f64
#define PACKED f64
#define NAME(x) x##_f64
#define APPLY gs_hadamard_apply_f64
#include "transform/hadamard_real.def"
