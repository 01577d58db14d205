/* SPDX-License-Identifier: MIT */
#include "codebook/kmeans_line.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Bins at most, and entries of the table of cluster beginnings: k · bins. */
enum { BINS = 4096, BEGINNINGS = 65536, TURNS = 20 };

struct number {
    float x, h;
};

/* Sums over the first i bins, of weight, weight · x, weight · x². */
struct problem {
    size_t n;
    double h[BINS + 1], hx[BINS + 1], hxx[BINS + 1];
    double before[BINS + 1], now[BINS + 1]; /* least costs of the first i bins */
    uint16_t begin[BEGINNINGS];             /* [cluster][i]: where the last cluster begins */
};

size_t gs_kmeans_line_exact(unsigned k)
{
    return GS_MIN(BINS, BEGINNINGS / k) - 1;
}

/* ---- bins --------------------------------------------------------------------------------- */

static void sift_down(struct number *a, size_t root, size_t n)
{
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && a[child].x < a[child + 1].x)
            child++;
        if (a[root].x >= a[child].x)
            return;
        struct number t = a[root];
        a[root] = a[child];
        a[child] = t;
    }
}

/* Heapsort: no memory, no bad cases. */
static void sort(struct number *a, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(a, i, n);
    for (size_t end = n; end-- > 1;) {
        struct number t = a[0];
        a[0] = a[end];
        a[end] = t;
        sift_down(a, 0, end);
    }
}

static void start(struct problem *p, size_t n)
{
    p->n = n;
    memset(p->h, 0, (n + 1) * sizeof p->h[0]);
    memset(p->hx, 0, (n + 1) * sizeof p->hx[0]);
    memset(p->hxx, 0, (n + 1) * sizeof p->hxx[0]);
}

static void add_up(struct problem *p)
{
    for (size_t i = 0; i < p->n; i++) {
        p->h[i + 1] += p->h[i];
        p->hx[i + 1] += p->hx[i];
        p->hxx[i + 1] += p->hxx[i];
    }
}

static void put(struct problem *p, size_t bin, double x, double h)
{
    p->h[bin + 1] += h;
    p->hx[bin + 1] += h * x;
    p->hxx[bin + 1] += h * x * x;
}

static void fill_exactly(struct problem *p, const float *x, const float *h, size_t n)
{
    struct number sorted[BINS];

    for (size_t i = 0; i < n; i++)
        sorted[i] = (struct number){x[i], h ? h[i] : 1};
    sort(sorted, n);
    start(p, n);
    for (size_t i = 0; i < n; i++)
        put(p, i, sorted[i].x, sorted[i].h);
}

/* Even in the square root of the magnitude: narrow near zero, where most numbers are. */
static void fill_bins(struct problem *p, const float *x, const float *h, size_t n, size_t bins)
{
    double most = 0;

    for (size_t i = 0; i < n; i++)
        most = GS_MAX(fabs(x[i]), most); /* gcc 12 fails on fmax here, for AArch64 */
    start(p, bins);
    for (size_t i = 0; i < n; i++) {
        double root = most > 0 ? copysign(sqrt(fabs(x[i]) / most), x[i]) : 0;
        put(p, GS_MIN((size_t)((root + 1) * 0.5 * (double)bins), bins - 1), x[i], h ? h[i] : 1);
    }
}

/* ---- the optimum -------------------------------------------------------------------------- */

/* Of one center for bins [i, j). */
static double cost(const struct problem *p, size_t i, size_t j)
{
    double h = p->h[j] - p->h[i], hx = p->hx[j] - p->hx[i];

    return h > 0 ? fmax(p->hxx[j] - p->hxx[i] - hx * hx / h, 0) : 0;
}

/* now[j] for j in [low, high], whose last clusters begin in [first, last]: with more bins the
 * last cluster never begins earlier. */
static void solve(struct problem *p, uint16_t *begin, size_t low, size_t high, size_t first,
                  size_t last)
{
    size_t j = low + (high - low) / 2, best = first;
    double least = INFINITY;

    for (size_t i = first; i <= GS_MIN(j, last); i++) {
        double sum = p->before[i] + cost(p, i, j);
        if (sum < least) {
            least = sum;
            best = i;
        }
    }
    p->now[j] = least;
    begin[j] = (uint16_t)best;
    if (j > low)
        solve(p, begin, low, j - 1, first, best);
    if (j < high)
        solve(p, begin, j + 1, high, best, last);
}

static void find_centers(struct problem *p, float *centers, unsigned k)
{
    size_t stride = p->n + 1, end = p->n;

    for (size_t j = 0; j <= p->n; j++)
        p->before[j] = cost(p, 0, j);
    for (unsigned c = 1; c < k; c++) {
        solve(p, p->begin + (c - 1) * stride, 0, p->n, 0, p->n);
        memcpy(p->before, p->now, stride * sizeof p->now[0]);
    }
    for (unsigned c = k; c-- > 0;) {
        size_t from = c > 0 ? p->begin[(c - 1) * stride + end] : 0;
        double h = p->h[end] - p->h[from];
        centers[c] = h > 0 ? (float)((p->hx[end] - p->hx[from]) / h) : NAN;
        end = from;
    }
}

/* Clusters of no weight take a neighbour's center. */
static void fill_gaps(float *centers, unsigned k)
{
    for (unsigned c = 1; c < k; c++)
        if (isnan(centers[c]))
            centers[c] = centers[c - 1];
    for (unsigned c = k - 1; c-- > 0;)
        if (isnan(centers[c]))
            centers[c] = centers[c + 1];
}

static unsigned nearest(const float *centers, unsigned k, float x)
{
    unsigned low = 0, n = k - 1;

    while (n > 0) {
        unsigned half = (n + 1) / 2;
        bool above = 0.5f * (centers[low + half - 1] + centers[low + half]) < x;
        low = above ? low + half : low;
        n = above ? n - half : half - 1;
    }
    return low;
}

static void polish(const float *x, const float *h, size_t n, float *centers, unsigned k)
{
    for (int turn = 0; turn < TURNS; turn++) {
        double weight[GS_KMEANS_LINE_CENTERS] = {0}, sum[GS_KMEANS_LINE_CENTERS] = {0};
        bool moved = false;
        for (size_t i = 0; i < n; i++) {
            unsigned c = nearest(centers, k, x[i]);
            weight[c] += h ? h[i] : 1;
            sum[c] += (h ? h[i] : 1) * (double)x[i];
        }
        for (unsigned c = 0; c < k; c++)
            if (weight[c] > 0 && centers[c] != (float)(sum[c] / weight[c])) {
                centers[c] = (float)(sum[c] / weight[c]);
                moved = true;
            }
        if (!moved)
            break;
    }
}

void gs_kmeans_line(const float *x, const float *h, size_t n, float *centers, unsigned k)
{
    struct problem p; /* large: only what is used is set */
    double weight = 0;

    assert(n > 0 && k >= 1 && k <= GS_KMEANS_LINE_CENTERS);
    for (size_t i = 0; h && i < n; i++)
        weight += h[i];
    if (!(weight > 0))
        h = NULL;
    bool exact = n <= gs_kmeans_line_exact(k);
    if (exact)
        fill_exactly(&p, x, h, n);
    else
        fill_bins(&p, x, h, n, gs_kmeans_line_exact(k));
    add_up(&p);
    find_centers(&p, centers, k);
    fill_gaps(centers, k);
    if (!exact)
        polish(x, h, n, centers, k);
}
