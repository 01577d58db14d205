/* SPDX-License-Identifier: MIT */
#include "linalg/lu.h"

#include <math.h>

static void swap_rows(double *a, size_t n, size_t i, size_t j)
{
    for (size_t k = 0; i != j && k < n; k++) {
        double t = a[i * n + k];
        a[i * n + k] = a[j * n + k];
        a[j * n + k] = t;
    }
}

/* y (n) −= c x. */
static void subtract(double c, const double *x, double *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] -= c * x[i];
}

bool gs_lu_factor(double *a, size_t n, size_t *pivot)
{
    for (size_t k = 0; k < n; k++) {
        size_t best = k;
        for (size_t i = k + 1; i < n; i++)
            if (fabs(a[i * n + k]) > fabs(a[best * n + k]))
                best = i;
        pivot[k] = best;
        swap_rows(a, n, k, best);
        if (!(fabs(a[k * n + k]) > 0) || !isfinite(a[k * n + k]))
            return false;
        for (size_t i = k + 1; i < n; i++) {
            double factor = a[i * n + k] /= a[k * n + k];
            subtract(factor, a + k * n + k + 1, a + i * n + k + 1, n - k - 1);
        }
    }
    return true;
}

void gs_lu_solve(const double *a, size_t n, const size_t *pivot, double *b, size_t m)
{
    for (size_t k = 0; k < n; k++)
        swap_rows(b, m, k, pivot[k]);
    for (size_t i = 1; i < n; i++)
        for (size_t k = 0; k < i; k++)
            subtract(a[i * n + k], b + k * m, b + i * m, m);
    for (size_t i = n; i-- > 0;) {
        for (size_t k = i + 1; k < n; k++)
            subtract(a[i * n + k], b + k * m, b + i * m, m);
        for (size_t j = 0; j < m; j++)
            b[i * m + j] /= a[i * n + i];
    }
}

/* Aᵀ = Uᵀ Lᵀ P: forward with Uᵀ, back with Lᵀ, then the exchanges backwards. */
void gs_lu_solve_transposed(const double *a, size_t n, const size_t *pivot, double *b,
                            size_t m)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++)
            subtract(a[k * n + i], b + k * m, b + i * m, m);
        for (size_t j = 0; j < m; j++)
            b[i * m + j] /= a[i * n + i];
    }
    for (size_t i = n; i-- > 0;)
        for (size_t k = i + 1; k < n; k++)
            subtract(a[k * n + i], b + k * m, b + i * m, m);
    for (size_t k = n; k-- > 0;)
        swap_rows(b, m, k, pivot[k]);
}
