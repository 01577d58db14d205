/* SPDX-License-Identifier: MIT
 * Scales and minima of a block, with the coding of both inside the search.
 *
 *   1. each run alone: for a ladder of first guesses, twice { nearest levels; weighted least
 *      squares for (a, b) }, best kept. With u = v and t = −1 the run's error is the parabola
 *          err + M_uu (a − a*)² + 2 M_ut (a − a*)(b − b*) + M_tt (b − b*)²,
 *          M_uu = Σ h v²,  M_ut = −Σ h v,  M_tt = Σ h
 *   2. d and dmin: a ladder of both, every run taking its nearest multipliers, by the parabolas
 *   3. the real error: every run tries its multipliers' neighbours with codes searched anew,
 *      then d and dmin by least squares over the block; while the error falls
 *
 * Ladders replace derivatives because the error is a sawtooth in a. (The idea of alternating
 * codes and least squares is Lloyd's; of a ladder of clips: GPTQ's and AWQ's search.) */
#include <float.h>
#include <math.h>
#include <string.h>

#include "grid/format_memo.h"
#include "grid/formats.h"

#define LADDER 16
#define ROUNDS 4
#define GUESSES 4       /* for points that are dear to search */
#define ROUNDS_DEAR 2

/* What step 1 knows of a run. */
struct ideal {
    float a, b, error;
    float uu, ut, tt;
    unsigned variant;
};

struct fit {
    const struct gs_format *f;
    const float *x, *h;
    float ones[GS_FORMAT_BLOCK];
    unsigned runs;
    double oo[GS_FORMAT_RUNS], ox[GS_FORMAT_RUNS]; /* sums of h and of h x */
    struct ideal ideal[GS_FORMAT_RUNS];
    float v[GS_FORMAT_BLOCK];      /* level values of the codes */
    float trial[GS_FORMAT_BLOCK];
    struct gs_memo *memo;          /* for points that are dear to search; or NULL */
};

static bool has_min(const struct gs_format *f)
{
    return f->mins > 0;
}

/* Nearest levels v of the run at column `at`; returns its error. */
static float search(struct fit *fit, struct gs_point_run run, size_t at, float *v)
{
    const struct gs_points *points = fit->f->points;

    if (fit->memo)
        return gs_memo_nearest(fit->memo, run, at, fit->f->run, v);
    return points->nearest(points, run, fit->f->run, fit->x + at, fit->h + at, v, NULL);
}

/* ---- 1: a run alone ----------------------------------------------------------------------- */

/* Σ h and Σ h x of every run. */
static void sum_runs(struct fit *fit)
{
    for (unsigned r = 0; r < fit->runs; r++)
        for (size_t i = (size_t)r * fit->f->run; i < (size_t)(r + 1) * fit->f->run; i++) {
            fit->oo[r] += (double)fit->h[i];
            fit->ox[r] += (double)fit->h[i] * (double)fit->x[i];
        }
}

/* Sums over the run for least squares, v v, v 1, 1 1, v x, 1 x: in eight lanes of f32, folded
 * in double, since the determinant cancels where a run is flat. */
static void normal(const struct fit *fit, size_t at, const float *v, double sums[5])
{
    const float *x = fit->x + at, *h = fit->h + at;
    float lanes[3][8] = {{0}};
    size_t r = at / fit->f->run;

    for (size_t i = 0; i < fit->f->run; i += 8)
        for (size_t k = 0; k < 8; k++) {
            float hv = h[i + k] * v[i + k];
            lanes[0][k] += hv * v[i + k];
            lanes[1][k] += hv;
            lanes[2][k] += hv * x[i + k];
        }
    memset(sums, 0, 5 * sizeof *sums);
    for (size_t k = 0; k < 8; k++) {
        sums[0] += (double)lanes[0][k];
        sums[1] += (double)lanes[1][k];
        sums[3] += (double)lanes[2][k];
    }
    sums[2] = fit->oo[r];
    sums[4] = fit->ox[r];
}

/* (a, b) by least squares for the codes v. A minimum that is coded unsigned stays ≥ 0. */
static void solve_run(const struct fit *fit, const double s[5], struct ideal *run)
{
    double a = s[0] > 0 ? s[3] / s[0] : 0, b = 0;

    if (has_min(fit->f)) {
        double det = s[0] * s[2] - s[1] * s[1];
        if (det > 1e-12 * s[0] * s[2]) {
            double slope = (s[3] * s[2] - s[4] * s[1]) / det;
            double offset = (s[4] * s[0] - s[3] * s[1]) / det;
            if (fit->f->mins == 1 || offset < 0) {
                a = slope;
                b = -offset;
            }
        }
        if (fit->f->mins > 1 && a < 0)
            a = b = 0;
    }
    run->a = (float)a;
    run->b = (float)b;
    run->uu = (float)s[0];
    run->ut = (float)-s[1];
    run->tt = (float)s[2];
}

