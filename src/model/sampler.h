/* SPDX-License-Identifier: MIT
 * Choosing the next token: repetition penalty, temperature, top-k, top-p, min-p.
 *
 * The order is the one users know from llama.cpp: penalty, top-k, top-p, min-p, temperature,
 * draw. temp <= 0 takes the largest logit (the smaller id on a tie). */
#ifndef GS_MODEL_SAMPLER_H
#define GS_MODEL_SAMPLER_H

#include "gosset.h"

#include "core/err.h"
#include "core/rng.h"

struct gs_sampler;

/* Checks the parameters (the message names the bad one) and takes all memory. */
int gs_sampler_create(const struct gs_sampling *params, uint32_t n_vocab,
                      struct gs_sampler **out, struct gs_err *err) GS_MUST_USE;
void gs_sampler_destroy(struct gs_sampler **sampler);

/* Tells the sampler of a token that is now part of the text (prompt or sampled). */
void gs_sampler_accept(struct gs_sampler *s, int32_t token);

/* logits (V) are not changed. NaN logits are treated as −inf. Allocates nothing. */
int32_t gs_sampler_pick(struct gs_sampler *s, const float *logits);

#endif
