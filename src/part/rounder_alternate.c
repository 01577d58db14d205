/* SPDX-License-Identifier: MIT
 * Codes and scales in turn (decoupleQ, arXiv:2404.12759): with the scales fixed, codes by
 * feedback; with the codes fixed, the scales and zeros of a row that make its loss least,
 *
 *     Ŵ = Φ θ,   θ = (s_0 … s_G, b_0 … b_G),   b = −s·z,   (Φᵀ H Φ) θ = Φᵀ H Wᵀ
 *
 * with the points p of a group in column c of Φ and ones in column G + c. Zeros are fitted
 * where they are stored as numbers (zero_bits = 0). A row keeps what is better, so its loss
 * never rises. Groups lie within one row. */
#include <math.h>
#include <string.h>

#include "linalg/lu.h"
#include "part/members.h"

#define ROUNDS 4u
/* Added to the normal matrix's diagonal, over its mean: unused groups must not break it. */
#define RIDGE 1e-9

struct row_fit {
    const struct gs_part_rows *rows;
    size_t n, groups, unknowns;
    bool zeros;
    double *t;        /* (unknowns, n) Φᵀ H */
    double *matrix;   /* (unknowns, unknowns) */
    double *theta;    /* (unknowns) */
    double *loss;     /* (rows) */
    size_t *pivot;    /* (unknowns) */
    float *points, *y; /* (n) points without scale and zero; values of a trial */
    uint64_t *codes;  /* (rows, n / dim), with y_old: before a trial */
    float *y_old;     /* (rows, n) */
    struct gs_group *old; /* (groups) */
    uint8_t *feedback;
};

static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t layout(const struct gs_part_work *work, uint8_t *scratch, struct row_fit *f)
{
    const struct gs_part_form *form = work->form;
    size_t n = form->cols, G = form->n_group_cols, U = 2 * G, rows = work->chunk, at = 0;
    const size_t sizes[] = {U * n * sizeof(double), U * U * sizeof(double), U * sizeof(double),
                            rows * sizeof(double), U * sizeof(size_t), n * sizeof(float),
                            n * sizeof(float), rows * n * sizeof(uint64_t),
                            rows * n * sizeof(float), G * sizeof(struct gs_group)};
    void *parts[GS_COUNT(sizes)];

    for (size_t i = 0; i < GS_COUNT(sizes); i++) {
        parts[i] = scratch ? scratch + at : NULL;
        at += aligned(sizes[i]);
    }
    f->t = parts[0];
    f->matrix = parts[1];
    f->theta = parts[2];
    f->loss = parts[3];
    f->pivot = parts[4];
    f->points = parts[5];
    f->y = parts[6];
    f->codes = parts[7];
    f->y_old = parts[8];
    f->old = parts[9];
    f->feedback = scratch ? scratch + at : NULL;
    return at + gs_part_rounder_gptq.scratch(work);
}

static size_t alternate_scratch(const struct gs_part_work *work)
{
    struct row_fit f;

    return layout(work, NULL, &f);
}

/* e H eᵀ of row r with values y (n). */
static double row_loss(const struct row_fit *f, size_t r, const float *y)
{
    const struct gs_part_work *work = f->rows->work;
    const float *w = work->w + (f->rows->row + r) * f->n;
    double sum = 0;

    for (size_t i = 0; i < f->n; i++) {
        const float *h = work->input->h32 + i * f->n;
        double inner = 0;
        for (size_t j = 0; j < f->n; j++)
            inner += (double)h[j] * ((double)w[j] - (double)y[j]);
        sum += ((double)w[i] - (double)y[i]) * inner;
    }
    return sum;
}

static struct gs_group *row_groups(const struct row_fit *f, size_t r)
{
    return f->rows->work->groups.list + (f->rows->row + r) * f->groups;
}

/* Values of row r's codes with its groups; `bare`: scale 1 and zero 0 instead. */
static void row_values(const struct row_fit *f, size_t r, bool bare, float *y)
{
    const struct gs_part_form *form = f->rows->work->form;
    size_t dim = form->codebook->dim;

    for (size_t c = 0; c < f->n; c += dim) {
        struct gs_group group = row_groups(f, r)[c / form->group_cols];
        if (bare) {
            group.scale = 1;
            group.zero = f->zeros ? 0 : group.zero;
        }
        gs_codebook_value(form->codebook, &group, f->rows->codes[(r * f->n + c) / dim], y + c);
    }
}

/* Φᵀ H: points weigh the first rows, ones the others. */
static void build_t(const struct row_fit *f)
{
    const struct gs_part_work *work = f->rows->work;

    memset(f->t, 0, f->unknowns * f->n * sizeof *f->t);
    for (size_t i = 0; i < f->n; i++) {
        const float *h = work->input->h32 + i * f->n;
        double p = (double)f->points[i];
        double *t = f->t + i / work->form->group_cols * f->n;
        double *ones = f->zeros ? t + f->groups * f->n : NULL;
        for (size_t j = 0; j < f->n; j++)
            t[j] += p * (double)h[j];
        for (size_t j = 0; ones && j < f->n; j++)
            ones[j] += (double)h[j];
    }
}

