/* SPDX-License-Identifier: MIT
 * The next token. Candidates are ordered by (logit down, id up), a total order, so ties do
 * not depend on how they are found.
 *
 * All V candidates become a heap in O(V); the largest are then popped one by one, and only
 * as many as the rules keep:
 *
 *   [ heap, the rest of the vocabulary | … 3rd | 2nd | largest ]
 *                                        ◄── popped from the end on, n_kept of them
 *
 *   penalty  (arXiv:1909.05858)  a logit seen in the last repeat_last_n tokens is divided by
 *            the penalty if positive, else multiplied
 *   top-k    the k largest
 *   top-p    (arXiv:1904.09751)  the shortest run of them that holds probability top_p
 *   min-p    (arXiv:2407.01082)  those at least min_p times as likely as the first
 *   draw     with probability ∝ exp(logit / temp)
 *
 * Top-p looks at the probabilities before the temperature, among those that top-k left. */
#include "model/sampler.h"

#include <assert.h>
#include <math.h>

#include "core/alloc.h"

#define LAST_N_MAX (1 << 20)

struct candidate {
    float logit;
    int32_t id;
};

struct gs_sampler {
    struct gs_sampling params;
    uint32_t n_vocab;
    struct gs_rng rng;
    struct candidate *candidates; /* n_vocab */
    uint32_t *seen;               /* n_vocab: occurrences in `recent` */
    int32_t *recent;              /* a ring of repeat_last_n tokens */
    size_t n_recent, next;
};

static int check_params(const struct gs_sampling *p, struct gs_err *err)
{
    if (!(p->temp >= 0 && p->temp <= 1e6f))
        return gs_fail(err, GS_E_ARG, "temp is %g, expected 0 to 1e6", (double)p->temp);
    if (p->top_k < 0)
        return gs_fail(err, GS_E_ARG, "top_k is %d, expected 0 or more", p->top_k);
    if (!(p->top_p >= 0 && p->top_p <= 1))
        return gs_fail(err, GS_E_ARG, "top_p is %g, expected 0 to 1", (double)p->top_p);
    if (!(p->min_p >= 0 && p->min_p <= 1))
        return gs_fail(err, GS_E_ARG, "min_p is %g, expected 0 to 1", (double)p->min_p);
    if (!(p->repeat_penalty >= 1e-3f && p->repeat_penalty <= 1e3f))
        return gs_fail(err, GS_E_ARG, "repeat_penalty is %g, expected 0.001 to 1000",
                       (double)p->repeat_penalty);
    if (p->repeat_last_n < 0 || p->repeat_last_n > LAST_N_MAX)
        return gs_fail(err, GS_E_ARG, "repeat_last_n is %d, expected 0 to %d",
                       p->repeat_last_n, LAST_N_MAX);
    return GS_OK;
}

int gs_sampler_create(const struct gs_sampling *params, uint32_t n_vocab,
                      struct gs_sampler **out, struct gs_err *err)
{
    *out = NULL;
    int rc = check_params(params, err);
    if (rc)
        return rc;
    if (!n_vocab || n_vocab > INT32_MAX)
        return gs_fail(err, GS_E_ARG, "a vocabulary of %u", (unsigned)n_vocab);
    struct gs_sampler *s = gs_alloc(1, sizeof *s);
    if (!s)
        return gs_fail_nomem(err, "a sampler");
    s->params = *params;
    s->n_vocab = n_vocab;
    gs_rng_init(&s->rng, params->seed, 0);
    s->candidates = gs_alloc(n_vocab, sizeof *s->candidates);
    s->seen = gs_alloc(n_vocab, sizeof *s->seen);
    s->recent = gs_alloc((size_t)params->repeat_last_n, sizeof *s->recent);
    if (!s->candidates || !s->seen || !s->recent) {
        gs_sampler_destroy(&s);
        return gs_fail_nomem(err, "a sampler");
    }
    *out = s;
    return GS_OK;
}

void gs_sampler_destroy(struct gs_sampler **sp)
{
    struct gs_sampler *s = *sp;

    if (!s)
        return;
    gs_free(&s->candidates);
    gs_free(&s->seen);
    gs_free(&s->recent);
    gs_free(sp);
}

