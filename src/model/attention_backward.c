/* SPDX-License-Identifier: MIT
 * Causal grouped-query attention of whole texts, and its gradient, without a matrix of
 * T × T: a worker holds a strip of ROWS queries against the keys that they see
 * (FlashAttention, Dao et al., arXiv:2205.14135, with strips for tiles).
 *
 *   S = scale · Q Kᵀ    P = softmax(S), 0 where masked    y = P V
 *
 * Of every query only the largest score m and z = 1 / Σ exp(s − m) are kept; the backward
 * computes S again, P = exp(S − m) · z, and with Δ = Σ_d G y (a number a query)
 *
 *   dP = G Vᵀ     dS = P ⊙ (dP − Δ)    (⊙ 1 − (s/cap)², with a soft cap)
 *   dQ = scale · dS K      dK += scale · dSᵀ Q      dV += Pᵀ G
 *
 * A task is one text and query head forwards; backwards one text and key/value head, whose
 * query heads add to dK and dV one after another. Keys and values are packed once a task
 * (linalg/mul.h):
 *
 *           positions lo … hi-1 that some query of the strip sees
 *   strip   ▒▒█████████████▒▒▒       ▒: masked for some rows, computed and set to 0
 *   of 64   ▒▒▒█████████████▒▒ */
#include "model/backward.h"

#include <string.h>

#define ROWS ((size_t)64)
#define ROUND(n) (((n) + GS_PANEL_F32 - 1) / GS_PANEL_F32 * GS_PANEL_F32)

struct attend {
    const struct gs_pass *pass;
    const struct gs_attention *a;
    const struct gs_heads *n;
    const float *q, *k, *v, *dy;
    float *y, *soft, *dq, *dk, *dv;
};

/* A worker's scratch; T₃₂ and so on are rounded up to whole panels. */
struct room {
    float *keys_t, *keys;     /* Kᵀ (D, T₃₂), K (T, D₃₂) as right operands */
    float *values_t, *values; /* Vᵀ (Dv, T₃₂), V (T, Dv₃₂) */
    float *scores, *grads;    /* (ROWS, T) */
    float *capped;            /* (ROWS, T), only with a soft cap */
    float *left, *right;      /* packed strips */
};

static size_t place(const struct gs_heads *n, size_t T, bool softcap, float *base,
                    struct room *r)
{
    size_t width = GS_MAX(n->D, n->Dv), wide = ROUND(GS_MAX(width, T));
    const struct {
        float **field;
        size_t floats;
    } parts[] = {
        {&r->keys_t, n->D * ROUND(T)},   {&r->keys, T * ROUND(n->D)},
        {&r->values_t, n->Dv * ROUND(T)}, {&r->values, T * ROUND(n->Dv)},
        {&r->scores, ROWS * T},          {&r->grads, ROWS * T},
        {&r->capped, softcap ? ROWS * T : 0}, {&r->left, ROWS * wide},
        {&r->right, ROWS * ROUND(width)},
    };
    size_t used = 0;

    for (size_t i = 0; i < GS_COUNT(parts); i++) {
        *parts[i].field = base ? base + used : NULL;
        used += (parts[i].floats + 15) / 16 * 16;
    }
    return used;
}

size_t gs_attention_train_scratch(const struct gs_heads *heads, size_t T, bool softcap)
{
    struct room r;

    return place(heads, T, softcap, NULL, &r);
}

/* One head of one text and one strip of its queries. */
struct strip {
    size_t first, rows; /* tokens of the text */
    size_t lo, hi;      /* positions */
    size_t span;        /* hi − lo */
};

static size_t first_seen(const struct gs_attention *a, size_t position)
{
    return a->window && position >= a->window ? position - a->window + 1 : 0;
}

static struct strip strip_at(const struct attend *c, size_t first)
{
    struct strip s = {.first = first, .rows = GS_MIN(ROWS, c->pass->T - first),
                      .lo = first_seen(c->a, first)};

    s.lo = s.lo / GS_PANEL_F32 * GS_PANEL_F32; /* where a panel of keys begins */
    s.hi = s.first + s.rows;
    s.span = s.hi - s.lo;
    return s;
}

/* out (rows, span) = left (rows, depth), row-major and `stride` apart, times columns lo … of
 * the packed right operand. */
static void times_positions(const struct strip *s, const float *left, size_t stride,
                            size_t depth, const float *packed, float *pack, float *out)
{
    gs_pack_a_f32(pack, (struct gs_operand_f32){left, stride, 1}, s->rows, depth, 1);
    memset(out, 0, s->rows * s->span * sizeof *out);
    gs_mul_panels_f32(s->rows, s->span, depth, pack, GS_PANEL_ROWS * depth,
                      packed + s->lo * depth, GS_PANEL_F32 * depth, out, s->span);
}

