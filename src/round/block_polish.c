/* SPDX-License-Identifier: MIT
 * The polish: coordinate descent over runs, their scales and codes together.
 *
 * With E = W − Ŵ and g = E H (H damped), a change δ of a run R of Ŵ makes the loss
 *
 *     L − 2 δ·g_R + δ H_RR δᵀ  =  L − z D zᵀ + (z − δL) D (z − δL)ᵀ,   z D Lᵀ = g_R,
 *
 * where H_RR = L D Lᵀ is a factor of the run's own. So rounding Ŵ_R with the feedback z to
 * start from is the sweep over one run, the last term is its by-product, and z D zᵀ is what
 * leaving the run alone costs: candidates compare exactly. All rows of a chunk take the same
 * run at a time, so that g moves by one product δ H[R, :].
 *
 * d and dmin: Ŵ of a block is d u − dmin t with u, t fixed by codes and multipliers; the loss
 * is a parabola in (d, dmin) with u H uᵀ, u H tᵀ, t H tᵀ. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "round/block_chunk.h"

/* A move has to lower the loss by more than f32 sums are off. */
#define GAIN_MIN 1e-5

/* ---- tables ------------------------------------------------------------------------------- */

/* The inverse of the symmetric d (dim, dim), by Gauss and Jordan; d is positive definite. */
static void invert(const double *d, size_t stride, size_t dim, float *out)
{
    double a[GS_POINT_DIM][2 * GS_POINT_DIM] = {{0}};

    for (size_t i = 0; i < dim; i++) {
        for (size_t j = 0; j < dim; j++)
            a[i][j] = d[i * stride + j];
        a[i][dim + i] = 1;
    }
    for (size_t k = 0; k < dim; k++) {
        double pivot = 1 / a[k][k];
        for (size_t j = 0; j < 2 * dim; j++)
            a[k][j] *= pivot;
        for (size_t i = 0; i < dim; i++) {
            double factor = i == k ? 0 : a[i][k];
            for (size_t j = 0; j < 2 * dim; j++)
                a[i][j] -= factor * a[k][j];
        }
    }
    for (size_t i = 0; i < dim; i++)
        for (size_t j = 0; j < dim; j++)
            out[i * dim + j] = (float)a[i][dim + j];
}

/* Factors of all H_RR. */
int gs_block_polish_tables(const struct gs_block_round *job, struct gs_team *team,
                           struct gs_block_tables *t, struct gs_err *err)
{
    size_t n = job->cols, run = job->format->run, dim = job->format->points->dim;
    double *h = gs_alloc(run * run, sizeof *h);
    int rc = h ? GS_OK : gs_fail_nomem(err, "rounding");

    for (size_t at = 0; !rc && at < n; at += run) {
        struct gs_ldl ldl;
        for (size_t i = 0; i < run; i++)
            for (size_t j = 0; j < run; j++)
                h[i * run + j] = job->h[(at + i) * n + at + j] +
                                 (i == j ? gs_block_damping(job, at + i) : 0);
        if ((rc = gs_ldl_create(team, h, run, dim, 0, &ldl, err)))
            break;
        for (size_t i = 0; i < run; i++) {
            for (size_t j = 0; j < i; j++)
                t->local_l[(at + i) * run + j] = gs_ldl_lower(&ldl, i, j);
            for (size_t j = 0; j < dim; j++)
                t->local_d[(at + i) * dim + j] = (float)ldl.d[i * GS_LDL_BLOCK + j];
        }
        for (size_t i = 0; i < run; i += dim)
            invert(ldl.d + i * GS_LDL_BLOCK, GS_LDL_BLOCK, dim, t->inverse + (at + i) * dim);
        gs_ldl_clear(&ldl);
    }
    gs_free(&h);
    return rc;
}

/* ---- one run of one row ------------------------------------------------------------------- */

struct run_state {
    const struct gs_format *f;
    const float *l, *d;              /* the run's factor */
    const float *w;                  /* (run) Ŵ */
    const uint32_t *codes;           /* its codes */
    float z[GS_FORMAT_BLOCK];
    float best_y[GS_FORMAT_BLOCK];
    uint32_t best_codes[GS_FORMAT_BLOCK];
    struct gs_block_scales best_scales;
    double best;
};

