/* SPDX-License-Identifier: MIT
 * For tests of measuring: tiny models made by tests/tools/make_tiny, opened, and the plain
 * way to a probability: one token a forward pass, soft-max in long double. */
#ifndef GS_TEST_EVAL_FIXTURE_H
#define GS_TEST_EVAL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "eval/eval.h"

/* tests/tools/make_tiny beside this program's folder; set by main from argv[0]. */
static char make_tiny[1024];

static inline void find_make_tiny(const char *argv0)
{
    const char *slash = strrchr(argv0, '/');

    snprintf(make_tiny, sizeof make_tiny, "%.*s/../tools/make_tiny",
             slash ? (int)(slash - argv0) : 1, slash ? argv0 : ".");
}

struct tiny {
    char path[64];
    struct gs_store *store;
    struct gs_lm *lm;
    struct gs_tokenizer *tokenizer;
    struct gs_subject subject;
};

static inline void tiny_path(char path[64])
{
    strcpy(path, "/tmp/gosset-test-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

/* Opens the model that t->path holds. */
static inline void tiny_open(struct tiny *t)
{
    struct gs_err err = {.code = 0};

    if (gs_store_open(t->path, &t->store, &err) < 0 ||
        gs_lm_open(t->store, &t->lm, &err) < 0 ||
        gs_tokenizer_create(gs_store_meta(t->store), t->path, &t->tokenizer, &err) < 0)
        fail_msg("%s", err.msg);
    t->subject = (struct gs_subject){t->lm, t->tokenizer, t->path};
}

static inline void tiny_create(struct tiny *t, const char *variant, int seed)
{
    char command[1200];

    memset(t, 0, sizeof *t);
    tiny_path(t->path);
    snprintf(command, sizeof command, "'%s' %s %s %d", make_tiny, variant, t->path, seed);
    assert_int_equal(system(command), 0);
    tiny_open(t);
}

static inline void tiny_close(struct tiny *t)
{
    gs_tokenizer_destroy(&t->tokenizer);
    gs_lm_close(&t->lm);
    gs_store_close(&t->store);
}

static inline void tiny_destroy(struct tiny *t)
{
    tiny_close(t);
    unlink(t->path);
}

/* log p of every token given those before it: logp[i·V + t] for position i + 1. The caller
 * frees. */
static inline double *plain_log_probs(const struct tiny *t, const int32_t *tokens, size_t n)
{
    size_t n_vocab = gs_lm_config(t->lm)->n_vocab;
    struct gs_decoder_options options = {.ctx = (uint32_t)n, .batch = 1};
    struct gs_decoder *decoder;
    float *logits = malloc(n_vocab * sizeof *logits);
    double *logp = malloc(n * n_vocab * sizeof *logp);

    assert_true(logits && logp);
    assert_int_equal(gs_decoder_create(t->lm, &options, &decoder, NULL), GS_OK);
    for (size_t i = 0; i < n; i++) {
        long double z = 0;
        assert_int_equal(gs_decoder_forward(decoder, tokens + i, 1, NULL), GS_OK);
        gs_decoder_logits(decoder, 0, 1, logits);
        for (size_t v = 0; v < n_vocab; v++)
            z += expl((long double)logits[v]);
        for (size_t v = 0; v < n_vocab; v++)
            logp[i * n_vocab + v] = (double)((long double)logits[v] - logl(z));
    }
    gs_decoder_destroy(&decoder);
    free(logits);
    return logp;
}

static inline void assert_near(double a, double b, double relative)
{
    if (!(fabs(a - b) <= relative * fabs(b)))
        fail_msg("%.17g is not within %g of %.17g", a, relative, b);
}

#endif
