/* SPDX-License-Identifier: MIT */
#include "grid/fake.h"

#include <assert.h>
#include <math.h>

#define SCALE_MIN 1e-5 /* of a group that is all zeros */

/* AdaRound's stretch of the sigmoid. */
#define STRETCH_LOW -0.1
#define STRETCH_HIGH 1.1

static const struct gs_fake_dialect dialects[] = {
    {"omniquant", true, true, false, false},
    {"flatquant", true, true, false, true},
    {"spinquant", false, false, false, true},
    {"lsq", true, true, true, true},
};

const struct gs_fake_dialect *gs_fake_dialect_at(size_t index)
{
    return index < GS_COUNT(dialects) ? &dialects[index] : NULL;
}

static size_t group_of(const struct gs_fake *f, size_t cols)
{
    return f->group ? GS_MIN(f->group, cols) : cols;
}

size_t gs_fake_groups(const struct gs_fake *f, size_t cols)
{
    size_t group = group_of(f, cols);

    return (cols + group - 1) / group;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* How one group is rounded, and where its range comes from. */
struct range {
    double s, z, q_min, q_max;
    double hi, lo;       /* clipped extremes */
    double share_hi, share_lo; /* σ(α), σ(β) */
    size_t at_hi, at_lo; /* the extreme elements; n where the bound is 0 instead */
    bool floored;        /* s is the least there is */
};

static void set_codes(const struct gs_fake *f, struct range *r)
{
    double half = ldexp(1, (int)f->bits - 1);

    r->q_min = f->symmetric ? -half : 0;
    r->q_max = f->symmetric ? half - 1 : 2 * half - 1;
}

static void find_extremes(const struct gs_fake *f, const float *x, size_t n, struct range *r)
{
    r->at_hi = r->at_lo = 0;
    for (size_t i = 1; i < n; i++) {
        if (x[i] > x[r->at_hi])
            r->at_hi = i;
        if (x[i] < x[r->at_lo])
            r->at_lo = i;
    }
    r->hi = (double)x[r->at_hi];
    r->lo = (double)x[r->at_lo];
    if (f->with_zero && !f->symmetric) {
        if (r->hi < 0) {
            r->hi = 0;
            r->at_hi = n;
        }
        if (r->lo > 0) {
            r->lo = 0;
            r->at_lo = n;
        }
    }
}

static struct range find_range(const struct gs_fake *f, const struct gs_fake_params *p,
                               size_t g, const float *x, size_t n)
{
    struct range r = {.share_hi = 1, .share_lo = 1};

    set_codes(f, &r);
    if (p->scale) {
        r.s = (double)p->scale[g];
        r.z = p->zero ? (double)p->zero[g] : 0;
        return r;
    }
    find_extremes(f, x, n, &r);
    r.share_hi = p->high ? sigmoid((double)p->high[g]) : 1;
    r.share_lo = p->low ? sigmoid((double)p->low[g]) : 1;
    r.hi *= r.share_hi;
    r.lo *= r.share_lo;
    r.s = f->symmetric ? fmax(fabs(r.hi), fabs(r.lo)) / r.q_max : (r.hi - r.lo) / r.q_max;
    r.floored = !(r.s >= SCALE_MIN);
    if (r.floored)
        r.s = SCALE_MIN;
    r.z = f->symmetric ? 0 : rint(-r.lo / r.s);
    return r;
}

/* The code of x, and whether it is one without clipping. */
static double code_of(const struct range *r, float x, bool *inside)
{
    double q = rint((double)x / r->s) + rint(r->z);

    *inside = q >= r->q_min && q <= r->q_max;
    return fmin(fmax(q, r->q_min), r->q_max);
}

struct job {
    const struct gs_fake *f;
    const struct gs_fake_params *p, *grads;
    const float *x, *G;
    float *y;
    size_t cols, group, groups;
};

static void forward_groups(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct job *j = ctx;

    for (size_t g = begin; g < end; g++) {
        size_t first = g % j->groups * j->group, n = GS_MIN(j->group, j->cols - first);
        const float *x = j->x + g / j->groups * j->cols + first;
        float *y = j->y + (x - j->x);
        struct range r = find_range(j->f, j->p, g, x, n);
        double zero = rint(r.z);
        bool inside;
        for (size_t i = 0; i < n; i++)
            y[i] = (float)(r.s * (code_of(&r, x[i], &inside) - zero));
    }
}

static struct job make_job(const struct gs_fake *f, const struct gs_fake_params *p,
                           const float *x, size_t cols)
{
    assert(f->bits >= 2 && f->bits <= 16 && cols);
    return (struct job){.f = f, .p = p, .x = x, .cols = cols, .group = group_of(f, cols),
                        .groups = gs_fake_groups(f, cols)};
}

void gs_fake_forward(const struct gs_fake *f, struct gs_team *team,
                     const struct gs_fake_params *p, const float *x, size_t rows, size_t cols,
                     float *y)
{
    struct job j = make_job(f, p, x, cols);

    j.y = y;
    gs_team_run(team, rows * j.groups, GS_MAX(4096 / j.group, 1u), forward_groups, &j);
}

/* ---- backward -------------------------------------------------------------------------------- */

static void add(float *sum, size_t at, double d)
{
    if (sum)
        sum[at] += (float)d;
}

/* From ds and dz of a dynamic range to its extremes and clips. */
static void range_backward(const struct job *j, const struct range *r, size_t g, double ds,
                           double dz, float *dx, size_t n)
{
    double d_hi, d_lo, hi, lo;

    if (!j->f->grad_scale || r->floored)
        return;
    if (j->f->symmetric) {
        bool from_hi = fabs(r->hi) >= fabs(r->lo);
        double slope = ds / r->q_max;
        d_hi = from_hi ? (r->hi < 0 ? -slope : slope) : 0;
        d_lo = from_hi ? 0 : (r->lo < 0 ? -slope : slope);
    } else {
        if (j->f->zero_ste)
            ds += dz * r->lo / (r->s * r->s);
        d_hi = ds / r->q_max;
        d_lo = -ds / r->q_max - (j->f->zero_ste ? dz / r->s : 0);
    }
    hi = r->hi / r->share_hi;
    lo = r->lo / r->share_lo;
    add(j->grads->high, g, d_hi * hi * r->share_hi * (1 - r->share_hi));
    add(j->grads->low, g, d_lo * lo * r->share_lo * (1 - r->share_lo));
    if (r->at_hi < n)
        dx[r->at_hi] += (float)(d_hi * r->share_hi);
    if (r->at_lo < n)
        dx[r->at_lo] += (float)(d_lo * r->share_lo);
}

static void backward_groups(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct job *j = ctx;

    for (size_t g = begin; g < end; g++) {
        size_t first = g % j->groups * j->group, n = GS_MIN(j->group, j->cols - first);
        size_t at = g / j->groups * j->cols + first;
        const float *x = j->x + at, *G = j->G + at;
        float *dx = j->y + at;
        struct range r = find_range(j->f, j->p, g, x, n);
        double ds = 0, dz = 0, zero = rint(r.z);
        for (size_t i = 0; i < n; i++) {
            bool inside;
            double up = (double)G[i], q = code_of(&r, x[i], &inside);
            bool passes = inside || !j->f->clip_mask;
            ds += up * ((q - zero) - (passes ? (double)x[i] / r.s : 0));
            dz -= passes ? 0 : up * r.s;
            dx[i] = passes ? (float)up : 0;
        }
        if (j->p->scale) {
            add(j->grads->scale, g, ds);
            add(j->grads->zero, g, j->f->zero_ste ? dz : 0);
        } else {
            range_backward(j, &r, g, ds, dz, dx, n);
        }
    }
}

void gs_fake_backward(const struct gs_fake *f, struct gs_team *team,
                      const struct gs_fake_params *p, const float *x, const float *G,
                      size_t rows, size_t cols, float *dx, const struct gs_fake_params *grads)
{
    struct job j = make_job(f, p, x, cols);

    j.grads = grads;
    j.G = G;
    j.y = dx;
    gs_team_run(team, rows * j.groups, GS_MAX(4096 / j.group, 1u), backward_groups, &j);
}

/* ---- AdaRound -------------------------------------------------------------------------------- */

static double soft_share(double v, double *slope)
{
    double s = sigmoid(v), h = STRETCH_LOW + (STRETCH_HIGH - STRETCH_LOW) * s;

    *slope = h > 0 && h < 1 ? (STRETCH_HIGH - STRETCH_LOW) * s * (1 - s) : 0;
    return fmin(fmax(h, 0), 1);
}

static double soft_code(unsigned bits, bool symmetric, float scale, float zero, float x,
                        float v, double *slope)
{
    struct gs_fake f = {.bits = bits, .symmetric = symmetric};
    struct range r = {0};

    set_codes(&f, &r);
    double q = floor((double)x / (double)scale) + soft_share((double)v, slope) + (double)zero;
    if (q < r.q_min || q > r.q_max)
        *slope = 0;
    return fmin(fmax(q, r.q_min), r.q_max);
}

void gs_soft_round_forward(unsigned bits, bool symmetric, float scale, float zero,
                           const float *x, const float *v, size_t n, float *y)
{
    double slope;

    for (size_t i = 0; i < n; i++)
        y[i] = (float)((double)scale *
                       (soft_code(bits, symmetric, scale, zero, x[i], v[i], &slope) -
                        (double)zero));
}

void gs_soft_round_backward(unsigned bits, bool symmetric, float scale, float zero,
                            const float *x, const float *v, const float *G, size_t n,
                            float *dv)
{
    double slope;

    for (size_t i = 0; i < n; i++) {
        soft_code(bits, symmetric, scale, zero, x[i], v[i], &slope);
        dv[i] += (float)((double)G[i] * (double)scale * slope);
    }
}