void gs_sampler_accept(struct gs_sampler *s, int32_t token)
{
    size_t capacity = (size_t)s->params.repeat_last_n;

    assert(token >= 0 && (uint32_t)token < s->n_vocab);
    if (!capacity)
        return;
    if (s->n_recent == capacity)
        s->seen[s->recent[s->next]]--;
    else
        s->n_recent++;
    s->recent[s->next] = token;
    s->seen[token]++;
    s->next = (s->next + 1) % capacity;
}

static bool comes_before(struct candidate a, struct candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sift_down(struct candidate *heap, size_t n, size_t i)
{
    struct candidate moving = heap[i];

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && comes_before(heap[child + 1], heap[child]))
            child++;
        if (!comes_before(heap[child], moving))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moving;
}

/* Moves the first of the heap's n candidates behind the others. */
static void pop(struct candidate *heap, size_t n)
{
    struct candidate first = heap[0];

    heap[0] = heap[n - 1];
    heap[n - 1] = first;
    sift_down(heap, n - 1, 0);
}

/* The logit in play: NaN is −inf, recent tokens are penalised. */
static float adjusted(const struct gs_sampler *s, const float *logits, size_t id)
{
    float l = logits[id];

    if (isnan(l))
        return -INFINITY;
    if (s->seen[id])
        l = l > 0 ? l / s->params.repeat_penalty : l * s->params.repeat_penalty;
    return l;
}

static int32_t largest(const struct gs_sampler *s, const float *logits)
{
    struct candidate best = {adjusted(s, logits, 0), 0};

    for (uint32_t i = 1; i < s->n_vocab; i++) {
        struct candidate c = {adjusted(s, logits, i), (int32_t)i};
        if (comes_before(c, best))
            best = c;
    }
    return best.id;
}

/* Relative probability at a temperature; equal infinities count as equal. */
static double weight(struct candidate c, struct candidate first, double temp)
{
    return c.logit == first.logit ? 1 : exp(((double)c.logit - first.logit) / temp);
}

/* Σ of the relative probabilities of n candidates. */
static double sum_weights(const struct candidate *c, size_t n, struct candidate first,
                          double temp)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += weight(c[i], first, temp);
    return sum;
}

/* Pops candidates as top-k, top-p and min-p say; returns how many are kept: the last ones
 * of the array. */
static size_t keep(struct gs_sampler *s, struct candidate first)
{
    const struct gs_sampling *p = &s->params;
    struct candidate *c = s->candidates;
    size_t V = s->n_vocab, k = p->top_k ? GS_MIN((size_t)p->top_k, V) : V;
    size_t popped = 0, kept = 0;
    double total = 0, held = 0;

    if (k == V && p->top_p >= 1 && p->min_p <= 0)
        return V;
    while (k < V && popped < k)
        pop(c, V - popped++);
    if (p->top_p < 1)
        total = popped ? sum_weights(c + V - k, k, first, 1) : sum_weights(c, V, first, 1);
    for (bool enough = false; kept < k && !enough; kept++) {
        if (kept == popped)
            pop(c, V - popped++);
        double w = weight(c[V - 1 - kept], first, 1);
        if (kept && w < p->min_p)
            break;
        held += w;
        enough = p->top_p < 1 && held >= p->top_p * total;
    }
    return kept;
}

int32_t gs_sampler_pick(struct gs_sampler *s, const float *logits)
{
    struct candidate *c = s->candidates;
    size_t V = s->n_vocab;

    if (s->params.temp <= 0)
        return largest(s, logits);
    for (size_t i = 0; i < V; i++)
        c[i] = (struct candidate){adjusted(s, logits, i), (int32_t)i};
    for (size_t i = V / 2; i-- > 0;)
        sift_down(c, V, i);
    struct candidate first = c[0];
    if (first.logit == -INFINITY)
        return first.id;

    size_t n = keep(s, first);
    const struct candidate *kept = c + V - n;
    double at = 0, total = sum_weights(kept, n, first, s->params.temp);
    double target = gs_rng_f64(&s->rng) * total;
    for (size_t i = n; i-- > 0;) {
        at += weight(kept[i], first, s->params.temp);
        if (at > target)
            return kept[i].id;
    }
    return kept[0].id; /* rounding left target at the end */
}