/* out (rows, width), `stride` apart, += left (rows, span) · rows lo … of a packed (T, width). */
static void over_positions(const struct attend *c, const struct strip *s, const float *left,
                           const float *packed, size_t width, float *pack, float *out,
                           size_t stride)
{
    gs_pack_a_f32(pack, (struct gs_operand_f32){left, s->span, 1}, s->rows, s->span, 1);
    gs_mul_panels_f32(s->rows, width, s->span, pack, GS_PANEL_ROWS * s->span,
                      packed + s->lo * GS_PANEL_F32, GS_PANEL_F32 * c->pass->T, out, stride);
}

/* Raw scores to scaled and capped ones; those that a row does not see are left alone. */
static void scale_row(const struct attend *c, float *scores, size_t n)
{
    struct gs_run alone = {.k = c->pass->run.k};

    for (size_t i = 0; i < n; i++)
        scores[i] *= c->a->scale;
    if (c->a->softcap != 0)
        gs_softcap_forward(&alone, c->a->softcap, scores, n);
}

/* The seen part of row r: begins at *seen of the span and has so many positions. */
static size_t seen_part(const struct attend *c, const struct strip *s, size_t r, size_t *seen)
{
    size_t position = s->first + r, lo = first_seen(c->a, position);

    *seen = lo - s->lo;
    return position + 1 - lo;
}

static void mask_row(float *row, size_t seen, size_t n, size_t span)
{
    memset(row, 0, seen * sizeof *row);
    memset(row + seen + n, 0, (span - seen - n) * sizeof *row);
}

static void attend_strip(const struct attend *c, const struct strip *s, const struct room *r,
                         size_t row, size_t h)
{
    const struct gs_heads *n = c->n;
    const struct gs_kernels *k = c->pass->run.k;
    size_t stride = n->H * n->Dv;
    float *y = c->y + (row * n->H + h) * n->Dv;

    times_positions(s, c->q + (row * n->H + h) * n->D, n->H * n->D, n->D, r->keys_t, r->left,
                    r->scores);
    for (size_t i = 0; i < s->rows; i++) {
        size_t seen, count = seen_part(c, s, i, &seen);
        float *scores = r->scores + i * s->span, *soft = c->soft + 2 * ((row + i) * n->H + h);
        scale_row(c, scores + seen, count);
        soft[0] = k->max_f32(scores + seen, count);
        soft[1] = 1 / k->exp_sum_f32(scores + seen, soft[0], count);
        mask_row(scores, seen, count, s->span);
        memset(y + i * stride, 0, n->Dv * sizeof *y);
    }
    over_positions(c, s, r->scores, r->values, n->Dv, r->left, y, stride);
    for (size_t i = 0; i < s->rows; i++) {
        float z = c->soft[2 * ((row + i) * n->H + h) + 1];
        for (size_t d = 0; d < n->Dv; d++)
            y[i * stride + d] *= z;
    }
}

static void attend_heads(void *ctx, size_t begin, size_t end, int worker)
{
    const struct attend *c = ctx;
    const struct gs_heads *n = c->n;
    size_t T = c->pass->T;
    struct room r;

    place(n, T, c->a->softcap != 0, gs_run_scratch(&c->pass->run, worker), &r);
    for (size_t i = begin; i < end; i++) {
        size_t text = i / n->H * T, h = i % n->H, g = h / (n->H / n->G);
        const float *k = c->k + (text * n->G + g) * n->D, *v = c->v + (text * n->G + g) * n->Dv;
        gs_pack_b_f32(r.keys_t, (struct gs_operand_f32){k, 1, n->G * n->D}, n->D, T);
        gs_pack_b_f32(r.values, (struct gs_operand_f32){v, n->G * n->Dv, 1}, T, n->Dv);
        for (size_t t = 0; t < T; t += ROWS) {
            struct strip s = strip_at(c, t);
            attend_strip(c, &s, &r, text + t, h);
        }
    }
}

void gs_attention_train(const struct gs_pass *pass, const struct gs_attention *a,
                        const struct gs_heads *heads, const float *q, const float *k,
                        const float *v, float *y, float *soft)
{
    struct attend c = {.pass = pass, .a = a, .n = heads, .q = q, .k = k, .v = v, .y = y,
                       .soft = soft};

    gs_team_run(pass->run.team, pass->B * heads->H, 1, attend_heads, &c);
}

/* ---- backward --------------------------------------------------------------------------- */

/* scores become P; with a soft cap `capped` keeps the capped scores. */
static void probabilities(const struct attend *c, const struct strip *s, const struct room *r,
                          size_t row, size_t h)
{
    for (size_t i = 0; i < s->rows; i++) {
        size_t seen, count = seen_part(c, s, i, &seen);
        float *scores = r->scores + i * s->span;
        const float *soft = c->soft + 2 * ((row + i) * c->n->H + h);
        scale_row(c, scores + seen, count);
        if (c->a->softcap != 0)
            memcpy(r->capped + i * s->span + seen, scores + seen, count * sizeof *scores);
        c->pass->run.k->exp_sum_f32(scores + seen, soft[0], count);
        for (size_t p = seen; p < seen + count; p++)
            scores[p] *= soft[1];
        mask_row(scores, seen, count, s->span);
    }
}