/* Improves a guess by alternation and keeps it if it is the best so far. */
static void try_run(struct fit *fit, size_t at, struct ideal guess, unsigned rounds,
                    struct ideal *best)
{
    double sums[5];

    for (unsigned i = 0; i <= rounds; i++) {
        struct gs_point_run run = {guess.a, guess.b, guess.variant};
        float error = search(fit, run, at, fit->trial);
        normal(fit, at, fit->trial, sums);
        struct ideal next = guess;
        solve_run(fit, sums, &next);
        guess.uu = next.uu;
        guess.ut = next.ut;
        guess.tt = next.tt;
        if (error < best->error) {
            *best = guess;
            best->error = error;
        }
        guess = next;
    }
}

/* Guesses that are improved together. */
struct batch {
    struct ideal guess[GS_POINT_LANES];
    unsigned n;
};

/* The same for a batch, which is emptied. */
static void try_batch(struct fit *fit, const struct gs_points *points, size_t at,
                      unsigned rounds, struct batch *batch, struct ideal *best)
{
    size_t run = at / fit->f->run;
    struct gs_point_lanes lanes;

    for (unsigned i = 0; i <= rounds && batch->n; i++) {
        for (unsigned k = 0; k < GS_POINT_LANES; k++) {
            const struct ideal *guess = &batch->guess[k < batch->n ? k : 0];
            lanes.a[k] = guess->a;
            lanes.b[k] = guess->b;
        }
        points->nearest_lanes(points, fit->f->run, fit->x + at, fit->h + at, &lanes);
        for (unsigned k = 0; k < batch->n; k++) {
            struct ideal *guess = &batch->guess[k], next = *guess;
            const double sums[5] = {(double)lanes.vv[k], (double)lanes.v[k], fit->oo[run],
                                    (double)lanes.vx[k], fit->ox[run]};
            solve_run(fit, sums, &next);
            guess->uu = next.uu;
            guess->ut = next.ut;
            guess->tt = next.tt;
            if (lanes.error[k] < best->error) {
                *best = *guess;
                best->error = lanes.error[k];
            }
            *guess = next;
        }
    }
    batch->n = 0;
}

/* Adds a guess; a full batch is tried. */
static void guess_run(struct fit *fit, const struct gs_points *points, size_t at,
                      struct ideal guess, struct batch *batch, struct ideal *best)
{
    batch->guess[batch->n++] = guess;
    if (batch->n == GS_POINT_LANES)
        try_batch(fit, points, at, 2, batch, best);
}

/* Where the ladder of clips begins, over the range of the run: the fewer the levels, the
 * more of a tail is worth cutting. */
static float ladder_low(unsigned steps)
{
    return steps > 100 ? 0.96f : steps > 40 ? 0.88f : steps > 20 ? 0.78f : steps > 10 ? 0.6f
           : steps > 6 ? 0.45f : 0.25f;
}

static void ladder_signed(struct fit *fit, const struct gs_points *p, size_t at,
                          unsigned variant, struct ideal *best)
{
    float top = 0, reach = GS_MAX(-p->low, p->high);
    struct batch batch = {.n = 0};
    unsigned n = p->steps > 40 ? LADDER / 2 : LADDER;

    for (size_t i = 0; i < fit->f->run; i++)
        top = GS_MAX(top, fabsf(fit->x[at + i]));
    for (unsigned k = 0; k < n; k++) {
        float low = ladder_low(p->steps), clip = low + (1.08f - low) * (float)k / (float)(n - 1);
        struct ideal guess = {.a = top * clip / reach, .variant = variant};
        guess_run(fit, p, at, guess, &batch, best);
        if (-p->low == p->high)
            continue;
        guess.a = -guess.a;
        guess_run(fit, p, at, guess, &batch, best);
    }
    try_batch(fit, p, at, 2, &batch, best);
}

static void ladder_range(struct fit *fit, const struct gs_points *p, size_t at,
                         struct ideal *best)
{
    const float *x = fit->x + at;
    float low = x[0], high = x[0];
    struct batch batch = {.n = 0};

    for (size_t i = 1; i < fit->f->run; i++) {
        low = GS_MIN(low, x[i]);
        high = GS_MAX(high, x[i]);
    }
    if (fit->f->mins > 1) {
        low = GS_MIN(low, 0);
        high = GS_MAX(high, 0);
    }
    float first = ladder_low(p->steps);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < LADDER / 2; k++) {
            float end = first + (1 - first) * (float)i / 3;
            float clip = first + (1.05f - first) * (float)k / (LADDER / 2 - 1);
            struct ideal guess = {.a = (high * clip - low * end) / (p->high - p->low),
                                  .b = -low * end};
            guess_run(fit, p, at, guess, &batch, best);
        }
    try_batch(fit, p, at, 2, &batch, best);
}