/* z of z D Lᵀ = g; returns z D zᵀ. */
static double solve(const struct gs_block_tables *t, size_t at, size_t run, size_t dim,
                    const float *g, float *z)
{
    float p[GS_FORMAT_BLOCK]; /* z D */
    double loss = 0;

    for (size_t k = 0; k < run; k += dim) {
        for (size_t j = k; j < k + dim; j++) {
            const float *l = t->local_l + (at + j) * run;
            float sum = g[j];
            for (size_t i = 0; i < k; i++)
                sum -= p[i] * l[i];
            p[j] = sum;
        }
        for (size_t j = k; j < k + dim; j++) {
            z[j] = 0;
            for (size_t i = 0; i < dim; i++)
                z[j] += p[k + i] * t->inverse[(at + j) * dim + i];
            loss += (double)z[j] * (double)p[j];
        }
    }
    return loss;
}

static void try_scales(struct run_state *s, unsigned r, const struct gs_block_scales *scales)
{
    float w[GS_FORMAT_BLOCK], c[GS_FORMAT_BLOCK], y[GS_FORMAT_BLOCK];
    uint32_t codes[GS_FORMAT_BLOCK];
    size_t run = s->f->run;

    memcpy(w, s->w, run * sizeof *w);
    memcpy(c, s->z, run * sizeof *c);
    const struct gs_feedback feedback = {.w = w, .c = c, .l = s->l, .l_stride = run, .d = s->d,
                                         .hint = s->codes, .limit = s->best};
    double loss = s->f->points->feedback(s->f->points, gs_format_run(s->f, scales, r), 0, run,
                                         &feedback, y, codes);
    if (loss < s->best) {
        s->best = loss;
        s->best_scales = *scales;
        memcpy(s->best_y, y, run * sizeof *y);
        memcpy(s->best_codes, codes, gs_format_codes(s->f, run) * sizeof *codes);
    }
}

/* Candidates for the numbers of run r: those tried together. */
struct candidates {
    struct gs_block_scales list[2 * GS_POINT_LANES];
    unsigned n;
};

/* The best of them by lanes, then that one in full; points without lanes: every one in full. */
static void try_candidates(struct run_state *s, unsigned r, const struct candidates *c)
{
    const struct gs_points *p = s->f->points;
    const struct gs_feedback feedback = {.w = gs_unconst(s->w), .c = s->z, .l = s->l,
                                         .l_stride = s->f->run, .d = s->d};
    float least = INFINITY;
    unsigned best = 0;

    for (unsigned i = 0; i < c->n && !p->feedback_lanes; i++)
        try_scales(s, r, &c->list[i]);
    if (!p->feedback_lanes)
        return;
    for (unsigned first = 0; first < c->n; first += GS_POINT_LANES) {
        struct gs_point_lanes lanes;
        unsigned n = GS_MIN(c->n - first, GS_POINT_LANES);
        for (unsigned k = 0; k < GS_POINT_LANES; k++) {
            struct gs_point_run run =
                gs_format_run(s->f, &c->list[first + (k < n ? k : 0)], r);
            lanes.a[k] = run.a;
            lanes.b[k] = run.b;
        }
        p->feedback_lanes(p, s->f->run, &feedback, &lanes);
        for (unsigned k = 0; k < n; k++)
            if (lanes.error[k] < least) {
                least = lanes.error[k];
                best = first + k;
            }
    }
    if (c->n)
        try_scales(s, r, &c->list[best]);
}

/* As many neighbours of the numbers that belong to run r alone as lanes hold: 7 of a scale, 5 × 3
 * of a scale and a minimum. */
