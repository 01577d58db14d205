/* SPDX-License-Identifier: MIT
 * What codebooks of learned vectors share: the training set, k-means, the nearest of a table,
 * tables in a file. Private to src/codebook.
 *
 * A table of k vectors lies with its coordinates apart, (dim, k), so that distances to
 * neighbouring vectors are neighbouring lanes. */
#ifndef GS_CODEBOOK_VECTOR_H
#define GS_CODEBOOK_VECTOR_H

#include "codebook/codebook.h"

/* Training vectors, and how much each number matters. */
struct gs_vectors {
    float *x, *h;   /* (n, stride) of which a user may take some columns; h ≥ 0 */
    size_t n, stride;
};

/* Cuts the rows of a matrix into vectors of dim; at most n_max of them, evenly spread. With
 * `scaled`, each row is divided by its root mean square, and its importances are multiplied by
 * the square: they weigh errors of the weights themselves. */
int gs_vectors_gather(const struct gs_codebook_data *data, unsigned dim, bool scaled,
                      size_t n_max, struct gs_vectors *out, struct gs_err *err) GS_MUST_USE;
void gs_vectors_clear(struct gs_vectors *v);

/* Training vectors that k points are learned from. */
size_t gs_vectors_enough(size_t k);

/* *each: the bits that name a vector of `size` weights where a weight takes `bits`, a whole number
 * of 1 … most; else an error that says what would be. */
int gs_vector_bits(const char *kind, double bits, double size, unsigned most, unsigned *each,
                   struct gs_err *err) GS_MUST_USE;

/* What k-means is told. */
struct gs_kmeans {
    unsigned k, dim, first;   /* columns first … first + dim − 1 of the vectors */
    unsigned iterations;
    unsigned candidates;      /* see vector.c; 1: plain */
    uint64_t seed;
    struct gs_team *team;
};

/* table (dim, k) for the least Σ h (x − nearest)²: seeded by k-means++, then Lloyd's
 * iterations. Deterministic for any team. Fewer vectors than k leave points at 0. */
int gs_kmeans_run(const struct gs_kmeans *means, const struct gs_vectors *v, float *table,
                  struct gs_err *err) GS_MUST_USE;

/* The index of the nearest of k vectors to x (dim) under h (dim) or NULL; the lowest of
 * equals. `table` (dim, k). */
unsigned gs_vector_nearest(const float *table, unsigned k, unsigned dim, const float *x,
                           const float *h);

/* Rounds all numbers to f16, in which files keep them. */
void gs_table_round(float *table, size_t count);

/* 2 bytes a number. Reading refuses what is not finite. */
void gs_table_write(const float *table, size_t count, uint8_t *dst);
int gs_table_read(float *table, size_t count, const char *kind, const uint8_t *src,
                  struct gs_err *err) GS_MUST_USE;

#endif
