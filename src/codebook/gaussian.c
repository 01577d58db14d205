/* SPDX-License-Identifier: MIT */
#include "codebook/gaussian.h"

#include <assert.h>
#include <math.h>

double gs_gaussian_density(double x)
{
    return exp(-0.5 * x * x) * 0.398942280401432677939946;
}

double gs_gaussian_above(double x)
{
    return 0.5 * erfc(x * 0.707106781186547524400844);
}

/* Bisection in the tail, where erfc keeps its relative precision. */
double gs_gaussian_quantile(double p)
{
    double tail = p < 0.5 ? p : 1 - p, low = 0, high = 40;

    assert(p > 0 && p < 1);
    for (int i = 0; i < 70; i++) {
        double x = 0.5 * (low + high);
        if (gs_gaussian_above(x) > tail)
            low = x;
        else
            high = x;
    }
    return p < 0.5 ? -low : low;
}

float gs_computed_point(double v)
{
    return (float)(rint(v * 0x1p22) * 0x1p-22);
}

/* Newton's method for "every point is the mean of its cell". A cell [l, u] ends halfway to the
 * neighbours, so the mean m = (φ(l) − φ(u)) / (Q(l) − Q(u)) depends on three points, and the
 * equations for the changes are tridiagonal. The start is the point density for many points,
 * φ^(1/3) (Panter and Dite 1951). */
void gs_gaussian_lloyd(float *points, unsigned n)
{
    double y[256], slope[256], change[256]; /* elimination's upper diagonal and right side */

    assert(n >= 1 && n <= 256);
    for (unsigned i = 0; i < n; i++)
        y[i] = 1.7320508 * gs_gaussian_quantile((i + 0.5) / n);
    for (int turn = 0; turn < 30; turn++) {
        for (unsigned i = 0; i < n; i++) {
            bool first = i == 0, last = i + 1 == n;
            double l = first ? 0 : 0.5 * (y[i - 1] + y[i]), u = last ? 0 : 0.5 * (y[i] + y[i + 1]);
            double density_l = first ? 0 : gs_gaussian_density(l);
            double density_u = last ? 0 : gs_gaussian_density(u);
            double mass = (first ? 1 : gs_gaussian_above(l)) - (last ? 0 : gs_gaussian_above(u));
            double mean = (density_l - density_u) / mass;
            /* ∂m/∂l = φ(l) (m − l) / mass, ∂m/∂u = φ(u) (u − m) / mass; each end moves by half
             * of what a point moves. */
            double by_l = 0.5 * density_l * (mean - l) / mass;
            double by_u = 0.5 * density_u * (u - mean) / mass;
            double pivot = 1 - by_l - by_u + (first ? 0 : by_l * slope[i - 1]);
            slope[i] = -by_u / pivot;
            change[i] = (mean - y[i] + (first ? 0 : by_l * change[i - 1])) / pivot;
        }
        for (unsigned i = n; i-- > 0;) {
            if (i + 1 < n)
                change[i] -= slope[i] * change[i + 1];
            y[i] += change[i];
        }
    }
    for (unsigned i = 0; i < n; i++) /* exactly symmetric */
        points[i] = gs_computed_point(0.5 * (y[i] - y[n - 1 - i]));
}