/* θ of row r; false if there is none. */
static bool solve(const struct row_fit *f, size_t r)
{
    const struct gs_part_work *work = f->rows->work;
    const float *w = work->w + (f->rows->row + r) * f->n;
    size_t U = f->unknowns, width = work->form->group_cols;
    double trace = 0;

    build_t(f);
    memset(f->matrix, 0, U * U * sizeof *f->matrix);
    for (size_t u = 0; u < U; u++) {
        double sum = 0;
        for (size_t j = 0; j < f->n; j++) {
            double t = f->t[u * f->n + j];
            f->matrix[u * U + j / width] += t * (double)f->points[j];
            if (f->zeros)
                f->matrix[u * U + f->groups + j / width] += t;
            sum += t * (double)w[j];
        }
        f->theta[u] = sum;
        trace += f->matrix[u * U + u];
    }
    for (size_t u = 0; u < U; u++)
        f->matrix[u * U + u] += RIDGE * trace / (double)U;
    if (!(trace > 0) || !gs_lu_factor(f->matrix, U, f->pivot))
        return false;
    gs_lu_solve(f->matrix, U, f->pivot, f->theta, 1);
    return true;
}

/* The best scales and zeros for row r's codes, kept if they are better when stored. */
static bool refit_row(const struct row_fit *f, size_t r)
{
    const struct gs_part_form *form = f->rows->work->form;
    struct gs_group *groups = row_groups(f, r);

    row_values(f, r, true, f->points);
    if (!solve(f, r))
        return false;
    memcpy(f->old, groups, f->groups * sizeof *groups);
    for (size_t g = 0; g < f->groups; g++) {
        float scale = form->rule->round((float)f->theta[g]);
        if (!isfinite(scale) || !(scale > 0))
            continue;
        groups[g].scale = scale;
        if (f->zeros)
            groups[g].zero = form->rule->round((float)(-f->theta[f->groups + g] / (double)scale));
    }
    row_values(f, r, false, f->y);
    double loss = row_loss(f, r, f->y);
    if (loss < f->loss[r]) {
        f->loss[r] = loss;
        memcpy(f->rows->work->y + (f->rows->row + r) * f->n, f->y, f->n * sizeof *f->y);
        return true;
    }
    memcpy(groups, f->old, f->groups * sizeof *groups);
    return false;
}

/* Codes anew; rows that get worse keep the old ones. */
static bool recode_rows(const struct row_fit *f)
{
    const struct gs_part_rows *rows = f->rows;
    size_t n = f->n, codes = n / rows->work->form->codebook->dim;
    float *y = rows->work->y + rows->row * n;
    bool any = false;

    memcpy(f->codes, rows->codes, rows->rows * codes * sizeof *f->codes);
    memcpy(f->y_old, y, rows->rows * n * sizeof *y);
    struct gs_part_rows inner = *rows;
    inner.scratch = f->feedback;
    gs_part_rounder_gptq.run(&inner);
    for (size_t r = 0; r < rows->rows; r++) {
        double loss = row_loss(f, r, y + r * n);
        if (loss < f->loss[r]) {
            f->loss[r] = loss;
            any = true;
            continue;
        }
        memcpy(rows->codes + r * codes, f->codes + r * codes, codes * sizeof *f->codes);
        memcpy(y + r * n, f->y_old + r * n, n * sizeof *y);
    }
    return any;
}

static void alternate_run(const struct gs_part_rows *rows)
{
    const struct gs_part_form *form = rows->work->form;
    struct row_fit f;
    struct gs_part_rows inner = *rows;

    layout(rows->work, rows->scratch, &f);
    f.rows = rows;
    f.n = form->cols;
    f.groups = form->n_group_cols;
    f.zeros = form->codebook->has_zero && !form->codebook->zero_bits;
    f.unknowns = f.groups * (f.zeros ? 2 : 1);
    inner.scratch = f.feedback;
    gs_part_rounder_gptq.run(&inner);
    for (size_t r = 0; r < rows->rows; r++)
        f.loss[r] = row_loss(&f, r, rows->work->y + (rows->row + r) * f.n);
    for (uint64_t round = 0; round < rows->work->sweeps; round++) {
        bool any = false;
        for (size_t r = 0; r < rows->rows; r++)
            any = refit_row(&f, r) || any;
        if (!any || !recode_rows(&f))
            return;
    }
}

const struct gs_part_rounder gs_part_rounder_decoupleq = {
    .name = "decoupleq",
    .paper = "Guo et al., decoupleQ, arXiv:2404.12759",
    .uses_h = true,
    .feeds = true,
    .descends = true,
    .alternates = true,
    .sweeps = ROUNDS,
    .scratch = alternate_scratch,
    .run = alternate_run,
};