/* Points that are dear to search: the ladder runs on their outline, and a few multiples of
 * its result on them. */
static void ladder_outline(struct fit *fit, const struct gs_points *p, size_t at,
                           struct ideal *best)
{
    for (unsigned variant = 0; variant < p->variants; variant++) {
        struct ideal start = {.error = FLT_MAX, .variant = variant};
        ladder_signed(fit, p->outline, at, variant, &start);
        for (unsigned k = 0; k < GUESSES; k++) {
            struct ideal guess = {.a = start.a * (0.8f + 0.12f * (float)k), .variant = variant};
            try_run(fit, at, guess, 1, best);
        }
    }
}

static void fit_runs(struct fit *fit)
{
    const struct gs_points *p = fit->f->points;

    for (unsigned r = 0; r < fit->runs; r++) {
        struct ideal *best = &fit->ideal[r];
        size_t at = (size_t)r * fit->f->run;
        *best = (struct ideal){.error = FLT_MAX};
        if (has_min(fit->f))
            ladder_range(fit, p, at, best);
        else if (p->outline)
            ladder_outline(fit, p, at, best);
        else
            ladder_signed(fit, p, at, 0, best);
    }
}

/* ---- 2: d and dmin ------------------------------------------------------------------------ */

/* The number of the multiplier nearest to r. */
static unsigned nearest_multiplier(const struct gs_format *f, float r)
{
    unsigned low = 0, high = f->scales - 1;

    if (!f->scale_at) {
        float s = f->step > 0 ? (r - f->first) / f->step : 0;
        return s > 0 ? GS_MIN((unsigned)(s < (float)high ? s + 0.5f : (float)high), high) : 0;
    }
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (f->scale_at(middle) < r)
            low = middle;
        else
            high = middle;
    }
    return f->scale_at(high) - r < r - f->scale_at(low) ? high : low;
}

static float parabola(const struct ideal *run, float a, float b)
{
    float da = a - run->a, db = b - run->b;

    return run->uu * da * da + 2 * run->ut * da * db + run->tt * db * db;
}

/* All runs' multipliers for d, and for the best dmin of a ladder; returns the error. */
static float assign(const struct fit *fit, float d, struct gs_block_scales *out)
{
    const struct gs_format *f = fit->f;
    float a[GS_FORMAT_RUNS], b[GS_FORMAT_RUNS] = {0}, top = 0, best = 0;

    out->d = d;
    for (unsigned r = 0; r < fit->runs; r++) {
        const struct ideal *run = &fit->ideal[r];
        out->s[r] = (uint8_t)(d != 0 ? nearest_multiplier(f, run->a / d) : 0);
        out->variant[r] = (uint8_t)run->variant;
        a[r] = d * gs_format_multiplier(f, out->s[r]);
        if (f->mins > 1) {
            b[r] = run->b - (run->tt > 0 ? run->ut / run->tt * (a[r] - run->a) : 0);
            b[r] = GS_MAX(b[r], 0);
            top = GS_MAX(top, b[r]);
        }
        best += parabola(run, a[r], f->mins > 1 ? 0 : run->b);
    }
    out->dmin = f->mins == 1 ? gs_format_f16(fit->ideal[0].b) : 0;
    memset(out->m, 0, sizeof out->m);
    for (unsigned k = 0; top > 0 && f->mins > 1 && k < LADDER; k++) {
        unsigned m_top = f->mins - 1 - k * (f->mins - 1) / (2 * LADDER);
        struct gs_block_scales trial = *out;
        float error = 0;
        trial.dmin = gs_format_f16(top / (float)m_top);
        for (unsigned r = 0; r < fit->runs && trial.dmin > 0; r++) {
            trial.m[r] = (uint8_t)GS_MIN((unsigned)(b[r] / trial.dmin + 0.5f), f->mins - 1);
            error += parabola(&fit->ideal[r], a[r], trial.dmin * (float)trial.m[r]);
        }
        if (trial.dmin > 0 && error < best) {
            best = error;
            *out = trial;
        }
    }
    return best;
}

