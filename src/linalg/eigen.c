/* SPDX-License-Identifier: MIT
 * Cyclic Jacobi. A rotation in the plane (p, q) makes a_pq zero:
 *
 *   θ = (a_qq − a_pp) / 2a_pq,   t = sign(θ) / (|θ| + √(θ² + 1)),   c = 1/√(t² + 1),  s = t c
 *
 * A whole matrix is kept, not a triangle, so that both inner loops walk along rows. */
#include "linalg/eigen.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define SWEEPS 40 /* ten are many: convergence is quadratic */

/* Rows x and y (n) become c x − s y and s x + c y. */
static void rotate_rows(double *x, double *y, size_t n, double c, double s)
{
    for (size_t i = 0; i < n; i++) {
        double u = x[i], v = y[i];
        x[i] = c * u - s * v;
        y[i] = s * u + c * v;
    }
}

static void rotate(double *a, size_t n, size_t p, size_t q, double *vectors)
{
    double apq = a[p * n + q], theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
    double t = copysign(1, theta) / (fabs(theta) + sqrt(theta * theta + 1));
    double c = 1 / sqrt(t * t + 1), s = t * c;
    double app = a[p * n + p] - t * apq, aqq = a[q * n + q] + t * apq;

    rotate_rows(a + p * n, a + q * n, n, c, s);
    a[p * n + p] = app;
    a[q * n + q] = aqq;
    a[p * n + q] = a[q * n + p] = 0;
    for (size_t i = 0; i < n; i++)
        if (i != p && i != q) {
            a[i * n + p] = a[p * n + i];
            a[i * n + q] = a[q * n + i];
        }
    rotate_rows(vectors + p * n, vectors + q * n, n, c, s);
}

static void sort_descending(size_t n, double *values, double *vectors)
{
    for (size_t i = 0; i < n; i++) {
        size_t best = i;
        for (size_t j = i + 1; j < n; j++)
            if (values[j] > values[best])
                best = j;
        double value = values[i];
        values[i] = values[best];
        values[best] = value;
        for (size_t j = 0; best != i && j < n; j++) {
            double v = vectors[i * n + j];
            vectors[i * n + j] = vectors[best * n + j];
            vectors[best * n + j] = v;
        }
    }
}

void gs_eigen_symmetric(double *a, size_t n, double *values, double *vectors)
{
    memset(vectors, 0, n * n * sizeof *vectors);
    for (size_t i = 0; i < n; i++)
        vectors[i * n + i] = 1;
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        bool rotated = false;
        for (size_t p = 0; p < n; p++)
            for (size_t q = p + 1; q < n; q++) {
                double size = sqrt(fabs(a[p * n + p])) * sqrt(fabs(a[q * n + q]));
                if (fabs(a[p * n + q]) <= GS_MAX(DBL_EPSILON / 4 * size, DBL_MIN))
                    continue;
                rotate(a, n, p, q, vectors);
                rotated = true;
            }
        if (!rotated)
            break;
    }
    for (size_t i = 0; i < n; i++)
        values[i] = a[i * n + i];
    sort_descending(n, values, vectors);
}
