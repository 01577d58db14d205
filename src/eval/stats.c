/* SPDX-License-Identifier: MIT
 * Moments by Welford's recurrence (Technometrics 1962), which does not cancel when the
 * spread is small against the mean, as the difference of two perplexities is. Percentiles
 * are those of llama.cpp's divergence report, so figures can be set side by side. The
 * interval is Wilson's (JASA 1927): it stays within 0 … 1 and holds for few items and for
 * accuracies near the ends, where the normal approximation does not. */
#include "eval/stats.h"

#include <assert.h>
#include <math.h>

void gs_moments_add(struct gs_moments *m, double x)
{
    double delta = x - m->mean;

    m->n++;
    m->mean += delta / (double)m->n;
    m->m2 += delta * (x - m->mean);
}

double gs_moments_sigma(const struct gs_moments *m)
{
    if (m->n < 2)
        return 0;
    return sqrt(m->m2 / (double)m->n / (double)(m->n - 1));
}

/* Moves x[root] down until the heap of n elements (largest first) is in order again. */
static void sift_down(float *x, size_t root, size_t n)
{
    float value = x[root];

    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && x[child + 1] > x[child])
            child++;
        if (x[child] <= value)
            break;
        x[root] = x[child];
    }
    x[root] = value;
}

/* Heap sort: libc's qsort may allocate, and is quadratic on some libraries. */
void gs_sort_f32(float *x, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(x, i, n);
    while (n > 1) {
        float largest = x[0];
        n--;
        x[0] = x[n];
        sift_down(x, 0, n);
        x[n] = largest;
    }
}

double gs_percentile(const float *sorted, size_t n, double fraction)
{
    assert(n > 0 && fraction >= 0 && fraction <= 1);
    double rank = fraction * (double)(n - 1);
    size_t below = (size_t)rank;
    double part = rank - (double)below;

    if (below + 1 >= n)
        return (double)sorted[n - 1];
    return (1 - part) * (double)sorted[below] + part * (double)sorted[below + 1];
}

void gs_wilson_interval(uint64_t hits, uint64_t n, double *low, double *high)
{
    const double z = 1.959963984540054; /* 97.5 % point of the normal distribution */

    assert(hits <= n);
    if (!n) {
        *low = 0;
        *high = 1;
        return;
    }
    double p = (double)hits / (double)n, z2n = z * z / (double)n;
    double centre = (p + z2n / 2) / (1 + z2n);
    double half = z * sqrt(p * (1 - p) / (double)n + z2n / (4 * (double)n)) / (1 + z2n);
    *low = hits == 0 ? 0 : centre - half;
    *high = hits == n ? 1 : centre + half;
}