static void choose_d(const struct fit *fit, struct gs_block_scales *out)
{
    const struct gs_format *f = fit->f;
    float top = 0, best = FLT_MAX;
    struct gs_block_scales trial = {.d = 1};

    if (f->fixed_d) {
        assign(fit, 1, out);
        return;
    }
    for (unsigned r = 0; r < fit->runs; r++)
        if (fabsf(fit->ideal[r].a) > fabsf(top))
            top = fit->ideal[r].a;
    assign(fit, 0, out);
    for (unsigned k = 0; k < 2 * LADDER; k++) {
        /* Multipliers that the largest run may get: the upper half, and where there are
         * negative ones the lower half. */
        unsigned half = f->scales / 2, step = k / 2 * half / LADDER;
        if (k % 2 && !(f->first < 0))
            continue;
        float multiplier = gs_format_multiplier(f, k % 2 ? step : f->scales - 1 - step);
        if (multiplier == 0)
            continue;
        float error = assign(fit, gs_format_f16(top / multiplier), &trial);
        if (trial.d != 0 && error < best) {
            best = error;
            *out = trial;
        }
        if (f->scales == 1)
            break;
    }
}

/* ---- 3: the real error -------------------------------------------------------------------- */

static float run_error(struct fit *fit, const struct gs_block_scales *scales, unsigned r,
                       float *v)
{
    return search(fit, gs_format_run(fit->f, scales, r), (size_t)r * fit->f->run, v);
}

/* The best multipliers within 1 of those that run r has; leaves its levels in fit->v. */
static float improve_run(struct fit *fit, struct gs_block_scales *scales, unsigned r, bool move)
{
    const struct gs_format *f = fit->f;
    float *v = fit->v + (size_t)r * f->run, best = run_error(fit, scales, r, v);
    struct gs_block_scales start = *scales;
    int reach_s = move && f->scales > 1, reach_m = move && f->mins > 1;

    for (int ds = -reach_s; ds <= reach_s; ds++)
        for (int dm = -reach_m; dm <= reach_m; dm++) {
            struct gs_block_scales trial = start;
            int s = start.s[r] + ds, m = start.m[r] + dm;
            if ((!ds && !dm) || s < 0 || s >= (int)f->scales || m < 0 ||
                (f->mins > 1 && m >= (int)f->mins))
                continue;
            trial.s[r] = (uint8_t)s;
            trial.m[r] = (uint8_t)m;
            float error = run_error(fit, &trial, r, fit->trial);
            if (error < best) {
                best = error;
                *scales = trial;
                memcpy(v, fit->trial, f->run * sizeof *v);
            }
        }
    return best;
}

/* d and dmin by least squares for the levels in fit->v: weight = d u − dmin t. */
static void refit(const struct fit *fit, struct gs_block_scales *scales)
{
    const struct gs_format *f = fit->f;
    double uu = 0, ut = 0, tt = 0, ux = 0, tx = 0;

    for (unsigned r = 0; r < fit->runs; r++) {
        double k = (double)gs_format_multiplier(f, scales->s[r]);
        double m = f->mins == 1 ? 1 : (double)scales->m[r], s[5];
        normal(fit, (size_t)r * f->run, fit->v + (size_t)r * f->run, s);
        uu += k * k * s[0];
        ut += k * m * s[1];
        tt += m * m * s[2];
        ux += k * s[3];
        tx += m * s[4];
    }
    double det = uu * tt - ut * ut;
    if (has_min(f) && det > 1e-12 * uu * tt) {
        scales->d = gs_format_f16((float)((ux * tt - tx * ut) / det));
        scales->dmin = gs_format_f16((float)((ux * ut - tx * uu) / det));
    } else if (uu > 0) {
        double offset = has_min(f) ? (double)scales->dmin * ut : 0;
        scales->d = gs_format_f16((float)((ux + offset) / uu));
    }
}

static float improve(struct fit *fit, struct gs_block_scales *scales, bool move)
{
    float error = 0;

    for (unsigned r = 0; r < fit->runs; r++)
        error += improve_run(fit, scales, r, move);
    return error;
}

void gs_format_fit(const struct gs_format *f, const float *x, const float *h,
                   struct gs_block_scales *out)
{
    struct fit fit = {.f = f, .x = x, .h = h, .runs = f->block / f->run};
    struct gs_memo memo;
    unsigned rounds = f->points->outline ? ROUNDS_DEAR : ROUNDS;
    float sum = 0, best;

    for (unsigned i = 0; i < f->block; i++)
        sum += h[i];
    if (!(sum > 0)) {
        for (unsigned i = 0; i < f->block; i++)
            fit.ones[i] = 1;
        fit.h = fit.ones;
    }
    if (f->points->outline) {
        gs_memo_init(&memo, f->points, x, fit.h);
        fit.memo = &memo;
    }
    memset(out, 0, sizeof *out);
    out->d = 1;
    sum_runs(&fit);
    fit_runs(&fit);
    choose_d(&fit, out);
    best = improve(&fit, out, true);
    for (unsigned i = 0; i < rounds && !f->fixed_d; i++) {
        struct gs_block_scales trial = *out;
        refit(&fit, &trial);
        float error = improve(&fit, &trial, i + 1 < rounds);
        if (!(error < best))
            break;
        best = error;
        *out = trial;
    }
}