static void try_neighbours(struct run_state *s, unsigned r, const struct gs_block_scales *start)
{
    static const float factors[] = {0.94f, 0.97f, 0.985f, 1, 1.015f, 1.03f, 1.06f};
    const struct gs_format *f = s->f;
    struct candidates c = {.n = 0};
    int reach_m = f->mins > 1, reach_s = !f->points->feedback_lanes ? 1 : reach_m ? 2 : 3;

    if (f->scales == 1) {
        for (size_t i = 0; i < GS_COUNT(factors); i++) {
            c.list[c.n] = *start;
            c.list[c.n++].d = gs_format_f16(start->d * factors[i]);
        }
        try_candidates(s, r, &c);
        return;
    }
    for (unsigned variant = 0; variant < f->points->variants; variant++) {
        c.n = 0;
        for (int i = 0; i <= 2 * reach_s; i++) { /* 0, −1, 1, …: a good one first sets a limit */
            int ds = i % 2 ? -(i + 1) / 2 : i / 2;
            for (int dm = -reach_m; dm <= reach_m; dm++) {
                int number = start->s[r] + ds, min = start->m[r] + dm;
                if (number < 0 || number >= (int)f->scales || min < 0 ||
                    (f->mins > 1 && min >= (int)f->mins))
                    continue;
                struct gs_block_scales *trial = &c.list[c.n++];
                *trial = *start;
                trial->s[r] = (uint8_t)number;
                trial->m[r] = (uint8_t)min;
                trial->variant[r] = (uint8_t)variant;
            }
        }
        try_candidates(s, r, &c);
    }
}

/* Run at column `at` of row i; writes −δ into the product's operand. Returns the gain. */
static double polish_run(struct gs_block_chunk *c, size_t i, size_t at)
{
    const struct gs_block_tables *t = c->tables;
    const struct gs_format *f = c->job->format;
    size_t n = c->job->cols, run = f->run, dim = f->points->dim;
    struct gs_block_scales *scales = gs_chunk_scales(c, i, at);
    float *values = c->values + i * n + at, *w = gs_chunk_w(c, i) + at;
    struct run_state s = {.f = f, .l = t->local_l + at * run, .d = t->local_d + at * dim,
                          .w = values, .codes = gs_chunk_codes(c, i, at)};
    double old = solve(t, at, run, dim, c->g + i * n + at, s.z);
    bool better;

    s.best = old - GAIN_MIN * old;
    s.best_scales = *scales;
    double limit = s.best;
    try_neighbours(&s, (unsigned)(at % f->block / run), scales);
    better = s.best < limit;
    for (size_t j = 0; j < run; j++) {
        float delta = better ? s.best_y[j] - values[j] : 0;
        *gs_chunk_panel(c->panels, run, i, j) = -delta;
        w[j] -= delta;
        values[j] += delta;
    }
    if (!better)
        return 0;
    memcpy(values, s.best_y, run * sizeof *values);
    memcpy(gs_chunk_codes(c, i, at), s.best_codes,
           gs_format_codes(f, run) * sizeof *s.best_codes);
    *scales = s.best_scales;
    return old - s.best;
}

/* ---- d and dmin of a block ---------------------------------------------------------------- */

static void clear_panels(struct gs_block_chunk *c, size_t columns)
{
    memset(c->panels, 0, GS_BLOCK_CHUNK * columns * sizeof *c->panels);
}