/* grads, which hold dP, become scale · dS. */
static void score_gradients(const struct attend *c, const struct strip *s,
                            const struct room *r, size_t row, size_t h)
{
    const struct gs_heads *n = c->n;
    float cap = c->a->softcap;

    for (size_t i = 0; i < s->rows; i++) {
        size_t seen, count = seen_part(c, s, i, &seen), at = ((row + i) * n->H + h) * n->Dv;
        float delta = c->pass->run.k->dot[GS_TYPE_F32](c->dy + at, c->y + at, n->Dv);
        const float *p = r->scores + i * s->span, *capped = r->capped + i * s->span;
        float *g = r->grads + i * s->span;
        for (size_t j = 0; j < s->span; j++)
            g[j] = p[j] * (g[j] - delta) * c->a->scale;
        for (size_t j = seen; cap != 0 && j < seen + count; j++)
            g[j] *= 1 - capped[j] / cap * (capped[j] / cap);
    }
}

/* out (span, width), `stride` apart, += leftᵀ · right, left (rows, span), right (rows, width)
 * `right_stride` apart. */
static void onto_positions(const struct strip *s, const struct room *r, const float *left,
                           const float *right, size_t right_stride, size_t width, float *out,
                           size_t stride)
{
    gs_pack_a_f32(r->left, (struct gs_operand_f32){left, 1, s->span}, s->span, s->rows, 1);
    gs_pack_b_f32(r->right, (struct gs_operand_f32){right, right_stride, 1}, s->rows, width);
    gs_mul_panels_f32(s->span, width, s->rows, r->left, GS_PANEL_ROWS * s->rows, r->right,
                      GS_PANEL_F32 * s->rows, out, stride);
}

static void differentiate_strip(const struct attend *c, const struct strip *s,
                                const struct room *r, size_t text, size_t h, size_t g)
{
    const struct gs_heads *n = c->n;
    size_t row = text + s->first, key = (text + s->lo) * n->G + g;
    const float *q = c->q + (row * n->H + h) * n->D, *dy = c->dy + (row * n->H + h) * n->Dv;
    float *dq = c->dq + (row * n->H + h) * n->D;

    times_positions(s, q, n->H * n->D, n->D, r->keys_t, r->left, r->scores);
    probabilities(c, s, r, row, h);
    onto_positions(s, r, r->scores, dy, n->H * n->Dv, n->Dv, c->dv + key * n->Dv,
                   n->G * n->Dv);
    times_positions(s, dy, n->H * n->Dv, n->Dv, r->values_t, r->left, r->grads);
    score_gradients(c, s, r, row, h);
    for (size_t i = 0; i < s->rows; i++)
        memset(dq + i * n->H * n->D, 0, n->D * sizeof *dq);
    over_positions(c, s, r->grads, r->keys, n->D, r->left, dq, n->H * n->D);
    onto_positions(s, r, r->grads, q, n->H * n->D, n->D, c->dk + key * n->D, n->G * n->D);
}

static void differentiate_groups(void *ctx, size_t begin, size_t end, int worker)
{
    const struct attend *c = ctx;
    const struct gs_heads *n = c->n;
    size_t T = c->pass->T, group = n->H / n->G;
    struct room r;

    place(n, T, c->a->softcap != 0, gs_run_scratch(&c->pass->run, worker), &r);
    for (size_t i = begin; i < end; i++) {
        size_t text = i / n->G * T, g = i % n->G, at = text * n->G + g;
        const float *k = c->k + at * n->D, *v = c->v + at * n->Dv;
        gs_pack_b_f32(r.keys_t, (struct gs_operand_f32){k, 1, n->G * n->D}, n->D, T);
        gs_pack_b_f32(r.keys, (struct gs_operand_f32){k, n->G * n->D, 1}, T, n->D);
        gs_pack_b_f32(r.values_t, (struct gs_operand_f32){v, 1, n->G * n->Dv}, n->Dv, T);
        for (size_t t = 0; t < T; t++) {
            memset(c->dk + (at + t * n->G) * n->D, 0, n->D * sizeof *c->dk);
            memset(c->dv + (at + t * n->G) * n->Dv, 0, n->Dv * sizeof *c->dv);
        }
        for (size_t h = g * group; h < (g + 1) * group; h++)
            for (size_t t = 0; t < T; t += ROWS) {
                struct strip s = strip_at(c, t);
                differentiate_strip(c, &s, &r, text, h, g);
            }
    }
}

void gs_attention_backward(const struct gs_pass *pass, const struct gs_attention *a,
                           const struct gs_heads *heads, const float *q, const float *k,
                           const float *v, const float *y, const float *soft, const float *dy,
                           float *dq, float *dk, float *dv)
{
    struct attend c = {.pass = pass, .a = a, .n = heads, .q = q, .k = k, .v = v, .dy = dy,
                       .dq = dq, .dk = dk, .dv = dv};

    c.y = gs_unconst(y);
    c.soft = gs_unconst(soft);
    gs_team_run(pass->run.team, pass->B * heads->G, 1, differentiate_groups, &c);
}
