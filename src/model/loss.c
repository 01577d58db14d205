/* SPDX-License-Identifier: MIT
 * What is minimised: cross-entropy with the next token, or the divergence from a teacher.
 *
 *   cross-entropy   −log p[target]                 gradient  p − onehot(target)
 *   KL              Σ_I π (log π − log p)          gradient  p − π on I, 0 elsewhere
 *
 * with p the student's and π the teacher's probabilities, both renormalised over I, the
 * teacher's `top` most likely tokens (all of them without `top`). Among equal logits of the
 * teacher the first tokens are taken. Rows are handed to workers; the exponentials are the
 * kernel's, logarithms (which only the reported loss sees) libm's. */
#include "model/backward.h"

#include <math.h>
#include <string.h>

#define PIECE ((size_t)1024)

struct loss {
    const struct gs_pass *pass;
    float *student, *teacher;
    const int32_t *target;
    size_t V, top;
    float weight;
    double *loss;
};

/* Logits become probabilities; returns the logarithm of Σ exp(x). */
static double soft_max(const struct gs_kernels *k, float *x, size_t n)
{
    float max = k->max_f32(x, n), sum = k->exp_sum_f32(x, max, n), scale = 1 / sum;

    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
    return (double)max + log((double)sum);
}

static void cross_entropy_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct loss *c = ctx;

    for (size_t r = begin; r < end; r++) {
        float *x = c->student + r * c->V;
        int32_t target = c->target[r];
        if (target < 0) {
            memset(x, 0, c->V * sizeof *x);
            c->loss[r] = 0;
            continue;
        }
        double right = (double)x[target];
        c->loss[r] = soft_max(c->pass->run.k, x, c->V) - right;
        x[target] -= 1;
        for (size_t i = 0; i < c->V; i++)
            x[i] *= c->weight;
    }
}

void gs_cross_entropy(const struct gs_pass *pass, float *logits, const int32_t *target,
                      size_t n, size_t V, float weight, double *loss)
{
    struct loss c = {.pass = pass, .student = logits, .target = target, .V = V,
                     .weight = weight, .loss = loss};

    gs_team_run(pass->run.team, n, GS_MAX(32768 / V, 1u), cross_entropy_rows, &c);
}

/* The top-th largest of x by bisection on the order of floats: 32 counts of n numbers. */
static float nth_largest(const float *x, size_t n, size_t top)
{
    uint32_t key = 0;

    for (int bit = 31; bit >= 0; bit--) {
        uint32_t candidate = key | (uint32_t)1 << bit;
        size_t count = 0;
        for (size_t i = 0; i < n; i++) {
            uint32_t u;
            memcpy(&u, &x[i], sizeof u);
            count += (u >> 31 ? ~u : u | 0x80000000u) >= candidate;
        }
        if (count >= top)
            key = candidate;
    }
    uint32_t bits = key >> 31 ? key & 0x7fffffffu : ~key;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Tokens outside the teacher's `top` become −inf in both. */
static void keep_top(float *student, float *teacher, size_t n, size_t top)
{
    float least = nth_largest(teacher, n, top);
    size_t ties = top;

    for (size_t i = 0; i < n; i++)
        ties -= teacher[i] > least;
    for (size_t i = 0; i < n; i++) {
        bool tie = teacher[i] == least && ties > 0;
        ties -= tie;
        if (!tie && !(teacher[i] > least))
            student[i] = teacher[i] = -INFINITY;
    }
}

/* Σ exp(x − max), piece by piece, x being left alone. */
static double exp_sum(const struct gs_kernels *k, const float *x, size_t n, float max)
{
    float piece[PIECE];
    double sum = 0;

    for (size_t i = 0; i < n; i += PIECE) {
        size_t m = GS_MIN(PIECE, n - i);
        memcpy(piece, x + i, m * sizeof *x);
        sum += (double)k->exp_sum_f32(piece, max, m);
    }
    return sum;
}

/* out (n) = exp(x − max) / sum. */
static void probabilities(const struct gs_kernels *k, const float *x, size_t n, float max,
                          double sum, float *out)
{
    float scale = (float)(1 / sum);

    memcpy(out, x, n * sizeof *x);
    k->exp_sum_f32(out, max, n);
    for (size_t i = 0; i < n; i++)
        out[i] *= scale;
}

static double divergence_row(const struct loss *c, float *x, float *y)
{
    const struct gs_kernels *k = c->pass->run.k;
    float p[PIECE], pi[PIECE];

    if (c->top && c->top < c->V)
        keep_top(x, y, c->V, c->top);
    float max_x = k->max_f32(x, c->V), max_y = k->max_f32(y, c->V);
    double sum_x = exp_sum(k, x, c->V, max_x), sum_y = exp_sum(k, y, c->V, max_y);
    double loss = (double)max_x + log(sum_x) - (double)max_y - log(sum_y);

    for (size_t i = 0; i < c->V; i += PIECE) {
        size_t n = GS_MIN(PIECE, c->V - i);
        probabilities(k, x + i, n, max_x, sum_x, p);
        probabilities(k, y + i, n, max_y, sum_y, pi);
        for (size_t j = 0; j < n; j++) {
            if (pi[j] > 0)
                loss += (double)pi[j] * ((double)y[i + j] - (double)x[i + j]);
            x[i + j] = c->weight * (p[j] - pi[j]);
        }
    }
    return loss;
}

static void divergence_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct loss *c = ctx;

    for (size_t r = begin; r < end; r++)
        c->loss[r] = divergence_row(c, c->student + r * c->V, c->teacher + r * c->V);
}

void gs_kl_divergence(const struct gs_pass *pass, float *student, float *teacher, size_t n,
                      size_t V, size_t top, float weight, double *loss)
{
    struct loss c = {.pass = pass, .student = student, .teacher = teacher, .V = V, .top = top,
                     .weight = weight, .loss = loss};

    gs_team_run(pass->run.team, n, GS_MAX(32768 / V, 1u), divergence_rows, &c);
}