/* out (rows, block) = x H[block, block]. */
static void times_block(struct gs_block_chunk *c, size_t at, const float *x, float *out)
{
    size_t n = c->job->cols, block = c->job->format->block;

    gs_pack_a_f32(c->panels, (struct gs_operand_f32){x, GS_BLOCK_SPAN, 1}, c->rows, block, 1);
    memset(out, 0, GS_BLOCK_CHUNK * GS_BLOCK_SPAN * sizeof *out);
    gs_mul_panels_f32(c->rows, block, block, c->panels, GS_PANEL_ROWS * block,
                      c->tables->h + at * n + at * GS_PANEL_F32, GS_PANEL_F32 * n, out,
                      GS_BLOCK_SPAN);
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Levels times multipliers, and minima, of the block's weights. */
static void directions(const struct gs_block_chunk *c, size_t i, size_t at, float *u, float *t)
{
    const struct gs_format *f = c->job->format;
    const struct gs_block_scales *scales = gs_chunk_scales(c, i, at);
    const uint32_t *codes = gs_chunk_codes(c, i, at);

    for (size_t j = 0; j < f->block; j += f->points->dim) {
        unsigned r = (unsigned)(j / f->run);
        float multiplier = gs_format_multiplier(f, scales->s[r]);
        f->points->value(f->points, scales->variant[r], codes[j / f->points->dim], u + j);
        for (size_t k = j; k < j + f->points->dim; k++) {
            u[k] *= multiplier;
            t[k] = f->mins == 1 ? 1 : (float)scales->m[r];
        }
    }
}

/* What a decoder will read for the block's codes and scales. */
static void write_values(const struct gs_block_chunk *c, size_t i, size_t at, float *y)
{
    const struct gs_format *f = c->job->format;
    const struct gs_block_scales *scales = gs_chunk_scales(c, i, at);
    const uint32_t *codes = gs_chunk_codes(c, i, at);

    for (size_t j = 0; j < f->block; j += f->points->dim) {
        struct gs_point_run run = gs_format_run(f, scales, (unsigned)(j / f->run));
        f->points->value(f->points, run.variant, codes[j / f->points->dim], y + j);
        for (size_t k = j; k < j + f->points->dim; k++)
            y[k] = run.a * y[k] - run.b;
    }
}

/* The least-squares step of (d, dmin) of row i, as f16 numbers; writes −δ. Returns the gain. */
static double move_d(struct gs_block_chunk *c, size_t i, size_t at)
{
    const struct gs_format *f = c->job->format;
    size_t n = c->job->cols, block = f->block, span = i * GS_BLOCK_SPAN;
    struct gs_block_scales *scales = gs_chunk_scales(c, i, at), trial = *scales;
    const float *u = c->u + span, *t = c->t + span, *hu = c->hu + span, *ht = c->ht + span;
    const float *g = c->g + i * n + at;
    float *values = c->values + i * n + at, *w = gs_chunk_w(c, i) + at, y[GS_FORMAT_BLOCK];
    double uu = dot(u, hu, block), ug = dot(u, g, block), ut = 0, tt = 0, tg = 0;

    if (f->mins) {
        ut = dot(t, hu, block);
        tt = dot(t, ht, block);
        tg = dot(t, g, block);
    }
    double det = uu * tt - ut * ut, dd = uu > 0 ? ug / uu : 0, dm = 0;
    if (f->mins && det > 1e-9 * uu * tt) {
        dd = (ug * tt - tg * ut) / det;
        dm = (ug * ut - tg * uu) / det;
    }
    trial.d = gs_format_f16(scales->d + (float)dd);
    trial.dmin = gs_format_f16(scales->dmin + (float)dm);
    dd = (double)trial.d - (double)scales->d;
    dm = (double)trial.dmin - (double)scales->dmin;
    double gain = 2 * (dd * ug - dm * tg) - (dd * dd * uu - 2 * dd * dm * ut + dm * dm * tt);
    bool better = gain > GAIN_MIN * fabs(dd * ug) && trial.d != 0;
    if (!better)
        return 0;
    *scales = trial;
    write_values(c, i, at, y);
    for (size_t j = 0; j < block; j++) {
        float delta = y[j] - values[j];
        *gs_chunk_panel(c->panels, block, i, j) = -delta;
        w[j] -= delta;
        values[j] = y[j];
    }
    return gain;
}

static double polish_d(struct gs_block_chunk *c, size_t at)
{
    size_t n = c->job->cols, block = c->job->format->block;
    double gain = 0;

    for (size_t i = 0; i < c->rows; i++)
        directions(c, i, at, c->u + i * GS_BLOCK_SPAN, c->t + i * GS_BLOCK_SPAN);
    times_block(c, at, c->u, c->hu);
    if (c->job->format->mins)
        times_block(c, at, c->t, c->ht);
    clear_panels(c, block);
    for (size_t i = 0; i < c->rows; i++)
        gain += move_d(c, i, at);
    gs_mul_panels_f32(c->rows, n, block, c->panels, GS_PANEL_ROWS * block,
                      c->tables->h + at * GS_PANEL_F32, GS_PANEL_F32 * n, c->g, n);
    return gain;
}

double gs_block_polish(struct gs_block_chunk *c)
{
    const struct gs_format *f = c->job->format;
    size_t n = c->job->cols;
    double gain = 0;

    for (size_t block = 0; block < n; block += f->block) {
        for (size_t at = block; at < block + f->block; at += f->run) {
            clear_panels(c, f->run);
            for (size_t i = 0; i < c->rows; i++)
                gain += polish_run(c, i, at);
            gs_mul_panels_f32(c->rows, n, f->run, c->panels, GS_PANEL_ROWS * f->run,
                              c->tables->h + at * GS_PANEL_F32, GS_PANEL_F32 * n, c->g, n);
        }
        if (!f->fixed_d)
            gain += polish_d(c, block);
    }
    return gain;
}
